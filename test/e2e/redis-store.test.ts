/** The store in a real Redis: what every store does, what is fenced, and Redis going away. */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createRedisLink, type RedisLink } from '../../cloud/cluster/redis-link.ts';
import { createRedisStore, type Fence } from '../../cloud/store/redis-store.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { describeStore, type StoreUnderTest, storedEntry, storedStream } from '../support/store-suite.ts';

const clock = createSystemClock();
const log = silentLog();
const spawner = createChildSpawner({ clock, log, redactor: createRedactor() });
const PASSWORD = 'a pass/word:with@all';
const places = { number: 0 };

describe.skipIf(!inject('hasRedis'))('Redis', () => {
  let redis: TestRedis;
  let link: RedisLink;
  beforeAll(async () => {
    redis = await startRedis({ spawn: spawner.spawn, clock, password: PASSWORD });
    link = createRedisLink({ url: new Secret(redis.url), clock, log });
    await link.ready(5_000);
  });
  afterAll(async () => {
    await link.close();
    await redis.close();
    await spawner.close();
    expect(clock.pending()).toEqual([]);
  });
  const freshPrefix = () => {
    places.number += 1;
    return `test${places.number}:`;
  };

  describeStore('records in Redis', async () => {
    const prefix = freshPrefix();
    const unreadable: StoreUnderTest['unreadable'] = [];
    return {
      unreadable,
      reopen: async () => createRedisStore({ link, prefix, onUnreadable: (record) => void unreadable.push(record) }),
      putRaw: async (kind, key, body) => void (await link.command('HSET', `${prefix}records:${kind}`, key, body)),
      async close() {},
    };
  });

  describe('writes of a session', () => {
    const setUp = async (owners: Record<string, string>) => {
      const prefix = freshPrefix();
      const own = async (userId: string, entry: string) => link.command('HSET', `${prefix}owners`, userId, entry);
      for (const [userId, entry] of Object.entries(owners)) await own(userId, entry);
      const nodeOf = (nodeId: string, confirm: Fence['confirm'] = async () => false) => {
        const fences: Record<string, string> = {};
        for (const [userId, entry] of Object.entries(owners)) {
          if (entry.startsWith(nodeId)) fences[userId] = entry;
        }
        return createRedisStore({ link, prefix, fence: { fenceOf: (userId) => fences[userId], confirm } });
      };
      return { own, nodeOf, prefix };
    };
    const moved = { code: 'SESSION_MOVED' };

    it('are refused from a node that is not the owner, or is it no more', async () => {
      const { own, nodeOf } = await setUp({ ada: 'a 1', bob: 'b 2' });
      const [a, b] = [nodeOf('a'), nodeOf('b')];
      await a.streams.put(storedStream('m1', 'ada'));
      await expect(b.streams.put(storedStream('m1', 'ada'))).rejects.toMatchObject(moved);
      await expect(b.streams.put(storedStream('m1', 'bob'))).rejects.toMatchObject(moved);
      await expect(b.streams.delete('m1')).rejects.toMatchObject(moved);
      await expect(b.ledger.add({ ...storedEntry, userId: 'ada' })).rejects.toMatchObject(moved);
      await own('ada', 'b 3');
      await expect(a.streams.put({ ...storedStream('m1', 'ada'), isStarted: true })).rejects.toMatchObject(moved);
      await expect(a.streams.delete('m1')).rejects.toMatchObject(moved);
      expect(await a.streams.all()).toEqual([storedStream('m1', 'ada')]);
    });

    it('that change the user or delete want the proof of each user; a stray is anybody’s', async () => {
      const { nodeOf } = await setUp({ ada: 'a 1', eve: 'a 4', bob: 'b 2' });
      const [a, b] = [nodeOf('a'), nodeOf('b')];
      await a.ledger.put({ ...storedEntry, userId: 'ada' });
      await a.ledger.put({ ...storedEntry, userId: 'eve' });
      await expect(b.ledger.put({ ...storedEntry, userId: 'bob' })).rejects.toMatchObject(moved);
      await expect(b.ledger.put(storedEntry)).rejects.toMatchObject(moved);
      expect([await a.ledger.of('ada'), (await a.ledger.of('eve')).length]).toEqual([[], 1]);
      await a.ledger.put(storedEntry);
      expect(await b.ledger.delete('m1')).toBe(true);
      expect([await b.ledger.delete('m1'), await b.ledger.add(storedEntry)]).toEqual([false, true]);
      // What belongs to no session is anybody's, too.
      await b.agents.put({ userId: 'ada', version: '1', architecture: 'x', canUpdate: true, seenAtMs: 1 });
    });

    it('are tried again once when Redis had lost the owner', async () => {
      const { own, nodeOf, prefix } = await setUp({ ada: 'a 1' });
      const asked: string[] = [];
      const a = nodeOf('a', async (userId) => {
        asked.push(userId);
        await own(userId, 'a 1');
        return true;
      });
      await link.command('DEL', `${prefix}owners`);
      await a.streams.put(storedStream('m1', 'ada'));
      expect([asked, (await a.streams.of('ada')).length]).toEqual([['ada'], 1]);
    });
  });

  it('that dies fails every call at once, and serves again with all it had answered', async () => {
    const store = createRedisStore({ link, prefix: freshPrefix() });
    const heard: string[] = [];
    const stop = [link.onUp(() => void heard.push('up')), link.onDown(() => void heard.push('down'))];
    await Promise.all(Array.from({ length: 50 }, (_, number) => store.values.put({ name: `n${number}`, value: 'x' })));
    await redis.kill();
    const unavailable = { code: 'STORE_UNAVAILABLE', http: 503 };
    await expect(store.values.all()).rejects.toMatchObject(unavailable);
    await expect(store.values.put({ name: 'secret', value: 'a-secret' })).rejects.toSatisfy(
      (error: Error) => !JSON.stringify([error.message, error.cause, String(error)]).includes('a-secret'),
    );
    expect([link.isUp, link.trouble]).toEqual([false, expect.any(String)]);
    // Callers of all kinds hear it: where Redis is, and what it says, is for the log.
    await expect(store.values.all()).rejects.toSatisfy((error: Error) => !/127\.0\.0\.1|\d{4}/.test(error.message));
    await redis.restart();
    await link.ready(5_000);
    expect((await store.values.all()).length).toBe(50);
    expect([heard, link.trouble]).toEqual([['down', 'up'], undefined]);
    for (const end of stop) end();
  });

  it('that refuses a command, and repeats it in its refusal, is not repeated to whoever asked', async () => {
    const lines: unknown[] = [];
    const telling = { ...log, warn: (...line: unknown[]) => void lines.push(line) };
    const own = createRedisLink({ url: new Secret(redis.url), clock, log: telling });
    await own.ready(5_000);
    for (let time = 0; time < 2; time += 1) {
      await expect(own.command('NOSUCH', 'a-stream-key')).rejects.toSatisfy(
        (error: Error) => !JSON.stringify([error.message, error.cause]).includes('a-stream-key'),
      );
    }
    // One word in the log of one kind of trouble, and no values there either.
    expect(JSON.stringify(lines)).toMatch(/^(?!.*a-stream-key).*unknown command/);
    expect(lines).toHaveLength(1);
    expect(own.isUp).toBe(true);
    await own.close();
  });

  it('that hangs is away after a second, and back when it goes on; nothing that was given up is done late', async () => {
    const store = createRedisStore({ link, prefix: freshPrefix() });
    await store.values.put({ name: 'n', value: 'old' });
    redis.pause();
    const late = Array.from({ length: 500 }, () => store.values.put({ name: 'n', value: 'given up'.repeat(20) }));
    const ended = await Promise.allSettled(late);
    expect(new Set(ended.map((end) => end.status === 'rejected' && (end.reason as { code: string }).code))).toEqual(
      new Set(['STORE_UNAVAILABLE']),
    );
    expect(link.isUp).toBe(false);
    await expect(store.values.get('n')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    redis.resume();
    await link.ready(5_000);
    await store.values.put({ name: 'n', value: 'new' });
    await clock.sleep(200);
    expect(await store.values.get('n')).toEqual({ name: 'n', value: 'new' });
  });

  it('with a wrong password, or none at that address, is told in plain words and without the password', async () => {
    const tryUrl = async (url: string) => {
      const wrong = createRedisLink({ url: new Secret(url), clock, log });
      const error = await wrong.ready(400).catch((thrown: unknown) => thrown as Error);
      await wrong.close();
      return String(error instanceof Error && error.message);
    };
    const wrong = await tryUrl(`redis://:not-the-password@127.0.0.1:${redis.port}`);
    expect(wrong).toMatch(/WRONGPASS|invalid/);
    expect(wrong).not.toContain('not-the-password');
    expect(await tryUrl('redis://127.0.0.1:1')).toMatch(/ECONNREFUSED/);
    expect(() => createRedisLink({ url: new Secret('http://:a-secret@x'), clock, log })).toThrow(
      /^(?!.*a-secret).*redis:\/\//,
    );
  });
});
