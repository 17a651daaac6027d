/** Nodes in one process on a real Redis: who owns whom while nodes die, Redis dies, hangs and forgets. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { type ClusterNode, type ClusterWorld, createClusterWorld } from '../support/cluster-world.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { storedStream } from '../support/store-suite.ts';

const clock = createSystemClock();
const spawner = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
const worlds = { number: 0 };

describe.skipIf(!inject('hasRedis'))('a cluster on Redis', () => {
  let redis: TestRedis;
  let world: ClusterWorld;
  let a: ClusterNode;
  let b: ClusterNode;
  beforeAll(async () => {
    redis = await startRedis({ spawn: spawner.spawn, clock });
  });
  afterAll(async () => {
    await redis.close();
    await spawner.close();
  });
  beforeEach(async () => {
    worlds.number += 1;
    world = createClusterWorld({ clock, redisUrl: redis.url, prefix: `world${worlds.number}:` });
    [a, b] = [await world.add('a'), await world.add('b')];
    await world.until(() => a.cluster.mesh.others().includes('b') && b.cluster.mesh.others().includes('a'));
  });
  afterEach(async () => {
    await world.close();
    expect(clock.pending()).toEqual([]);
  });
  const ownersOf = (userId: string, nodes: ClusterNode[] = [a, b]) =>
    nodes.filter(({ cluster }) => cluster.ownership.isHere(userId)).map(({ name }) => name);
  const moved = { code: 'SESSION_MOVED' };
  const unavailable = { code: 'STORE_UNAVAILABLE' };

  it('knows its nodes when they have started, and has one leader', async () => {
    await world.until(() => b.cluster.leadership.leaderId() === 'a');
    expect([a.cluster.leadership.isLeader(), b.cluster.leadership.isLeader()]).toEqual([true, false]);
    await a.end();
    await world.until(() => b.cluster.leadership.isLeader());
  });

  it('a session comes to whoever takes it, is found from everywhere, and only its owner writes it', async () => {
    const of = (node: ClusterNode) => node.cluster.ownership;
    expect(await of(a).place('ada')).toBe('here');
    expect([await of(b).place('ada'), await of(b).whereIs('ada')]).toEqual([{ nodeId: 'a' }, { nodeId: 'a' }]);
    await a.store.streams.put(storedStream('m1', 'ada'));
    await expect(b.store.streams.put(storedStream('m1', 'ada'))).rejects.toMatchObject(moved);
    await of(b).take('ada');
    expect([a.events, b.events, ownersOf('ada')]).toEqual([['adopt ada', 'hand over ada'], ['adopt ada'], ['b']]);
    await expect(a.store.streams.delete('m1')).rejects.toMatchObject(moved);
    await b.store.streams.put({ ...storedStream('m1', 'ada'), isStarted: true });
    of(b).letGo('ada');
    await world.until(async () => (await of(a).whereIs('ada')) === undefined);
    expect([of(a).count(), of(b).count()]).toEqual([0, 0]);
  });

  it('a node that is killed loses its sessions at once to whom they come, and the rest to the leader', async () => {
    for (const userId of ['ada', 'bob', 'eve']) await b.cluster.ownership.take(userId);
    await b.kill();
    // Its port refuses: the lease of two seconds need not be waited for.
    await world.until(() => a.cluster.mesh.others().length === 0);
    await world.until(async () => (await a.cluster.ownership.place('ada')) === 'here');
    await world.until(() => ownersOf('eve', [a]).length + ownersOf('bob', [a]).length === 2);
    expect(a.events.sort()).toEqual(['adopt ada', 'adopt bob', 'adopt eve']);
  });

  it('a node that ends sets its sessions free, and they are taken up once', async () => {
    const c = await world.add('c');
    const users = Array.from({ length: 40 }, (_, number) => `u${number}`);
    await Promise.all(users.map((userId) => c.cluster.ownership.take(userId)));
    await c.end();
    expect(c.events.filter((event) => event.startsWith('hand over')).length).toBe(40);
    await expect(c.cluster.ownership.take('late')).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    await Promise.all(users.slice(0, 20).map((userId, at) => (at % 2 ? a : b).cluster.ownership.take(userId)));
    await world.until(() => users.every((userId) => ownersOf(userId).length === 1));
    const adopted = [...a.events, ...b.events].filter((event) => event.startsWith('adopt'));
    expect(adopted.length).toBe(40);
  });

  it('goes on without Redis with what it has, refuses what is new, and heals by itself', async () => {
    await a.cluster.ownership.take('ada');
    expect(await b.cluster.ownership.place('ada')).toEqual({ nodeId: 'a' });
    await redis.kill();
    await world.until(() => !a.link.isUp && !b.link.isUp);
    await a.cluster.ownership.take('ada');
    expect([await a.cluster.ownership.place('ada'), await b.cluster.ownership.place('ada')]).toEqual([
      'here',
      { nodeId: 'a' },
    ]);
    await expect(b.cluster.ownership.take('ada')).rejects.toMatchObject(unavailable);
    await expect(a.cluster.ownership.take('new')).rejects.toMatchObject(unavailable);
    await expect(a.store.streams.put(storedStream('m1', 'ada'))).rejects.toMatchObject(unavailable);
    // Longer than any lease.
    await clock.sleep(2_500);
    expect([a.cluster.leadership.leaderId(), b.cluster.leadership.leaderId()]).toEqual([undefined, undefined]);
    await redis.restart();
    await world.until(() => a.link.isUp && b.link.isUp);
    await a.store.streams.put(storedStream('m1', 'ada'));
    await b.cluster.ownership.take('new');
    await world.until(() => b.cluster.leadership.leaderId() !== undefined);
    expect([ownersOf('ada'), ownersOf('new'), a.events]).toEqual([['a'], ['b'], ['adopt ada']]);
  });

  it('takes a Redis that hangs for five seconds as one that is away', async () => {
    await a.cluster.ownership.take('ada');
    await b.cluster.ownership.take('bob');
    redis.pause();
    await expect(a.cluster.ownership.take('new')).rejects.toMatchObject(unavailable);
    await clock.sleep(5_000);
    await a.cluster.ownership.take('ada');
    redis.resume();
    await world.until(() => a.link.isUp && b.link.isUp);
    await a.cluster.ownership.take('new');
    await a.store.streams.put(storedStream('m1', 'ada'));
    await clock.sleep(1_000);
    expect([ownersOf('ada'), ownersOf('bob'), ownersOf('new')]).toEqual([['a'], ['b'], ['a']]);
    expect([a.events, b.events]).toEqual([['adopt ada', 'adopt new'], ['adopt bob']]);
  });

  it('writes its owners again into a Redis that has lost everything, and none is stolen', async () => {
    await a.cluster.ownership.take('ada');
    expect(await b.cluster.ownership.place('ada')).toEqual({ nodeId: 'a' });
    await redis.flush();
    // Before anything was written again: found by asking, and by the write that is refused.
    expect(await b.cluster.ownership.place('ada')).toEqual({ nodeId: 'a' });
    await a.store.streams.put(storedStream('m1', 'ada'));
    await clock.sleep(1_200);
    expect(await b.cluster.ownership.whereIs('ada')).toEqual({ nodeId: 'a' });
    await b.cluster.ownership.take('ada');
    expect([a.events, b.events]).toEqual([['adopt ada', 'hand over ada'], ['adopt ada']]);
  });

  it('a session that was taken while its owner could not be asked is lost there, and can be written no more', async () => {
    await a.cluster.ownership.take('ada');
    // By force, as from a node that cannot be reached.
    const prefix = `world${worlds.number}:`;
    await b.link.command('HSET', `${prefix}owners`, 'ada', 'b 1000000');
    await expect(a.store.streams.put(storedStream('m1', 'ada'))).rejects.toMatchObject(moved);
    await world.until(() => a.events.includes('lose ada'));
    expect([a.cluster.ownership.isHere('ada'), a.cluster.fence.fenceOf('ada')]).toEqual([false, undefined]);
    // The entry names a node that knows nothing of it: it takes the user up when it is asked.
    expect(await b.cluster.ownership.place('ada')).toBe('here');
  });

  it('lets an adoption that fails leave nothing behind', async () => {
    const c = await world.add('c', {
      async adopt() {
        throw new Error('cannot');
      },
    });
    await expect(c.cluster.ownership.take('ada')).rejects.toThrow('cannot');
    expect([c.cluster.ownership.count(), c.cluster.fence.fenceOf('ada')]).toEqual([0, undefined]);
    await a.cluster.ownership.take('ada');
    expect(ownersOf('ada')).toEqual(['a']);
  });

  it('takes ten thousand users, and hands them over', async () => {
    const users = Array.from({ length: 10_000 }, (_, number) => `user${number}@example.com`);
    await Promise.all(users.map((userId) => a.cluster.ownership.take(userId)));
    await Promise.all(users.map((userId) => b.cluster.ownership.take(userId)));
    expect(a.events.filter((event) => event.startsWith('hand over')).length).toBe(10_000);
    expect([a.cluster.ownership.count(), b.cluster.ownership.count()]).toEqual([0, 10_000]);
  });
});
