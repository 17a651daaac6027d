/**
 * The data folder belongs to one local Stream at a time: a second one would take the broadcasts of the first for left-overs of a
 * crash, and tell the world that they are over. Owns the lock, nothing else in the folder.
 */
import { accessSync, constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'libsql';
import { errorText, GlasscastError } from '../../shared/errors.ts';

/**
 * Makes the folder when it is missing (mode 0700). Held until the returned function is called, or until the process is dead.
 * @throws GlasscastError INVALID_CONFIG: another process has it, or it cannot be written
 */
export function claimDataFolder(dataDir: string): () => void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    // SQLite's own words for this are a number.
    accessSync(dataDir, constants.W_OK);
    const lock = new Database(join(dataDir, 'lock.db'));
    lock.exec('PRAGMA busy_timeout = 1000; BEGIN EXCLUSIVE;');
    return () => void lock.close();
  } catch (cause) {
    const isTaken = cause instanceof Error && 'code' in cause && cause.code === 'SQLITE_BUSY';
    throw unusable(dataDir, isTaken ? 'another local Stream uses it' : errorText(cause), cause);
  }
}

/** For whatever in the folder cannot be used. */
export function unusable(dataDir: string, reason: string, cause: unknown): GlasscastError {
  return new GlasscastError('INVALID_CONFIG', { reason: `data folder ${dataDir}: ${reason}`, cause });
}
