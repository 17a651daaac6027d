/**
 * A root file system inside an image, by e2fsprogs' debugfs: without root, without a mount. All changes are made in a working
 * copy beside the image, which takes its place when it is whole, clean and on the disk: the image is as before or as wanted,
 * whatever cuts this and whenever. Owns the working copy and its folder of sources; knows nothing of what is flashed.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm, stat, statfs, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { GlasscastError } from '../../shared/errors.ts';
import { makeOwnFolder } from '../../shared/own-folder.ts';
import { contentHash } from './content-hash.ts';
import {
  complaintOf,
  debugfsPlan,
  type ListedEntry,
  listedEntries,
  pathsOf,
  quoted,
  roomOf,
  statedNode,
} from './debugfs-commands.ts';
import type { RunProgram } from './host-programs.ts';
import type { RootTree, TreeChange } from './root-tree.ts';

export interface ExtImageOptions {
  file: string;
  /** Where the file system begins in it. */
  offsetBytes: number;
  run: RunProgram;
}

const E2FSPROGS = 'e2fsprogs';
const MAX_LINKS = 16;
/** A folder in an image has no more of ours in it. */
const MAX_DEPTH = 12;

/** @throws GlasscastError FLASH_FAILED (without debugfs) */
export async function createExtImage({ file, offsetBytes, run }: ExtImageOptions): Promise<RootTree> {
  const image = resolve(file);
  // debugfs takes what follows a `?` in a name for options: it works in a folder where the image is called `image`.
  const folder = await makeOwnFolder(tmpdir(), 'glasscast-image');
  await symlink(image, join(folder, 'image'));
  const place = (name: string) => (offsetBytes === 0 ? name : `${name}?offset=${offsetBytes}`);

  async function ask(request: string, onOutput?: (bytes: Buffer) => void, name = 'image') {
    const args = ['-R', request, place(name)];
    return run({ name: 'debugfs', args, package: E2FSPROGS, cwd: folder, ...(onOutput ? { onOutput } : {}) });
  }
  const askText = async (request: string) => (await ask(request)).output.toString('utf8');
  const entriesOf = async (path: string) => listedEntries(await askText(`ls -p ${quoted(path)}`));

  const tree: RootTree = {
    name: basename(image),
    async look(path) {
      return statedNode(await askText(`stat ${quoted(await followed(path))}`));
    },
    async read(path, maxBytes) {
      const node = await tree.look(path);
      if (node?.kind !== 'file') return undefined;
      if (node.bytes > maxBytes) throw new GlasscastError('BOARD_UNFIT', { reason: `${path} is too large` });
      return (await ask(`cat ${quoted(await followed(path))}`)).output;
    },
    hash: (path) => hashIn('image', path),
    list: async (path) => (await entriesOf(path)).map(({ name }) => name),
    async freeBytes() {
      return roomOf(await askText('show_super_stats -h'))?.freeBytes ?? 0;
    },
    change: (changes, { signal, onStep }) => changeCopy(changes, signal, onStep),
    close: () => rm(folder, { recursive: true, force: true }),
  };
  return tree;

  /** debugfs follows links to folders on its way, and leaves the last one. */
  async function followed(path: string, links = 0): Promise<string> {
    const text = await askText(`stat ${quoted(path)}`);
    if (!/Type: symlink/.test(text) || links > MAX_LINKS) return path;
    const target = /Fast link dest: "(.*)"/.exec(text)?.[1] ?? (await askText(`cat ${quoted(path)}`));
    return followed(target.startsWith('/') ? target : `${dirname(path)}/${target}`, links + 1);
  }

  async function hashIn(name: string, path: string): Promise<string | undefined> {
    if ((await tree.look(path))?.kind !== 'file' && name === 'image') return undefined;
    const hash = createHash('sha256');
    const { errors } = await ask(`cat ${quoted(path)}`, (bytes) => void hash.update(bytes), name);
    return complaintOf(errors) === undefined ? hash.digest('hex') : undefined;
  }

  async function changeCopy(changes: readonly TreeChange[], signal: AbortSignal, onStep: (line: string) => void) {
    const working = join(dirname(image), `.${basename(image)}.glasscast-part`);
    try {
      await rm(working, { force: true });
      await requireRoomForCopy(image);
      onStep(`copying ${basename(image)} to work on`);
      await succeed({
        name: 'cp',
        args: ['--sparse=always', '--reflink=auto', '-p', '--', image, working],
        package: 'coreutils',
        signal,
      });
      await rm(join(folder, 'working'), { force: true });
      await symlink(working, join(folder, 'working'));
      await checkFileSystem('-p', signal);
      const { commands, sources } = debugfsPlan(changes, await presentIn(changes));
      await giveSources(sources);
      onStep(`writing ${changes.length} entries`);
      await runCommands(commands, signal);
      await checkFileSystem('-n', signal);
      onStep('reading back what was written');
      await requireWritten(changes);
      await syncPath(working);
      await rename(working, image);
      await syncPath(dirname(image));
    } finally {
      await rm(working, { force: true });
      await rm(join(folder, 'sources'), { recursive: true, force: true });
    }
  }

  async function presentIn(changes: readonly TreeChange[]) {
    const present = new Map<string, ListedEntry['kind']>();
    const add = async (path: string, kind: ListedEntry['kind'], depth: number): Promise<void> => {
      present.set(path, kind);
      if (kind !== 'folder' || depth > MAX_DEPTH) return;
      for (const entry of await entriesOf(path)) await add(`${path}/${entry.name}`, entry.kind, depth + 1);
    };
    for (const path of pathsOf(changes)) {
      const entry = (await entriesOf(dirname(path))).find(({ name }) => name === basename(path));
      if (entry) present.set(path, entry.kind);
    }
    for (const { kind, path } of changes) {
      const found = present.get(path);
      if (kind === 'removal' && found) await add(path, found, 0);
    }
    return present;
  }

  async function giveSources(sources: ReturnType<typeof debugfsPlan>['sources']) {
    const given = join(folder, 'sources');
    await mkdir(given, { mode: 0o700 });
    await symlink('../working', join(given, 'working'));
    for (const [name, content] of sources) {
      // Secrets among them: a file that nobody else may open, in a folder that is ours, for as long as debugfs runs.
      if (content instanceof Uint8Array) await writeFile(join(given, name), content, { mode: 0o600 });
      else await symlink(resolve(content.path), join(given, name));
    }
  }

  async function runCommands(commands: readonly string[], signal: AbortSignal) {
    const cwd = join(folder, 'sources');
    await writeFile(join(cwd, 'commands'), `${commands.join('\n')}\n`, { mode: 0o600 });
    const args = ['-w', '-f', 'commands', place('working')];
    const { code, errors } = await run({ name: 'debugfs', args, package: E2FSPROGS, cwd, signal });
    const complaint = complaintOf(errors) ?? (code === 0 ? undefined : `exit code ${code}`);
    if (complaint !== undefined)
      throw failed(`debugfs could not write into the image (${complaint}); nothing was changed`);
  }

  /** `-p` plays the journal back and repairs what a boot would repair; in the working copy that costs nobody anything. */
  async function checkFileSystem(how: '-p' | '-n', signal: AbortSignal) {
    const args = ['-f', how, place('working')];
    const { code, output } = await run({ name: 'e2fsck', args, package: E2FSPROGS, cwd: folder, signal });
    if (code === 0 || (how === '-p' && code === 1)) return;
    const tail = output.toString('utf8').trim().split('\n').at(-1) ?? '';
    const command = `e2fsck -f ${offsetBytes === 0 ? basename(image) : `'${basename(image)}?offset=${offsetBytes}'`}`;
    const words =
      how === '-p' ? `its file system is damaged; repair it with ${command}` : 'the written file system is not sound';
    throw failed(`${words} (${tail}); nothing was changed`);
  }

  async function requireWritten(changes: readonly TreeChange[]) {
    for (const change of changes) {
      if (change.kind !== 'file') continue;
      const hash = await hashIn('working', change.path);
      if (hash !== (await contentHash(change.content)))
        throw failed(`${change.path} came out changed; nothing was changed in the image`);
    }
  }

  async function succeed(program: Parameters<RunProgram>[0]) {
    const { code, errors } = await run(program);
    if (code !== 0)
      throw failed(`${program.name} failed: ${errors.at(-1) ?? `exit code ${code}`}; nothing was changed`);
  }
}

async function requireRoomForCopy(image: string): Promise<void> {
  const { blocks } = await stat(image);
  const { bavail, bsize } = await statfs(dirname(image));
  const [neededBytes, freeBytes] = [blocks * 512, bavail * bsize];
  if (neededBytes <= freeBytes) return;
  const mb = (bytes: number) => Math.ceil(bytes / 1e6);
  throw failed(
    `the image is changed in a copy, which needs ${mb(neededBytes)} MB beside it; ${mb(freeBytes)} MB are free`,
  );
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const failed = (reason: string) => new GlasscastError('FLASH_FAILED', { reason });
