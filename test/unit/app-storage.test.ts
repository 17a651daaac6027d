import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAppStorage } from '../../cloud/apps/app-storage.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';

const ada = { packageName: 'com.a', userId: 'ada@example.com' };

function world() {
  const running = new Set(['ada@example.com com.a', 'bob@example.com com.a', 'ada@example.com com.b']);
  const apps = {
    session: (userId: string, packageName: string) => running.has(`${userId} ${packageName}`) || undefined,
  };
  return { running, storage: createAppStorage({ store: createSqliteStore({ file: ':memory:' }), apps }) };
}

describe("an app's storage", () => {
  it('keeps texts by key, for each app and user by itself', async () => {
    const { storage } = world();
    await storage.write(ada, { a: '1', b: '2' });
    await storage.write(ada, { b: '3', c: '' });
    await storage.remove(ada, 'a');
    await storage.remove(ada, 'never there');
    expect(await storage.read(ada)).toEqual({ b: '3', c: '' });
    expect(await storage.read({ ...ada, userId: 'bob@example.com' })).toEqual({});
    expect(await storage.read({ ...ada, packageName: 'com.b' })).toEqual({});
    await storage.clear(ada);
    expect(await storage.read(ada)).toEqual({});
  });

  it('is there for users of the app alone; what has begun goes on after the app’s end', async () => {
    const { running, storage } = world();
    const stranger = { ...ada, userId: 'eve@example.com' };
    for (const call of [storage.read(stranger), storage.write(stranger, { a: '1' }), storage.clear(stranger)]) {
      await expect(call).rejects.toMatchObject({ code: 'SESSION_NOT_FOUND' });
    }
    await storage.read(ada);
    running.clear();
    await storage.write(ada, { last: 'words' });
    expect(await storage.read(ada)).toEqual({ last: 'words' });
  });

  it('takes values of 100,000 characters and 1 MiB in all, and nothing of a write that is too much', async () => {
    const { storage } = world();
    await storage.write(ada, { long: 'x'.repeat(100_000) });
    const full = { code: 'APP_STORAGE_FULL', http: 413 };
    await expect(storage.write(ada, { small: '1', longer: 'x'.repeat(100_001) })).rejects.toMatchObject(full);
    const many = Object.fromEntries(Array.from({ length: 11 }, (_, index) => [`k${index}`, 'é'.repeat(50_000)]));
    await expect(storage.write(ada, many)).rejects.toMatchObject(full);
    expect(Object.keys(await storage.read(ada))).toEqual(['long']);
    await storage.write(ada, { small: '1' });
  });

  it('loses no change of many at once, whatever fails among them', async () => {
    const { storage } = world();
    const writes = Array.from({ length: 50 }, (_, index) => {
      const isTooLong = index % 10 === 3;
      return storage.write(ada, { [`k${index}`]: isTooLong ? 'x'.repeat(100_001) : String(index) }).catch(() => {});
    });
    await Promise.all([...writes, storage.remove(ada, 'k0')]);
    const data = await storage.read(ada);
    expect(Object.keys(data).length).toBe(44);
    expect(data.k49).toBe('49');
  });

  it('gives back any key and value as they were', async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.string({ maxLength: 20 }), fc.string({ maxLength: 50 })), async (entries) => {
        const { storage } = world();
        await storage.write(ada, entries);
        const known = Object.entries(entries).filter(([name]) => name !== '__proto__');
        expect(Object.entries(await storage.read(ada))).toEqual(expect.arrayContaining(known));
      }),
      { numRuns: 50 },
    );
  });
});
