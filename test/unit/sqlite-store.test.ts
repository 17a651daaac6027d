import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { storedApp as app, describeStore, type StoreUnderTest } from '../support/store-suite.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-store-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describeStore('records in SQLite', async () => {
  const file = join(folder, 'relay.db');
  const unreadable: StoreUnderTest['unreadable'] = [];
  let store = createSqliteStore({ file });
  await store.close();
  return {
    unreadable,
    async reopen() {
      store = createSqliteStore({ file, onUnreadable: (record) => void unreadable.push(record) });
      return store;
    },
    async putRaw(kind, key, body) {
      const database = new Database(file);
      database.prepare('INSERT OR REPLACE INTO records (kind, key, body) VALUES (?, ?, ?)').run(kind, key, body);
      database.close();
    },
    close: () => store.close(),
  };
});

describe('the SQLite store', () => {
  it('belongs to one relay at a time, and says so', async () => {
    const file = join(folder, 'relay.db');
    const first = createSqliteStore({ file });
    const open = () => createSqliteStore({ file });
    expect(open).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringContaining(folder) }));
    expect(open).toThrow(/another relay uses this data folder/);
    await first.close();
    await open().close();
    expect(() => createSqliteStore({ file: join(file, 'below', 'relay.db') })).toThrow(/relay\.db\/below: /);
  });

  it('is a file for its owner alone, and may be closed twice', async () => {
    const file = join(folder, 'deep', 'relay.db');
    const store = createSqliteStore({ file });
    await store.apps.put(app);
    await store.close();
    await store.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});
