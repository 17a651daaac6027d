/**
 * Command lines around a camera: the capture's, and what an encoder run reads or copies its pictures with. Pure functions;
 * ffmpeg 4.1 and later, rpicam-vid and its older name libcamera-vid.
 */
import type { CaptureMode } from './camera-modes.ts';
import type { CameraName } from './cameras.ts';

export interface CaptureOptions {
  camera: CameraName;
  mode: CaptureMode;
  /** Of H.264 that the camera makes; V4L2 cameras have their own. */
  keyFrameIntervalMs: number;
  videoBitrateBps: number;
}

/** Nothing to find out about these inputs: reading ahead would only delay the first frame. */
const NO_PROBING = ['-probesize', '32', '-analyzeduration', '0'];
const sizeOf = ({ widthPx, heightPx }: CaptureMode) => `${widthPx}x${heightPx}`;

/** ffmpeg's arguments: pictures as the camera gives them, on standard output. */
export function v4l2CaptureArguments({ camera, mode }: CaptureOptions): string[] {
  return [
    ...['-hide_banner', '-nostdin', '-nostats', '-loglevel', 'level+info', ...v4l2Input(mode), '-i', camera.device],
    // Copied: an encoder for raw pictures would hold each back for a frame's time (5.1 gives it several threads).
    ...['-map', '0:v:0', '-c:v', 'copy', '-flush_packets', '1', '-f', formatOf(mode), 'pipe:1'],
  ];
}

function v4l2Input(mode: CaptureMode): string[] {
  const shape = ['-framerate', String(mode.frameRate), '-video_size', sizeOf(mode)];
  return [...NO_PROBING, '-f', 'v4l2', '-input_format', mode.pixelFormat, ...shape];
}

/** mpjpeg tells each JPEG's length before it. */
function formatOf({ pixelFormat }: CaptureMode): string {
  if (pixelFormat === 'h264') return 'h264';
  return pixelFormat === 'mjpeg' ? 'mpjpeg' : 'rawvideo';
}

/** rpicam-vid's arguments: raw pictures or H.264 with its parameter sets before each key frame, on standard output. */
export function libcameraCaptureArguments({
  camera,
  mode,
  keyFrameIntervalMs,
  videoBitrateBps,
}: CaptureOptions): string[] {
  const { widthPx, heightPx, frameRate, pixelFormat } = mode;
  const intra = Math.max(1, Math.round((keyFrameIntervalMs * frameRate) / 1000));
  const codec =
    pixelFormat === 'h264'
      ? [
          ...['--codec', 'h264', '--profile', 'baseline', '--inline', '--intra', String(intra)],
          ...['--bitrate', String(videoBitrateBps)],
        ]
      : ['--codec', 'yuv420'];
  return [
    ...['--camera', camera.device, '--nopreview', '--timeout', '0', '--width', String(widthPx)],
    ...['--height', String(heightPx), '--framerate', String(frameRate), ...codec, '--flush', '--output', '-'],
  ];
}

/** What an encoder run reads a feed's pictures with: stands before `-i pipe:0`. */
export function feedInputArguments(mode: CaptureMode): string[] {
  if (mode.pixelFormat === 'h264') return [...NO_PROBING, '-f', 'h264', '-framerate', String(mode.frameRate)];
  // Not `-f mjpeg`: that sees a picture's end only when the next begins, one frame later.
  if (mode.pixelFormat === 'mjpeg') return [...NO_PROBING, '-f', 'mpjpeg'];
  const shape = ['-pixel_format', mode.pixelFormat, '-video_size', sizeOf(mode)];
  return [...NO_PROBING, '-f', 'rawvideo', ...shape, '-framerate', String(mode.frameRate)];
}

export interface PassthroughArguments {
  /** Stand before `-i URL`. */
  inputOptions: string[];
  /** The camera itself (V4L2), or `pipe:0`, where a feed of this mode writes (libcamera). */
  url: string;
  outputOptions: string[];
}

/**
 * How an encoder run copies a camera's H.264 onto our timeline: each picture is stamped with the wall clock when it is read,
 * less the epoch. Measured over a pipe: within 2 ms of its arrival; from `pipe:0` a picture leaves one frame's time later,
 * when the next shows that it is whole.
 */
export function passthroughArguments(
  { driver, device }: CameraName,
  mode: CaptureMode,
  epochMs: number,
): PassthroughArguments {
  const wallClock = ['-use_wallclock_as_timestamps', '1'];
  const isPiped = driver === 'libcamera';
  return {
    inputOptions: [...wallClock, ...(isPiped ? feedInputArguments(mode) : v4l2Input(mode))],
    url: isPiped ? 'pipe:0' : device,
    outputOptions: [...['-map', '0:v:0', '-c:v', 'copy', '-copyts', '-output_ts_offset', (-epochMs / 1000).toFixed(3)]],
  };
}
