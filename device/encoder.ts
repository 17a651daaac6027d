/**
 * One run of ffmpeg: captures and encodes until stopped or dead, and hands out FLV tags as they come.
 * Knows nothing of RTMP, streams or retries; its end carries a cause.
 */
import type { Child, ChildExit, SpawnChild } from '../shared/child-process.ts';
import { onLines } from '../shared/child-process.ts';
import type { Clock } from '../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../shared/errors.ts';
import type { FfmpegBinary } from '../shared/ffmpeg-binary.ts';
import type { Log } from '../shared/log.ts';
import { AmfEcmaArray, encodeAmf0 } from '../shared/rtmp/amf0.ts';
import { createFlvParser, type FlvTag } from '../shared/rtmp/flv.ts';
import type { EncoderSettings } from '../shared/stream.ts';
import type { CaptureSource } from './capture-source.ts';
import { encoderArguments } from './encoder-arguments.ts';
import { causeOf } from './ffmpeg-causes.ts';

export interface EncoderOptions {
  clock: Clock;
  spawn: SpawnChild;
  log: Log;
  binary: FfmpegBinary;
  source: CaptureSource;
  /** Of a file source. */
  hasAudio: boolean;
  settings: EncoderSettings;
  /** Wall clock at time stamp 0 of all tags. */
  epochMs: number;
  /** Picture and sound each in order; between the two, up to 50 ms out of it. The first is onMetaData. */
  onTag: (tag: FlvTag) => void;
  /** Killed when no picture comes for this long. Default 10000: cameras warm up. */
  stallTimeoutMs?: number;
}

export interface EncoderEnd {
  /** Undefined: we stopped it. */
  cause: GlasscastError | undefined;
  /** Pictures it made. */
  frames: number;
  ms: number;
}

export interface Encoder {
  start(): void;
  readonly pid: number | undefined;
  /** Pictures that ffmpeg itself left out. */
  readonly droppedFrames: number;
  /** Settles once it was started and is gone; never rejects. */
  readonly ended: Promise<EncoderEnd>;
  close(): Promise<void>;
}

/** How often a flowing picture restarts the stall clock. */
const PROGRESS_EVERY_MS = 500;
/** ffmpeg ends within 20 ms of SIGINT when it is well. */
const STOP_TIMEOUT_MS = 1000;

export function createEncoder(options: EncoderOptions): Encoder {
  const { clock, log, source } = options;
  let child: Child | undefined;
  let closing = false;
  let broken: GlasscastError | undefined;
  let frames = 0;
  let droppedFrames = 0;
  let progressedMs = 0;
  let settle: (end: EncoderEnd) => void = () => {};
  const ended = new Promise<EncoderEnd>((resolve) => {
    settle = resolve;
  });

  function take(tag: FlvTag): void {
    // ffmpeg describes each pipe by itself; ours describes both.
    if (tag.kind === 'script' || closing) return;
    if (tag.kind === 'video') {
      frames += 1;
      const nowMs = clock.monotonicMs();
      if (nowMs - progressedMs >= PROGRESS_EVERY_MS) {
        progressedMs = nowMs;
        child?.progressed();
      }
    }
    options.onTag(tag);
  }
  function read(pipe: NodeJS.ReadableStream | undefined): void {
    const parser = createFlvParser({ onTag: take });
    pipe?.on('data', (bytes: Buffer) => {
      if (broken) return;
      try {
        parser.push(bytes);
      } catch (error) {
        broken = asGlasscastError(error);
        void child?.stop();
      }
    });
  }
  function causeOfEnd({ end, lastLines }: ChildExit): GlasscastError | undefined {
    if (closing) return undefined;
    if (broken) return broken;
    if (end === 'stalled') return new GlasscastError('ENCODER_STALLED');
    if (end === 'not-started') return new GlasscastError('FFMPEG_MISSING', { reason: options.binary.file });
    return causeOf(lastLines, source);
  }
  function start(): void {
    if (child || closing) return;
    const args = encoderArguments({ ...options, nowMs: clock.now() });
    options.onTag(metadataTag(options.settings));
    child = options.spawn({
      name: 'encoder',
      file: options.binary.file,
      args,
      stdin: source.kind === 'rawvideo' ? 'pipe' : 'ignore',
      stdout: 'raw',
      extraPipes: 2,
      stopTimeoutMs: STOP_TIMEOUT_MS,
      stallTimeoutMs: options.stallTimeoutMs ?? 10_000,
      onStderrLine: (line) => log.debug({ line }, 'encoder-says'),
    });
    const [progress, audio] = child.pipes;
    read(child.stdout);
    read(audio);
    if (progress) {
      onLines(progress, (line) => {
        const [key, value] = line.split('=');
        if (key === 'drop_frames') droppedFrames = Number(value) || 0;
      });
    }
    if (source.kind === 'rawvideo') source.attach(child.stdin);
    void child.exited.then((exit) => {
      if (source.kind === 'rawvideo') source.attach(undefined);
      settle({ cause: causeOfEnd(exit), frames, ms: exit.ms });
    });
  }

  return {
    start,
    get pid() {
      return child?.pid;
    },
    get droppedFrames() {
      return droppedFrames;
    },
    ended,
    async close() {
      closing = true;
      await child?.stop();
    },
  };
}

/** What players and ingests may want to know before the first picture. Rates in kbit/s: Adobe's FLV specification. */
function metadataTag(settings: EncoderSettings): FlvTag {
  const fields = new AmfEcmaArray({
    width: settings.widthPx,
    height: settings.heightPx,
    framerate: settings.frameRate,
    videocodecid: 7,
    videodatarate: settings.videoBitrateBps / 1000,
    audiocodecid: 10,
    audiodatarate: settings.audioBitrateBps / 1000,
    audiosamplerate: settings.sampleRateHz,
    audiosamplesize: 16,
    stereo: false,
    encoder: 'Glasscast',
  });
  return { kind: 'script', timestampMs: 0, body: encodeAmf0('onMetaData', fields) };
}
