/**
 * The store in one SQLite file, through libsql. Each call is one statement, so each is atomic by itself.
 * Holds secrets (the token secret): the file is readable by its owner alone.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import { z } from 'zod';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { LedgerEntry, RegisteredApp, Store } from './store.ts';

const SCHEMA_VERSION = 1;
const TABLES = `
  CREATE TABLE IF NOT EXISTS apps (package_name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS ledger (stream_id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS named_values (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
`;

const row = z.object({ body: z.string() });
const valueRow = z.object({ value: z.string() });

/** Rows written by an older version are checked on the way in, not trusted. */
const registeredApp = z.object({
  packageName: z.string(),
  publicUrl: z.string().optional(),
  hashedApiKey: z.string(),
  permissions: z.array(z.object({ type: z.string(), description: z.string().optional() })),
  appType: z.enum(['standard', 'background', 'system_dashboard']),
  settings: z.array(z.record(z.string(), z.unknown())),
}) satisfies z.ZodType<RegisteredApp>;

const ledgerEntry = z.object({
  streamId: z.string(),
  liveInputUid: z.string().optional(),
  doomed: z.boolean(),
  keepRecordings: z.boolean(),
  createdAtMs: z.number(),
}) satisfies z.ZodType<LedgerEntry>;

/**
 * @param file path of the database, made with its folders when missing; `:memory:` for tests.
 * @throws GlasscastError INVALID_CONFIG: another process has it, or the folder cannot be written.
 */
export function createSqliteStore({ file }: { file: string }): Store {
  const { database, lock } = open(file);
  let closed = false;
  const all = (sql: string) => database.prepare(sql).all() as unknown[];
  const get = (sql: string, key: string) => database.prepare(sql).get(key) as unknown;
  const run = (sql: string, ...values: string[]) => database.prepare(sql).run(...values);

  return {
    apps: async () => all('SELECT body FROM apps ORDER BY package_name').map((found) => parsed(found, registeredApp)),
    async app(packageName) {
      const found = get('SELECT body FROM apps WHERE package_name = ?', packageName);
      return found === undefined ? undefined : parsed(found, registeredApp);
    },
    async putApp(app) {
      run('INSERT OR REPLACE INTO apps (package_name, body) VALUES (?, ?)', app.packageName, JSON.stringify(app));
    },
    deleteApp: async (packageName) => run('DELETE FROM apps WHERE package_name = ?', packageName).changes > 0,

    ledger: async () => all('SELECT body FROM ledger ORDER BY stream_id').map((found) => parsed(found, ledgerEntry)),
    async putLedgerEntry(entry) {
      run('INSERT OR REPLACE INTO ledger (stream_id, body) VALUES (?, ?)', entry.streamId, JSON.stringify(entry));
    },
    async deleteLedgerEntry(streamId) {
      run('DELETE FROM ledger WHERE stream_id = ?', streamId);
    },

    async value(name) {
      const found = get('SELECT value FROM named_values WHERE name = ?', name);
      return found === undefined ? undefined : valueRow.parse(found).value;
    },
    async putValue(name, value) {
      run('INSERT OR REPLACE INTO named_values (name, value) VALUES (?, ?)', name, value);
    },
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

function parsed<T>(found: unknown, schema: z.ZodType<T>): T {
  return schema.parse(JSON.parse(row.parse(found).body));
}
