/**
 * An encoder that comes back: starts a new run when one dies, with backoff and within a budget, and gives up on causes that
 * a new run cannot cure. Owns the runs of one stream; knows nothing of the ingest.
 */
import { type BackoffPolicy, backoffMs, type Clock, type Timer } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, type GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import type { Encoder, EncoderEnd } from './encoder.ts';

export interface LastingEncoderOptions {
  clock: Clock;
  log: Log;
  /** A new run, not started; rejects when the source cannot be used. */
  openEncoder: (onTag: (tag: FlvTag) => void) => Promise<Encoder>;
  onTag: (tag: FlvTag) => void;
  /** A run died and another will follow; `attempt` counts from 1 and anew after a healthy run. */
  onLost: (cause: GlasscastError, attempt: number) => void;
  /** Over for good. Called once. */
  onFailed: (cause: GlasscastError) => void;
  random?: () => number;
}

export interface LastingEncoder {
  start(): void;
  readonly pid: number | undefined;
  close(): Promise<void>;
}

const BACKOFF: BackoffPolicy = { firstMs: 200, factor: 2, maxMs: 5_000, jitter: 0.2 };
/** With the backoff above about 18 s: enough to plug a camera in again. */
const MAX_ATTEMPTS = 7;
/** A run this long was healthy: what ends it counts from zero again. */
const HEALTHY_MS = 10_000;
/** Before any picture came, these are answers and not accidents. */
const FATAL_AT_START: readonly ErrorCode[] = [
  'CAMERA_NOT_FOUND',
  'CAMERA_BUSY',
  'MICROPHONE_NOT_FOUND',
  'MICROPHONE_BUSY',
  'CAPTURE_FORBIDDEN',
  'CAPTURE_FILE_UNREADABLE',
];

export function createLastingEncoder(options: LastingEncoderOptions): LastingEncoder {
  const { clock, log } = options;
  let run: Encoder | undefined;
  let pause: Timer | undefined;
  let ready: Promise<void> = Promise.resolve();
  let closed = false;
  let attempt = 0;
  let sawPictures = false;

  async function begin(): Promise<void> {
    try {
      const opened = await options.openEncoder(options.onTag);
      if (closed) return;
      run = opened;
      opened.start();
      void opened.ended.then((end) => over(opened, end));
    } catch (error) {
      if (!closed) lost(asGlasscastError(error), 0, 0);
    }
  }
  function over(ended: Encoder, { cause, frames, ms }: EncoderEnd): void {
    if (run === ended) run = undefined;
    if (cause && !closed) lost(cause, frames, ms);
  }
  function lost(cause: GlasscastError, frames: number, ms: number): void {
    sawPictures ||= frames > 0;
    if (frames > 0 && ms >= HEALTHY_MS) attempt = 0;
    const fatal = !sawPictures && FATAL_AT_START.includes(cause.code);
    attempt += 1;
    if (fatal || attempt > MAX_ATTEMPTS || cause.code === 'FFMPEG_MISSING') {
      closed = true;
      options.onFailed(cause);
      return;
    }
    const delayMs = backoffMs(BACKOFF, attempt - 1, options.random);
    log.warn({ code: cause.code, reason: cause.message, frames, ms, attempt, delayMs }, 'encoder-lost');
    pause = clock.after('encoder-restart', delayMs, () => {
      ready = begin();
    });
    options.onLost(cause, attempt);
  }

  return {
    start() {
      ready = begin();
    },
    get pid() {
      return run?.pid;
    },
    async close() {
      closed = true;
      pause?.cancel();
      await ready;
      await run?.close();
    },
  };
}
