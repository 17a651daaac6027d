/**
 * One run of ffmpeg with one output: captures and encodes picture or sound until stopped or dead, and hands out FLV tags as
 * they come. Knows nothing of RTMP, streams or retries; its end carries a cause.
 */
import type { Writable } from 'node:stream';
import type { Child, ChildExit, SpawnChild } from '../../shared/child-process.ts';
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, errorText, GlasscastError } from '../../shared/errors.ts';
import { createWatchdog } from '../../shared/keep-alive.ts';
import type { Log } from '../../shared/log.ts';
import { createFlvParser, type FlvTag } from '../../shared/rtmp/flv.ts';
import { type MediaPipe, openMediaPipe } from './media-pipe.ts';

export interface EncoderOptions {
  clock: Clock;
  spawn: SpawnChild;
  log: Log;
  /** ffmpeg. */
  file: string;
  /** Its arguments, asked for when it starts; it writes FLV to descriptor 3. */
  arguments: () => readonly string[];
  /** What the last lines of its standard error mean. */
  causeOf: (lines: readonly string[]) => GlasscastError;
  /** Only `video` or `audio` passes: what ffmpeg says of a single pipe describes no stream. */
  kind: 'video' | 'audio';
  /** In order. */
  onTag: (tag: FlvTag) => void;
  /** Who writes to its standard input; gives the function that lets go of it. */
  feed?: ((stdin: Writable) => () => void) | undefined;
  /** Read only when `fetch` says so (and each 500 ms): one wake-up for picture and sound. Default false. */
  isFetched?: boolean;
  /** Killed when nothing comes for this long: until the first tag (default 10000, cameras warm up), and later (default 3000). */
  firstTimeoutMs?: number;
  stallTimeoutMs?: number;
  /** What that means. Default: ENCODER_STALLED. */
  stallCause?: () => GlasscastError;
}

export interface EncoderEnd {
  /** Undefined: we stopped it. */
  cause: GlasscastError | undefined;
  /** Pictures, or packets of sound, that it made. */
  frames: number;
  ms: number;
}

export interface Encoder {
  start(): void;
  readonly pid: number | undefined;
  /** Reads what waits, with `isFetched`. */
  fetch(): void;
  /** Settles once it was started and is gone; never rejects. */
  readonly ended: Promise<EncoderEnd>;
  /** @param because ends it as if it had died by itself, of this. */
  close(because?: GlasscastError): Promise<void>;
}

/** How often flowing media restart the stall clock. */
const PROGRESS_EVERY_MS = 500;
/** ffmpeg ends within 20 ms of SIGINT when it is well. */
const STOP_TIMEOUT_MS = 1000;
/** What is fetched is also read this often, else a full pipe would hold ffmpeg. */
const FETCH_EVERY_MS = 500;

export function createEncoder(options: EncoderOptions): Encoder {
  const { clock, log, kind, isFetched = false, firstTimeoutMs = 10_000, stallTimeoutMs = 3_000 } = options;
  let child: Child | undefined;
  let pipe: MediaPipe | undefined;
  let started = false;
  let closing = false;
  let gone = false;
  let because: GlasscastError | undefined;
  let frames = 0;
  let progressedMs = 0;
  let settle: (end: EncoderEnd) => void = () => {};
  const ended = new Promise<EncoderEnd>((resolve) => {
    settle = resolve;
  });
  const warmUp = createWatchdog({ clock, name: 'encoder-start', timeoutMs: firstTimeoutMs, onExpired: stalled });
  const stall = createWatchdog({ clock, name: 'encoder-stall', timeoutMs: stallTimeoutMs, onExpired: stalled });

  function stalled(): void {
    log.warn({ kind, pid: child?.pid, frames }, 'encoder-stalled');
    end(options.stallCause?.() ?? new GlasscastError('ENCODER_STALLED'));
    // It will not hear a polite signal.
    child?.kill();
  }
  function end(cause: GlasscastError): void {
    because ??= cause;
    void child?.stop();
  }
  function take(tag: FlvTag): void {
    if (tag.kind !== kind || closing) return;
    frames += 1;
    const nowMs = clock.monotonicMs();
    if (frames === 1) warmUp.close();
    if (frames === 1 || nowMs - progressedMs >= PROGRESS_EVERY_MS) {
      progressedMs = nowMs;
      stall.touch();
    }
    options.onTag(tag);
  }
  function openPipe(): Promise<MediaPipe> {
    const parser = createFlvParser({ onTag: take });
    return openMediaPipe((bytes) => {
      try {
        if (!because) parser.push(bytes);
      } catch (error) {
        end(asGlasscastError(error));
      }
      return !isFetched || gone;
    });
  }
  function causeOfEnd({ end: how, lastLines, error }: ChildExit): GlasscastError | undefined {
    if (because) return because;
    if (closing) return undefined;
    if (how === 'not-started' && isShortage(error)) {
      return new GlasscastError('ENCODER_FAILED', { reason: errorText(error), cause: error });
    }
    if (how === 'not-started') return new GlasscastError('FFMPEG_MISSING', { reason: options.file });
    return options.causeOf(lastLines);
  }
  async function run(): Promise<EncoderEnd> {
    const opened = await openPipe();
    pipe = opened;
    if (closing) {
      opened.childEnd.destroy();
      opened.close();
      return { cause: because, frames: 0, ms: 0 };
    }
    try {
      child = spawnEncoder(opened);
    } catch (error) {
      opened.childEnd.destroy();
      opened.close();
      throw error;
    }
    warmUp.touch();
    const letGo = child.stdin && options.feed?.(child.stdin);
    const fetching: Timer | undefined = isFetched
      ? clock.every('encoder-fetch', FETCH_EVERY_MS, opened.resume)
      : undefined;
    const exit = await child.exited;
    fetching?.cancel();
    warmUp.close();
    letGo?.();
    gone = true;
    opened.resume();
    // What a dying encoder still wrote is read; of one that we stopped nothing is wanted.
    if (!closing && !because) await opened.ended;
    stall.close();
    opened.close();
    return { cause: causeOfEnd(exit), frames, ms: exit.ms };
  }
  function spawnEncoder({ childEnd }: MediaPipe): Child {
    return options.spawn({
      name: kind === 'video' ? 'picture-encoder' : 'sound-encoder',
      file: options.file,
      args: options.arguments(),
      stdin: options.feed ? 'pipe' : 'ignore',
      givenSockets: [childEnd],
      stopTimeoutMs: STOP_TIMEOUT_MS,
      onStderrLine: (line) => log.debug({ line }, 'encoder-says'),
    });
  }

  return {
    start() {
      if (started) return;
      started = true;
      if (closing) {
        settle({ cause: because, frames: 0, ms: 0 });
        return;
      }
      const failed = (error: unknown): EncoderEnd => ({
        cause: new GlasscastError('ENCODER_FAILED', { reason: errorText(error), cause: error }),
        frames,
        ms: 0,
      });
      void run().catch(failed).then(settle);
    },
    get pid() {
      return child?.pid;
    },
    fetch() {
      pipe?.resume();
    },
    ended,
    async close(cause) {
      if (cause) because ??= cause;
      closing = true;
      void child?.stop();
      if (started) await ended;
    },
  };
}

/** The machine has no process, descriptor or memory to spare just now: that passes, a missing program does not come. */
function isShortage(error: Error | undefined): boolean {
  const code = error && 'code' in error ? String(error.code) : '';
  return ['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM'].includes(code);
}
