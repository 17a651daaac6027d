import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Encoder, EncoderEnd } from '../../device/encoding/encoder.ts';
import { createPublisher, type PublisherStatus } from '../../device/publishing/publisher.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import type { RtmpPushChange, RtmpPushStats } from '../../shared/rtmp/push.ts';
import { resolveSettings } from '../../shared/stream.ts';
import { avcRecords } from '../support/media-tags.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const keyFrame: FlvTag = { kind: 'video', timestampMs: 0, body: Buffer.from([0x17, 1, 0, 0, 0, 9]) };
const picture: FlvTag = { kind: 'video', timestampMs: 33, body: Buffer.from([0x27, 1, 0, 0, 0, 9]) };

function world() {
  const clock = createTestClock();
  const statuses: PublisherStatus[] = [];
  const written: FlvTag[] = [];
  const events: string[] = [];
  let give: (tag: FlvTag) => void = () => {};
  let change: (next: RtmpPushChange) => void = () => {};
  let dies: (end: EncoderEnd) => void = () => {};
  const pushStats: RtmpPushStats = {
    state: 'idle',
    bytesSent: 0,
    queuedBytes: 10,
    deliveredBps: undefined,
    isCatchingUp: false,
    skips: 0,
    backlogBytes: 5,
    spilledBytes: 0,
    backlogMs: 0,
    tagsDropped: 0,
    framesDropped: 3,
    tagsResent: 0,
    reconnects: 1,
    redirects: 0,
    connectMs: 5,
  };
  const publisher = createPublisher({
    clock,
    log: silentLog(),
    random: () => 0,
    streamId: 'm1',
    settings: resolveSettings({ width: 640, height: 360, frameRate: 15, bitrate: 500_000 }),
    onStatus: (status) => statuses.push(status),
    openPush(onChange) {
      change = onChange;
      return {
        start: () => events.push('push start'),
        write: (tag) => written.push(tag),
        stats: () => pushStats,
        close: async () => void events.push('push close'),
      };
    },
    async openEncoder(onTag): Promise<Encoder> {
      give = onTag;
      const ended = new Promise<EncoderEnd>((resolve) => {
        dies = resolve;
      });
      return {
        start: () => events.push('encoder start'),
        pid: 7,
        ended,
        async close() {
          events.push('encoder close');
          dies({ cause: undefined, frames: 1, ms: 1 });
        },
      };
    },
  });
  return {
    clock,
    statuses,
    written,
    events,
    publisher,
    pushStats,
    give: (tag: FlvTag) => give(tag),
    change: (state: RtmpPushChange['state'], attempt = 0, code?: ErrorCode) =>
      change({ state, attempt, ...(code ? { cause: new GlasscastError(code) } : {}) }),
    async encoderDies(code: ErrorCode, frames = 10) {
      dies({ cause: new GlasscastError(code), frames, ms: 100 });
      await settle();
    },
    words: () => statuses.map(({ status, kind }) => (kind === 'snapshot' ? 'stats' : status)),
  };
}
async function live() {
  const all = world();
  all.publisher.start();
  await settle();
  all.change('connecting');
  all.change('publishing');
  all.give(keyFrame);
  return all;
}

test('encoder and connection begin side by side; live is a picture over a connection, in either order', async () => {
  const first = await live();
  expect(first.events).toEqual(['push start', 'encoder start']);
  expect(first.words()).toEqual(['initializing', 'streaming']);
  expect(first.statuses[1]).toMatchObject({
    streamId: 'm1',
    resolvedConfig: { transport: 'rtmp', video: { width: 640, height: 360, fps: 15, bitrate: 500_000 } },
    stats: { droppedFrames: 3, queuedBytes: 15, reconnects: 1 },
  });
  await first.publisher.close();

  const second = world();
  second.publisher.start();
  await settle();
  second.give(picture);
  second.give(keyFrame);
  expect(second.publisher.state).toBe('starting');
  second.change('publishing');
  expect(second.publisher.state).toBe('publishing');
  await second.publisher.close();
});

test('close says stopping and stopped with the id, the encoder goes before the connection, nothing is left', async () => {
  const { publisher, words, statuses, events, clock, give, written } = await live();
  await Promise.all([publisher.close(), publisher.close()]);
  expect(words()).toEqual(['initializing', 'streaming', 'stopping', 'stopped']);
  expect(statuses.every(({ streamId }) => streamId === 'm1')).toBe(true);
  expect(events.slice(2)).toEqual(['encoder close', 'push close']);
  expect(clock.pending()).toEqual([]);
  const before = written.length;
  give(picture);
  expect(written).toHaveLength(before);
});

test('stats are measured, each two seconds, only while publishing', async () => {
  const { clock, statuses, words, give, change, pushStats, publisher } = await live();
  for (let count = 0; count < 29; count += 1) give(picture);
  pushStats.bytesSent = 125_000;
  await clock.advance(2000);
  expect(statuses.at(-1)).toMatchObject({ kind: 'snapshot', stats: { bitrate: 500_000, fps: 15, duration: 2 } });
  change('retrying', 1, 'INGEST_DROPPED');
  const before = words().length;
  await clock.advance(4000);
  expect(words()).toHaveLength(before);
  change('publishing', 1);
  expect(statuses.at(-1)).toMatchObject({ status: 'reconnected', attempt: 1 });
  await publisher.close();
});

test('the size in the stats is the one the encoder says, not the one asked for', async () => {
  const { give, clock, statuses, publisher } = await live();
  expect(statuses.at(-1)?.stats).not.toHaveProperty('width');
  const record = Buffer.from(avcRecords['1280x720'], 'hex');
  give({ kind: 'video', timestampMs: 0, body: Buffer.concat([Buffer.from([0x17, 0, 0, 0, 0]), record]) });
  await clock.advance(2000);
  expect(statuses.at(-1)?.stats).toMatchObject({ width: 1280, height: 720, fps: 0.5 });
  await publisher.close();
});

test('a lost ingest is reconnecting with its cause, then reconnected', async () => {
  const { change, statuses, publisher } = await live();
  change('retrying', 1, 'INGEST_DROPPED');
  expect(statuses.at(-1)).toMatchObject({ status: 'reconnecting', attempt: 1, errorCode: 'INGEST_DROPPED' });
  expect(publisher.state).toBe('retrying');
  change('retrying', 2, 'INGEST_UNREACHABLE');
  change('publishing', 2);
  expect(statuses.at(-1)).toMatchObject({ status: 'reconnected', attempt: 2 });
  await publisher.close();
});

test('an encoder that dies is retrying until its follower gives a key frame', async () => {
  const { encoderDies, give, clock, publisher, words } = await live();
  await encoderDies('ENCODER_FAILED');
  expect(publisher.state).toBe('retrying');
  await clock.advance(200);
  give(picture);
  expect(publisher.state).toBe('retrying');
  give(keyFrame);
  expect(words()).toEqual(['initializing', 'streaming', 'reconnecting', 'reconnected']);
  await publisher.close();
});

test('before the first picture arrived, trouble is connecting', async () => {
  const { publisher, change, statuses } = world();
  publisher.start();
  await settle();
  change('retrying', 1, 'INGEST_UNREACHABLE');
  expect(statuses.at(-1)).toMatchObject({ status: 'connecting', errorCode: 'INGEST_UNREACHABLE' });
  expect(publisher.state).toBe('starting');
  await publisher.close();
});

test('a refused key is believed the third time', async () => {
  const { publisher, change, statuses, clock } = world();
  publisher.start();
  await settle();
  change('retrying', 1, 'INGEST_REFUSED_KEY');
  change('retrying', 2, 'INGEST_REFUSED_KEY');
  expect(publisher.state).toBe('starting');
  change('retrying', 3, 'INGEST_REFUSED_KEY');
  expect(statuses.at(-1)).toMatchObject({ status: 'error', errorCode: 'INGEST_REFUSED_KEY' });
  await publisher.close();
  expect(statuses.at(-1)?.status).toBe('error');
  expect(clock.pending()).toEqual([]);
});

test('the lease begins with the start, is renewed, and ends everything', async () => {
  const { publisher, clock, statuses, events } = await live();
  await clock.advance(59_000);
  publisher.renewLease();
  await clock.advance(59_000);
  expect(publisher.state).toBe('publishing');
  await clock.advance(1000);
  expect(statuses.at(-1)).toMatchObject({
    status: 'error',
    errorCode: 'LEASE_EXPIRED',
    errorDetails: 'Stream timed out - no keep-alive from cloud',
  });
  expect(events.slice(-2)).toEqual(['encoder close', 'push close']);
  publisher.renewLease();
  expect(clock.pending()).toEqual([]);
});

test('whatever happens in whatever order: no throw, one end, nothing left', async () => {
  const act = fc.constantFrom(
    'key',
    'picture',
    'publishing',
    'retrying',
    'refused',
    'dies',
    'no camera',
    'wait',
    'renew',
    'close',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 25 }), async (acts) => {
      const all = world();
      all.publisher.start();
      await settle();
      for (const each of acts) {
        if (each === 'key') all.give(keyFrame);
        else if (each === 'picture') all.give(picture);
        else if (each === 'publishing') all.change('publishing', 1);
        else if (each === 'retrying') all.change('retrying', 1, 'INGEST_DROPPED');
        else if (each === 'refused') all.change('retrying', 1, 'INGEST_REFUSED_KEY');
        else if (each === 'dies') await all.encoderDies('ENCODER_FAILED');
        else if (each === 'no camera') await all.encoderDies('CAMERA_NOT_FOUND', 0);
        else if (each === 'wait') await all.clock.advance(7000);
        else if (each === 'renew') all.publisher.renewLease();
        else await all.publisher.close();
      }
      await all.publisher.close();
      expect(all.words().filter((word) => word === 'stopped' || word === 'error')).toHaveLength(1);
      expect(all.clock.pending()).toEqual([]);
    }),
    { numRuns: 150 },
  );
});
