/**
 * What picture to encode when less is allowed than was asked: bitrate first, then frame rate, then size, down to a floor.
 * Pure numbers; why less is allowed, and for how long, is the governor's.
 */
import type { EncoderSettings } from '../../shared/stream.ts';

/** The part of the settings that may change while a stream goes on. */
export type PictureQuality = Pick<EncoderSettings, 'widthPx' | 'heightPx' | 'frameRate' | 'videoBitrateBps'>;

export interface QualityLimits {
  videoBitrateBps: number;
  /** Of the asked pixels per second and of the asked bitrate; above 0, at most 1. Default 1. */
  effortShare?: number;
}

/** Below these a picture is of no use. What was asked below them stays as it was asked. */
const qualityFloor = { widthPx: 320, frameRate: 10, videoBitrateBps: 150_000 } as const;

/** H.264 of a head-worn camera falls apart below this: 1280x720 at 30 frames/s needs 398 kbit/s. */
const MIN_BITS_PER_PIXEL = 0.0144;
/** Each nearly divides the usual camera rates, so that pictures left out are left out evenly. */
const RATE_DIVISORS = [1, 1.5, 2, 3, 4];
/** Motion breaks into single pictures below this, which is worse than a smaller picture. */
const SMOOTH_FRAME_RATE = 12;
const SIZE_SHARES = [3 / 4, 2 / 3, 1 / 2, 3 / 8, 1 / 3, 1 / 4];

/**
 * The picture to encode. Each of its numbers grows with each limit and is never above what was asked; asked for again with
 * the same limits of bitrate, it stays. With limits that leave all that was asked, it is exactly that.
 */
export function qualityWithin(
  asked: PictureQuality,
  { videoBitrateBps, effortShare = 1 }: QualityLimits,
): PictureQuality {
  const allowedBps = Math.min(videoBitrateBps, asked.videoBitrateBps * effortShare);
  const floorBps = floorOf(asked).videoBitrateBps;
  const bitrateBps = Math.max(floorBps, Math.min(asked.videoBitrateBps, Math.floor(allowedBps)));
  const askedEffort = effortOf(asked);
  // An app may ask for fewer bits per pixel than we would: then less bitrate is less effort in proportion.
  const bitsPerPixel = Math.min(MIN_BITS_PER_PIXEL, asked.videoBitrateBps / askedEffort);
  // The second keeps a rounding error from costing a rung when nothing is limited.
  const maxEffort = Math.min(bitrateBps / bitsPerPixel, askedEffort * effortShare) * (1 + 1e-9);
  const rungs = rungsOf(asked);
  const rung = rungs.find((candidate) => effortOf(candidate) <= maxEffort) ?? rungs.at(-1);
  return { ...asked, ...rung, videoBitrateBps: bitrateBps };
}

/** The least that `qualityWithin` ever gives for this: size, rate and bitrate each. */
export function floorOf(asked: PictureQuality): PictureQuality {
  return {
    ...sizeOfWidth(asked, Math.min(asked.widthPx, qualityFloor.widthPx)),
    frameRate: Math.min(asked.frameRate, qualityFloor.frameRate),
    videoBitrateBps: Math.min(asked.videoBitrateBps, qualityFloor.videoBitrateBps),
  };
}

export function isSameQuality(one: PictureQuality, other: PictureQuality): boolean {
  return (
    one.widthPx === other.widthPx &&
    one.heightPx === other.heightPx &&
    one.frameRate === other.frameRate &&
    one.videoBitrateBps === other.videoBitrateBps
  );
}

type Size = Pick<PictureQuality, 'widthPx' | 'heightPx'>;
type Rung = Size & Pick<PictureQuality, 'frameRate'>;

/** Pixels per second: what encoding costs, in heat and in bits. */
function effortOf({ widthPx, heightPx, frameRate }: Rung): number {
  return widthPx * heightPx * frameRate;
}

/** From what was asked downwards; no number grows from one rung to the next. */
function rungsOf(asked: PictureQuality): Rung[] {
  const rates = RATE_DIVISORS.map((divisor) => Math.floor(asked.frameRate / divisor)).filter(
    (rate) => rate >= SMOOTH_FRAME_RATE && rate < asked.frameRate,
  );
  const slow = rates.at(-1) ?? asked.frameRate;
  const floor = floorOf(asked);
  const sizes = SIZE_SHARES.map((share) => sizeOfWidth(asked, asked.widthPx * share)).filter(
    ({ widthPx }) => widthPx > floor.widthPx,
  );
  return [
    asked,
    ...rates.map((frameRate) => ({ ...asked, frameRate })),
    ...sizes.map((size) => ({ ...size, frameRate: slow })),
    { ...floor, frameRate: slow },
    floor,
  ].map(({ widthPx, heightPx, frameRate }) => ({ widthPx, heightPx, frameRate }));
}

/** Even numbers, as H.264 4:2:0 needs them, with the shape of what was asked. */
function sizeOfWidth(asked: Size, widthPx: number): Size {
  if (widthPx >= asked.widthPx) return { widthPx: asked.widthPx, heightPx: asked.heightPx };
  const width = even(widthPx);
  return { widthPx: width, heightPx: Math.min(asked.heightPx, even((width * asked.heightPx) / asked.widthPx)) };
}

function even(value: number): number {
  return Math.max(2, 2 * Math.round(value / 2));
}
