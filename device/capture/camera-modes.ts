/**
 * Which of a camera's modes to take for the settings asked for, and why, in words for people. A pure policy: ranks all usable
 * modes; opens nothing.
 */
import type { EncoderSettings } from '../../shared/stream.ts';
import type { CameraMode } from './camera-listings.ts';

export type WantedPicture = Pick<
  EncoderSettings,
  'widthPx' | 'heightPx' | 'frameRate' | 'keyFrameIntervalMs' | 'videoBitrateBps'
>;

/** What the camera is told: one size, one rate. */
export interface CaptureMode {
  /** `h264`: passed through as it is; `mjpeg` or one of ffmpeg's raw formats: encoded here. */
  pixelFormat: string;
  widthPx: number;
  heightPx: number;
  /** Asked of the camera; it may be the nearest it has. */
  frameRate: number;
}

export interface RankedMode extends CaptureMode {
  /** The camera's own H.264 is sent on: no encoder of ours. */
  isPassthrough: boolean;
  /** False: the camera was told `frameRate`, and may give another. */
  isRateKnown: boolean;
  /** A clause for people: "raw, at the size and rate asked for". */
  why: string;
}

interface Candidate extends CaptureMode {
  isRateKnown: boolean;
}

/** A camera's 29.97 is the 30 that was asked for. */
const SAME_RATE = 0.98;
/**
 * Bytes a second of raw pictures beyond which MJPEG costs less: they pass two pipes on a small board. 1280x720 of yuyv422 at
 * 30/s, 55 MB/s, is within.
 */
const SANE_RAW_BYTES_PER_S = 64_000_000;
/** Bytes per pixel of the raw formats we read; of those equal otherwise the first, which libx264 takes as it is. */
const RAW_FORMATS: ReadonlyMap<string, number> = new Map([
  ['yuv420p', 1.5],
  ['nv12', 1.5],
  ['yuyv422', 2],
  ['uyvy422', 2],
  ['yuv422p', 2],
  ['gray', 1],
  ['rgb24', 3],
  ['bgr24', 3],
]);

/** Undefined: not a raw format that we read. */
export function rawFrameBytes({ pixelFormat, widthPx, heightPx }: Omit<CaptureMode, 'frameRate'>): number | undefined {
  const bytesPerPixel = RAW_FORMATS.get(pixelFormat);
  return bytesPerPixel === undefined ? undefined : widthPx * heightPx * bytesPerPixel;
}

/**
 * All modes that can be used, best first. H.264 of exactly the size and rate is sent on; else the smallest size that has
 * what is asked for, at a rate that reaches it, raw before MJPEG while its bandwidth is sane; else what comes nearest. H.264
 * of another size or rate is last: it cannot be changed here. Without colour only when there is nothing else.
 */
export function rankModes(
  { modes, driver }: { modes: readonly CameraMode[]; driver?: 'v4l2' | 'libcamera' },
  wanted: WantedPicture,
): RankedMode[] {
  const candidates = modes.filter(isUsable).map((mode) => fitted(mode, wanted));
  const unique = [...new Map(candidates.map((each) => [JSON.stringify(each), each])).values()];
  return unique
    .map((candidate) => ({ candidate, score: scoreOf(candidate, wanted) }))
    .sort((a, b) => compare(a.score, b.score))
    .map(({ candidate }) => ranked(candidate, candidates, wanted, driver === 'v4l2'));
}

function isUsable({ pixelFormat, widthPx, heightPx }: CameraMode): boolean {
  if (pixelFormat === 'h264' || pixelFormat === 'mjpeg') return true;
  const bytes = rawFrameBytes({ pixelFormat, widthPx, heightPx });
  return bytes !== undefined && Number.isInteger(bytes);
}

function fitted(mode: CameraMode, wanted: WantedPicture): Candidate {
  const { pixelFormat, sizes, frameRates } = mode;
  const widthPx = sizes ? stepUp(wanted.widthPx, sizes.minWidthPx, sizes.stepWidthPx, mode.widthPx) : mode.widthPx;
  const heightPx = sizes
    ? stepUp(wanted.heightPx, sizes.minHeightPx, sizes.stepHeightPx, mode.heightPx)
    : mode.heightPx;
  const frameRate = frameRates ? rateFor(frameRates, mode.isAnyRate ?? false, wanted.frameRate) : wanted.frameRate;
  return { pixelFormat, widthPx, heightPx, frameRate, isRateKnown: frameRates !== undefined };
}

/** The smallest step at or above what is wanted, within the range. */
function stepUp(wanted: number, min: number, step: number, max: number): number {
  const steps = Math.max(0, Math.ceil((wanted - min) / step));
  const above = min + steps * step;
  return above <= max ? above : min + Math.floor((max - min) / step) * step;
}

/** The lowest that reaches what is wanted, else the highest. */
function rateFor(rates: readonly number[], isAnyRate: boolean, wanted: number): number {
  const highest = Math.max(...rates);
  const lowest = Math.min(...rates);
  if (isAnyRate) return Math.min(highest, Math.max(lowest, wanted));
  const reaching = rates.filter((rate) => rate >= wanted * SAME_RATE);
  return reaching.length > 0 ? Math.min(...reaching) : highest;
}

const isSameSize = (mode: CaptureMode, wanted: WantedPicture) =>
  mode.widthPx === wanted.widthPx && mode.heightPx === wanted.heightPx;
const isSameRate = ({ frameRate }: CaptureMode, wanted: WantedPicture) =>
  frameRate >= wanted.frameRate * SAME_RATE && frameRate * SAME_RATE <= wanted.frameRate;
const isSize = (mode: CaptureMode, wanted: WantedPicture) =>
  mode.widthPx >= wanted.widthPx && mode.heightPx >= wanted.heightPx;

/** Numbers to compare one after the other; lower is better. */
function scoreOf(mode: Candidate, wanted: WantedPicture): number[] {
  return [
    isColourless(mode) ? 1 : 0,
    h264Score(mode, wanted),
    shortfall(mode, wanted),
    mode.widthPx * mode.heightPx,
    formatCost(mode),
    mode.frameRate,
    mode.isRateKnown ? 0 : 1,
    -mode.widthPx,
    [...RAW_FORMATS.keys()].indexOf(mode.pixelFormat),
  ];
}

const isColourless = ({ pixelFormat }: CaptureMode) => pixelFormat === 'gray';

function h264Score(mode: Candidate, wanted: WantedPicture): number {
  if (mode.pixelFormat !== 'h264') return 0;
  return mode.isRateKnown && isSameSize(mode, wanted) && isSameRate(mode, wanted) ? -1 : 1;
}

/** 0: all that was asked for. Motion counts more than sharpness: half the rate is worse than half the pixels. */
function shortfall(mode: CaptureMode, wanted: WantedPicture): number {
  const size = Math.min(1, mode.widthPx / wanted.widthPx) * Math.min(1, mode.heightPx / wanted.heightPx);
  const rate = mode.frameRate >= wanted.frameRate * SAME_RATE ? 1 : mode.frameRate / wanted.frameRate;
  return 1 - Math.sqrt(size) * rate;
}

function formatCost(mode: CaptureMode): number {
  const bytes = rawFrameBytes(mode);
  if (bytes === undefined) return 1;
  return bytes * mode.frameRate <= SANE_RAW_BYTES_PER_S ? 0 : 2;
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const difference = value - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function ranked(
  mode: Candidate,
  all: readonly Candidate[],
  wanted: WantedPicture,
  keepsOwnKeyFrames: boolean,
): RankedMode {
  const { pixelFormat, widthPx, heightPx, frameRate, isRateKnown } = mode;
  const isPassthrough = pixelFormat === 'h264';
  const clauses = [
    formatWords(mode, all, wanted),
    sizeWords(mode, wanted, isPassthrough),
    rateWords(mode, wanted, isPassthrough),
    ...(isPassthrough && keepsOwnKeyFrames ? ['key frames and bitrate are its own'] : []),
  ];
  return { pixelFormat, widthPx, heightPx, frameRate, isPassthrough, isRateKnown, why: clauses.join('; ') };
}

function formatWords(mode: Candidate, all: readonly Candidate[], wanted: WantedPicture): string {
  if (mode.pixelFormat === 'h264') {
    return h264Score(mode, wanted) < 0
      ? 'H.264 of exactly the size and rate, sent on as the camera made it, nothing to encode'
      : 'H.264 that would be sent on as the camera made it, whatever was asked for';
  }
  if (isColourless(mode)) return 'raw, without colour, as nothing else is left';
  if (mode.pixelFormat !== 'mjpeg') {
    return formatCost(mode) === 0 ? 'raw, nothing to decode' : 'raw, but much to carry for a small board';
  }
  const hasSize = ({ widthPx, heightPx }: Candidate) => widthPx >= mode.widthPx && heightPx >= mode.heightPx;
  const raw = all.filter((each) => rawFrameBytes(each) !== undefined && !isColourless(each) && hasSize(each));
  if (raw.length === 0) return 'MJPEG, as nothing raw has this size';
  const fastest = Math.max(...raw.map(({ frameRate }) => frameRate));
  return fastest < mode.frameRate * SAME_RATE
    ? `MJPEG, as raw pictures of this size come at ${round(fastest)}/s only`
    : 'MJPEG, as raw pictures would be larger';
}

function sizeWords(mode: CaptureMode, wanted: WantedPicture, isPassthrough: boolean): string {
  if (isSameSize(mode, wanted)) return 'the size asked for';
  const asked = `${wanted.widthPx}x${wanted.heightPx}`;
  if (!isSize(mode, wanted)) return `smaller than the ${asked} asked for`;
  return isPassthrough ? `larger than the ${asked} asked for` : `scaled down to ${asked}`;
}

function rateWords(mode: Candidate, wanted: WantedPicture, isPassthrough: boolean): string {
  const asked = `${round(wanted.frameRate)}/s`;
  if (!mode.isRateKnown) return 'its rate is not known before it runs';
  if (isSameRate(mode, wanted)) return 'the rate asked for';
  if (mode.frameRate < wanted.frameRate) return `slower than the ${asked} asked for`;
  return isPassthrough ? `faster than the ${asked} asked for` : `pictures beyond ${asked} are left out`;
}

const round = (rate: number) => Math.round(rate * 100) / 100;
