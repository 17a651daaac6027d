/**
 * The sound of one stream: the microphone, and silence whenever it gives nothing, so that no trouble with sound ever touches
 * the picture. Owns the runs; knows no device and no ffmpeg argument.
 */
import { type BackoffPolicy, backoffMs, type Clock, type Timer } from '../../shared/clock.ts';
import { asGlasscastError, type GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { StreamNotice } from '../../shared/protocol/glasses-messages.ts';
import { type FlvTag, isSequenceHeader, timestampDiffMs } from '../../shared/rtmp/flv.ts';
import type { Encoder, EncoderEnd } from './encoder.ts';

export interface SoundOptions {
  clock: Clock;
  log: Log;
  /** A run of what was asked for, not started. @throws GlasscastError MICROPHONE_… */
  openWanted: (onTag: (tag: FlvTag) => void) => Promise<Encoder>;
  openSilence: (onTag: (tag: FlvTag) => void) => Promise<Encoder>;
  onTag: (tag: FlvTag) => void;
  /** MICROPHONE_LOST, MICROPHONE_BACK. */
  onNotice: (notice: StreamNotice) => void;
  random?: () => number;
}

export interface Sound {
  start(): void;
  /** Reads what waits: called with each picture. */
  fetch(): void;
  /** Each run gives way to another of the same: the wall clock that it stamps by was set. */
  renew(): void;
  readonly isSilence: boolean;
  close(): Promise<void>;
}

type Part = 'wanted' | 'silence';

/** A microphone that takes longer is bridged with silence: players wait for sound that was announced. */
const LATE_MS = 700;
const BACKOFF: BackoffPolicy = { firstMs: 500, factor: 1.6, maxMs: 5_000, jitter: 0.2 };
/** A run this long was healthy: what ends it counts from zero again. */
const HEALTHY_MS = 10_000;

export function createSound(options: SoundOptions): Sound {
  const { clock, log, onTag, onNotice } = options;
  const runs: Record<Part, Encoder | undefined> = { wanted: undefined, silence: undefined };
  const attempts: Record<Part, number> = { wanted: 0, silence: 0 };
  const timers: Partial<Record<Part | 'late', Timer>> = {};
  const opening: Record<Part, Promise<void>> = { wanted: Promise.resolve(), silence: Promise.resolve() };
  /** Of silence that is not needed any more. */
  let leaving: Promise<unknown> = Promise.resolve();
  let onAir: Part | undefined;
  let isLost = false;
  let closed = false;
  let lastMs: number | undefined;
  let header: FlvTag | undefined;

  async function begin(part: Part): Promise<void> {
    if (closed) return;
    try {
      const open = part === 'wanted' ? options.openWanted : options.openSilence;
      const run: Encoder = await open((tag) => take(part, run, tag));
      if (closed || (part === 'silence' && onAir === 'wanted')) {
        await run.close();
        return;
      }
      runs[part] = run;
      run.start();
      void run.ended.then((end) => over(part, run, end));
    } catch (error) {
      if (!closed) lost(part, asGlasscastError(error));
    }
  }
  function take(part: Part, run: Encoder, tag: FlvTag): void {
    if (closed || runs[part] !== run) return;
    if (part === 'silence' && onAir === 'wanted') return;
    if (onAir !== part) goOnAir(part);
    if (isSequenceHeader(tag)) {
      // Both parts are made with the same settings: the same header again would only make players begin anew.
      if (header?.body.equals(tag.body)) return;
      header = tag;
      onTag(tag);
      return;
    }
    if (lastMs !== undefined && timestampDiffMs(tag.timestampMs, lastMs) <= 0) return;
    lastMs = tag.timestampMs;
    onTag(tag);
  }
  function goOnAir(part: Part): void {
    onAir = part;
    if (part === 'silence') return;
    timers.late?.cancel();
    endSilence();
    if (isLost) onNotice({ code: 'MICROPHONE_BACK', text: 'The microphone is back' });
    isLost = false;
  }
  function endSilence(): void {
    timers.silence?.cancel();
    const silence = runs.silence;
    runs.silence = undefined;
    leaving = Promise.all([leaving, silence?.close()]);
  }
  function over(part: Part, run: Encoder, { cause, ms }: EncoderEnd): void {
    if (closed || runs[part] !== run) return;
    runs[part] = undefined;
    if (ms >= HEALTHY_MS) attempts[part] = 0;
    if (cause) lost(part, cause);
  }
  function lost(part: Part, cause: GlasscastError): void {
    const delayMs = backoffMs(BACKOFF, attempts[part], options.random);
    attempts[part] += 1;
    if (onAir === part) onAir = undefined;
    const fields = { part, code: cause.code, reason: cause.message, attempt: attempts[part], delayMs };
    if (attempts[part] === 1) log.warn(fields, 'sound-lost');
    else log.debug(fields, 'sound-lost');
    timers[part]?.cancel();
    timers[part] = clock.after(`sound-${part}`, delayMs, () => {
      opening[part] = begin(part);
    });
    if (part === 'silence') return;
    bridge();
    if (!isLost) onNotice({ code: 'MICROPHONE_LOST', text: `Silence is sent: ${cause.message}`.slice(0, 500) });
    isLost = true;
  }
  function renew(part: Part): void {
    const run = runs[part];
    if (closed || !run) return;
    runs[part] = undefined;
    // A microphone is opened by one at a time.
    opening[part] = opening[part].then(() => run.close()).then(() => begin(part));
  }
  function bridge(): void {
    timers.late?.cancel();
    if (closed || runs.silence || onAir === 'wanted') return;
    timers.silence?.cancel();
    opening.silence = opening.silence.then(() => (runs.silence ? undefined : begin('silence')));
  }

  return {
    start() {
      timers.late = clock.after('sound-late', LATE_MS, bridge);
      opening.wanted = begin('wanted');
    },
    fetch() {
      if (onAir) runs[onAir]?.fetch();
    },
    renew() {
      renew('wanted');
      renew('silence');
    },
    get isSilence() {
      return onAir === 'silence';
    },
    async close() {
      closed = true;
      for (const timer of Object.values(timers)) timer?.cancel();
      await Promise.all(Object.values(opening));
      await Promise.all([runs.wanted?.close(), runs.silence?.close(), leaving]);
    },
  };
}
