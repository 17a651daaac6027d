/**
 * The few steps by which the agent's versions are put on disk, so that a test can lose or tear each of them. What is written
 * counts only when it is synced, and a new name only when its folder is.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** Errors are those of node:fs. */
export interface SlotDisk {
  /** Undefined: there is no such file. */
  read(file: string): Uint8Array | undefined;
  /** Creates or replaces; not synced. */
  write(file: string, bytes: Uint8Array): void;
  sync(file: string): void;
  rename(from: string, to: string): void;
  syncFolder(folder: string): void;
  /** And those above it; one that is there is fine. */
  makeFolder(folder: string): void;
  /** What is not there is fine. */
  remove(file: string): void;
}

const MAX_FILE_BYTES = 64_000_000;

export const slotDisk: SlotDisk = {
  read(file) {
    let descriptor: number;
    try {
      // A pipe in the file's place must not hold up a boot.
      descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const stat = fstatSync(descriptor);
      if (!stat.isFile() || stat.size > MAX_FILE_BYTES) throw new Error(`${file}: is no file of ours`);
      return readFileSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  },
  write: (file, bytes) => writeFileSync(file, bytes, { mode: 0o600 }),
  sync: (file) => synced(file, constants.O_RDWR),
  rename: renameSync,
  syncFolder: (folder) => synced(folder, constants.O_RDONLY),
  makeFolder: (folder) => void mkdirSync(folder, { recursive: true, mode: 0o700 }),
  remove: (file) => rmSync(file, { force: true }),
};

/** Either the old bytes are there afterwards, or the new ones, whenever the power goes. */
export function writeDurably(disk: SlotDisk, file: string, bytes: Uint8Array): void {
  const draft = `${file}.new`;
  try {
    disk.write(draft, bytes);
    disk.sync(draft);
    disk.rename(draft, file);
  } catch (error) {
    try {
      disk.remove(draft);
    } catch {
      // The first trouble is the one to tell.
    }
    throw error;
  }
  disk.syncFolder(dirname(file));
}

function synced(path: string, flags: number): void {
  const descriptor = openSync(path, flags);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
