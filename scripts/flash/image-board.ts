/**
 * A board that does not run: its root file system in an image or a folder. Owns what goes in there so that the board installs
 * the package by itself when it first boots, and the way out of it; how files get in is the tree's business.
 */
import { open, readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { GlasscastError } from '../../shared/errors.ts';
import { type ApplyResult, type Board, type BoardFile, FLASH_FOLDER } from './board.ts';
import { contentHash } from './content-hash.ts';
import { createExtImage } from './ext-image.ts';
import { ARMED_FILE, type Armed, armed, armingChanges, BEGUN_FILES, disarmingChanges } from './first-boot.ts';
import { createFolderTree } from './folder-tree.ts';
import type { RunProgram } from './host-programs.ts';
import { networkProgramsOf, readImageFacts } from './image-facts.ts';
import { type FileSystemPlace, findExtFileSystems, type ImageSource } from './partition-table.ts';
import { bytesOf, type RootTree, type TreeChange, type TreeContent } from './root-tree.ts';
import { requireNetwork, type WifiNetwork, type WifiSetup, wifiSetup } from './wifi-files.ts';

export interface ImageBoardOptions {
  /** An image, or a folder that is a root file system. */
  path: string;
  /** When several partitions could be the root. */
  partition?: number | undefined;
  wifi?: WifiNetwork | undefined;
  run: RunProgram;
}

/** Folders, and what ext keeps about files. */
const SPARE_BYTES = 4_000_000;
const APPLY = 'apply.sh';
const CODE = 'new/enrolment-code';
const OPTIONS = 'new/options';
const MANIFEST = 'new/manifest';

/** @throws GlasscastError BOARD_UNFIT, FLASH_FAILED, INVALID_CONFIG: for each a sentence that says what to do */
export async function createImageBoard(options: ImageBoardOptions): Promise<Board> {
  if (options.wifi) requireNetwork(options.wifi);
  return boardOf(await openTree(options), options.wifi);
}

export function boardOf(tree: RootTree, wifi: WifiNetwork | undefined): Board {
  const files = new Map<string, TreeContent>();
  let applyScript: Uint8Array | undefined;
  return {
    name: tree.name,
    isOffline: true,
    async look({ signal }) {
      signal.throwIfAborted();
      const facts = await readImageFacts(tree);
      if (wifi) wifiSetup(wifi, await networkProgramsOf(tree));
      return facts;
    },
    async put(file, { signal, onProgress }) {
      signal.throwIfAborted();
      const content =
        file.content instanceof Uint8Array ? file.content : { path: file.content.path, bytes: file.bytes };
      if (file.sha256 !== (await contentHash(content))) throw failed(`${file.name} has changed meanwhile`);
      if (file.name === APPLY) applyScript = file.content instanceof Uint8Array ? file.content : undefined;
      else files.set(requireName(file), content);
      onProgress(file.bytes);
    },
    apply: (word, { signal, runId, onLine }) =>
      word === 'undo'
        ? disarm(tree, runId, signal, onLine)
        : arm({ tree, wifi, files, applyScript, runId, signal, onLine }),
    lastLines: async () => [],
    close: () => tree.close(),
  };
}

interface Arming {
  tree: RootTree;
  wifi: WifiNetwork | undefined;
  files: ReadonlyMap<string, TreeContent>;
  /** Default: the one beside this file. */
  applyScript: Uint8Array | undefined;
  runId: string;
  signal: AbortSignal;
  onLine: (line: string) => void;
}

async function arm({ tree, wifi, files, applyScript, runId, signal, onLine }: Arming): Promise<ApplyResult> {
  const before = await readArmed(tree);
  if (await hasBegun(tree)) {
    const reason =
      'the board has begun to install what it was flashed with; let it boot to the end, then flash it over ssh';
    return { id: runId, outcome: 'refused', version: '', reason };
  }
  const setup = wifi && wifiSetup(wifi, await networkProgramsOf(tree));
  const theirs = await theirsIn(tree, setup, before);
  for (const { path } of setup?.files ?? []) {
    if (theirs.has(path))
      throw failed(`the image has Wi-Fi settings of its own in ${path}; leave --wifi-ssid out, or remove that file`);
  }
  const code = files.get(CODE);
  const changes = armingChanges({
    files: await firstBootFiles(files),
    enrolmentCode: code instanceof Uint8Array ? code : code && (await readFile(code.path)),
    applyScript: applyScript ?? (await scriptText(APPLY)),
    firstBootScript: await scriptText('first-boot.sh'),
    wifi: setup,
    isTheirs: (path) => theirs.has(path),
  });
  if (await isThere(tree, changes)) return { id: runId, outcome: 'already', version: '', reason: '' };
  await requireRoom(tree, changes);
  if (setup) onLine(`Wi-Fi by ${setup.way}`);
  // What an earlier flash put in and this one does not: a Wi-Fi network that is no more wanted.
  const kept = new Set(changes.map(({ path }) => path));
  const stale = before
    ? disarmingChanges(before).filter(({ path }) => path.startsWith('/etc/') && !kept.has(path))
    : [];
  await tree.change([...stale, ...changes], { signal, onStep: onLine });
  return { id: runId, outcome: 'armed', version: '', reason: '' };
}

async function disarm(
  tree: RootTree,
  runId: string,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<ApplyResult> {
  const before = await readArmed(tree);
  const refusal = (reason: string): ApplyResult => ({ id: runId, outcome: 'refused', version: '', reason });
  if (before === undefined)
    return refusal('nothing waits in it for a first boot; a board that has booted is undone over ssh');
  if (await hasBegun(tree))
    return refusal('the board has begun to install; let it boot to the end, then undo it over ssh');
  await tree.change(disarmingChanges(before), { signal, onStep: onLine });
  return { id: runId, outcome: 'undone', version: '', reason: '' };
}

/**
 * As apply.sh wants them, but for two things. Nothing is to be proven at a first boot, as nothing was there before that one
 * could go back to. And the code waits elsewhere: the network may come long after apply.sh has ended.
 */
async function firstBootFiles(files: ReadonlyMap<string, TreeContent>): Promise<Map<string, TreeContent>> {
  const given = [...files].filter(([name]) => name !== CODE && name !== MANIFEST && name !== OPTIONS);
  const options = files.get(OPTIONS);
  const told = options instanceof Uint8Array ? Buffer.from(options).toString('utf8') : '';
  const lines = told.split('\n').filter((line) => line !== '' && !/^(gate|boot)=/.test(line));
  const changed = new Map<string, TreeContent>([
    ...given,
    [OPTIONS, Buffer.from(`${[...lines, 'gate=none', 'boot=yes'].join('\n')}\n`)],
  ]);
  const sums: string[] = [];
  for (const [name, content] of changed) sums.push(`${await contentHash(content)}  ${name.slice('new/'.length)}`);
  return changed.set(MANIFEST, Buffer.from(`${sums.join('\n')}\n`));
}

/** The run's own number aside, which is in the options and so in the manifest. */
async function isThere(tree: RootTree, changes: readonly TreeChange[]): Promise<boolean> {
  for (const change of changes) {
    if (change.kind === 'file' && !/\/new\/(options|manifest)$/.test(change.path)) {
      if ((await tree.hash(change.path)) !== (await contentHash(change.content))) return false;
    }
    if (change.kind === 'removal' && !change.path.endsWith('/new') && (await tree.look(change.path))) return false;
  }
  const [link] = changes.slice(-1);
  return link !== undefined && (await tree.look(link.path)) !== undefined;
}

async function theirsIn(tree: RootTree, setup: WifiSetup | undefined, before: Armed | undefined): Promise<Set<string>> {
  const asked = [...(setup?.files ?? []), ...(setup?.links ?? [])].map(({ path }) => path);
  const theirs = new Set<string>();
  // A board that was flashed keeps more there.
  const isOurs = (name: string) => /^(first-boot|first-boot\.sh|apply\.sh|\..*\.glasscast-part)$/.test(name);
  if (!(await tree.list(FLASH_FOLDER)).every(isOurs)) theirs.add(FLASH_FOLDER);
  for (const path of asked) {
    if (!before?.paths.includes(path) && (await isNamed(tree, path))) theirs.add(path);
  }
  return theirs;
}

/** By the folder's list: a link to something that comes with a package later leads nowhere yet. */
async function isNamed(tree: RootTree, path: string): Promise<boolean> {
  const at = path.lastIndexOf('/');
  return (await tree.list(path.slice(0, at) || '/')).includes(path.slice(at + 1));
}

async function readArmed(tree: RootTree): Promise<Armed | undefined> {
  const text = (await tree.read(ARMED_FILE, 64_000))?.toString('utf8');
  if (text === undefined) return undefined;
  try {
    return armed.parse(JSON.parse(text));
  } catch {
    throw failed(`${ARMED_FILE} in it is damaged; take a fresh image`);
  }
}

async function hasBegun(tree: RootTree): Promise<boolean> {
  for (const path of BEGUN_FILES) if (await tree.look(path)) return true;
  return false;
}

async function requireRoom(tree: RootTree, changes: readonly TreeChange[]): Promise<void> {
  const wanted = changes.reduce(
    (sum, change) => sum + (change.kind === 'file' ? bytesOf(change.content) : 0),
    SPARE_BYTES,
  );
  const free = await tree.freeBytes();
  const mb = (bytes: number) => Math.ceil(bytes / 1e6);
  if (wanted > free)
    throw failed(`${mb(wanted)} MB have to go in, and ${mb(free)} MB are free; make its root file system larger`);
}

async function openTree({ path, partition, run }: ImageBoardOptions): Promise<RootTree> {
  const found = await stat(resolve(path)).catch(() => undefined);
  if (found === undefined) throw unfit(`${path} is not there`);
  if (found.isDirectory()) return createFolderTree(path);
  if (!found.isFile()) throw unfit(`${path} is a device; mount its root partition and give that folder`);
  const places = await withSource(path, findExtFileSystems);
  const place = await rootOf(path, places, partition, run);
  return createExtImage({ file: path, offsetBytes: place.offsetBytes, run });
}

async function rootOf(
  file: string,
  places: readonly FileSystemPlace[],
  wanted: number | undefined,
  run: RunProgram,
): Promise<FileSystemPlace> {
  const list = places.map(
    ({ partition, sizeBytes, label }) =>
      `${partition ?? 'whole'} (${Math.round(sizeBytes / 1e6)} MB${label ? `, ${label}` : ''})`,
  );
  if (wanted !== undefined) {
    const chosen = places.find(({ partition }) => partition === wanted);
    if (chosen) return chosen;
    throw unfit(`--partition ${wanted} holds no ext file system; these do: ${list.join('; ')}`);
  }
  const roots: FileSystemPlace[] = [];
  for (const place of places) {
    const tree = await createExtImage({ file, offsetBytes: place.offsetBytes, run });
    try {
      if (await tree.look('/var/lib/dpkg/status')) roots.push(place);
    } finally {
      await tree.close();
    }
  }
  const [only, ...more] = roots;
  if (only === undefined) throw unfit(`no partition of it holds a Debian system; looked at ${list.join('; ')}`);
  if (more.length > 0) {
    throw unfit(
      `several partitions hold a system; choose by --partition N, of ${roots.map(({ partition }) => partition).join(', ')}`,
    );
  }
  return only;
}

async function withSource<T>(file: string, work: (source: ImageSource) => Promise<T>): Promise<T> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    return await work({
      bytes: size,
      async read(offsetBytes, lengthBytes) {
        const wanted = Math.max(0, Math.min(lengthBytes, size - offsetBytes));
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(wanted), 0, wanted, offsetBytes);
        return buffer.subarray(0, bytesRead);
      },
    });
  } finally {
    await handle.close();
  }
}

function requireName({ name }: BoardFile): string {
  if (/^new\/([a-z0-9-]+\/)?[A-Za-z0-9._-]+$/.test(name) && !name.includes('..')) return name;
  throw failed(`${name} is no name for a file of a flash`);
}

const scriptText = (name: string) => readFile(new URL(name, import.meta.url));
const unfit = (reason: string) => new GlasscastError('BOARD_UNFIT', { reason });
const failed = (reason: string) => new GlasscastError('FLASH_FAILED', { reason });
