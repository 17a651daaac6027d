import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { smallDisk } from '../support/small-disk.ts';
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
  it('commits what is put in one turn together, and whoever reads in that turn finds it', async () => {
    const store = createSqliteStore({ file: join(folder, 'relay.db') });
    const names = Array.from({ length: 50 }, (_, index) => `name${String(index).padStart(2, '0')}`);
    const puts = names.map((name) => store.values.put({ name, value: 'v' }));
    expect(await store.values.get('name49')).toEqual({ name: 'name49', value: 'v' });
    await Promise.all(puts);
    void store.values.put({ name: 'name00', value: 'first' });
    const newer = store.values.put({ name: 'name00', value: 'second' });
    expect(await store.values.delete('name01')).toBe(true);
    await newer;
    expect((await store.values.all()).map(({ name }) => name)).toEqual(['name00', ...names.slice(2)]);
    expect(await store.values.get('name00')).toEqual({ name: 'name00', value: 'second' });
    const last = store.values.put({ name: 'last', value: 'v' });
    await store.close();
    await last;
    await expect(store.values.put({ name: 'late', value: 'v' })).rejects.toThrow();
  });

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

  it('says of a full disk what it is, keeps what it has, and goes on when there is room', async ({ skip }) => {
    const disk = smallDisk(400 * 1024);
    if (!disk) return skip('a full disk is made with a small tmpfs: root on Linux only');
    const store = createSqliteStore({ file: join(disk, 'relay.db') });
    await store.values.put({ name: 'before', value: 'v' });
    expect(() => writeFileSync(join(disk, 'filler'), Buffer.alloc(500 * 1024))).toThrow('ENOSPC');
    const full = { code: 'STORE_UNAVAILABLE', message: expect.stringContaining('disk is full') };
    const large = (name: string) => ({ name, value: 'x'.repeat(50_000) });
    await expect(store.values.put(large('one'))).rejects.toMatchObject(full);
    await expect(store.values.add(large('added'))).rejects.toMatchObject(full);
    const many = ['two', 'three'].map((name) => store.values.put(large(name)));
    for (const put of many) await expect(put).rejects.toMatchObject(full);
    expect(await store.values.all()).toEqual([{ name: 'before', value: 'v' }]);
    rmSync(join(disk, 'filler'));
    await Promise.all(['two', 'three'].map((name) => store.values.put(large(name))));
    expect((await store.values.all()).map(({ name }) => name)).toEqual(['before', 'three', 'two']);
    await store.close();
  });

  it('keeps everything over a restart, in a file for its owner alone', async () => {
    const file = join(folder, 'deep', 'relay.db');
    const first = createSqliteStore({ file });
    await first.apps.put(app);
    await first.close();
    await first.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const second = createSqliteStore({ file });
    expect(await second.apps.all()).toEqual([app]);
    await second.close();
  });
});
