import { describe, expect, it } from 'vitest';
import type { StreamRecord } from '../../cloud/store/records.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { fakeViewer, ingestPoint } from '../support/stream-fakes.ts';
import { STREAM, streamWorld } from '../support/stream-world.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const { publishUrl, ...point } = ingestPoint(STREAM);
const ingest = { ...point, publishUrl: publishUrl.reveal() };
const nowMs = createTestClock().now();
const viewers = (agoMs: number, isWaiting = false) => [{ id: 'com.first', requestedAtMs: nowMs - agoMs, isWaiting }];

/** What the process before had saved, and the next one's world. */
function next(taken: Partial<StreamRecord>) {
  const world = streamWorld(taken);
  for (const request of taken.viewers ?? []) world.stream.rejoin(world.first, request);
  world.stream.begin();
  return world;
}

describe('what is saved', () => {
  it('stands before the ingest is made, follows each change, and goes with the end', async () => {
    const { stream, saved, source, say, playback, first, glasses } = streamWorld();
    stream.join(first);
    stream.begin();
    expect([saved.at(-1)?.ingest, source.waiting.length]).toEqual([undefined, 0]);
    expect(saved.at(-1)?.viewers).toMatchObject([{ id: 'com.first' }]);
    await settle();
    expect(source.waiting.length).toBe(1);
    await source.provide();
    await settle();
    expect(saved.at(-1)).toMatchObject({ streamId: STREAM, isStarted: true, ingest });
    say('streaming');
    playback.prove();
    expect(saved.at(-1)?.liveMs).toBe(0);
    const second = fakeViewer('com.second');
    stream.join(second, { restreamDestinations: [{ url: 'rtmp://a.example/live/k' }] });
    expect(saved.at(-1)).toMatchObject({
      viewers: [{ id: 'com.first' }, { id: 'com.second' }],
      outputs: [{ outputId: 'out-0', url: 'rtmp://a.example/live/k', addedBy: 'com.second' }],
    });
    stream.leave('com.first');
    expect(saved.at(-1)?.viewers).toMatchObject([{ id: 'com.second' }]);
    stream.leave('com.second');
    expect([saved.at(-1), glasses.types()]).toEqual([undefined, ['start_stream', 'stop_stream']]);
  });

  it('says how long the relay was there, and which viewer still waits', async () => {
    const { stream, saved, goLive, say, clock, playback } = streamWorld();
    await goLive();
    const waiting = () => saved.at(-1)?.viewers.map(({ isWaiting }) => isWaiting);
    expect(waiting()).toEqual([false]);
    playback.advance();
    say('reconnecting');
    stream.join(fakeViewer('com.second'));
    expect(waiting()).toEqual([false, true]);
    // The last change is the end of the second one's patience, after 25 s.
    for (let count = 0; count < 8; count += 1) {
      await clock.advance(10_000);
      say('reconnecting');
    }
    await clock.advance(6_000);
    expect(saved.at(-1)?.savedAtMs).toBe(clock.now() - 1_000);
  });

  it('is made of nothing when it cannot be kept: the start fails before anything exists', async () => {
    const world = streamWorld({}, () => Promise.reject(new Error('disk full')));
    world.stream.join(world.first);
    world.stream.begin();
    await settle();
    expect(world.first.last()).toMatchObject({ status: 'error', errorCode: 'INTERNAL' });
    expect([world.source.waiting, world.ends.length]).toEqual([[], 1]);
  });

  it('an app that leaves before the first save has made nothing', async () => {
    const { stream, first, source, ends } = streamWorld();
    stream.join(first);
    stream.begin();
    stream.leave('com.first');
    await settle();
    expect([first.words(), source.waiting.length, ends.length]).toEqual([['initializing', 'stopped'], 0, 1]);
  });
});

describe('taken up by the next process (defect 22)', () => {
  it('goes on with the same stream: no START, present status, live once proven again', async () => {
    const { stream, first, glasses, playback, source, say, clock } = next({
      ...{ ingest, isStarted: true, liveMs: 1_200, viewers: viewers(0) },
    });
    expect([source.adopted, stream.snapshot().state]).toEqual([[STREAM], 'interrupted']);
    stream.glassesBack();
    say('streaming');
    stream.repeat('com.first');
    expect(first.last()).toMatchObject({ status: 'preparing', streamId: STREAM });
    playback.prove();
    expect(first.last()).toMatchObject({ status: 'active', streamId: STREAM, hlsUrl: ingest.urls?.hlsUrl });
    await clock.advance(10_000);
    expect([glasses.types(), glasses.keepAlives() > 0]).toEqual([[], true]);
    expect(stream.snapshot().liveMs).toBe(1_200);
  });

  it('sends START again to glasses that have forgotten it', async () => {
    const { stream, glasses, clock } = next({ ingest, isStarted: true, liveMs: 1, viewers: viewers(0) });
    stream.glassesBack();
    await clock.advance(2_900);
    expect(glasses.types()).toEqual([]);
    await clock.advance(200);
    expect(glasses.types()).toEqual(['start_stream']);
  });

  it('sends START for the first time when the glasses had been away', () => {
    const { glasses } = next({ ingest, isStarted: false, viewers: viewers(0) });
    expect(glasses.types()).toEqual(['start_stream']);
  });

  it('makes the ingest when the process before had not come to it', async () => {
    const { source, glasses } = next({ viewers: viewers(0) });
    await settle();
    await source.provide();
    await settle();
    expect(glasses.types()).toEqual(['start_stream']);
  });

  it('keeps the deadlines of the process before', async () => {
    const { first, clock, stream } = next({ ingest, isStarted: true, viewers: viewers(24_000, true) });
    await clock.advance(900);
    expect(first.heard).toEqual([]);
    await clock.advance(200);
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'START_TIMEOUT' });
    expect(stream.isOpen()).toBe(false);
  });

  it('ends when nothing comes back', async () => {
    const { first, clock, stream, glasses, ends } = next({ ingest, isStarted: true, liveMs: 1, viewers: viewers(0) });
    glasses.isUp = false;
    stream.glassesGone();
    await clock.advance(60_000);
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'GLASSES_NOT_CONNECTED' });
    expect([stream.isOpen(), ends.length, clock.pending()]).toEqual([false, 1, []]);
  });

  it('waits for glasses that are not back yet as long as for those that have left', async () => {
    const { stream, clock, glasses } = streamWorld({ ingest, isStarted: true, liveMs: 1 });
    glasses.isUp = false;
    stream.begin();
    await clock.advance(59_900);
    expect(stream.isOpen()).toBe(true);
    await clock.advance(200);
    expect(stream.snapshot()).toMatchObject({ state: 'failed', errorCode: 'GLASSES_NOT_CONNECTED' });
  });

  it('is over when nobody was there for two minutes: no camera goes on that nobody has asked for', async () => {
    const { stream, clock, glasses, first } = next({
      ...{ ingest, isStarted: true, liveMs: 1, viewers: viewers(0), savedAtMs: nowMs - 119_000 },
    });
    await clock.advance(900);
    expect(stream.isOpen()).toBe(true);
    await clock.advance(200);
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'STREAM_INTERRUPTED' });
    stream.glassesBack();
    expect(glasses.types()).toEqual(['stop_stream']);
  });

  it('answers the start of a viewer that had joined in vain', async () => {
    const { first, clock, stream } = next({ ingest, isStarted: true, liveMs: 1, viewers: viewers(20_000, true) });
    await clock.advance(5_100);
    expect([first.words(), stream.isOpen()]).toEqual([['error'], false]);
  });

  it('an unmanaged one is active again by the acknowledgement of firmware that says nothing else', async () => {
    const { first, clock, stream, glasses } = next({
      ...{ kind: 'unmanaged' as const, ingest: { publishUrl: 'rtmp://a/b/c' }, isStarted: true, liveMs: 1 },
      viewers: viewers(60_000),
    });
    for (let waitedMs = 0; waitedMs < 180_000; waitedMs += 15_000) {
      stream.keepAliveAck({ streamId: STREAM, ackId: 'a' });
      await clock.advance(15_000);
    }
    expect([first.words(), glasses.types()]).toEqual([['active'], []]);
  });

  it('has the destinations that the process before had not come to', async () => {
    const wanted = [{ url: 'rtmp://a.example/live/k', name: 'A' }, { url: 'rtmp://b.example/live/k' }];
    const before = streamWorld();
    before.stream.join(before.first, { restreamDestinations: wanted });
    before.stream.begin();
    before.stream.suspend();
    const { source, restreaming, saved } = next({ ...before.saved.at(-1) });
    await settle();
    await source.provide();
    await settle();
    const list = wanted.map((destination) => ({ ...destination, addedBy: 'com.first' }));
    expect(restreaming.opened[0]?.list).toMatchObject(list);
    expect(saved.at(-1)).toMatchObject({ wantedOutputs: [], outputs: list });
  });

  it('has the output that the process before was asking for, and knows that it may be there', async () => {
    const wish = { addedBy: 'com.first', destination: { url: 'rtmp://a.example/live/k', name: 'A' } };
    const before = streamWorld();
    await before.begin();
    const [asking] = before.restreaming.opened;
    asking?.unfinished.push(wish);
    asking?.onBegun();
    expect(before.saved.at(-1)?.wantedOutputs).toEqual([wish]);
    const { restreaming } = next({ ...before.saved.at(-1) });
    await settle();
    const [opened] = restreaming.opened;
    expect(opened?.unclear).toEqual([wish.destination]);
    expect(opened?.list).toMatchObject([{ ...wish.destination, addedBy: 'com.first' }]);
  });

  it('has its duration limit before a picture is proven again', async () => {
    const { first, clock } = next({
      ...{ request: { stream: { durationLimit: 60 } }, ingest, isStarted: true, liveMs: 0, viewers: viewers(0) },
      createdAtMs: nowMs - 55_000,
    });
    await clock.advance(5_100);
    expect(first.last()).toMatchObject({ status: 'stopped', message: 'The duration limit is reached' });
  });

  it('keeps its outputs and its duration limit', async () => {
    const outputs = [{ outputId: 'o1', url: 'rtmp://a.example/live/k', addedBy: 'com.first' }];
    const request = { stream: { durationLimit: 60 } };
    const world = next({
      request,
      ingest,
      outputs,
      isStarted: true,
      liveMs: 0,
      createdAtMs: nowMs - 54_000,
      viewers: viewers(0),
    });
    expect(world.restreaming.opened[0]?.saved).toEqual(outputs);
    world.stream.glassesBack();
    world.say('streaming');
    world.playback.prove();
    await world.clock.advance(5_000);
    expect(world.first.last()).toMatchObject({ status: 'active' });
    await world.clock.advance(1_500);
    expect(world.first.last()).toMatchObject({ status: 'stopped', message: 'The duration limit is reached' });
  });
});

describe('let go of for the next process', () => {
  it('says nothing to anybody, stops nothing, and keeps what was saved', async () => {
    const { stream, first, glasses, saved, source, goLive, clock, ends, say } = streamWorld();
    await goLive();
    const [words, orders] = [first.words().length, glasses.sent.length];
    stream.suspend();
    say('stopped');
    stream.fail(new GlasscastError('GLASSES_NOT_CONNECTED'));
    await clock.advance(300_000);
    expect([first.words().length, glasses.sent.length, source.discarded, ends.length]).toEqual([words, orders, [], 0]);
    expect([saved.at(-1)?.isStarted, clock.pending()]).toEqual([true, []]);
  });

  it('whoever leaves after that is answered, and is no viewer in the next process', async () => {
    const { stream, first, saved, goLive, clock } = streamWorld();
    await goLive();
    stream.suspend();
    expect([stream.leave('com.first'), first.last()?.status]).toEqual([true, 'stopped']);
    expect([saved.at(-1)?.viewers, clock.pending()]).toEqual([[], []]);
  });
});

describe('hints', () => {
  it('hurry the proof, and end a stream only when they are errors', async () => {
    const { stream, first, begin, playback } = streamWorld();
    await begin();
    stream.hint({ kind: 'connected' });
    expect([playback.open()[0]?.hurried, first.words()]).toEqual([true, ['initializing']]);
    stream.hint({ kind: 'disconnected' });
    expect(stream.isOpen()).toBe(true);
    stream.hint({ kind: 'errored', error: new GlasscastError('PROVIDER_STORAGE_FULL') });
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'PROVIDER_STORAGE_FULL' });
    stream.hint({ kind: 'connected' });
  });
});

describe('glasses that only know the newer names', () => {
  it('are asked in them when they are back, and not started anew', async () => {
    const { goLive, glasses, stream, clock } = streamWorld();
    await goLive();
    glasses.isDialectKnown = false;
    stream.glassesBack();
    expect(glasses.sent.at(-1)).toMatchObject({ type: 'keep_stream_alive', streamId: STREAM });
    expect(glasses.dialects).toEqual([undefined, 'stream']);
    stream.keepAliveAck({ streamId: STREAM, ackId: 'a' });
    await clock.advance(3_100);
    expect(glasses.types()).toEqual(['start_stream']);
  });
  it('get START in them when the older ones lead to nothing', async () => {
    const { begin, glasses, clock } = streamWorld();
    glasses.isDialectKnown = false;
    await begin();
    await clock.advance(3_100);
    expect(glasses.dialects).toEqual([undefined, 'stream']);
  });
  it('are not told twice when they answer', async () => {
    const { begin, glasses, clock, say } = streamWorld();
    glasses.isDialectKnown = false;
    await begin();
    await clock.advance(1_000);
    say('initializing');
    await clock.advance(5_000);
    expect(glasses.dialects).toEqual([undefined]);
  });
});
