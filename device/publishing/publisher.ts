/**
 * The device's push of one stream: an encoder that comes back, an RTMP push that comes back, and the policy over both:
 * states by the table, the lease, statuses with measured stats. Never touches sockets, processes or the wire format.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { readVideoConfig } from '../../shared/codec-config.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createWatchdog } from '../../shared/keep-alive.ts';
import type { Log } from '../../shared/log.ts';
import type { DeviceStreamStatus, ResolvedConfig, StreamStats } from '../../shared/protocol/glasses-messages.ts';
import { type FlvTag, isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import type { RtmpPush, RtmpPushChange } from '../../shared/rtmp/push.ts';
import {
  type DeviceStatusWord,
  deviceStatusOf,
  type EncoderSettings,
  type PublisherEvent,
  type PublisherState,
  publisherTable,
  transition,
} from '../../shared/stream.ts';
import type { Encoder } from '../encoding/encoder.ts';
import { createLastingEncoder } from '../encoding/lasting-encoder.ts';

export type PublisherStatus = Omit<DeviceStreamStatus, 'type'>;

export interface PublisherOptions {
  clock: Clock;
  log: Log;
  streamId: string;
  settings: EncoderSettings;
  openEncoder: (onTag: (tag: FlvTag) => void) => Promise<Encoder>;
  openPush: (onChange: (change: RtmpPushChange) => void) => Pick<RtmpPush, 'start' | 'write' | 'stats' | 'close'>;
  /** Each change of state, and stats (`kind: snapshot`) while publishing. */
  onStatus: (status: PublisherStatus) => void;
  /** Right to publish without a keep-alive, from the start on. Default 60000 (MentraOS). */
  leaseMs?: number;
  /** Default 2000. */
  statsEveryMs?: number;
  random?: () => number;
}

export interface Publisher {
  readonly streamId: string;
  readonly state: PublisherState;
  /** Encoder and connection begin side by side. */
  start(): void;
  /** A keep-alive for this stream arrived. */
  renewLease(): void;
  /** What would be said now: the current word with everything known about it. */
  status(): PublisherStatus;
  readonly encoderPid: number | undefined;
  /** Says stopping and stopped; finished when encoder and connection are gone. Idempotent, also after a failure. */
  close(): Promise<void>;
}

/** An ingest may refuse a key for a moment, e.g. while it still holds our old connection. More in a row is an answer. */
const MAX_REFUSALS = 3;

export function createPublisher(options: PublisherOptions): Publisher {
  const { clock, log, streamId, settings, onStatus } = options;
  let state: PublisherState = 'starting';
  let failure: GlasscastError | undefined;
  let isConnected = false;
  let hasPicture = false;
  let wasPublishing = false;
  let attempt = 0;
  let refusals = 0;
  let publishingSinceMs: number | undefined;
  /** Of the pictures, as the encoder itself says. */
  let size: { width: number; height: number } | undefined;
  let statsTimer: Timer | undefined;
  let down: Promise<void> | undefined;
  const rate = createRateMeter(clock);

  const push = options.openPush(onPushChange);
  const encoder = createLastingEncoder({
    clock,
    log,
    openEncoder: options.openEncoder,
    onTag,
    onLost(cause) {
      hasPicture = false;
      lose(cause, attempt);
    },
    onFailed: fail,
    ...(options.random ? { random: options.random } : {}),
  });
  const lease = createWatchdog({
    clock,
    name: 'lease',
    timeoutMs: options.leaseMs ?? 60_000,
    onExpired: () => fail(new GlasscastError('LEASE_EXPIRED')),
  });

  function isOver(): boolean {
    return state === 'stopping' || state === 'stopped' || state === 'failed';
  }
  function move(event: PublisherEvent): void {
    state = transition(publisherTable, state, event);
    log.info({ streamId, state, event }, 'publisher-state');
  }
  function onTag(tag: FlvTag): void {
    if (isOver()) return;
    push.write(tag);
    if (tag.kind === 'video') {
      if (isSequenceHeader(tag)) size = sizeOf(tag);
      else rate.frame();
    }
    if (!hasPicture && isKeyFrame(tag)) {
      hasPicture = true;
      considerConnected();
    }
  }
  function onPushChange(change: RtmpPushChange): void {
    if (isOver()) return;
    isConnected = change.state === 'publishing';
    attempt = change.attempt;
    if (isConnected) {
      refusals = 0;
      considerConnected();
    } else if (change.state === 'retrying') {
      const cause = change.cause ?? new GlasscastError('INGEST_DROPPED');
      refusals = cause.retryable ? 0 : refusals + 1;
      if (refusals >= MAX_REFUSALS) fail(cause);
      else lose(cause, change.attempt);
    }
  }
  function considerConnected(): void {
    if (!isConnected || !hasPicture || state === 'publishing') return;
    move('connected');
    const isReturn = wasPublishing;
    if (!isReturn) publishingSinceMs = clock.monotonicMs();
    wasPublishing = true;
    onStatus(isReturn ? { ...status(), status: 'reconnected', attempt } : status());
    statsTimer ??= clock.every('stream-stats', options.statsEveryMs ?? 2_000, report);
  }
  function lose(cause: GlasscastError, ofAttempt: number): void {
    move('lost');
    // Before the first picture arrived nothing was lost: the firmware's word for that is `connecting`.
    const word = wasPublishing ? 'reconnecting' : 'connecting';
    onStatus({ ...lifecycle(word), attempt: ofAttempt, errorCode: cause.code, errorDetails: cause.message });
  }
  function report(): void {
    rate.close(push.stats().bytesSent);
    if (state === 'publishing') onStatus({ ...status(), kind: 'snapshot' });
  }
  function fail(cause: GlasscastError): void {
    if (isOver()) return;
    failure = cause;
    move('fail');
    log.warn({ streamId, code: cause.code, reason: cause.message }, 'publisher-failed');
    onStatus(status());
    down = takeDown();
  }
  async function takeDown(): Promise<void> {
    lease.close();
    statsTimer?.cancel();
    // The encoder first: what it has made so far may still leave through the connection.
    await encoder.close();
    await push.close();
  }
  async function stop(): Promise<void> {
    move('stop');
    onStatus(lifecycle('stopping'));
    await takeDown();
    move('stopped');
    onStatus(lifecycle('stopped'));
  }
  function lifecycle(word: DeviceStatusWord): PublisherStatus {
    return { status: word, kind: 'lifecycle', streamId };
  }
  function stats(): StreamStats {
    const { framesDropped, queuedBytes, backlogBytes, reconnects } = push.stats();
    const sinceMs = publishingSinceMs === undefined ? 0 : clock.monotonicMs() - publishingSinceMs;
    return {
      ...rate.last(),
      droppedFrames: framesDropped,
      duration: Math.floor(sinceMs / 1000),
      ...size,
      queuedBytes: queuedBytes + backlogBytes,
      reconnects,
    };
  }
  function status(): PublisherStatus {
    const word = lifecycle(deviceStatusOf[state]);
    if (failure) return { ...word, errorCode: failure.code, errorDetails: failure.message };
    if (state === 'publishing') return { ...word, stats: stats(), resolvedConfig: resolvedConfigOf(settings) };
    return state === 'retrying' ? { ...word, attempt } : word;
  }

  return {
    streamId,
    get state() {
      return state;
    },
    start() {
      lease.touch();
      onStatus({ ...lifecycle('initializing'), resolvedConfig: resolvedConfigOf(settings) });
      push.start();
      encoder.start();
    },
    renewLease() {
      if (!isOver()) lease.touch();
    },
    status,
    get encoderPid() {
      return encoder.pid;
    },
    async close() {
      down ??= stop();
      await down;
    },
  };
}

/** From the decoder configuration, which follows five bytes of FLV's own. */
function sizeOf({ body }: FlvTag): { width: number; height: number } | undefined {
  const config = readVideoConfig(body.subarray(5));
  return config && { width: config.width, height: config.height };
}

/** The settings in the words of the wire. Echo and noise are not treated yet, so they are not claimed. */
function resolvedConfigOf(settings: EncoderSettings): ResolvedConfig {
  const { widthPx, heightPx, videoBitrateBps, frameRate, audioBitrateBps, sampleRateHz } = settings;
  return {
    transport: 'rtmp',
    video: {
      width: widthPx,
      height: heightPx,
      captureWidth: widthPx,
      captureHeight: heightPx,
      bitrate: videoBitrateBps,
      fps: frameRate,
    },
    audio: { bitrate: audioBitrateBps, sampleRate: sampleRateHz, echoCancellation: false, noiseSuppression: false },
  };
}

interface RateMeter {
  frame(): void;
  /** Ends the current window: `bytesSent` is the total so far. */
  close(bytesSent: number): void;
  /** Of the last full window; empty before the first. */
  last(): { bitrate?: number; fps?: number };
}

/** Rates between two reports: bytes that left, pictures that were made. */
function createRateMeter(clock: Clock): RateMeter {
  let frames = 0;
  let bytesBefore = 0;
  let sinceMs = clock.monotonicMs();
  let rates: { bitrate?: number; fps?: number } = {};
  return {
    frame() {
      frames += 1;
    },
    close(bytesSent) {
      const nowMs = clock.monotonicMs();
      const seconds = (nowMs - sinceMs) / 1000;
      if (seconds <= 0) return;
      rates = {
        bitrate: Math.round((Math.max(0, bytesSent - bytesBefore) * 8) / seconds),
        fps: Math.round((frames / seconds) * 10) / 10,
      };
      frames = 0;
      bytesBefore = bytesSent;
      sinceMs = nowMs;
    },
    last: () => rates,
  };
}
