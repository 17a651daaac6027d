/**
 * The store in one SQLite file, through libsql. Each call is one statement, so each is atomic by itself; what is put in
 * one turn is committed together, which costs a tenth.
 * Holds secrets (stream keys, the token secret): the file is readable by its owner alone.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import * as z from 'zod';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { createRecordReader, type OnUnreadable } from './record-reader.ts';
import { recordKinds } from './records.ts';
import type { Collection, Store } from './store.ts';

/** A record may be unreadable: it has no user then. */
const USER = `CASE WHEN json_valid(body) THEN json_extract(body, '$.userId') END`;

const TABLES = `
  CREATE TABLE IF NOT EXISTS records (kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, key))
  STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS records_of_user ON records (kind, ${USER});
`;

const row = z.object({ key: z.string(), body: z.string() });

export interface SqliteStoreOptions {
  /** Path of the database, made with its folders when missing; `:memory:` for tests. */
  file: string;
  onUnreadable?: OnUnreadable;
}

/**
 * A call that the disk does not let happen has the error STORE_UNAVAILABLE, and has changed nothing.
 * @throws GlasscastError INVALID_CONFIG: another process has it, or the folder cannot be written; later from a read, when
 * a vital record cannot be read.
 */
export function createSqliteStore({ file, onUnreadable }: SqliteStoreOptions): Store {
  const { database, lock } = open(file);
  // Once, for all kinds: what a statement holds outside of V8's heap waits for a collection that does not know of it.
  const sql = statementsOf(database);
  const puts = createPuts(database, sql);
  let closed = false;
  // A statement outlives the close of its database, and would write on without the lock.
  function use<Result>(call: () => Result): Result {
    if (closed) throw new Error('the store is closed');
    puts.commit();
    try {
      return call();
    } catch (cause) {
      throw failureOf(cause);
    }
  }

  function collection<T>(
    kind: string,
    { schema, keyOf, isVital }: { schema: z.ZodType<T>; keyOf: (record: T) => string; isVital: boolean },
  ) {
    const reader = createRecordReader(kind, { schema, isVital, place: `data folder ${dirname(file)}`, onUnreadable });
    const read = (found: unknown): T[] => {
      const { key, body } = row.parse(found);
      return reader(key, body);
    };
    return {
      async all() {
        return use(() => sql.all.all(kind) as unknown[]).flatMap(read);
      },
      async of(userId) {
        return use(() => sql.ofUser.all(kind, userId) as unknown[]).flatMap(read);
      },
      async get(key) {
        return use(() => sql.get.all(kind, key) as unknown[]).flatMap(read)[0];
      },
      async put(record) {
        if (closed) throw new Error('the store is closed');
        await puts.add([kind, keyOf(record), JSON.stringify(record)]);
      },
      async add(record) {
        return use(() => sql.add.run(kind, keyOf(record), JSON.stringify(record))).changes > 0;
      },
      async delete(key) {
        return use(() => sql.delete.run(kind, key)).changes > 0;
      },
    } satisfies Collection<T>;
  }
  return {
    apps: collection('apps', recordKinds.apps),
    ledger: collection('ledger', recordKinds.ledger),
    streams: collection('streams', recordKinds.streams),
    streamStories: collection('streamStories', recordKinds.streamStories),
    appSessions: collection('appSessions', recordKinds.appSessions),
    tokens: collection('tokens', recordKinds.tokens),
    enrolments: collection('enrolments', recordKinds.enrolments),
    appStorage: collection('appStorage', recordKinds.appStorage),
    agents: collection('agents', recordKinds.agents),
    rollouts: collection('rollouts', recordKinds.rollouts),
    values: collection('values', recordKinds.values),
    async close() {
      if (closed) return;
      puts.commit();
      closed = true;
      database.close();
      lock?.close();
    },
  };
}

function statementsOf(database: Database.Database) {
  const sql = (text: string) => database.prepare<unknown[]>(text);
  return {
    all: sql('SELECT key, body FROM records WHERE kind = ? ORDER BY key'),
    ofUser: sql(`SELECT key, body FROM records WHERE kind = ? AND ${USER} = ? ORDER BY key`),
    get: sql('SELECT key, body FROM records WHERE kind = ? AND key = ?'),
    put: sql('INSERT OR REPLACE INTO records (kind, key, body) VALUES (?, ?, ?)'),
    add: sql('INSERT OR IGNORE INTO records (kind, key, body) VALUES (?, ?, ?)'),
    delete: sql('DELETE FROM records WHERE kind = ? AND key = ?'),
    begin: sql('BEGIN'),
    commit: sql('COMMIT'),
    rollBack: sql('ROLLBACK'),
  };
}

type Row = readonly [kind: string, key: string, body: string];

/** Puts of one turn, in one transaction at its end: all are written, or none. */
function createPuts(
  database: Pick<Database.Database, 'inTransaction'>,
  sql: ReturnType<typeof statementsOf>,
): { add(row: Row): Promise<void>; commit(): void } {
  let waiting: { row: Row; resolve: () => void; reject: (error: unknown) => void }[] = [];

  function commit(): void {
    const [one, ...others] = waiting;
    if (!one) return;
    const all = waiting;
    waiting = [];
    try {
      if (others.length > 0) sql.begin.run();
      for (const { row } of all) sql.put.run(...row);
      if (others.length > 0) sql.commit.run();
      for (const { resolve } of all) resolve();
    } catch (cause) {
      for (const { reject } of all) reject(failureOf(cause));
      // A full disk has ended it already (sqlite.org/lang_transaction.html, 3), and a second end would hide why.
      if (database.inTransaction) attempt(sql.rollBack);
    }
  }
  return {
    add: (row) =>
      new Promise((resolve, reject) => {
        if (waiting.length === 0) queueMicrotask(commit);
        waiting.push({ row, resolve, reject });
      }),
    commit,
  };
}

/** One that fails as well is rolled back by the next. */
function attempt(statement: Database.Statement<unknown[]>): void {
  try {
    statement.run();
  } catch {}
}

/** By SQLite's result codes: a disk that is full or broken is for an operator, and the relay goes on without it. */
function failureOf(cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const unavailable = (reason: string) => new GlasscastError('STORE_UNAVAILABLE', { reason, cause });
  if (code === 'SQLITE_FULL') return unavailable('its disk is full');
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return unavailable('another program holds its file');
  if (/^SQLITE_(IOERR|READONLY|CANTOPEN)/.test(code)) return unavailable('its disk fails');
  return cause;
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
  return { database, lock };
}
