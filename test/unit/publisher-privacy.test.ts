/**
 * Nothing captures without leave and without light: orders of the relay in any order, over encoders that open, die and take
 * their time to end, a light that fails, and a relay that goes away. Real are orders, publisher, picture, sound and their
 * light; fake are the processes, the lamp and the push.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { captureUnderLight, type Lamp } from '../../device/capture/lit-capture.ts';
import type { Encoder, EncoderEnd } from '../../device/encoding/encoder.ts';
import { createPicture, type PictureWay } from '../../device/encoding/picture.ts';
import { createSound } from '../../device/encoding/sound.ts';
import { createPublisher, type PublisherOptions } from '../../device/publishing/publisher.ts';
import { createStreamOrders } from '../../device/publishing/stream-orders.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { DeviceStreamStatus, FromGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { type DeviceStatusWord, deviceStatusMeaning, resolveSettings } from '../../shared/stream.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const LEASE_MS = 60_000;
/** An encoder that hears no signal is killed after this long. */
const END_MS = 1_000;
const keyFrame: FlvTag = { kind: 'video', timestampMs: 0, body: Buffer.from([0x17, 1, 0, 0, 0, 9]) };

interface Capture {
  isAsked: boolean;
  give(): void;
  die(cause: GlasscastError | undefined): void;
}

function world() {
  const clock = createTestClock();
  const said: FromGlasses[] = [];
  const captures = new Set<Capture>();
  const lit = new Set<(cause: GlasscastError) => void>();
  const pushes = new Set<{ on: Parameters<PublisherOptions['openPush']>[0] }>();
  const flaw = { lamp: false, camera: false, isSlow: false };
  let darkCaptures = 0;
  const lamp: Lamp = {
    async hold(onOut) {
      if (flaw.lamp) throw new GlasscastError('PRIVACY_LIGHT_FAILED');
      lit.add(onOut);
      return async () => void lit.delete(onOut);
    },
  };

  function encoder(onTag: (tag: FlvTag) => void): Encoder {
    let settleEnd: (end: EncoderEnd) => void = () => {};
    let because: GlasscastError | undefined;
    let isStarted = false;
    const ended = new Promise<EncoderEnd>((resolve) => {
      settleEnd = resolve;
    });
    const capture: Capture = {
      isAsked: false,
      give: () => onTag(keyFrame),
      die(cause) {
        captures.delete(capture);
        settleEnd({ cause: because ?? cause, frames: 3, ms: 50 });
      },
    };
    return {
      start() {
        isStarted = true;
        if (lit.size === 0) darkCaptures += 1;
        captures.add(capture);
      },
      pid: 7,
      fetch: () => {},
      ended,
      async close(cause) {
        because ??= cause;
        if (!isStarted || capture.isAsked) return;
        capture.isAsked = true;
        if (flaw.isSlow) clock.after('kill', END_MS, () => capture.die(undefined));
        else capture.die(undefined);
        await ended;
      },
    };
  }
  const open = async (onTag: (tag: FlvTag) => void) => {
    if (flaw.camera) throw new GlasscastError('CAMERA_BUSY');
    return captureUnderLight(lamp, async () => encoder(onTag));
  };
  const way: PictureWay = { encoder: 'libx264', isShared: true, open: (_quality, onTag) => open(onTag) };

  const orders = createStreamOrders({
    clock,
    log: silentLog(),
    send: (message) => void said.push(message),
    openPublisher: ({ streamId }, _url, onStatus) =>
      createPublisher({
        ...{ clock, log: silentLog(), streamId, settings: resolveSettings(), leaseMs: LEASE_MS, onStatus },
        openPicture: (events) =>
          createPicture({
            ...{ clock, log: silentLog(), random: () => 0, quality: resolveSettings(), ...events },
            findWays: async () => [way],
            closeWays: async () => {},
            describe: () => ({ kind: 'script', timestampMs: 0, body: Buffer.alloc(0) }),
          }),
        openSound: (events) =>
          Object.assign(
            createSound({
              ...{ clock, log: silentLog(), random: () => 0, ...events },
              openWanted: open,
              openSilence: open,
            }),
            { treatment: { echoCancellation: false, noiseSuppression: false } },
          ),
        openPush: (on) => {
          const push = { on };
          return {
            start: () => void pushes.add(push),
            write: () => {},
            stats: () => ({
              ...{ state: 'publishing', bytesSent: 0, queuedBytes: 0, backlogBytes: 0, backlogMs: 0, tagsDropped: 0 },
              ...{ framesDropped: 0, tagsResent: 0, reconnects: 0, connectMs: 1 },
              ...{
                deliveredBps: undefined,
                isCatchingUp: false,
                skips: 0,
                redirects: 0,
                spilledBytes: 0,
                narrowBps: undefined,
              },
            }),
            close: async () => void pushes.delete(push),
          };
        },
        openSteering: () => ({ measured: () => {}, temperatureC: undefined, battery: undefined, close: () => {} }),
      }),
  });

  const start = (streamId: string, publishUrl = 'rtmp://127.0.0.1/live/key') =>
    orders.take({ type: 'start_stream', streamId, publishUrl, video: {}, audio: {}, stream: {} });
  const stop = (streamId: string) => orders.take({ type: 'stop_stream', streamId });
  const keepAlive = (streamId: string) => orders.take({ type: 'keep_stream_alive', streamId, ackId: 'a1' });
  const allDie = (code: ErrorCode) => {
    for (const capture of [...captures]) capture.die(new GlasscastError(code));
  };
  const push = (state: 'publishing' | 'retrying', code?: ErrorCode) => {
    for (const { on } of [...pushes])
      on.onChange({ state, attempt: 1, ...(code ? { cause: new GlasscastError(code) } : {}) });
  };
  const acts = {
    'start m1': () => start('m1'),
    'start m2': () => start('m2'),
    'start nowhere': () => start('m3', 'nonsense'),
    'stop m1': () => stop('m1'),
    'stop m2': () => stop('m2'),
    'stop all': () => stop(''),
    'keep-alive m1': () => keepAlive('m1'),
    'keep-alive m2': () => keepAlive('m2'),
    'keep-alive of a stranger': () => keepAlive('m9'),
    'status?': () => orders.take({ type: 'get_stream_status' }),
    pictures: () => captures.forEach((capture) => void capture.give()),
    'encoders die': () => allDie('ENCODER_FAILED'),
    'camera unplugged': () => {
      flaw.camera = true;
      allDie('CAMERA_NOT_FOUND');
    },
    'camera back': () => {
      flaw.camera = false;
    },
    'light out': () => [...lit].forEach((onOut) => void onOut(new GlasscastError('PRIVACY_LIGHT_FAILED'))),
    'lamp broken': () => {
      flaw.lamp = true;
    },
    'lamp mended': () => {
      flaw.lamp = false;
    },
    'encoders deaf': () => {
      flaw.isSlow = true;
    },
    connected: () => push('publishing'),
    lost: () => push('retrying', 'INGEST_DROPPED'),
    refused: () => push('retrying', 'INGEST_REFUSED_KEY'),
    'a second': () => clock.advance(1_000),
    'seven seconds': () => clock.advance(7_000),
    'relay gone': () => clock.advance(LEASE_MS),
  };
  return { ...{ clock, said, orders, acts, captures, lit, pushes }, darkCaptures: () => darkCaptures };
}
type Act = keyof ReturnType<typeof world>['acts'];
const ACTS = Object.keys(world().acts) as Act[];

/** What each stage of a push may be followed by, as an observer of the statuses sees it. */
const FOLLOWS: Record<string, readonly string[]> = {
  starting: ['starting', 'publishing', 'stopping', 'failed'],
  publishing: ['publishing', 'retrying', 'stopping', 'failed'],
  retrying: ['retrying', 'publishing', 'stopping', 'failed'],
  stopping: ['stopping', 'ended'],
  // Asked again, a stream that failed says so again.
  ended: ['starting', 'ended', 'failed'],
  failed: ['starting', 'failed', 'ended'],
};

const isStatus = (message: FromGlasses): message is DeviceStreamStatus => message.type === 'stream_status';

test('in whatever order orders and mishaps come: no capture in the dark, no light without capture, none after the lease', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...ACTS), { maxLength: 50 }), async (acts) => {
      const all = world();
      const { orders, clock, captures, lit } = all;
      let leaseUntilMs = 0;
      let current: unknown;
      for (const act of acts) {
        const before = orders.publisher;
        const isKept = act === `keep-alive ${before?.streamId}` || act === `start ${before?.streamId}`;
        await all.acts[act]();
        await settle();
        // A start begins a lease, a keep-alive for the stream that runs renews it, nothing else does.
        if (orders.publisher !== current || isKept) leaseUntilMs = Math.max(leaseUntilMs, clock.now() + LEASE_MS);
        current = orders.publisher;
        expect(all.darkCaptures()).toBe(0);
        // Each capture holds the light, and nobody else does.
        expect(lit.size).toBe(captures.size);
        if (clock.now() >= leaseUntilMs) for (const capture of captures) expect(capture.isAsked).toBe(true);
        if (clock.now() >= leaseUntilMs + END_MS) expect([captures.size, lit.size]).toEqual([0, 0]);
        expect(captures.size).toBeLessThanOrEqual(6);
        expect(all.pushes.size).toBeLessThanOrEqual(1);
      }
      const closing = orders.close();
      await clock.advance(2 * END_MS);
      await closing;
      expect([captures.size, lit.size, all.pushes.size, clock.pending()]).toEqual([0, 0, 0, []]);
      for (const streamId of ['m1', 'm2']) {
        const stages = all.said
          .filter(isStatus)
          .filter((status) => status.streamId === streamId && status.kind === 'lifecycle')
          .map(({ status }) => deviceStatusMeaning[status as DeviceStatusWord]);
        stages.forEach((stage, index) => {
          if (index > 0) expect(FOLLOWS[stages[index - 1] ?? '']).toContain(stage);
        });
      }
    }),
    { numRuns: 300 },
  );
});

test('a relay that goes away: camera and light are off within 60 s of its last word, also when the encoder is deaf', async () => {
  const { acts, clock, captures, lit } = world();
  acts['start m1']();
  await settle();
  acts.connected();
  acts.pictures();
  acts['encoders deaf']();
  await clock.advance(30_000);
  acts['keep-alive m1']();
  await clock.advance(LEASE_MS - 1);
  expect([captures.size > 0, lit.size > 0]).toEqual([true, true]);
  await clock.advance(1 + END_MS);
  expect([captures.size, lit.size]).toEqual([0, 0]);
});

test('no light, no capture: it is waited for, and the stream ends when it does not come', async () => {
  const { acts, clock, captures, said, darkCaptures } = world();
  acts['lamp broken']();
  acts['start m1']();
  await clock.advance(12_000);
  expect([captures.size, darkCaptures()]).toEqual([0, 0]);
  expect(said.filter(isStatus).at(-1)).toMatchObject({ status: 'error', errorCode: 'PRIVACY_LIGHT_FAILED' });
});
