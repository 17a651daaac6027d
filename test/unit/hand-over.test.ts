/** One user's streams go to another process while everybody else's stay: for that user it is a restart of the relay. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { createStreamRegistry, type StreamRegistry } from '../../cloud/streams/stream-registry.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { fakeGlasses, fakePlayback, fakeRestreaming, fakeSource, fakeViewer } from '../support/stream-fakes.ts';
import { createTestClock, settle, type TestClock } from '../support/test-clock.ts';

const USERS = ['ada@example.com', 'bob@example.com', 'eve@example.com'] as const;
const [ADA] = USERS;

/** A process with the same glasses, and apps, as the one before. */
function life(clock: TestClock, store: Store, peers = newPeers()) {
  const source = fakeSource();
  const playback = fakePlayback();
  const streams = createStreamRegistry({
    ...{ source, playback, clock, store, restreaming: fakeRestreaming(), log: silentLog(), onChange() {} },
    onDefect(error) {
      throw error;
    },
  });
  const peerOf = (userId: string) => peers.get(userId) ?? newPeer();
  return { clock, store, peers, source, playback, streams, peerOf };
}
const newPeer = () => ({ glasses: fakeGlasses(), apps: [fakeViewer('com.a'), fakeViewer('com.b')] });
const newPeers = () => new Map(USERS.map((userId) => [userId as string, newPeer()]));
type Life = ReturnType<typeof life>;

async function takeUp({ streams, store, peerOf }: Life, userIds: readonly string[]): Promise<void> {
  for (const userId of userIds) {
    streams.resume(await store.streams.of(userId), {
      viewer: (_, appId) => peerOf(userId).apps.find(({ id }) => id === appId),
      glasses: () => peerOf(userId).glasses,
    });
  }
}

const step = fc.record({
  user: fc.constantFrom(...USERS),
  app: fc.constantFrom(0, 1),
  what: fc.constantFrom('start', 'stop', 'provide', 'streaming', 'prove', 'reconnecting', 'gone', 'back', 'wait'),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function act({ clock, streams, source, playback, peerOf }: Life, { user, app, what }: Step): Promise<void> {
  const { glasses, apps } = peerOf(user);
  const viewer = apps[app];
  const [stream] = streams.snapshots().filter(({ userId }) => userId === user);
  if (what === 'start' && viewer) streams.request(user, viewer, {}, glasses);
  else if (what === 'stop' && viewer) streams.leave(user, viewer);
  else if (what === 'provide') source.provideAll();
  else if (what === 'prove') for (const { events } of playback.open()) events.live();
  else if (what === 'wait') await clock.advance(2_000);
  else if (what === 'gone' || what === 'back') {
    glasses.isUp = what === 'back';
    if (glasses.isUp) streams.glassesBack(user);
    else streams.glassesGone(user);
  } else if ((what === 'streaming' || what === 'reconnecting') && stream) {
    streams.deviceStatus(user, { type: 'stream_status', status: what, streamId: stream.streamId }, glasses);
  }
  await settle();
}

/** Ids differ from run to run. */
async function traceOf(before: Step[], after: Step[], change: (first: Life, second: Life) => Promise<void>) {
  const clock = createTestClock();
  const store = createSqliteStore({ file: ':memory:' });
  const first = life(clock, store);
  for (const one of before) await act(first, one);
  const second = life(clock, store, first.peers);
  const told = () => JSON.stringify(first.peerOf(ADA).apps.map(({ heard }) => heard.length));
  const toldBefore = told();
  await change(first, second);
  await settle();
  const toldMeanwhile = told() !== toldBefore;
  const saved = await store.streams.of(ADA);
  for (const one of after.filter(({ user }) => user === ADA)) await act(second, one);
  await clock.advance(40_000);
  const { glasses, apps } = first.peerOf(ADA);
  let plain = JSON.stringify([saved, glasses.sent, apps.map(({ heard }) => heard)]);
  const ids = new Set([...plain.matchAll(/"streamId":"(\w+)"/g)].map(([, id = '']) => id));
  for (const [at, id] of [...ids].entries()) plain = plain.replaceAll(id, `stream-${at}`);
  plain = plain.replace(/"ackId":"[^"]*"/g, '"ackId":""');
  return { plain, toldMeanwhile };
}

describe('one user is handed over in a world of many', () => {
  it('exactly as if the relay had been restarted for all', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), fc.array(step, { maxLength: 8 }), async (before, after) => {
        const alone = await traceOf(before, after, async (first, second) => {
          await first.streams.handOver(ADA, { isLost: false });
          await takeUp(second, [ADA]);
        });
        const all = await traceOf(before, after, async (first, second) => {
          await first.streams.suspend();
          await takeUp(second, USERS);
        });
        // A request that waited for an end is refused in other words: this relay is not shutting down.
        expect(alone.toldMeanwhile).toBe(all.toldMeanwhile);
        expect(withoutWords(alone.plain)).toBe(withoutWords(all.plain));
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});
const withoutWords = (text: string) =>
  text.replaceAll('SESSION_MOVED', 'SHUTTING_DOWN').replace(/"message":"[^"]*"/g, '"message":""');

async function liveWorld() {
  const clock = createTestClock();
  const one = life(clock, createSqliteStore({ file: ':memory:' }));
  for (const user of [ADA, USERS[1]]) {
    for (const what of ['start', 'provide', 'streaming', 'prove'] as const) await act(one, { user, app: 0, what });
  }
  return one;
}
const stateOf = (streams: StreamRegistry, userId: string) =>
  streams.snapshots().find((stream) => stream.userId === userId)?.state;

describe('a user’s stream that is handed over', () => {
  it('is saved and forgotten here without a word to anybody, and others’ go on', async () => {
    const { streams, store, peerOf, source } = await liveWorld();
    const heard = peerOf(ADA).apps[0]?.heard.length;
    const sent = peerOf(ADA).glasses.sent.length;
    await streams.handOver(ADA, { isLost: false });
    expect([streams.has(ADA), stateOf(streams, ADA), stateOf(streams, USERS[1])]).toEqual([false, undefined, 'active']);
    expect([peerOf(ADA).apps[0]?.heard.length, peerOf(ADA).glasses.sent.length]).toEqual([heard, sent]);
    expect([source.discarded, source.forgotten.length]).toEqual([[], 1]);
    expect(await store.streams.of(ADA)).toMatchObject([{ isStarted: true, liveMs: 0 }]);
  });

  it('that was taken away is not written any more, and its live input stays', async () => {
    const { streams, store, source, clock } = await liveWorld();
    const [before] = await store.streams.of(ADA);
    await clock.advance(3_000);
    await streams.handOver(ADA, { isLost: true });
    await clock.advance(6_000);
    expect([await store.streams.of(ADA), source.discarded]).toEqual([[before], []]);
    expect(clock.pending().length).toBeGreaterThan(0);
    await streams.handOver(USERS[1], { isLost: true });
    expect(clock.pending()).toEqual([]);
  });

  it('that was ending is left to the ledger: its record is gone, and who waited for its end may ask again', async () => {
    const { streams, store, peerOf } = await liveWorld();
    const [first, second] = peerOf(ADA).apps;
    if (!first || !second) throw new Error('two apps are wanted');
    streams.leave(ADA, first);
    streams.request(ADA, second, {}, peerOf(ADA).glasses);
    expect(stateOf(streams, ADA)).toBe('stopping');
    await streams.handOver(ADA, { isLost: false });
    expect([await store.streams.of(ADA), second.heard.at(-1)]).toEqual([
      [],
      expect.objectContaining({ status: 'error', errorCode: 'SESSION_MOVED' }),
    ]);
  });
});

it('a new stream fails with the store’s own code while it is away, and what runs is saved as soon as it is back', async () => {
  const { streams, store, peerOf, clock } = await liveWorld();
  const { put } = store.streams;
  const outage = async () => {
    throw new GlasscastError('STORE_UNAVAILABLE');
  };
  Object.assign(store.streams, { put: outage, delete: outage });
  const eve = peerOf(USERS[2]);
  const [asks] = eve.apps;
  if (asks) streams.request(USERS[2], asks, {}, eve.glasses);
  for (const user of [ADA, USERS[1]]) {
    const [, joins] = peerOf(user).apps;
    if (joins) streams.request(user, joins, {}, peerOf(user).glasses);
  }
  await clock.advance(1_000);
  expect(asks?.last()).toMatchObject({ status: 'error', errorCode: 'STORE_UNAVAILABLE' });
  expect([streams.has(ADA), eve.glasses.types()]).toEqual([true, []]);
  const written: number[] = [];
  Object.assign(store.streams, {
    put: async (record: Parameters<typeof put>[0]) => {
      written.push(record.savedAtMs);
      await put(record);
    },
  });
  streams.saveAgain();
  await settle();
  expect(written.length).toBe(2);
});
