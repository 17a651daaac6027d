/** Moments of arrival turned into what a viewer notices: how long it was dark, and each second's delay and frame rate. Pure. */
import { median, rounded } from './measuring.ts';

export interface TimedPicture {
  atMs: number;
  delayMs: number;
}

export interface Gap {
  /** When the last picture before it came, and the first one after; the bounds where there was none. */
  fromMs: number;
  toMs: number;
  ms: number;
}

/** The longest time within the bounds without an arrival. @param atMs ascending */
export function longestGap(atMs: readonly number[], fromMs: number, toMs: number): Gap {
  const none: Gap = { fromMs, toMs: fromMs, ms: 0 };
  return gaps(atMs, fromMs, toMs).reduce((longest, gap) => (gap.ms > longest.ms ? gap : longest), none);
}

/** The first one that lasts so long; undefined when none does. */
export function firstGap(atMs: readonly number[], fromMs: number, toMs: number, atLeastMs: number): Gap | undefined {
  return gaps(atMs, fromMs, toMs).find(({ ms }) => ms >= atLeastMs);
}

/** In order. The picture that stood when the bounds began counts from then on only. */
function gaps(atMs: readonly number[], fromMs: number, toMs: number): Gap[] {
  const ends = [...atMs.filter((at) => at > fromMs && at < toMs), toMs];
  return ends.map((end, index) => {
    const begin = ends[index - 1] ?? fromMs;
    return { fromMs: begin, toMs: end, ms: end - begin };
  });
}

export interface SecondOfDelay {
  /** Counted from the zero; it may be negative. */
  second: number;
  /** Pictures that arrived in it. */
  frames: number;
  /** Of these; undefined when none arrived. */
  delayP50Ms: number | undefined;
  delayMaxMs: number | undefined;
}

/** Seconds `first` to `last`, the last one excluded, each with what arrived in it. */
export function delayPerSecond(
  pictures: readonly TimedPicture[],
  zeroMs: number,
  first: number,
  last: number,
): SecondOfDelay[] {
  const bySecond = new Map<number, number[]>();
  for (const { atMs, delayMs } of pictures) {
    const second = Math.floor((atMs - zeroMs) / 1000);
    bySecond.set(second, [...(bySecond.get(second) ?? []), delayMs]);
  }
  return Array.from({ length: Math.max(0, last - first) }, (_, index) => {
    const second = first + index;
    const delays = bySecond.get(second) ?? [];
    const isEmpty = delays.length === 0;
    return {
      second,
      frames: delays.length,
      delayP50Ms: isEmpty ? undefined : rounded(median(delays)),
      delayMaxMs: isEmpty ? undefined : rounded(Math.max(...delays)),
    };
  });
}

/**
 * When the rate has come back: begin of the first stretch of `heldSeconds` whole seconds from `fromMs` on that all bring at
 * least `bitsPerSecond`; undefined when none does before `toMs`.
 */
export function rateBackMs(
  arrivals: readonly { atMs: number; bits: number }[],
  {
    bitsPerSecond,
    fromMs,
    toMs,
    heldSeconds = 2,
  }: { bitsPerSecond: number; fromMs: number; toMs: number; heldSeconds?: number },
): number | undefined {
  const seconds = Array.from({ length: Math.max(0, Math.floor((toMs - fromMs) / 1000)) }, () => 0);
  for (const { atMs, bits } of arrivals) {
    const index = Math.floor((atMs - fromMs) / 1000);
    if (index >= 0 && index < seconds.length) seconds[index] = (seconds[index] ?? 0) + bits;
  }
  const index = seconds.findIndex((_, from) => {
    const held = seconds.slice(from, from + heldSeconds);
    return held.length === heldSeconds && held.every((bits) => bits >= bitsPerSecond);
  });
  return index < 0 ? undefined : index * 1000;
}
