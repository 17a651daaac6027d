import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Picture } from '../../device/encoding/picture.ts';
import { createPublisher, type PublisherOptions, type PublisherStatus } from '../../device/publishing/publisher.ts';
import type { SteeringEvents } from '../../device/publishing/steering.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { deviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { type FlvTag, isKeyFrame } from '../../shared/rtmp/flv.ts';
import type { RtmpPushChange, RtmpPushStats } from '../../shared/rtmp/push.ts';
import { type PictureQuality, resolveSettings } from '../../shared/stream.ts';
import { avcRecords } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

const keyFrame: FlvTag = { kind: 'video', timestampMs: 0, body: Buffer.from([0x17, 1, 0, 0, 0, 9]) };
const picture: FlvTag = { kind: 'video', timestampMs: 33, body: Buffer.from([0x27, 1, 0, 0, 0, 9]) };

function world(more: Partial<PublisherOptions> = {}) {
  const clock = createTestClock();
  const statuses: PublisherStatus[] = [];
  const written: FlvTag[] = [];
  const events: string[] = [];
  const settings = resolveSettings({ width: 640, height: 360, frameRate: 15, bitrate: 500_000 });
  const way = { encoder: 'libx264', isShared: true, open: () => Promise.reject(new Error('not here')) };
  const on = {} as {
    picture: Parameters<PublisherOptions['openPicture']>[0];
    sound: Parameters<PublisherOptions['openSound']>[0];
    push: Parameters<PublisherOptions['openPush']>[0];
    steering: SteeringEvents;
  };
  const pushStats: RtmpPushStats = {
    ...{
      state: 'idle',
      bytesSent: 0,
      queuedBytes: 10,
      backlogBytes: 5,
      backlogMs: 0,
      tagsDropped: 0,
      framesDropped: 3,
    },
    ...{
      tagsResent: 0,
      reconnects: 1,
      connectMs: 5,
      deliveredBps: undefined,
      isCatchingUp: false,
      skips: 0,
      redirects: 0,
      spilledBytes: 0,
      narrowBps: undefined,
    },
  };
  const air: { current: Picture['onAir'] } = { current: undefined };
  const publisher = createPublisher({
    clock,
    log: silentLog(),
    streamId: 'm1',
    settings,
    onStatus: (status) => statuses.push(status),
    openPush(given) {
      on.push = given;
      return {
        start: () => events.push('push start'),
        write: (tag) => written.push(tag),
        stats: () => pushStats,
        close: async () => void events.push('push close'),
      };
    },
    openPicture(given) {
      on.picture = given;
      return {
        start: () => events.push('picture start'),
        renew: () => {},
        change: ({ videoBitrateBps }) => events.push(`picture ${videoBitrateBps}`),
        get onAir() {
          return air.current;
        },
        pid: 7,
        close: async () => void events.push('picture close'),
      };
    },
    openSound(given) {
      on.sound = given;
      return {
        start: () => events.push('sound start'),
        renew: () => {},
        fetch: () => events.push('sound fetch'),
        isSilence: false,
        treatment: { echoCancellation: false, noiseSuppression: true },
        close: async () => void events.push('sound close'),
      };
    },
    openSteering(given) {
      on.steering = given;
      return {
        measured: () => events.push('measured'),
        temperatureC: 61.5,
        battery: undefined,
        close: () => events.push('steering close'),
      };
    },
    ...more,
  });
  return {
    ...{ clock, statuses, written, events, publisher, pushStats, settings, on },
    give(tag: FlvTag) {
      if (isKeyFrame(tag)) air.current ??= { quality: settings, way };
      on.picture.onTag(tag);
    },
    change: (state: RtmpPushChange['state'], attempt = 0, code?: ErrorCode) =>
      on.push.onChange({ state, attempt, ...(code ? { cause: new GlasscastError(code) } : {}) }),
    pictureLost: (code: ErrorCode) => on.picture.onLost(new GlasscastError(code), 1),
    onAir: (quality: PictureQuality) => {
      air.current = { quality, way };
      on.picture.onChanged();
    },
    words: () => statuses.map(({ status, kind }) => (kind === 'snapshot' ? 'stats' : status)),
  };
}
function live(more?: Partial<PublisherOptions>) {
  const all = world(more);
  all.publisher.start();
  all.change('connecting');
  all.change('publishing');
  all.give(keyFrame);
  return all;
}

test('encoder and connection begin side by side; live is a picture over a connection, in either order', async () => {
  const first = live();
  expect(first.events.slice(0, 3)).toEqual(['push start', 'picture start', 'sound start']);
  expect(first.words()).toEqual(['initializing', 'streaming']);
  expect(first.statuses[1]).toMatchObject({
    streamId: 'm1',
    resolvedConfig: {
      transport: 'rtmp',
      video: { width: 640, height: 360, fps: 15, bitrate: 500_000, encoder: 'libx264' },
      audio: { bitrate: 64_000, sampleRate: 48_000, echoCancellation: false, noiseSuppression: true },
    },
    temperatureC: 61.5,
    stats: { droppedFrames: 3, queuedBytes: 15, reconnects: 1 },
  });
  await first.publisher.close();

  const second = world();
  second.publisher.start();
  second.give(picture);
  second.give(keyFrame);
  expect(second.publisher.state).toBe('starting');
  second.change('publishing');
  expect(second.publisher.state).toBe('publishing');
  await second.publisher.close();
});

test('close says stopping and stopped with the id, the encoders go before the connection, nothing is left', async () => {
  const { publisher, words, statuses, events, clock, give, written } = live();
  await Promise.all([publisher.close(), publisher.close()]);
  expect(words()).toEqual(['initializing', 'streaming', 'stopping', 'stopped']);
  expect(statuses.every(({ streamId }) => streamId === 'm1')).toBe(true);
  expect(events.slice(-4)).toEqual(['steering close', 'picture close', 'sound close', 'push close']);
  expect(clock.pending()).toEqual([]);
  const before = written.length;
  give(picture);
  expect(written).toHaveLength(before);
});

test('stats are measured, each two seconds, only while publishing', async () => {
  const { clock, statuses, words, give, change, pushStats, publisher } = live();
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
  const { give, clock, statuses, publisher } = live();
  expect(statuses.at(-1)?.stats).not.toHaveProperty('width');
  const record = Buffer.from(avcRecords['1280x720'], 'hex');
  give({ kind: 'video', timestampMs: 0, body: Buffer.concat([Buffer.from([0x17, 0, 0, 0, 0]), record]) });
  await clock.advance(2000);
  expect(statuses.at(-1)?.stats).toMatchObject({ width: 1280, height: 720, fps: 0.5 });
  await publisher.close();
});

test('a lost ingest is reconnecting with its cause, then reconnected', async () => {
  const { change, statuses, publisher } = live();
  change('retrying', 1, 'INGEST_DROPPED');
  expect(statuses.at(-1)).toMatchObject({ status: 'reconnecting', attempt: 1, errorCode: 'INGEST_DROPPED' });
  expect(publisher.state).toBe('retrying');
  change('retrying', 2, 'INGEST_UNREACHABLE');
  change('publishing', 2);
  expect(statuses.at(-1)).toMatchObject({ status: 'reconnected', attempt: 2 });
  await publisher.close();
});

test('a picture that is lost is retrying until its follower gives a key frame', async () => {
  const { pictureLost, give, publisher, words, statuses } = live();
  pictureLost('ENCODER_FAILED');
  expect(publisher.state).toBe('retrying');
  expect(statuses.at(-1)).toMatchObject({ status: 'reconnecting', errorCode: 'ENCODER_FAILED' });
  give(picture);
  expect(publisher.state).toBe('retrying');
  give(keyFrame);
  expect(words()).toEqual(['initializing', 'streaming', 'reconnecting', 'reconnected']);
  await publisher.close();
});

test('sound goes the same way, is fetched with each picture, and its trouble is a notice', async () => {
  const { on, written, events, statuses, publisher, give } = live();
  on.sound.onTag({ kind: 'audio', timestampMs: 5, body: Buffer.from([0xaf, 1]) });
  expect(written.map(({ kind }) => kind)).toEqual(['video', 'audio']);
  give(picture);
  expect(events.filter((event) => event === 'sound fetch')).toHaveLength(2);
  on.sound.onNotice({ code: 'MICROPHONE_LOST', text: 'Silence is sent' });
  expect(statuses.at(-1)).toMatchObject({ status: 'streaming', notice: { code: 'MICROPHONE_LOST' } });
  expect(publisher.facts().notices.map(({ code }) => code)).toEqual(['MICROPHONE_LOST']);
  await publisher.close();
});

test('a step of the governor: the picture changes, its reason is told, then the settings that are in use', async () => {
  const { on, events, statuses, publisher, settings, onAir } = live();
  on.push.onMeasured();
  const smaller = { ...settings, videoBitrateBps: 200_000 };
  const notice = { code: 'UPLINK_NARROW', text: 'Uplink 0.3 Mbit/s', numbers: { uplinkBps: 300_000 } } as const;
  on.steering.onQuality(smaller, notice);
  expect(events.slice(-2)).toEqual(['measured', 'picture 200000']);
  expect(statuses.at(-1)).toMatchObject({ notice, resolvedConfig: { video: { bitrate: 500_000 } } });
  onAir(smaller);
  expect(statuses.at(-1)).toMatchObject({ status: 'streaming', resolvedConfig: { video: { bitrate: 200_000 } } });
  expect(statuses.at(-1)).not.toHaveProperty('notice');
  expect(publisher.facts()).toMatchObject({
    requested: { videoBitrateBps: 500_000 },
    negotiated: { videoBitrateBps: 200_000, encoder: 'libx264' },
  });
  on.steering.onStop(new GlasscastError('OVERHEATED'));
  expect(statuses.at(-1)).toMatchObject({ status: 'error', errorCode: 'OVERHEATED' });
  await publisher.close();
});

test('a time limit counts from the first picture and ends the stream as a stop does', async () => {
  const all = world({ durationLimitMs: 30_000 });
  all.publisher.start();
  all.publisher.renewLease();
  await all.clock.advance(20_000);
  all.change('publishing');
  all.give(keyFrame);
  all.publisher.renewLease();
  await all.clock.advance(29_999);
  expect(all.publisher.state).toBe('publishing');
  await all.clock.advance(1);
  expect(all.words().slice(-2)).toEqual(['stopping', 'stopped']);
  expect(all.clock.pending()).toEqual([]);
});

test('before the first picture arrived, trouble is connecting', async () => {
  const { publisher, change, statuses } = world();
  publisher.start();
  change('retrying', 1, 'INGEST_UNREACHABLE');
  expect(statuses.at(-1)).toMatchObject({ status: 'connecting', errorCode: 'INGEST_UNREACHABLE' });
  expect(publisher.state).toBe('starting');
  await publisher.close();
});

test('a refused key is believed the third time', async () => {
  const { publisher, change, statuses, clock } = world();
  publisher.start();
  change('retrying', 1, 'INGEST_REFUSED_KEY');
  change('retrying', 2, 'INGEST_REFUSED_KEY');
  expect(publisher.state).toBe('starting');
  change('retrying', 3, 'INGEST_REFUSED_KEY');
  expect(statuses.at(-1)).toMatchObject({ status: 'error', errorCode: 'INGEST_REFUSED_KEY' });
  await publisher.close();
  expect(statuses.at(-1)?.status).toBe('error');
  expect(clock.pending()).toEqual([]);
});

test('a key that is refused as nginx does it, by closing after a yes, is believed the third time; what lasted counts anew', async () => {
  const { publisher, change, statuses, clock } = live();
  const flap = () => {
    change('publishing', 1);
    change('retrying', 1, 'INGEST_REFUSED_KEY');
  };
  flap();
  flap();
  change('publishing', 1);
  await clock.advance(6_000);
  change('retrying', 1, 'INGEST_REFUSED_KEY');
  flap();
  expect(publisher.state).toBe('retrying');
  flap();
  expect(statuses.at(-1)).toMatchObject({ status: 'error', errorCode: 'INGEST_REFUSED_KEY' });
  await publisher.close();
});

test('the lease begins with the start, is renewed, and ends everything', async () => {
  const { publisher, clock, statuses, events } = live();
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
  expect(events.slice(-3)).toEqual(['picture close', 'sound close', 'push close']);
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
    'over',
    'notice',
    'smaller',
    'wait',
    'renew',
    'close',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 25 }), async (acts) => {
      const all = world();
      all.publisher.start();
      for (const each of acts) {
        if (each === 'key') all.give(keyFrame);
        else if (each === 'picture') all.give(picture);
        else if (each === 'publishing') all.change('publishing', 1);
        else if (each === 'retrying') all.change('retrying', 1, 'INGEST_DROPPED');
        else if (each === 'refused') all.change('retrying', 1, 'INGEST_REFUSED_KEY');
        else if (each === 'dies') all.pictureLost('ENCODER_FAILED');
        else if (each === 'over') all.on.picture.onFailed(new GlasscastError('CAMERA_NOT_FOUND'));
        else if (each === 'notice') all.on.sound.onNotice({ code: 'MICROPHONE_LOST', text: 'x' });
        else if (each === 'smaller') all.on.steering.onQuality(all.settings, { code: 'HEAT', text: 'x' });
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

test('what programs said at length is cut to what a status may hold: an unfit one would never be sent', () => {
  const { on, publisher, statuses } = world();
  publisher.start();
  on.sound.onNotice({ code: 'SETTING_UNAVAILABLE', text: 'x'.repeat(4_000) });
  on.steering.onStop(new GlasscastError('ENCODER_FAILED', { reason: 'y'.repeat(4_000) }));
  for (const status of statuses) {
    expect(deviceStreamStatus.safeParse({ type: 'stream_status', ...status }).error).toBeUndefined();
  }
  expect(statuses.at(-1)).toMatchObject({ status: 'error', errorCode: 'ENCODER_FAILED' });
});
