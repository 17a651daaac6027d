/**
 * What the bench builds and keeps, outside the repository: each piece in a folder named by what it is made of, there whole or not
 * at all. Owns that folder; knows nothing of what is in a piece.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface Pieces {
  /**
   * The folder of a piece, made when it is not there.
   * @param madeOf everything that its content depends on
   * @param make fills the given empty folder
   */
  piece(name: string, madeOf: readonly string[], make: (folder: string) => Promise<void>): Promise<string>;
  /** What was being made, and is not whole. */
  discard(): Promise<void>;
}

export interface PiecesOptions {
  folder: string;
  /** Begin with nothing. */
  isFresh?: boolean;
  /** A piece was there, or is being made. */
  onPiece?: (name: string, state: 'kept' | 'making') => void;
}

/** As the XDG base directory specification wants it: may be deleted at any time. */
export function piecesFolder(environment: Record<string, string | undefined>): string {
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'glasscast', 'hardware');
}

export async function openPieces({ folder, isFresh = false, onPiece = () => {} }: PiecesOptions): Promise<Pieces> {
  await mkdir(folder, { recursive: true });
  await removeCutOff(folder);
  if (isFresh) await removeKept(folder);
  return {
    async piece(name, madeOf, make) {
      const kept = join(folder, `${name}-${keyOf(madeOf)}`);
      if (existsSync(kept)) {
        onPiece(name, 'kept');
        return kept;
      }
      onPiece(name, 'making');
      const part = join(folder, `part-${process.pid}-${name}`);
      await rm(part, { recursive: true, force: true });
      await mkdir(part);
      await make(part);
      // Two benches may make it at once: the first one's counts.
      await rename(part, kept).catch((error: unknown) => {
        if (!existsSync(kept)) throw error;
      });
      await rm(part, { recursive: true, force: true });
      await removeOlder(folder, name, kept);
      return kept;
    },
    async discard() {
      for (const entry of await readdir(folder)) {
        // A program that is being ended may still write there.
        const patient = { recursive: true, force: true, maxRetries: 20, retryDelay: 100 };
        if (entry.startsWith(`part-${process.pid}-`)) await rm(join(folder, entry), patient);
      }
    },
  };
}

export function keyOf(madeOf: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(madeOf)).digest('hex').slice(0, 16);
}

/** Of runs that were killed: their process is no more. */
async function removeCutOff(folder: string): Promise<void> {
  for (const entry of await readdir(folder)) {
    const pid = /^part-(\d+)-/.exec(entry)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      await rm(join(folder, entry), { recursive: true, force: true });
  }
}

/** Nothing else: the folder is somebody's choice. */
async function removeKept(folder: string): Promise<void> {
  for (const entry of await readdir(folder)) {
    if (/^[a-z][\w.-]*-[0-9a-f]{16}$/.test(entry)) await rm(join(folder, entry), { recursive: true, force: true });
  }
}

/** Of the same name: its sources have changed, and it takes hundreds of megabytes. */
async function removeOlder(folder: string, name: string, kept: string): Promise<void> {
  for (const entry of await readdir(folder)) {
    const path = join(folder, entry);
    if (path !== kept && new RegExp(`^${name}-[0-9a-f]{16}$`).test(entry))
      await rm(path, { recursive: true, force: true });
  }
}
