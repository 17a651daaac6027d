import { expect, it } from 'vitest';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { createStoryArchive } from '../../cloud/streams/story-archive.ts';
import { createServiceRecord } from '../../cloud/streams/stream-figures.ts';
import type { StreamStory } from '../../cloud/streams/stream-story.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const story = (streamId: string, more: Partial<StreamStory> = {}): StreamStory => ({
  ...{ streamId, userId: `${streamId}@example.com`, kind: 'managed', state: 'active', createdAtMs: 1, savedAtMs: 2 },
  ...{ entries: [], leftOut: 0, record: createServiceRecord().read(0), open: {}, ...more },
});
const over = (streamId: string, endedAtMs: number) => story(streamId, { state: 'stopped', endedAtMs });

function world({ maxEnded = 3 } = {}) {
  const clock = createTestClock();
  const store = createSqliteStore({ file: ':memory:' });
  const faults = { isDown: false, writes: 0 };
  const { put } = store.streamStories;
  const streamStories = {
    ...store.streamStories,
    async put(record: StreamStory) {
      if (faults.isDown) throw new GlasscastError('STORE_UNAVAILABLE');
      faults.writes += 1;
      await put(record);
    },
  };
  const archive = createStoryArchive({ store: { ...store, streamStories }, clock, log: silentLog(), maxEnded });
  return { clock, store, faults, archive };
}

it('writes what changed once in five seconds, however often it did, and has no timer while nothing does', async () => {
  const { archive, clock, faults } = world();
  for (let change = 0; change < 50; change += 1) archive.changed('m1', () => story('m1', { leftOut: change }));
  archive.changed('m2', () => story('m2'));
  expect(clock.pending()).toEqual(['story-save']);
  await clock.advance(4_900);
  expect(faults.writes).toBe(0);
  await clock.advance(100);
  expect([faults.writes, clock.pending()]).toEqual([2, []]);
  expect(await archive.get('m1')).toMatchObject({ leftOut: 49 });
});

it('writes the end at once, and in place of what had waited', async () => {
  const { archive, clock, faults } = world();
  archive.changed('m1', () => story('m1'));
  archive.ended(over('m1', 10));
  await settle();
  expect(faults.writes).toBe(1);
  await clock.advance(10_000);
  expect(faults.writes).toBe(1);
  expect(archive.list()).toMatchObject([{ streamId: 'm1', endedAtMs: 10 }]);
});

it('a store that is away: what changed meanwhile is written once it is back', async () => {
  const { archive, clock, faults, store } = world();
  faults.isDown = true;
  archive.ended(over('m1', 10));
  archive.changed('m2', () => story('m2'));
  await clock.advance(5_000);
  faults.isDown = false;
  archive.changed('m3', () => story('m3'));
  await clock.advance(5_000);
  expect((await store.streamStories.all()).map(({ streamId }) => streamId)).toEqual(['m1', 'm2', 'm3']);
});

it('keeps the newest ended ones, and of those that run all', async () => {
  const { archive, store } = world();
  const running = { streamId: 'm7', userId: 'u', kind: 'managed' as const, request: {}, createdAtMs: 1, savedAtMs: 1 };
  await store.streams.put({ ...running, viewers: [], outputs: [], wantedOutputs: [], isStarted: false });
  for (const [index, streamId] of ['m5', 'm4', 'm3', 'm2'].entries())
    await store.streamStories.put(over(streamId, index));
  await store.streamStories.put(story('m7'));
  // Nobody wrote its end, and it does not run.
  await store.streamStories.put(story('m6', { savedAtMs: 50 }));
  await archive.open();
  expect(archive.list().map(({ streamId }) => streamId)).toEqual(['m6', 'm2', 'm3']);
  expect((await store.streamStories.all()).map(({ streamId }) => streamId)).toEqual(['m2', 'm3', 'm6', 'm7']);
  archive.ended(over('m8', 60));
  await settle();
  expect(archive.list().map(({ streamId }) => streamId)).toEqual(['m8', 'm6', 'm2']);
  expect(archive.userOf('m8')).toBe('m8@example.com');
  expect(await store.streamStories.get('m3')).toBeUndefined();
});

it('a flush that gets no answer ends all the same', async () => {
  const { clock, store } = world();
  const never = () => new Promise<never>(() => {});
  const stuck = { ...store, streamStories: { ...store.streamStories, put: never, get: never } };
  const archive = createStoryArchive({ store: stuck, clock, log: silentLog() });
  archive.changed('m1', () => story('m1'));
  const closing = archive.close();
  const reading = archive.read('m1');
  await clock.advance(3_000);
  await closing;
  expect(await reading).toBeUndefined();
  expect(clock.pending()).toEqual([]);
});

it('many that change at once are written some at a time', async () => {
  const { archive, clock, store } = world();
  for (let index = 0; index < 100; index += 1) archive.changed(`m${index}`, () => story(`m${index}`));
  await clock.advance(5_000);
  expect(await store.streamStories.all()).toHaveLength(32);
  // Others have had their turns in between.
  for (let pause = 0; pause < 3; pause += 1) await clock.advance(1);
  expect(await store.streamStories.all()).toHaveLength(100);
  expect(clock.pending()).toEqual([]);
});

it('who waits for what is written does not wait for pauses', async () => {
  const { archive, clock, store } = world();
  for (let index = 0; index < 100; index += 1) archive.changed(`m${index}`, () => story(`m${index}`));
  await clock.advance(5_000);
  await archive.close();
  expect(await store.streamStories.all()).toHaveLength(100);
  expect(clock.pending()).toEqual([]);
});
