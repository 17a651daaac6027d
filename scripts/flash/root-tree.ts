/** What flashing without a running board asks of a root file system, be it in an image or a folder. Runs nothing itself. */

export interface TreeNode {
  kind: 'file' | 'folder' | 'other';
  /** Permission bits. */
  mode: number;
  bytes: number;
}

/** Absolute paths, as the board will see them. Owner of all that is made: root. */
export type TreeChange =
  /** With the folders above it. One that is there gets the mode. */
  | { kind: 'folder'; path: string; mode: number }
  /** In place of a file of this name. */
  | { kind: 'file'; path: string; mode: number; content: TreeContent }
  /** In place of a file or link of this name. */
  | { kind: 'link'; path: string; target: string }
  /** File, link, or folder with all in it; no mistake when nothing is there. */
  | { kind: 'removal'; path: string };

export type TreeContent = Uint8Array | { path: string; bytes: number };

export interface TreeCall {
  signal: AbortSignal;
}

export interface RootTree {
  /** For people. */
  readonly name: string;
  /** Follows links inside the tree. Undefined: nothing is there. */
  look(path: string): Promise<TreeNode | undefined>;
  /** @returns undefined: no such file. @throws GlasscastError BOARD_UNFIT: larger than `maxBytes` */
  read(path: string, maxBytes: number): Promise<Buffer | undefined>;
  /** Hex SHA-256 of a file; undefined: no such file. */
  hash(path: string): Promise<string | undefined>;
  /** Names in a folder; empty when there is none. */
  list(path: string): Promise<string[]>;
  freeBytes(): Promise<number>;
  /**
   * Makes the changes in their order. A cut leaves what was there before, or the first of the changes; the last one decides
   * whether the others count.
   * @param onStep for people
   * @throws GlasscastError FLASH_FAILED
   */
  change(changes: readonly TreeChange[], call: TreeCall & { onStep: (line: string) => void }): Promise<void>;
  close(): Promise<void>;
}

export const bytesOf = (content: TreeContent): number =>
  content instanceof Uint8Array ? content.byteLength : content.bytes;

/** The folders above a path, from the top: `/a/b/c` has `/a` and `/a/b`. */
export function foldersAbove(path: string): string[] {
  const parts = path.split('/').slice(1, -1);
  return parts.map((_, at) => `/${parts.slice(0, at + 1).join('/')}`);
}
