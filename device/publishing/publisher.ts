/**
 * The device's push of one stream: picture, sound and an RTMP push, and the policy over them: states by the table, the
 * lease, the time limit, what the governor decides, statuses with measured stats. Never touches sockets, processes or the
 * wire format.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { readVideoConfig } from '../../shared/codec-config.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createWatchdog } from '../../shared/keep-alive.ts';
import type { Log } from '../../shared/log.ts';
import type {
  DeviceStreamStatus,
  ResolvedConfig,
  StreamNotice,
  StreamStats,
} from '../../shared/protocol/glasses-messages.ts';
import { type FlvTag, isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import type { RtmpPush, RtmpPushChange } from '../../shared/rtmp/push.ts';
import {
  type DeviceStatusWord,
  deviceStatusOf,
  type EncoderSettings,
  type PictureQuality,
  type PublisherEvent,
  type PublisherState,
  publisherTable,
  qualityOf,
  transition,
} from '../../shared/stream.ts';
import type { Picture, PictureOptions } from '../encoding/picture.ts';
import type { SoundOptions } from '../encoding/sound.ts';
import type { SoundSource } from '../encoding/sound-source.ts';
import type { Steering, SteeringEvents } from './steering.ts';

export type PublisherStatus = Omit<DeviceStreamStatus, 'type'>;

export interface PublisherOptions {
  clock: Clock;
  /** Its lines name the stream and the user. */
  log: Log;
  streamId: string;
  /** As asked for. */
  settings: EncoderSettings;
  /** Ends the stream by itself after this long of publishing; default: never. */
  durationLimitMs?: number | undefined;
  openPicture: (events: Pick<PictureOptions, 'onTag' | 'onLost' | 'onFailed' | 'onChanged' | 'onNotice'>) => Picture;
  openSound: (events: Pick<SoundOptions, 'onTag' | 'onNotice'>) => SoundSource;
  openPush: (events: {
    onChange: (change: RtmpPushChange) => void;
    onMeasured: () => void;
  }) => Pick<RtmpPush, 'start' | 'write' | 'stats' | 'close'>;
  openSteering: (events: SteeringEvents) => Steering;
  /** Each change of state, each notice, and stats (`kind: snapshot`) while publishing. */
  onStatus: (status: PublisherStatus) => void;
  /** Right to publish without a keep-alive, from the start on. Default 60000 (MentraOS). */
  leaseMs?: number | undefined;
  /** Default 2000. */
  statsEveryMs?: number | undefined;
}

/** What a person beside the glasses may want to know of the stream. */
export interface PublisherFacts {
  streamId: string;
  state: PublisherState;
  /** Why it ended, or what it waits for. */
  cause: string | undefined;
  /** Asked for, in use, measured. */
  requested: PictureQuality;
  negotiated: PictureQuality & { encoder: string | undefined };
  measured: Partial<PictureQuality>;
  backlog: { ms: number; bytes: number; diskBytes: number };
  reconnects: number;
  framesDropped: number;
  isSilence: boolean;
  /** The newest last. */
  notices: readonly StreamNotice[];
  temperatureC: number | undefined;
  battery: Steering['battery'];
  encoderPid: number | undefined;
}

export interface Publisher {
  readonly streamId: string;
  readonly state: PublisherState;
  /** Picture, sound and connection begin side by side. */
  start(): void;
  /** A keep-alive for this stream arrived. */
  renewLease(): void;
  /** What would be said now: the current word with everything known about it. */
  status(): PublisherStatus;
  facts(): PublisherFacts;
  readonly encoderPid: number | undefined;
  /** Says stopping and stopped; finished when encoders and connection are gone. Idempotent, also after a failure. */
  close(): Promise<void>;
}

/** An ingest may refuse a key for a moment, e.g. while it still holds our old connection. More in a row is an answer. */
const MAX_REFUSALS = 3;
const LASTING_MS = 5_000;
const MAX_NOTICES = 20;
/** What the protocol takes; programs and servers may say more. */
const MAX_NOTICE_CHARS = 500;
const MAX_DETAILS_CHARS = 2_000;

export function createPublisher(options: PublisherOptions): Publisher {
  const { clock, log, streamId, settings, onStatus } = options;
  let state: PublisherState = 'starting';
  let failure: GlasscastError | undefined;
  let cause: GlasscastError | undefined;
  let isConnected = false;
  let hasPicture = false;
  let wasPublishing = false;
  let attempt = 0;
  let refusals = 0;
  let connectedMs: number | undefined;
  let publishingSinceMs: number | undefined;
  /** Of the pictures, as the encoder itself says. */
  let size: { width: number; height: number } | undefined;
  const notices: StreamNotice[] = [];
  let statsTimer: Timer | undefined;
  let limitTimer: Timer | undefined;
  let down: Promise<void> | undefined;
  const rate = createRateMeter(clock);

  const push = options.openPush({ onChange: onPushChange, onMeasured: () => steering.measured() });
  const sound = options.openSound({ onTag: write, onNotice: notice });
  const picture = options.openPicture({
    onTag: onPictureTag,
    onLost(lostBy, ofAttempt) {
      hasPicture = false;
      attempt = ofAttempt;
      lose(lostBy, attempt);
    },
    onFailed: fail,
    onChanged: () => say(status()),
    onNotice: notice,
  });
  const steering = options.openSteering({
    readPush: push.stats,
    onQuality(quality, why) {
      picture.change(quality);
      notice(why);
    },
    onNotice: notice,
    onStop: fail,
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
    log.info({ state, event }, 'publisher-state');
  }
  function say(next: PublisherStatus): void {
    onStatus(next);
  }
  function write(tag: FlvTag): void {
    if (!isOver()) push.write(tag);
  }
  function onPictureTag(tag: FlvTag): void {
    if (isOver()) return;
    push.write(tag);
    // One wake-up for picture and sound.
    sound.fetch();
    if (tag.kind !== 'video') return;
    if (isSequenceHeader(tag)) size = sizeOf(tag);
    else rate.frame(tag.body.length);
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
      connectedMs = clock.monotonicMs();
      considerConnected();
    } else if (change.state === 'retrying') {
      const lostBy = change.cause ?? new GlasscastError('INGEST_DROPPED');
      // Some ingests say yes to any key and then close: only what has lasted was no refusal.
      const hasLasted = connectedMs !== undefined && clock.monotonicMs() - connectedMs >= LASTING_MS;
      connectedMs = undefined;
      refusals = lostBy.retryable ? 0 : (hasLasted ? 0 : refusals) + 1;
      if (refusals >= MAX_REFUSALS) fail(lostBy);
      else lose(lostBy, change.attempt);
    }
  }
  function considerConnected(): void {
    if (!isConnected || !hasPicture || state === 'publishing') return;
    move('connected');
    cause = undefined;
    const isReturn = wasPublishing;
    if (!isReturn) begun();
    wasPublishing = true;
    say(isReturn ? { ...status(), status: 'reconnected', attempt } : status());
    statsTimer ??= clock.every('stream-stats', options.statsEveryMs ?? 2_000, report);
  }
  function begun(): void {
    const { durationLimitMs } = options;
    publishingSinceMs = clock.monotonicMs();
    // The relay ends it as well; this holds when the relay does not.
    if (durationLimitMs !== undefined) limitTimer = clock.after('duration-limit', durationLimitMs, () => void close());
  }
  function lose(lostBy: GlasscastError, ofAttempt: number): void {
    if (isOver()) return;
    move('lost');
    cause = lostBy;
    // Before the first picture arrived nothing was lost: the firmware's word for that is `connecting`.
    const word = wasPublishing ? 'reconnecting' : 'connecting';
    say({ ...lifecycle(word), attempt: ofAttempt, ...errorOf(lostBy) });
  }
  function notice(given: StreamNotice): void {
    if (isOver()) return;
    const next = { ...given, text: given.text.slice(0, MAX_NOTICE_CHARS) };
    notices.push(next);
    if (notices.length > MAX_NOTICES) notices.shift();
    log.info({ code: next.code, text: next.text, ...next.numbers }, 'publisher-notice');
    say({ ...status(), notice: next });
  }
  function report(): void {
    rate.close(push.stats().bytesSent);
    if (state === 'publishing') say({ ...status(), kind: 'snapshot' });
  }
  function fail(by: GlasscastError): void {
    if (isOver()) return;
    failure = by;
    move('fail');
    log.warn({ code: by.code, reason: by.message }, 'publisher-failed');
    say(status());
    down = takeDown();
  }
  async function takeDown(): Promise<void> {
    lease.close();
    statsTimer?.cancel();
    limitTimer?.cancel();
    steering.close();
    // The encoders first: what they have made so far may still leave through the connection.
    await Promise.all([picture.close(), sound.close()]);
    await push.close();
  }
  async function stop(): Promise<void> {
    move('stop');
    say(lifecycle('stopping'));
    await takeDown();
    move('stopped');
    say(lifecycle('stopped'));
  }
  async function close(): Promise<void> {
    down ??= stop();
    await down;
  }
  function lifecycle(word: DeviceStatusWord): PublisherStatus {
    return { status: word, kind: 'lifecycle', streamId };
  }
  function stats(): StreamStats {
    const { framesDropped, queuedBytes, backlogBytes, reconnects } = push.stats();
    const sinceMs = publishingSinceMs === undefined ? 0 : clock.monotonicMs() - publishingSinceMs;
    const measured = rate.last();
    return {
      ...(measured ? { bitrate: measured.sentBps, fps: measured.fps } : {}),
      droppedFrames: framesDropped,
      duration: Math.floor(sinceMs / 1000),
      ...size,
      queuedBytes: queuedBytes + backlogBytes,
      reconnects,
    };
  }
  function negotiated(): ResolvedConfig {
    return resolvedConfigOf(settings, picture.onAir, sound.treatment);
  }
  function status(): PublisherStatus {
    const word = lifecycle(deviceStatusOf[state]);
    if (failure) return { ...word, ...errorOf(failure) };
    const { temperatureC } = steering;
    const heat = temperatureC === undefined ? {} : { temperatureC };
    if (state === 'publishing') return { ...word, stats: stats(), ...heat, resolvedConfig: negotiated() };
    return state === 'retrying' ? { ...word, attempt } : word;
  }

  function facts(): PublisherFacts {
    const { backlogMs, backlogBytes, queuedBytes, spilledBytes, reconnects, framesDropped } = push.stats();
    const { quality, way } = picture.onAir ?? { quality: settings, way: undefined };
    const measured = rate.last();
    return {
      ...{ streamId, state, cause: (failure ?? cause)?.message, requested: qualityOf(settings) },
      negotiated: { ...qualityOf(quality), encoder: way?.encoder },
      measured: {
        ...(size ? { widthPx: size.width, heightPx: size.height } : {}),
        ...(measured ? { frameRate: measured.fps, videoBitrateBps: measured.pictureBps } : {}),
      },
      backlog: { ms: backlogMs, bytes: backlogBytes + queuedBytes, diskBytes: spilledBytes },
      ...{ reconnects, framesDropped, isSilence: sound.isSilence, notices, encoderPid: picture.pid },
      ...{ temperatureC: steering.temperatureC, battery: steering.battery },
    };
  }

  return {
    streamId,
    get state() {
      return state;
    },
    start() {
      lease.touch();
      say({ ...lifecycle('initializing'), resolvedConfig: negotiated() });
      push.start();
      picture.start();
      sound.start();
    },
    renewLease() {
      if (!isOver()) lease.touch();
    },
    status,
    facts,
    get encoderPid() {
      return picture.pid;
    },
    close,
  };
}

function errorOf({ code, message }: GlasscastError): Pick<PublisherStatus, 'errorCode' | 'errorDetails'> {
  return { errorCode: code, errorDetails: message.slice(0, MAX_DETAILS_CHARS) };
}

/** From the decoder configuration, which follows five bytes of FLV's own. */
function sizeOf({ body }: FlvTag): { width: number; height: number } | undefined {
  const config = readVideoConfig(body.subarray(5));
  return config && { width: config.width, height: config.height };
}

/** What is in use, in the words of the wire; before the first picture what will be tried. */
function resolvedConfigOf(
  settings: EncoderSettings,
  onAir: Picture['onAir'],
  treatment: SoundSource['treatment'],
): ResolvedConfig {
  const { widthPx, heightPx, videoBitrateBps, frameRate } = onAir?.quality ?? settings;
  const capture = onAir?.way.captureSize ?? settings;
  return {
    transport: 'rtmp',
    video: {
      width: widthPx,
      height: heightPx,
      captureWidth: capture.widthPx,
      captureHeight: capture.heightPx,
      bitrate: videoBitrateBps,
      fps: frameRate,
      ...(onAir ? { encoder: onAir.way.encoder } : {}),
    },
    audio: { bitrate: settings.audioBitrateBps, sampleRate: settings.sampleRateHz, ...treatment },
  };
}

interface RateMeter {
  frame(bytes: number): void;
  /** Ends the current window: `bytesSent` is the total so far. */
  close(bytesSent: number): void;
  /** Of the last full window; undefined before the first. */
  last(): { sentBps: number; pictureBps: number; fps: number } | undefined;
}

/** Rates between two reports: bytes that left, pictures that were made. */
function createRateMeter(clock: Clock): RateMeter {
  let frames = 0;
  let pictureBytes = 0;
  let bytesBefore = 0;
  let sinceMs = clock.monotonicMs();
  let rates: ReturnType<RateMeter['last']>;
  return {
    frame(bytes) {
      frames += 1;
      pictureBytes += bytes;
    },
    close(bytesSent) {
      const nowMs = clock.monotonicMs();
      const seconds = (nowMs - sinceMs) / 1000;
      if (seconds <= 0) return;
      rates = {
        sentBps: Math.round((Math.max(0, bytesSent - bytesBefore) * 8) / seconds),
        pictureBps: Math.round((pictureBytes * 8) / seconds),
        fps: Math.round((frames / seconds) * 10) / 10,
      };
      frames = 0;
      pictureBytes = 0;
      bytesBefore = bytesSent;
      sinceMs = nowMs;
    },
    last: () => rates,
  };
}
