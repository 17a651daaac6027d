/**
 * A root file system as a folder of this machine: a mounted card, or a tree that an image is made of. Plain writes, each file
 * whole or not at all. Owns one promise: nothing outside the folder is touched, wherever the links in it point.
 */
import {
  chmod,
  chown,
  copyFile,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  statfs,
  symlink,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { contentHash } from './content-hash.ts';
import { foldersAbove, type RootTree, type TreeChange, type TreeContent } from './root-tree.ts';

/** As the kernel. */
const MAX_LINKS = 40;

/** @throws GlasscastError BOARD_UNFIT: no root file system, or this machine's own; FLASH_FAILED: not ours to write */
export async function createFolderTree(folder: string): Promise<RootTree> {
  const root = resolve(folder);
  const owner = await requireRoot(root);

  /** Where a path of the tree lies here. The last name may be a link, and is then followed only by wish. */
  async function placeOf(path: string, followsLast: boolean): Promise<string> {
    let waiting = path.split('/').filter((part) => part !== '');
    let inside: string[] = [];
    let links = 0;
    while (waiting.length > 0) {
      const [part = '', ...rest] = waiting;
      waiting = rest;
      if (part === '.') continue;
      if (part === '..') {
        inside = inside.slice(0, -1);
        continue;
      }
      const target = rest.length > 0 || followsLast ? await linkAt(join(root, ...inside, part)) : undefined;
      if (target === undefined) {
        inside = [...inside, part];
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) throw failed(`${path}: too many links`);
      // An absolute link is one of the board's: to here it begins at the folder.
      if (target.startsWith('/')) inside = [];
      waiting = [...target.split('/').filter((each) => each !== ''), ...waiting];
    }
    return join(root, ...inside);
  }

  const tree: RootTree = {
    name: basename(root),
    async look(path) {
      const found = await unlessMissing(stat(await placeOf(path, true)));
      if (!found) return undefined;
      const kind = found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other';
      return { kind, mode: found.mode & 0o7777, bytes: found.size };
    },
    async read(path, maxBytes) {
      const node = await tree.look(path);
      if (node?.kind !== 'file') return undefined;
      if (node.bytes > maxBytes) throw new GlasscastError('BOARD_UNFIT', { reason: `${path} is too large` });
      return readFile(await placeOf(path, true));
    },
    async hash(path) {
      if ((await tree.look(path))?.kind !== 'file') return undefined;
      return contentHash({ path: await placeOf(path, true) });
    },
    list: async (path) => (await unlessMissing(readdir(await placeOf(path, true)))) ?? [],
    async freeBytes() {
      const { bavail, bsize } = await statfs(root);
      return bavail * bsize;
    },
    async change(changes, { signal, onStep }) {
      onStep(`writing ${changes.length} entries`);
      for (const change of changes) {
        signal.throwIfAborted();
        await makeChange(change).catch((error: unknown) => {
          throw failed(`${change.path}: ${errorText(error)}`);
        });
      }
    },
    close: async () => {},
  };
  return tree;

  async function makeChange(change: TreeChange): Promise<void> {
    if (change.kind === 'removal') {
      const place = await placeOf(change.path, false);
      await rm(place, { recursive: true, force: true });
      await unlessMissing(syncPath(dirname(place)));
      return;
    }
    for (const above of foldersAbove(change.path)) await makeFolder(above, 0o755);
    if (change.kind === 'folder') {
      await makeFolder(change.path, change.mode);
      await chmod(await placeOf(change.path, true), change.mode);
      return;
    }
    const place = await placeOf(change.path, false);
    if ((await unlessMissing(lstat(place)))?.isDirectory()) throw failed('is a folder');
    const part = join(dirname(place), `.${basename(place)}.glasscast-part`);
    await rm(part, { force: true });
    if (change.kind === 'link') await symlink(change.target, part);
    else await writeWhole(part, change.content, change.mode);
    await rename(part, place);
    await syncPath(dirname(place));
  }

  async function makeFolder(path: string, mode: number): Promise<void> {
    const place = await placeOf(path, true);
    const found = await unlessMissing(stat(place));
    if (found?.isDirectory()) return;
    await mkdir(place, { mode });
    await chmod(place, mode);
    await chown(place, owner.uid, owner.gid);
  }

  async function writeWhole(part: string, content: TreeContent, mode: number): Promise<void> {
    const handle = await open(part, 'wx', 0o600);
    try {
      if (content instanceof Uint8Array) await handle.writeFile(content);
    } finally {
      await handle.close();
    }
    if (!(content instanceof Uint8Array)) await copyFile(content.path, part);
    await chown(part, owner.uid, owner.gid);
    await chmod(part, mode);
    await syncPath(part);
  }
}

/** @returns whose the tree is: root's, or the own user's for a tree that is packed into an image as root's later */
async function requireRoot(root: string): Promise<{ uid: number; gid: number }> {
  const found = await unlessMissing(stat(root));
  if (!found?.isDirectory()) throw unfit(`${root} is no folder`);
  const own = await stat('/');
  if (root === '/' || (found.dev === own.dev && found.ino === own.ino)) {
    throw unfit('this is the root file system of this machine; install the package on it instead');
  }
  const etc = await unlessMissing(lstat(join(root, 'etc')));
  const hasPrograms = await unlessMissing(stat(join(root, 'usr')));
  if (!etc?.isDirectory() || !hasPrograms?.isDirectory()) {
    throw unfit(`${root} holds no root file system (etc and usr are missing); mount the partition that does`);
  }
  if (process.getuid?.() !== 0 && etc.uid !== process.getuid?.()) {
    throw failed(`${root} belongs to another user; run this as root (sudo)`);
  }
  return { uid: etc.uid, gid: etc.gid };
}

async function linkAt(place: string): Promise<string | undefined> {
  try {
    return await readlink(place);
  } catch {
    // No link, or nothing there: the name stands for itself.
    return undefined;
  }
}

async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const unfit = (reason: string) => new GlasscastError('BOARD_UNFIT', { reason });
const failed = (reason: string) => new GlasscastError('FLASH_FAILED', { reason });
