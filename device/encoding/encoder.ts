/**
 * One run of ffmpeg: captures and encodes until stopped or dead, and hands out FLV tags as they come.
 * Knows nothing of RTMP, streams or retries; its end carries a cause.
 */
import type { Socket } from 'node:net';
import type { Child, ChildExit, SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError, errorText, GlasscastError } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import { AmfEcmaArray, encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import { createFlvParser, type FlvTag } from '../../shared/rtmp/flv.ts';
import type { EncoderSettings } from '../../shared/stream.ts';
import type { CaptureSource } from '../capture/capture-source.ts';
import { encoderArguments } from './encoder-arguments.ts';
import { causeOf } from './ffmpeg-causes.ts';
import { type MediaPipe, openMediaPipe } from './media-pipe.ts';

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
  /** Settles once it was started and is gone; never rejects. */
  readonly ended: Promise<EncoderEnd>;
  close(): Promise<void>;
}

/** How often a flowing picture restarts the stall clock. */
const PROGRESS_EVERY_MS = 500;
/** ffmpeg ends within 20 ms of SIGINT when it is well. */
const STOP_TIMEOUT_MS = 1000;
/** From this rate on sound is fetched with the pictures: one wake-up instead of two and a half for each. */
const RIDING_FRAME_RATE = 24;
/** Sound is fetched this often without any picture, else a full pipe would hold ffmpeg and with it the next picture. */
const SOUND_EVERY_MS = 500;

export function createEncoder(options: EncoderOptions): Encoder {
  const { clock, log, source } = options;
  let child: Child | undefined;
  let audio: MediaPipe | undefined;
  let started = false;
  let closing = false;
  let gone = false;
  let broken: GlasscastError | undefined;
  let frames = 0;
  let progressedMs = 0;
  let settle: (end: EncoderEnd) => void = () => {};
  const ended = new Promise<EncoderEnd>((resolve) => {
    settle = resolve;
  });

  function take(tag: FlvTag): void {
    // ffmpeg describes each pipe by itself; ours describes both.
    if (tag.kind === 'script' || closing) return;
    if (tag.kind === 'video') sawPicture();
    options.onTag(tag);
  }
  function sawPicture(): void {
    frames += 1;
    audio?.resume();
    const nowMs = clock.monotonicMs();
    if (nowMs - progressedMs < PROGRESS_EVERY_MS) return;
    progressedMs = nowMs;
    child?.progressed();
  }
  function openPipe(goOn: boolean): Promise<MediaPipe> {
    const parser = createFlvParser({ onTag: take });
    return openMediaPipe((bytes) => {
      try {
        if (!broken) parser.push(bytes);
      } catch (error) {
        broken = asGlasscastError(error);
        void child?.stop();
      }
      return goOn || gone;
    });
  }
  function causeOfEnd({ end, lastLines }: ChildExit): GlasscastError | undefined {
    if (closing) return undefined;
    if (broken) return broken;
    if (end === 'stalled') return new GlasscastError('ENCODER_STALLED');
    if (end === 'not-started') return new GlasscastError('FFMPEG_MISSING', { reason: options.binary.file });
    return causeOf(lastLines, source);
  }
  async function run(): Promise<EncoderEnd> {
    const rides = options.settings.frameRate >= RIDING_FRAME_RATE;
    const pipes = await Promise.all([openPipe(true), openPipe(!rides)]);
    const [video, sound] = pipes;
    audio = sound;
    if (closing) {
      for (const pipe of pipes) {
        pipe.childEnd.destroy();
        pipe.close();
      }
      return { cause: undefined, frames: 0, ms: 0 };
    }
    options.onTag(metadataTag(options.settings));
    child = spawnEncoder([video.childEnd, sound.childEnd]);
    if (source.kind === 'rawvideo') source.attach(child.stdin);
    const fetching = clock.every('encoder-sound', SOUND_EVERY_MS, sound.resume);
    const exit = await child.exited;
    fetching.cancel();
    if (source.kind === 'rawvideo') source.attach(undefined);
    gone = true;
    sound.resume();
    // What a dying encoder still wrote is read; of one that we stopped nothing is wanted.
    if (!closing) await Promise.all(pipes.map((pipe) => pipe.ended));
    for (const pipe of pipes) pipe.close();
    return { cause: causeOfEnd(exit), frames, ms: exit.ms };
  }
  function spawnEncoder(givenSockets: Socket[]): Child {
    return options.spawn({
      name: 'encoder',
      file: options.binary.file,
      args: encoderArguments({ ...options, nowMs: clock.now() }),
      stdin: source.kind === 'rawvideo' ? 'pipe' : 'ignore',
      givenSockets,
      stopTimeoutMs: STOP_TIMEOUT_MS,
      stallTimeoutMs: options.stallTimeoutMs ?? 10_000,
      onStderrLine: (line) => log.debug({ line }, 'encoder-says'),
    });
  }

  return {
    start() {
      if (started || closing) return;
      started = true;
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
    ended,
    async close() {
      closing = true;
      void child?.stop();
      if (started) await ended;
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
