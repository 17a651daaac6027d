/**
 * The store in one SQLite file, through libsql. Each call is one statement, so each is atomic by itself.
 * Holds secrets (stream keys, the token secret): the file is readable by its owner alone.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import { z } from 'zod';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { recordKinds } from './records.ts';
import type { Collection, Store } from './store.ts';

const SCHEMA_VERSION = 2;
const TABLES = `
  CREATE TABLE IF NOT EXISTS records (kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, key))
  STRICT, WITHOUT ROWID;
`;

const row = z.object({ body: z.string() });

/**
 * @param file path of the database, made with its folders when missing; `:memory:` for tests.
 * @throws GlasscastError INVALID_CONFIG: another process has it, or the folder cannot be written.
 */
export function createSqliteStore({ file }: { file: string }): Store {
  const { database, lock } = open(file);
  let closed = false;

  function collection<T>(kind: string, { schema, keyOf }: { schema: z.ZodType<T>; keyOf: (record: T) => string }) {
    const read = (found: unknown) => schema.parse(JSON.parse(row.parse(found).body));
    return {
      async all() {
        const rows = database.prepare('SELECT body FROM records WHERE kind = ? ORDER BY key').all(kind);
        return (rows as unknown[]).map(read);
      },
      async get(key) {
        const found: unknown = database.prepare('SELECT body FROM records WHERE kind = ? AND key = ?').get(kind, key);
        return found === undefined ? undefined : read(found);
      },
      async put(record) {
        const put = database.prepare('INSERT OR REPLACE INTO records (kind, key, body) VALUES (?, ?, ?)');
        put.run(kind, keyOf(record), JSON.stringify(record));
      },
      async delete(key) {
        return database.prepare('DELETE FROM records WHERE kind = ? AND key = ?').run(kind, key).changes > 0;
      },
    } satisfies Collection<T>;
  }
  return {
    apps: collection('apps', recordKinds.apps),
    ledger: collection('ledger', recordKinds.ledger),
    streams: collection('streams', recordKinds.streams),
    appSessions: collection('appSessions', recordKinds.appSessions),
    tokens: collection('tokens', recordKinds.tokens),
    enrolments: collection('enrolments', recordKinds.enrolments),
    appStorage: collection('appStorage', recordKinds.appStorage),
    values: collection('values', recordKinds.values),
    async close() {
      if (closed) return;
      closed = true;
      database.close();
      lock?.close();
    },
  };
}

function open(file: string): ReturnType<typeof openDatabase> {
  try {
    return openDatabase(file);
  } catch (cause) {
    const isTaken = cause instanceof Error && 'code' in cause && cause.code === 'SQLITE_BUSY';
    const reason = isTaken ? 'another relay uses this data folder' : errorText(cause);
    throw new GlasscastError('INVALID_CONFIG', { reason: `data folder ${dirname(file)}: ${reason}`, cause });
  }
}

/**
 * Held until closed, or dead: a second relay here would take our live inputs for left-overs and delete them. A file of
 * its own, because libsql keeps a database open until the last statement on it is collected.
 */
function lockFor(file: string): Database.Database {
  const lock = new Database(`${file}.lock`);
  lock.exec('PRAGMA busy_timeout = 1000; BEGIN EXCLUSIVE;');
  return lock;
}

function openDatabase(file: string): { database: Database.Database; lock: Database.Database | undefined } {
  if (file !== ':memory:') mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const lock = file === ':memory:' ? undefined : lockFor(file);
  const database = new Database(file);
  if (file !== ':memory:') chmodSync(file, 0o600);
  // WAL with NORMAL: a commit costs no fsync; a power cut may lose the last moments but never the file.
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;');
  database.exec(TABLES);
  database.exec(`PRAGMA user_version = ${SCHEMA_VERSION};`);
  return { database, lock };
}
