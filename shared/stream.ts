/**
 * The vocabulary of a stream: ids, settings with limits and defaults, the two state tables and their words on the wire.
 * Tables are data; what they do not list is refused.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import * as z from 'zod';
import { GlasscastError } from './errors.ts';

// ── ids ──

const ID_ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';

function randomId(prefix: string, length: number): string {
  // 36 does not divide 256: bytes from 252 on would make some characters likelier.
  let id = prefix;
  while (id.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < 252 && id.length < length) id += ID_ALPHABET[byte % 36];
    }
  }
  return id;
}

/** 11 characters: phones forward ids over BLE. `m` managed, `s` unmanaged, as MentraOS writes them. */
export const newStreamId = (kind: 'managed' | 'unmanaged'): string => randomId(kind === 'managed' ? 'm' : 's', 11);
/**
 * 8 characters, 7 of them random: MentraOS' own are five digits of time and come round after 17 hours. One for each
 * keep-alive, so from Node's stock of random numbers and not from the system each time.
 */
export function newAckId(): string {
  const uuid = randomUUID();
  const number = Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16) % 36 ** 7;
  return `a${number.toString(36).padStart(7, '0')}`;
}

// ── settings ──

/** Settings as apps ask for them. Out-of-range numbers are brought into range, wrong types are refused. Sources: MentraOS camera settings; Cloudflare Stream ingest rules. */
const limited = (min: number, max: number) =>
  z
    .number()
    .finite()
    .transform((value) => Math.round(Math.min(max, Math.max(min, value))));

const evenLimited = (min: number, max: number) => limited(min, max).transform((value) => value - (value % 2));

export const videoSettings = z.object({
  /** Pixels, even (H.264 4:2:0). */
  width: evenLimited(160, 1920).optional(),
  height: evenLimited(120, 1920).optional(),
  /** Bits per second. */
  bitrate: limited(100_000, 10_000_000).optional(),
  /** Frames per second. */
  frameRate: limited(1, 60).optional(),
  /** Ours, optional: milliseconds between key frames; the relay asks for what its provider needs. */
  keyFrameIntervalMs: limited(250, 10_000).optional(),
});

export const audioSettings = z.object({
  /** Bits per second. */
  bitrate: limited(16_000, 320_000).optional(),
  /** Hz. */
  sampleRate: z.number().optional(),
  echoCancellation: z.boolean().optional(),
  noiseSuppression: z.boolean().optional(),
});

export const streamLimits = z.object({
  /** Seconds, up to 24 days: a timer holds no more. */
  durationLimit: limited(1, 2_000_000).optional(),
});

export type VideoSettings = z.output<typeof videoSettings>;
export type AudioSettings = z.output<typeof audioSettings>;

/** What an encoder is told: every value set, units in names. */
export interface EncoderSettings {
  widthPx: number;
  heightPx: number;
  videoBitrateBps: number;
  frameRate: number;
  keyFrameIntervalMs: number;
  audioBitrateBps: number;
  sampleRateHz: number;
  echoCancellation: boolean;
  noiseSuppression: boolean;
}

/** What may change while a stream runs. */
export type PictureQuality = Pick<EncoderSettings, 'widthPx' | 'heightPx' | 'frameRate' | 'videoBitrateBps'>;

export function qualityOf({ widthPx, heightPx, frameRate, videoBitrateBps }: PictureQuality): PictureQuality {
  return { widthPx, heightPx, frameRate, videoBitrateBps };
}

export const defaultEncoderSettings: EncoderSettings = {
  widthPx: 1280,
  heightPx: 720,
  videoBitrateBps: 2_000_000,
  frameRate: 30,
  // Cloudflare refuses less than 2 s (ERR_GOP_OUT_OF_RANGE); a relay with another provider says so in the start.
  keyFrameIntervalMs: 2_000,
  audioBitrateBps: 64_000,
  sampleRateHz: 48_000,
  echoCancellation: false,
  noiseSuppression: false,
};

/** Sample rates that AAC and every player take. */
const SAMPLE_RATES_HZ = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/** Fills the gaps with defaults; an odd sample rate becomes the nearest one that AAC knows. */
export function resolveSettings(video: VideoSettings = {}, audio: AudioSettings = {}): EncoderSettings {
  const wanted = audio.sampleRate ?? defaultEncoderSettings.sampleRateHz;
  const sampleRateHz = SAMPLE_RATES_HZ.reduce((best, rate) =>
    Math.abs(rate - wanted) < Math.abs(best - wanted) ? rate : best,
  );
  return {
    widthPx: video.width ?? defaultEncoderSettings.widthPx,
    heightPx: video.height ?? defaultEncoderSettings.heightPx,
    videoBitrateBps: video.bitrate ?? defaultEncoderSettings.videoBitrateBps,
    frameRate: video.frameRate ?? defaultEncoderSettings.frameRate,
    keyFrameIntervalMs: video.keyFrameIntervalMs ?? defaultEncoderSettings.keyFrameIntervalMs,
    audioBitrateBps: audio.bitrate ?? defaultEncoderSettings.audioBitrateBps,
    sampleRateHz,
    echoCancellation: audio.echoCancellation ?? defaultEncoderSettings.echoCancellation,
    noiseSuppression: audio.noiseSuppression ?? defaultEncoderSettings.noiseSuppression,
  };
}

/** Size that an app's `quality` means when it names no `video` size. */
export const qualitySettings = {
  '720p': { width: 1280, height: 720 },
  '1080p': { width: 1920, height: 1080 },
} as const satisfies Record<string, VideoSettings>;

// ── state tables ──

/** state → event → next state. What is not listed is refused. */
export type TransitionTable<State extends string, Event extends string> = Readonly<
  Record<State, Readonly<Partial<Record<Event, State>>>>
>;

/** The next state, or ILLEGAL_TRANSITION. */
export function transition<State extends string, Event extends string>(
  table: TransitionTable<State, Event>,
  state: State,
  event: Event,
): State {
  const next = table[state][event];
  if (next === undefined) {
    throw new GlasscastError('ILLEGAL_TRANSITION', { reason: `${event} in ${state}`, details: { state, event } });
  }
  return next;
}

/**
 * A managed or unmanaged stream, as the relay sees it.
 *
 *   provisioning → starting → active ⇄ interrupted → stopping → stopped        any but the last two → failed
 */
export const streamStates = [
  'provisioning',
  'starting',
  'active',
  'interrupted',
  'stopping',
  'stopped',
  'failed',
] as const;
export type StreamState = (typeof streamStates)[number];
/** provisioned: the live input exists and START is wanted; live: playback proven; interrupted: media or glasses lost. */
export const streamEvents = ['provisioned', 'live', 'interrupt', 'stop', 'stopped', 'fail'] as const;
export type StreamEvent = (typeof streamEvents)[number];

export const streamTable: TransitionTable<StreamState, StreamEvent> = {
  provisioning: { provisioned: 'starting', stop: 'stopping', fail: 'failed' },
  starting: { live: 'active', stop: 'stopping', fail: 'failed' },
  active: { interrupt: 'interrupted', stop: 'stopping', fail: 'failed' },
  interrupted: { live: 'active', stop: 'stopping', fail: 'failed' },
  stopping: { stopped: 'stopped' },
  stopped: {},
  failed: {},
};

/** Nobody can join it any more, and nothing brings it back. */
export const isStreamOver = (state: StreamState): boolean => ['stopping', 'stopped', 'failed'].includes(state);

/** The six words of `managed_stream_status`. */
export const managedStatusWords = ['initializing', 'preparing', 'active', 'stopping', 'stopped', 'error'] as const;
export type ManagedStatusWord = (typeof managedStatusWords)[number];

/** Total, so that no state can ever read as healthy by default. `preparing` while interrupted: the SDK keeps its stream and shows no false health. */
export const managedStatusOf: Readonly<Record<StreamState, ManagedStatusWord>> = {
  provisioning: 'initializing',
  starting: 'initializing',
  active: 'active',
  interrupted: 'preparing',
  stopping: 'stopping',
  stopped: 'stopped',
  failed: 'error',
};

/** The word an unmanaged stream's owner hears, of the SDK's twelve; only stopped, error and timeout end its idea of a stream. */
export const unmanagedStatusOf: Readonly<Record<StreamState, DeviceStatusWord>> = {
  provisioning: 'initializing',
  starting: 'initializing',
  active: 'active',
  interrupted: 'reconnecting',
  stopping: 'stopping',
  stopped: 'stopped',
  failed: 'error',
};

/**
 * The device's push.
 *
 *   starting → publishing ⇄ retrying → stopping → stopped        any but the last two → failed
 */
export const publisherStates = ['starting', 'publishing', 'retrying', 'stopping', 'stopped', 'failed'] as const;
export type PublisherState = (typeof publisherStates)[number];
/** connected: media flows to the ingest; lost: connection or encoder gone, coming back. */
export const publisherEvents = ['connected', 'lost', 'stop', 'stopped', 'fail'] as const;
export type PublisherEvent = (typeof publisherEvents)[number];

export const publisherTable: TransitionTable<PublisherState, PublisherEvent> = {
  starting: { connected: 'publishing', lost: 'starting', stop: 'stopping', fail: 'failed' },
  publishing: { lost: 'retrying', stop: 'stopping', fail: 'failed' },
  retrying: { connected: 'publishing', lost: 'retrying', stop: 'stopping', fail: 'failed' },
  stopping: { stopped: 'stopped' },
  stopped: {},
  failed: {},
};

/** The twelve words of a glasses' stream status (MentraOS). */
export const deviceStatusWords = [
  'initializing',
  'connecting',
  'reconnecting',
  'streaming',
  'error',
  'stopped',
  'active',
  'stopping',
  'disconnected',
  'timeout',
  'reconnected',
  'reconnect_failed',
] as const;
export type DeviceStatusWord = (typeof deviceStatusWords)[number];

/** What each of the glasses' words says about their push; total, so that an unknown cannot pass as live. */
export const deviceStatusMeaning: Readonly<
  Record<DeviceStatusWord, 'starting' | 'publishing' | 'retrying' | 'stopping' | 'ended' | 'failed'>
> = {
  initializing: 'starting',
  connecting: 'starting',
  streaming: 'publishing',
  active: 'publishing',
  reconnected: 'publishing',
  reconnecting: 'retrying',
  disconnected: 'retrying',
  stopping: 'stopping',
  stopped: 'ended',
  error: 'failed',
  timeout: 'failed',
  reconnect_failed: 'failed',
};

/** The word the agent sends for each state of its publisher; `reconnected` is said once, at the moment of the return. */
export const deviceStatusOf: Readonly<Record<PublisherState, DeviceStatusWord>> = {
  starting: 'initializing',
  publishing: 'streaming',
  retrying: 'reconnecting',
  stopping: 'stopping',
  stopped: 'stopped',
  failed: 'error',
};
