import { expect, it } from 'vitest';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { createStoryArchive } from '../../cloud/streams/story-archive.ts';
import { createStreamHistory } from '../../cloud/streams/stream-history.ts';
import type { TimelineEntry } from '../../cloud/streams/stream-story.ts';
import type { StreamSnapshot } from '../../cloud/streams/stream-views.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const USER = 'ada@example.com';

function world(options: { maxEnded?: number; store?: Store; clock?: ReturnType<typeof createTestClock> } = {}) {
  const { maxEnded = 2, clock = createTestClock(), store = createSqliteStore({ file: ':memory:' }) } = options;
  const told: [string, TimelineEntry][] = [];
  const onEntry = (streamId: string, entry: TimelineEntry) => void told.push([streamId, entry]);
  const archive = createStoryArchive({ store, clock, log: silentLog(), maxEnded });
  const history = createStreamHistory({ clock, redact: (text) => text, onEntry, archive, maxEnded });
  const createdAt = new Date(clock.now()).toISOString();
  const snapshot = (streamId: string, state: StreamSnapshot['state'], more: Partial<StreamSnapshot> = {}) =>
    ({
      ...{ streamId, userId: USER, kind: 'managed', state, createdAt, viewers: [], outputs: [], ...more },
    }) as unknown as StreamSnapshot;
  return { clock, told, history, store, snapshot };
}

it('tells each entry as it comes, and all of a stream on request', async () => {
  const { history, told, snapshot } = world();
  history.saw(snapshot('m1', 'provisioning'));
  history.saw(snapshot('m1', 'starting'));
  expect(told.map(([streamId, { state }]) => [streamId, state])).toEqual([
    ['m1', 'provisioning'],
    ['m1', 'starting'],
  ]);
  const explained = await history.explain('m1');
  expect(explained).toMatchObject({ streamId: 'm1', userId: USER, state: 'starting', leftOut: 0 });
  expect(explained?.entries).toEqual(told.map(([, entry]) => entry));
  expect(explained?.verdict).toMatch(/^asked for at \d\d:\d\d:\d\d, on its way/);
  expect(await history.explain('m2')).toBeUndefined();
  expect(history.userOf('m1')).toBe(USER);
});

it('lists the newest ended streams once, newest first, and forgets the rest, in the store too', async () => {
  const { clock, history, snapshot, store } = world();
  for (const streamId of ['m1', 'm2', 'm3']) {
    history.saw(snapshot(streamId, 'provisioning'));
    history.saw(snapshot(streamId, 'failed'));
    await clock.advance(1_000);
    // The device is done: the last word on it.
    history.saw(snapshot(streamId, 'failed', { message: 'It failed' }));
  }
  const endedAt = (ms: number) => new Date(clock.now() - ms).toISOString();
  expect(history.ended()).toMatchObject([
    { streamId: 'm3', endedAt: endedAt(1_000), message: 'It failed' },
    { streamId: 'm2', endedAt: endedAt(2_000) },
  ]);
  await settle();
  expect(await history.explain('m1')).toBeUndefined();
  expect((await store.streamStories.all()).map(({ streamId }) => streamId)).toEqual(['m2', 'm3']);
  expect(history.userOf('m2')).toBe(USER);
});

it('puts what the glasses say and do to the stream that runs', () => {
  const { history, told, snapshot } = world();
  history.glasses(USER, true);
  history.saw(snapshot('m1', 'provisioning'));
  history.saw(snapshot('m1', 'active'));
  const notice = { code: 'HEAT' as const, text: 'Warm' };
  const passed: string[] = [];
  const status = { type: 'stream_status' as const, status: 'streaming' as const, notice };
  history.deviceStatus(USER, { ...status, streamId: 'm1' }, () => void passed.push('m1'));
  history.deviceStatus(USER, { ...status, streamId: 'another' }, () => void passed.push('another'));
  history.deviceStatus('nobody@example.com', status, () => void passed.push('nobody'));
  const silent = { type: 'stream_status', status: 'reconnecting', errorCode: 'CAMERA_SILENT' } as const;
  history.deviceStatus(USER, silent, () => history.saw(snapshot('m1', 'interrupted', { message: 'Reconnecting' })));
  history.glasses(USER, false);
  expect(passed).toEqual(['m1', 'another', 'nobody']);
  expect(told.slice(2).map(([, { kind, code }]) => [kind, code])).toEqual([
    ['notice', 'HEAT'],
    ['trouble', 'CAMERA_SILENT'],
    ['state', undefined],
    ['glasses', 'CONTROL_LOST'],
  ]);
  history.saw(snapshot('m1', 'stopped'));
  const before = told.length;
  history.glasses(USER, true);
  history.provider('m1', { code: 'PROVIDER_FAILED', waitMs: 1 });
  expect(told.length).toBe(before);
});

it('is kept: another process goes on with it, and an ended one can be explained after a restart', async () => {
  const first = world();
  const { clock, store } = first;
  first.history.saw(first.snapshot('m1', 'provisioning', { viewers: ['app.a'] }));
  first.history.saw(first.snapshot('m1', 'active', { liveMs: 900, viewers: ['app.a'] }));
  first.history.saw({ ...first.snapshot('m0', 'provisioning'), userId: 'bob@example.com' });
  first.history.saw({ ...first.snapshot('m0', 'stopped'), userId: 'bob@example.com' });
  await clock.advance(4_000);
  await first.history.close();
  // What happens to the lines of a relay that ends befell nobody.
  first.history.glasses(USER, false);
  await clock.advance(2_000);
  const next = world({ store, clock });
  await next.history.open();
  const { createdAt } = first.snapshot('m1', 'active');
  next.history.saw(next.snapshot('m1', 'interrupted', { createdAt, liveMs: 900, viewers: ['app.a'] }));
  next.history.saw(next.snapshot('m1', 'active', { createdAt, liveMs: 900, viewers: ['app.a'] }));
  await settle();
  const explained = await next.history.explain('m1');
  expect(explained?.entries.map(({ text }) => text)).toEqual([
    ...['Asked for by app.a', 'app.a watches', 'Live'],
    ...['Another process of the relay goes on with the stream after 2.0 s', 'Live: the picture was not lost'],
  ]);
  expect(explained?.record).toMatchObject({
    timeToFirstFrameMs: 900,
    liveMs: 6_000,
    takeOvers: 1,
    stalls: { count: 0 },
  });
  expect(explained?.verdict).toMatch(/^the relay was restarted .* after 2.0 s without one; viewers never lost/);
  expect(next.history.ended()).toMatchObject([{ streamId: 'm0', userId: 'bob@example.com', state: 'stopped' }]);
  expect(await next.history.explain('m0')).toMatchObject({ state: 'stopped', userId: 'bob@example.com' });
  expect(next.history.userOf('m0')).toBe('bob@example.com');
  expect(clock.pending()).toEqual(['story-save']);
  await next.history.close();
  expect(clock.pending()).toEqual([]);
});

it('handed over, it is written and forgotten', async () => {
  const { clock, history, snapshot, store } = world();
  history.saw(snapshot('m1', 'provisioning'));
  history.saw(snapshot('m1', 'active'));
  await history.release(USER);
  await history.release('nobody@example.com');
  expect(await store.streamStories.get('m1')).toMatchObject({ isLetGo: true, state: 'active' });
  expect(history.userOf('m1')).toBeUndefined();
  // Also from there it can be explained.
  expect(await history.explain('m1')).toMatchObject({ state: 'active' });
  // Lost to another process, whose word counts.
  history.saw(snapshot('m2', 'provisioning'));
  await history.release(USER, { isLost: true });
  await clock.advance(10_000);
  expect(await store.streamStories.get('m2')).toBeUndefined();
});

it('keep-alives and figures that say nothing new are no change: no timer, no write', async () => {
  const { clock, history, snapshot } = world();
  history.saw(snapshot('m1', 'provisioning'));
  history.saw(snapshot('m1', 'active'));
  await clock.advance(5_000);
  expect(clock.pending()).toEqual([]);
  const stats = { bitrate: 600_000, droppedFrames: 0, queuedBytes: 1_000 };
  for (let round = 0; round < 10; round += 1) {
    history.deviceStatus(USER, { type: 'stream_status', status: 'streaming', stats }, () =>
      history.saw(snapshot('m1', 'active', { stats })),
    );
  }
  expect(clock.pending()).toEqual([]);
  history.deviceStatus(USER, { type: 'stream_status', status: 'streaming', stats: { droppedFrames: 3 } }, () => {});
  expect(clock.pending()).toEqual(['story-save']);
});

it('a store that does not answer harms no stream', async () => {
  const sqlite = createSqliteStore({ file: ':memory:' });
  const dead = async () => {
    throw new GlasscastError('STORE_UNAVAILABLE');
  };
  const never = () => new Promise<never>(() => {});
  const streamStories = { ...sqlite.streamStories, all: never, get: never, put: dead };
  const { clock, history, snapshot, told } = world({ store: { ...sqlite, streamStories } });
  const opening = history.open();
  await clock.advance(2_000);
  await opening;
  const createdAt = new Date(clock.now() - 60_000).toISOString();
  history.saw(snapshot('m1', 'interrupted', { createdAt }));
  expect(told).toEqual([]);
  history.saw(snapshot('m1', 'active', { createdAt }));
  await clock.advance(2_000);
  expect(told.map(([, { code, state }]) => code ?? state)).toEqual(['TAKEN_OVER', 'active']);
  history.saw(snapshot('m1', 'stopped', { createdAt }));
  expect(await history.explain('m1')).toMatchObject({ state: 'stopped' });
  await clock.advance(20_000);
  await history.close();
});
