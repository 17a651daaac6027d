/**
 * What v4l2-ctl, ffmpeg and rpicam-vid print about cameras, read into modes. Pure functions over text of programs that differ
 * by version: what is not understood is left out, nothing throws. Never runs a program.
 */

/** One way a camera can deliver pictures. */
export interface CameraMode {
  /** In ffmpeg's words: `h264`, `mjpeg`, `yuyv422`, `nv12`, `yuv420p`, … */
  pixelFormat: string;
  /** Of a range of sizes the largest. */
  widthPx: number;
  heightPx: number;
  /** Set when the camera takes any size from the smallest on, in these steps. */
  sizes?: SizeRange;
  /** Pictures per second, highest first. Undefined: the listing does not tell. */
  frameRates: number[] | undefined;
  /** Rates between the lowest and the highest are taken too. */
  isAnyRate?: boolean;
}

export interface SizeRange {
  minWidthPx: number;
  minHeightPx: number;
  stepWidthPx: number;
  stepHeightPx: number;
}

/** A V4L2 node as v4l2-ctl describes it. */
export interface V4l2Listing {
  /** "HD Pro Webcam C920"; empty when not told. */
  name: string;
  /** Takes pictures itself and can be read by ffmpeg: no metadata, no codec, no part of an image processor's graph. */
  isCamera: boolean;
  modes: CameraMode[];
}

export interface LibcameraListing {
  /** What `--camera` takes. */
  index: number;
  /** Of the sensor: "imx708_wide". */
  name: string;
  modes: CameraMode[];
}

/** The kernel's four letters → ffmpeg's names, as far as its v4l2 input reads them (libavdevice/v4l2-common.c). */
const FOURCCS: ReadonlyMap<string, string> = new Map([
  ['H264', 'h264'],
  ['MJPG', 'mjpeg'],
  ['JPEG', 'mjpeg'],
  ['YUYV', 'yuyv422'],
  ['UYVY', 'uyvy422'],
  ['NV12', 'nv12'],
  ['YU12', 'yuv420p'],
  ['422P', 'yuv422p'],
  ['RGB3', 'rgb24'],
  ['BGR3', 'bgr24'],
  ['GREY', 'gray'],
]);
const FORMATS: ReadonlySet<string> = new Set(FOURCCS.values());

/** Pictures per second; beyond it stands nonsense. */
const MAX_RATE = 1000;
/** linux/videodev2.h. */
const CAPABILITY = { capture: 0x1, memoryToMemory: 0x8000, memoryToMemoryPlanes: 0x4000, mediaController: 0x20000000 };
/** Image processors and codecs of the Raspberry Pi that call themselves capture devices. */
const NO_CAMERAS = /^(bcm2835-(codec|isp)|pispbe|rp1-cfe|rpi-?hevc|rpivid)/i;

/** Whether a node's name tells that it is no camera. */
export function isNoCamera(name: string): boolean {
  return NO_CAMERAS.test(name);
}

/** Of `v4l2-ctl --info --list-formats-ext`, versions 1.12 to 1.28. */
export function parseV4l2Ctl(lines: readonly string[]): V4l2Listing {
  const first = (key: string) => {
    const pattern = new RegExp(`^\\s*${key}\\s*:\\s*(.*)$`);
    return lines.map((line) => pattern.exec(line)?.[1]?.trim()).find((value) => value !== undefined) ?? '';
  };
  const capabilities = Number.parseInt(first('Device Caps') || first('Capabilities'), 16);
  const name = first('Card type');
  const isCapture =
    (capabilities & CAPABILITY.capture) !== 0 &&
    (capabilities & (CAPABILITY.memoryToMemory | CAPABILITY.memoryToMemoryPlanes | CAPABILITY.mediaController)) === 0;
  const modes = parseFormats(lines);
  const isCamera = isCapture && !isNoCamera(name) && !isNoCamera(first('Driver name')) && modes.length > 0;
  return { name, isCamera, modes };
}

function parseFormats(lines: readonly string[]): CameraMode[] {
  const modes: CameraMode[] = [];
  let pixelFormat: string | undefined;
  let mode: CameraMode | undefined;
  for (const line of lines) {
    const fourcc = /^\s*(?:\[\d+\]:|Pixel Format\s*:)\s*'([^']*)'/.exec(line)?.[1];
    if (fourcc !== undefined) {
      pixelFormat = FOURCCS.get(fourcc.trimEnd());
      mode = undefined;
    }
    const size = pixelFormat === undefined ? undefined : parseSize(line);
    if (size && pixelFormat !== undefined) {
      mode = { pixelFormat, ...size, frameRates: undefined };
      modes.push(mode);
    }
    if (mode) addInterval(mode, line);
  }
  return merged(modes);
}

function parseSize(line: string): Omit<CameraMode, 'pixelFormat' | 'frameRates'> | undefined {
  const range = /Size: (?:Stepwise|Continuous) (\d+)x(\d+) - (\d+)x(\d+)(?: with step (\d+)\/(\d+))?/.exec(line);
  if (range) {
    const [minWidthPx, minHeightPx, widthPx, heightPx, stepWidthPx, stepHeightPx] = range
      .slice(1)
      .map((text) => Number(text ?? 1));
    return sized(widthPx, heightPx, { minWidthPx, minHeightPx, stepWidthPx, stepHeightPx });
  }
  const [, width, height] = /Size: Discrete (\d+)x(\d+)/.exec(line) ?? [];
  return width === undefined ? undefined : sized(Number(width), Number(height));
}

type Loose<T> = { [Key in keyof T]: T[Key] | undefined };

/** Undefined for sizes that no camera has: 0, or beyond what a frame's buffer may hold. */
function sized(
  widthPx: number | undefined,
  heightPx: number | undefined,
  range?: Loose<SizeRange>,
): Omit<CameraMode, 'pixelFormat' | 'frameRates'> | undefined {
  const isSize = (px: number | undefined): px is number => px !== undefined && px >= 1 && px <= 16_384;
  if (!isSize(widthPx) || !isSize(heightPx)) return undefined;
  if (!range) return { widthPx, heightPx };
  const sizes = {
    minWidthPx: Math.max(1, range.minWidthPx ?? 1),
    minHeightPx: Math.max(1, range.minHeightPx ?? 1),
    stepWidthPx: Math.max(1, range.stepWidthPx ?? 1),
    stepHeightPx: Math.max(1, range.stepHeightPx ?? 1),
  };
  return sizes.minWidthPx > widthPx || sizes.minHeightPx > heightPx ? undefined : { widthPx, heightPx, sizes };
}

function addInterval(mode: CameraMode, line: string): void {
  const [, low, high] = /Interval: (?:Stepwise|Continuous) .*\(([\d.]+)-([\d.]+) fps\)/.exec(line) ?? [];
  const [, only] = /Interval: Discrete .*\(([\d.]+) fps\)/.exec(line) ?? [];
  const rates = [low, high, only].map(Number).filter((rate) => rate > 0 && rate <= MAX_RATE);
  if (rates.length === 0) return;
  mode.frameRates = highestFirst([...(mode.frameRates ?? []), ...rates]);
  if (rates.length === 2) mode.isAnyRate = true;
}

const highestFirst = (rates: readonly number[]) => [...new Set(rates)].sort((a, b) => b - a);

/** Cameras list the same size twice when it comes in two kinds of USB packets. */
function merged(modes: readonly CameraMode[]): CameraMode[] {
  const byKey = new Map<string, CameraMode>();
  for (const mode of modes) {
    const { frameRates, ...rest } = mode;
    const key = JSON.stringify(rest);
    const before = byKey.get(key)?.frameRates;
    const rates = before || frameRates ? highestFirst([...(before ?? []), ...(frameRates ?? [])]) : undefined;
    byKey.set(key, { ...rest, frameRates: rates });
  }
  return [...byKey.values()];
}

/** Of `ffmpeg -f v4l2 -list_formats all -i X` (standard error, 4.1 to 7): sizes, no rates. */
export function parseFfmpegFormats(lines: readonly string[]): CameraMode[] {
  const modes = lines.flatMap((line): CameraMode[] => {
    const [, pixelFormat = '', sizes = ''] = /\b(?:Raw|Compressed)\s*:\s*(\w+) :.* :( .*)$/.exec(line) ?? [];
    if (!FORMATS.has(pixelFormat)) return [];
    return [...sizes.matchAll(/\{(\d+)-(\d+), (\d+)\}x\{(\d+)-(\d+), (\d+)\}|(\d+)x(\d+)/g)].flatMap((found) => {
      const [minWidthPx, maxWidthPx, stepWidthPx, minHeightPx, maxHeightPx, stepHeightPx, width, height] = found
        .slice(1)
        .map((text) => (text === undefined ? undefined : Number(text)));
      const size =
        width === undefined
          ? sized(maxWidthPx, maxHeightPx, { minWidthPx, minHeightPx, stepWidthPx, stepHeightPx })
          : sized(width, height);
      return size ? [{ pixelFormat, ...size, frameRates: undefined }] : [];
    });
  });
  return merged(modes);
}

/**
 * rpicam-vid pads lines of raw pictures and says so nowhere: other widths would come out skewed. Up to the Raspberry Pi 4 to 64
 * bytes; the Pi 5 does the same to the lines of colour, which are half as long (libpisp, compute_stride_align).
 */
const LIBCAMERA_RAW_STEP_PX = 128;
/** The encoder of a Raspberry Pi 4, as the data sheet has it. */
const LIBCAMERA_H264_MAX = { widthPx: 1920, heightPx: 1080 };

/** By this name the kernel lists the H.264 encoder of a Raspberry Pi up to 4. */
export const PI_ENCODER = 'bcm2835-codec-encode';

/**
 * Of `rpicam-vid --list-cameras` or `libcamera-vid --list-cameras`. The image processor scales a sensor's mode down to any
 * size and slows it to any rate, so each becomes a range of raw pictures and, where the board has an encoder, one of H.264.
 * @param hasEncoder see PI_ENCODER. Without it (Raspberry Pi 5) rpicam-vid asks libx264, which writes nothing to a pipe without a
 *   format named, and holds pictures back; our own run of it does neither.
 */
export function parseLibcameraList(lines: readonly string[], hasEncoder: boolean): LibcameraListing[] {
  const cameras: LibcameraListing[] = [];
  for (const line of lines) {
    const [, index, name] = /^(\d+)\s*:\s*(\S+)/.exec(line) ?? [];
    if (index !== undefined && name !== undefined) {
      cameras.push({ index: Number(index), name, modes: [] });
      continue;
    }
    const camera = cameras.at(-1);
    if (!camera || !/^\s/.test(line)) continue;
    const sensorModes = line.matchAll(/(?<![/x\d])(\d+)x(\d+)(?: [[(]([\d.]+) fps)?(?![\dx]| crop)/g);
    for (const [, width, height, rate] of sensorModes) {
      const ofSensor = libcameraModes(Number(width), Number(height), Number(rate));
      camera.modes.push(...ofSensor.filter(({ pixelFormat }) => hasEncoder || pixelFormat !== 'h264'));
    }
  }
  return cameras.map((camera) => ({ ...camera, modes: merged(camera.modes) }));
}

function libcameraModes(widthPx: number, heightPx: number, rate: number): CameraMode[] {
  const isRate = rate > 0 && rate <= MAX_RATE;
  const rates = isRate
    ? { frameRates: highestFirst([rate, Math.min(rate, 1)]), isAnyRate: true }
    : { frameRates: undefined };
  const rawWidthPx = widthPx - (widthPx % LIBCAMERA_RAW_STEP_PX);
  const evenHeightPx = heightPx - (heightPx % 2);
  const raw = sized(rawWidthPx, evenHeightPx, {
    minWidthPx: LIBCAMERA_RAW_STEP_PX,
    minHeightPx: 64,
    stepWidthPx: LIBCAMERA_RAW_STEP_PX,
    stepHeightPx: 2,
  });
  const coded = sized(
    Math.min(widthPx - (widthPx % 2), LIBCAMERA_H264_MAX.widthPx),
    Math.min(evenHeightPx, LIBCAMERA_H264_MAX.heightPx),
    { minWidthPx: 64, minHeightPx: 64, stepWidthPx: 2, stepHeightPx: 2 },
  );
  return [
    ...(coded ? [{ pixelFormat: 'h264', ...coded, ...rates }] : []),
    ...(raw ? [{ pixelFormat: 'yuv420p', ...raw, ...rates }] : []),
  ];
}
