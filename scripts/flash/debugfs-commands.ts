/**
 * The language of e2fsprogs' debugfs (1.47): its commands for changes of a tree, and what it answers. Pure. Owns the quoting,
 * and the two rules that keep debugfs from damage: a folder that is there is never made again (it then leaves one that belongs
 * to nothing), and a file that is there is removed first (it writes over none).
 */
import { GlasscastError } from '../../shared/errors.ts';
import { foldersAbove, type TreeChange, type TreeNode } from './root-tree.ts';

/** A path of the image, or of this machine, as one word. @throws GlasscastError INVALID_CONFIG */
export function quoted(path: string): string {
  // debugfs reads lines, and has no way to write such a character.
  if (/\p{Cc}/u.test(path)) {
    throw new GlasscastError('INVALID_CONFIG', { reason: 'a file name with a control character in it' });
  }
  if (path.length > 1_000) throw new GlasscastError('INVALID_CONFIG', { reason: 'a file name that is too long' });
  return `"${path.replaceAll('"', '""')}"`;
}

/** What is there before the changes: each path of the image that they touch, and the folders above it. */
export type Present = ReadonlyMap<string, TreeNode['kind'] | 'link'>;

export interface CommandPlan {
  commands: string[];
  /** Files of this machine by the name under which a command reads them. */
  sources: Map<string, Extract<TreeChange, { kind: 'file' }>['content']>;
}

/**
 * @param present of `pathsOf(changes)`
 * @throws GlasscastError FLASH_FAILED: a folder stands where a file has to go, or a file where a folder has to
 */
export function debugfsPlan(changes: readonly TreeChange[], present: Present): CommandPlan {
  const there = new Map(present);
  const plan: CommandPlan = { commands: [], sources: new Map() };
  const { commands, sources } = plan;
  for (const change of changes) {
    const path = quoted(change.path);
    if (change.kind === 'removal') {
      commands.push(...removal(change.path, there));
      continue;
    }
    for (const folder of foldersAbove(change.path)) commands.push(...makeFolder(folder, there, 0o755));
    if (change.kind === 'folder') {
      commands.push(...makeFolder(change.path, there, change.mode));
      commands.push(`set_inode_field ${path} mode ${octal(0o040000 | change.mode)}`);
      continue;
    }
    if (there.get(change.path) === 'folder') throw inTheWay(`${change.path} is a folder`);
    if (there.has(change.path)) commands.push(`rm ${path}`);
    if (change.kind === 'link') {
      commands.push(`symlink ${path} ${quoted(change.target)}`);
      there.set(change.path, 'link');
      continue;
    }
    const source = `source-${sources.size}`;
    sources.set(source, change.content);
    commands.push(
      `write ${source} ${path}`,
      `set_inode_field ${path} mode ${octal(0o100000 | change.mode)}`,
      ...ownedByRoot(path),
    );
    there.set(change.path, 'file');
  }
  return plan;
}

/** Paths that a plan has to know of. */
export function pathsOf(changes: readonly TreeChange[]): string[] {
  const paths = changes.flatMap(({ path, kind }) => (kind === 'removal' ? [path] : [...foldersAbove(path), path]));
  return [...new Set(paths)];
}

function makeFolder(folder: string, there: Map<string, string>, mode: number): string[] {
  const kind = there.get(folder);
  // A link to a folder serves as one: /lib on a merged system.
  if (kind === 'folder' || kind === 'link') return [];
  if (kind !== undefined) throw inTheWay(`${folder} is no folder`);
  there.set(folder, 'folder');
  const path = quoted(folder);
  return [`mkdir ${path}`, `set_inode_field ${path} mode ${octal(0o040000 | mode)}`, ...ownedByRoot(path)];
}

function removal(path: string, there: Map<string, string>): string[] {
  const kind = there.get(path);
  if (kind === undefined) return [];
  const below = [...there.keys()].filter((each) => each.startsWith(`${path}/`)).sort((a, b) => b.length - a.length);
  const commands = [...below, path].map((each) => `${there.get(each) === 'folder' ? 'rmdir' : 'rm'} ${quoted(each)}`);
  for (const each of [...below, path]) there.delete(each);
  return commands;
}

const ownedByRoot = (path: string) => [`set_inode_field ${path} uid 0`, `set_inode_field ${path} gid 0`];
const octal = (mode: number) => `0${mode.toString(8)}`;
const inTheWay = (reason: string) => new GlasscastError('FLASH_FAILED', { reason });

/** One entry of a folder, as `ls -p` tells it. */
export interface ListedEntry {
  name: string;
  kind: TreeNode['kind'] | 'link';
  mode: number;
  uid: number;
  gid: number;
  bytes: number;
}

const LISTED = /^\/(\d+)\/([0-7]{6})\/(\d+)\/(\d+)\/(.*)\/(\d*)\/$/;
const KINDS: Record<string, ListedEntry['kind']> = { '04': 'folder', '10': 'file', '12': 'link' };

/** @param text what `ls -p` prints: /inode/mode/uid/gid/name/bytes/ */
export function listedEntries(text: string): ListedEntry[] {
  return text.split('\n').flatMap((line) => {
    const [, inode, mode = '', uid, gid, name = '', bytes] = LISTED.exec(line) ?? [];
    if (inode === undefined || inode === '0' || name === '.' || name === '..') return [];
    const kind = KINDS[mode.slice(0, 2)] ?? 'other';
    return [
      { name, kind, mode: Number.parseInt(mode.slice(2), 8), uid: Number(uid), gid: Number(gid), bytes: Number(bytes) },
    ];
  });
}

/** @param text what `stat` prints. @returns undefined: nothing is there */
export function statedNode(text: string): TreeNode | undefined {
  const [, type, mode] = /Type: (\S+)\s+Mode:\s+([0-7]+)/.exec(text) ?? [];
  if (type === undefined || mode === undefined) return undefined;
  const kind = type === 'regular' ? 'file' : type === 'directory' ? 'folder' : 'other';
  return { kind, mode: Number.parseInt(mode, 8) & 0o7777, bytes: Number(/Size: (\d+)/.exec(text)?.[1] ?? 0) };
}

export interface FileSystemRoom {
  freeBytes: number;
  freeInodes: number;
}

/** @param text what `show_super_stats -h` prints */
export function roomOf(text: string): FileSystemRoom | undefined {
  const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
  const freeBytes = number('Free blocks') * number('Block size');
  const freeInodes = number('Free inodes');
  return Number.isFinite(freeBytes) && Number.isFinite(freeInodes) ? { freeBytes, freeInodes } : undefined;
}

/** @param errors of debugfs, which ends with 0 whatever fails. @returns what went wrong, without its banner */
export function complaintOf(errors: readonly string[]): string | undefined {
  return errors.find((line) => line.trim() !== '' && !/^debugfs \d/.test(line));
}
