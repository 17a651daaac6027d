/**
 * One capture process, its frames to any number of encoder runs at once: so a camera that only one process can open still
 * allows a new run to take over from an old one. Owns the process; never encodes, never opens the camera again by itself.
 */
import { access } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { Child, ChildExit, SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import { createWatchdog } from '../../shared/keep-alive.ts';
import type { Log } from '../../shared/log.ts';
import { causeOf } from '../encoding/ffmpeg-causes.ts';
import {
  type CaptureOptions,
  feedInputArguments,
  libcameraCaptureArguments,
  v4l2CaptureArguments,
} from './camera-commands.ts';
import { createFrameCutter, createFrameFanOut, createFramePool } from './camera-frames.ts';
import type { CaptureMode } from './camera-modes.ts';
import { findLibcameraProgram } from './cameras.ts';

export interface CameraFeedOptions extends CaptureOptions {
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  binary: Pick<FfmpegBinary, 'file'>;
  /** Where rpicam-vid is looked for, as in PATH; default: ours. */
  programs?: string | undefined;
  /** A frame came, of H.264 a piece of one. */
  onFrame?: () => void;
  /**
   * Killed when no frame comes for this long: until the first (default 10000: ffmpeg has to start and
   * cameras warm up), and later (default 2000, sooner
   * than an encoder run that gets nothing is taken for stalled).
   */
  firstTimeoutMs?: number;
  stallTimeoutMs?: number;
}

export interface CameraFeedEnd {
  /** Undefined: we stopped it. CAMERA_NOT_FOUND (also when unplugged), CAMERA_BUSY, CAPTURE_FORBIDDEN, CAMERA_SILENT, … */
  cause: GlasscastError | undefined;
  frames: number;
}

export interface CameraFeed {
  readonly mode: CaptureMode;
  /** What an encoder run reads the frames with: stands before `-i pipe:0`. */
  readonly inputArguments: string[];
  /** Whole frames go to this sink from now on, as long as it has room. Returns what ends that. */
  attach(sink: Writable): () => void;
  /** Settles when the capture is gone; never rejects. */
  readonly ended: Promise<CameraFeedEnd>;
  readonly pid: number | undefined;
  readonly frames: number;
  /** Frames that sinks were too busy for, all sinks together. */
  readonly dropped: number;
  close(): Promise<void>;
}

/** How often flowing frames restart the stall clock. */
const PROGRESS_EVERY_MS = 250;
const FIRST_TIMEOUT_MS = 10_000;
const STALL_MS = 2_000;
/** At one frame a second two seconds of silence are no stall. */
const STALL_FRAMES = 3;
const STOP_TIMEOUT_MS = 1000;

/** Starts the capture at once; what goes wrong is told by `ended`. */
export function openCameraFeed(options: CameraFeedOptions): CameraFeed {
  const { mode, clock, log } = options;
  const fanOut = createFrameFanOut(mode);
  let frames = 0;
  let progressedMs = 0;
  let broken: string | undefined;
  let closing = false;
  let hasStalled = false;
  const stallTimeoutMs = options.stallTimeoutMs ?? Math.max(STALL_MS, (STALL_FRAMES * 1000) / mode.frameRate);
  const stall = createWatchdog({ clock, name: 'capture-silent', timeoutMs: stallTimeoutMs, onExpired: stalled });
  const cutter = createFrameCutter({
    mode,
    pool: createFramePool(),
    onFrame(frame) {
      frames += 1;
      fanOut.take(frame);
      options.onFrame?.();
      const nowMs = clock.monotonicMs();
      if (nowMs - progressedMs < PROGRESS_EVERY_MS) return;
      progressedMs = nowMs;
      child?.progressed();
      stall.touch();
    },
  });

  function onLine(line: string): void {
    // rpicam-vid tells of every frame.
    if (/^#\d+ \(/.test(line)) return;
    log.debug({ line }, 'capture-says');
    // Frames of another size would be read as rubbish.
    if (/driver changed the video from/i.test(line)) breakOff(line);
  }
  function stalled(): void {
    log.warn({ pid: child?.pid, frames, stallTimeoutMs }, 'capture-stalled');
    hasStalled = true;
    child?.kill();
  }
  function breakOff(reason: string): void {
    broken ??= reason;
    void child?.stop();
  }
  function take(bytes: Buffer): void {
    if (broken !== undefined || closing) return;
    try {
      cutter.push(bytes);
    } catch (error) {
      breakOff(errorText(error));
    }
  }
  async function causeOfEnd(exit: ChildExit): Promise<GlasscastError | undefined> {
    if (closing) return undefined;
    if (broken !== undefined) return new GlasscastError('ENCODER_FAILED', { reason: broken });
    return causeOfCapture(hasStalled ? { ...exit, end: 'stalled' } : exit, options);
  }

  const child = startCapture(options, onLine);
  child?.stdout?.on('data', take);
  const ended = (async (): Promise<CameraFeedEnd> => {
    if (!child)
      return { cause: new GlasscastError('CAMERA_NOT_FOUND', { reason: 'rpicam-vid is not installed' }), frames: 0 };
    const exit = await child.exited;
    stall.close();
    return { cause: await causeOfEnd(exit), frames };
  })();

  return {
    mode,
    inputArguments: feedInputArguments(mode),
    attach: fanOut.attach,
    ended,
    pid: child?.pid,
    get frames() {
      return frames;
    },
    get dropped() {
      return fanOut.dropped;
    },
    async close() {
      closing = true;
      void child?.stop();
      await ended;
    },
  };
}

function startCapture(options: CameraFeedOptions, onLine: (line: string) => void): Child | undefined {
  const isV4l2 = options.camera.driver === 'v4l2';
  const file = isV4l2 ? options.binary.file : findLibcameraProgram(options.programs);
  if (file === undefined) return undefined;
  return options.spawn({
    name: 'capture',
    file,
    args: isV4l2 ? v4l2CaptureArguments(options) : libcameraCaptureArguments(options),
    stdout: 'raw',
    stopTimeoutMs: STOP_TIMEOUT_MS,
    stallTimeoutMs: options.firstTimeoutMs ?? FIRST_TIMEOUT_MS,
    onStderrLine: onLine,
  });
}

async function causeOfCapture(exit: ChildExit, { camera, binary }: CameraFeedOptions): Promise<GlasscastError> {
  const name = camera.driver === 'v4l2' ? camera.device : `libcamera:${camera.device}`;
  if (exit.end === 'not-started') {
    return new GlasscastError('FFMPEG_MISSING', { reason: camera.driver === 'v4l2' ? binary.file : 'rpicam-vid' });
  }
  const source = { kind: 'camera', ...camera, device: name, microphone: { kind: 'silence' } } as const;
  const cause = causeOf(exit.lastLines, source);
  if (cause.code !== 'ENCODER_FAILED') return cause;
  // Unplugged: some drivers only fall silent, or end the stream as if it were complete.
  if (camera.driver === 'v4l2' && !(await isThere(camera.device))) {
    return new GlasscastError('CAMERA_NOT_FOUND', { reason: camera.device });
  }
  return exit.end === 'stalled' ? new GlasscastError('CAMERA_SILENT', { reason: name }) : cause;
}

async function isThere(device: string): Promise<boolean> {
  return access(device).then(
    () => true,
    () => false,
  );
}
