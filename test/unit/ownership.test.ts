import { describe, expect, it } from 'vitest';
import type { Carrier } from '../../cloud/cluster/cluster.ts';
import { createFakeNetwork, createFakeRecords } from '../support/cluster-fakes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

function setUp() {
  const clock = createTestClock();
  const records = createFakeRecords(clock);
  const network = createFakeNetwork(clock, records);
  const events: string[] = [];
  const add = (nodeId: string, carrier: Partial<Carrier> = {}) =>
    network.add(nodeId, {
      async adopt(userId) {
        events.push(`${nodeId} adopts ${userId}`);
        await carrier.adopt?.(userId);
      },
      async handOver(userId, why) {
        events.push(`${nodeId} ${why.isLost ? 'loses' : 'hands over'} ${userId}`);
        await carrier.handOver?.(userId, why);
      },
    });
  return { clock, records, network, events, add };
}
const unavailable = { code: 'STORE_UNAVAILABLE' };

describe('a user', () => {
  it('is the owner’s in Redis before it is adopted, and until it is handed over', async () => {
    const { records, add } = setUp();
    const seen: (string | undefined)[] = [];
    const look = async (userId: string) => void seen.push(records.kept.owners.get(userId), a.ownership.fenceOf(userId));
    const a = await add('a', { adopt: look, handOver: look });
    const b = await add('b');
    await a.ownership.take('ada');
    await b.ownership.take('ada');
    expect(seen).toEqual(['a 1', 'a 1', 'a 1', 'a 1']);
    expect([a.ownership.fenceOf('ada'), b.ownership.fenceOf('ada')]).toEqual([undefined, 'b 2']);
  });

  it('that is placed while it comes waits until it has come; of many calls one adopts', async () => {
    const { clock, events, add } = setUp();
    const a = await add('a', { adopt: () => clock.sleep(100) });
    const places: unknown[] = [];
    for (let call = 0; call < 3; call += 1) void a.ownership.place('ada').then((place) => places.push(place));
    void a.ownership.take('ada');
    await clock.advance(50);
    expect([places, a.ownership.isHere('ada'), a.ownership.count()]).toEqual([[], false, 1]);
    await clock.advance(50);
    expect([places, a.ownership.isHere('ada'), events]).toEqual([['here', 'here', 'here'], true, ['a adopts ada']]);
  });

  it('comes by force when its owner does not hand it over in time, who then loses it', async () => {
    const { clock, events, records, add } = setUp();
    let finish = () => {};
    const handOver = (_: string, { isLost }: { isLost: boolean }) =>
      isLost ? Promise.resolve() : new Promise<void>((resolve) => (finish = resolve));
    const a = await add('a', { handOver });
    const b = await add('b');
    await a.ownership.take('ada');
    const taken = b.ownership.take('ada');
    await clock.advance(1_900);
    expect(events).toEqual(['a adopts ada', 'a hands over ada']);
    await clock.advance(200);
    await taken;
    // It is still at it, and can write nothing any more.
    expect([a.ownership.fenceOf('ada'), b.ownership.isHere('ada')]).toEqual([undefined, true]);
    finish();
    await settle();
    expect([a.ownership.count(), records.kept.owners.get('ada'), events.at(-1)]).toEqual([0, 'b 2', 'b adopts ada']);
  });

  it('of a node that cannot be talked to is taken, and lost there as soon as the two can talk', async () => {
    const { clock, events, network, add } = setUp();
    const [a, b] = [await add('a'), await add('b')];
    await a.ownership.take('ada');
    network.cut('a', 'b');
    expect(await b.ownership.place('ada')).toEqual({ nodeId: 'a' });
    await b.ownership.take('ada');
    expect([a.ownership.isHere('ada'), b.ownership.isHere('ada')]).toEqual([true, true]);
    expect(await a.ownership.confirm('ada')).toBe(false);
    network.mend();
    await clock.advance(10);
    expect([events, a.ownership.isHere('ada')]).toEqual([['a adopts ada', 'b adopts ada', 'a loses ada'], false]);
  });

  it('that is taken away unseen is missed by the audit within seconds', async () => {
    const { clock, records, events, add } = setUp();
    const a = await add('a');
    await Promise.all(Array.from({ length: 1_000 }, (_, at) => a.ownership.take(`u${at}`)));
    records.kept.owners.set('u999', 'x 9999');
    await clock.advance(4_000);
    expect(events.slice(1_000)).toEqual(['a loses u999']);
    expect([a.ownership.count(), records.kept.owners.get('u999')]).toEqual([999, 'x 9999']);
  });

  it('that is let go is nobody’s, also when Redis hears of it late; one that is taken meanwhile stays', async () => {
    const { clock, records, events, add } = setUp();
    const a = await add('a');
    await a.ownership.take('ada');
    await a.ownership.take('bob');
    records.state = 'away';
    a.ownership.letGo('ada');
    a.ownership.letGo('bob');
    await clock.advance(1_000);
    expect([a.ownership.count(), records.kept.owners.size]).toEqual([0, 2]);
    records.back();
    await a.ownership.take('bob');
    await clock.advance(1_000);
    expect([...records.kept.owners]).toEqual([['bob', 'a 3']]);
    expect(events).toEqual(['a adopts ada', 'a adopts bob', 'a adopts bob']);
    expect([await a.ownership.whereIs('ada'), await a.ownership.whereIs('bob')]).toEqual([undefined, 'here']);
  });
});

it('a user who is just coming again is not let go by who saw nothing left a moment before', async () => {
  const { events, add } = setUp();
  const a = await add('a');
  await a.ownership.take('ada');
  void a.ownership.adoptOrphan('ada', 'somebody 1');
  const coming = a.ownership.take('ada');
  a.ownership.letGo('ada');
  await coming;
  await settle();
  expect([a.ownership.isHere('ada'), events]).toEqual([true, ['a adopts ada']]);
});

describe('without Redis', () => {
  it('what is here stays, others are where they were while that node answers, and nobody new comes', async () => {
    const { clock, records, network, events, add } = setUp();
    const [a, b] = [await add('a'), await add('b')];
    await a.ownership.take('ada');
    expect(await b.ownership.place('ada')).toEqual({ nodeId: 'a' });
    records.state = 'away';
    await clock.advance(10_000);
    await a.ownership.take('ada');
    expect([await a.ownership.place('ada'), await b.ownership.place('ada')]).toEqual(['here', { nodeId: 'a' }]);
    expect(await b.ownership.whereIs('ada')).toEqual({ nodeId: 'a' });
    await expect(b.ownership.take('ada')).rejects.toMatchObject(unavailable);
    await expect(b.ownership.place('new')).rejects.toMatchObject(unavailable);
    expect([a.isLeader(), b.isLeader()]).toEqual([false, false]);
    network.cut('a', 'b');
    await expect(b.ownership.place('ada')).rejects.toMatchObject(unavailable);
    network.mend();
    records.back();
    await clock.advance(10_000);
    expect(events).toEqual(['a adopts ada']);
    expect([a.isLeader(), b.isLeader()].filter(Boolean).length).toBe(1);
  });

  it('a claim that was heard and not answered leaves nobody behind', async () => {
    const { clock, records, add } = setUp();
    const [a, b] = [await add('a'), await add('b')];
    records.state = 'swallows';
    await expect(a.ownership.take('ada')).rejects.toMatchObject(unavailable);
    expect([records.kept.owners.get('ada'), a.ownership.count()]).toEqual(['a 1', 0]);
    records.back();
    await settle();
    expect(await b.ownership.place('ada')).toBe('here');
    await clock.advance(10_000);
    expect(b.ownership.isHere('ada')).toBe(true);
  });
});

describe('a Redis that comes back', () => {
  it('empty is told again who owns whom; nobody is handed over', async () => {
    const { clock, records, events, add } = setUp();
    const [a, b] = [await add('a'), await add('b')];
    await a.ownership.take('ada');
    await b.ownership.take('bob');
    records.kept = { nodes: new Map(), leader: undefined, owners: new Map(), token: 0, epoch: undefined };
    await clock.advance(600);
    expect(Object.fromEntries(records.kept.owners)).toEqual({ ada: 'a 1', bob: 'b 2' });
    expect([events, records.kept.token]).toEqual([['a adopts ada', 'b adopts bob'], 2]);
  });

  it('as it was a while ago gives nobody back to whoever had them then', async () => {
    const { clock, records, events, add } = setUp();
    const [a, b] = [await add('a'), await add('b')];
    await a.ownership.take('ada');
    const before = { ...records.kept, owners: new Map(records.kept.owners), nodes: new Map(records.kept.nodes) };
    await b.ownership.take('ada');
    await b.ownership.take('bob');
    await clock.advance(500);
    records.kept = before;
    await clock.advance(1_000);
    expect(Object.fromEntries(records.kept.owners)).toEqual({ ada: 'b 2', bob: 'b 3' });
    expect(events).toEqual(['a adopts ada', 'a hands over ada', 'b adopts ada', 'b adopts bob']);
    // A node that has one of them by an older entry, and does not know it, sets it free.
    expect([a.ownership.count(), b.ownership.count()]).toEqual([0, 2]);
  });
});

describe('a node', () => {
  it('whose adoption fails has nobody, and the next one may try', async () => {
    const { events, records, add } = setUp();
    const a = await add('a', {
      adopt: async () => {
        throw new Error('cannot');
      },
    });
    await expect(a.ownership.take('ada')).rejects.toThrow('cannot');
    await settle();
    expect([a.ownership.count(), records.kept.owners.get('ada')]).toEqual([0, expect.stringMatching(/^-\d+ 1$/)]);
    const b = await add('b');
    await b.ownership.take('ada');
    expect(events.at(-1)).toBe('b adopts ada');
  });

  it('that ends hands over all, those that are just coming too, and takes nobody any more', async () => {
    const { clock, events, records, add } = setUp();
    const a = await add('a', { adopt: () => clock.sleep(100) });
    const b = await add('b');
    void a.ownership.take('ada');
    await clock.advance(50);
    const drained = a.drain();
    await clock.advance(200);
    await drained;
    expect(events).toEqual(['a adopts ada', 'a hands over ada']);
    expect(records.kept.owners.get('ada')).toMatch(/^-/);
    for (const come of [a.ownership.take('bob'), a.ownership.place('bob')]) {
      await expect(come).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    }
    expect(await b.ownership.place('ada')).toBe('here');
    expect([await a.ownership.place('ada'), a.isLeader()]).toEqual([{ nodeId: 'b' }, false]);
  });
});

describe('users of a node that died', () => {
  it('are placed where they are asked for at once, and the others taken up by the leader after a grace, some at a time', async () => {
    const { clock, events, network, add } = setUp();
    const [a, b, c] = [await add('a'), await add('b'), await add('c')];
    expect(a.isLeader()).toBe(true);
    const users = Array.from({ length: 300 }, (_, at) => `u${at}`);
    await Promise.all(users.map((userId) => c.ownership.take(userId)));
    events.length = 0;
    network.kill('c');
    expect(await b.ownership.place('u0')).toBe('here');
    await clock.advance(2_900);
    expect(events).toEqual(['b adopts u0']);
    await clock.advance(700);
    expect(events.length).toBeGreaterThan(10);
    expect(events.length).toBeLessThan(250);
    await clock.advance(2_000);
    expect([events.length, a.ownership.count(), b.ownership.count()]).toEqual([300, 299, 1]);
  });

  it('without a word of its end are there once its lease has ended', async () => {
    const { clock, network, records, add } = setUp();
    const [a, b] = [await add('a'), await add('b')];
    await b.ownership.take('ada');
    // Neither answers nor refuses.
    network.cut('a', 'b');
    await b.close();
    records.kept.nodes.set('b', { untilMs: clock.now() + 2_000, address: 'http://b' });
    records.kept.owners.set('ada', 'b 1');
    await clock.advance(4_500);
    expect(await a.ownership.place('ada')).toBe('here');
  });
});
