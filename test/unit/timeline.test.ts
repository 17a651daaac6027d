/** Darkness, delay per second and the rate that is back: what viewers notice, from moments of arrival. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { delayPerSecond, firstGap, longestGap, rateBackMs } from '../../scripts/bench/timeline.ts';

describe('longest gap', () => {
  it('lies between two arrivals, or between a bound and an arrival', () => {
    expect(longestGap([10, 20, 70, 80], 0, 100)).toEqual({ fromMs: 20, toMs: 70, ms: 50 });
    expect(longestGap([90], 0, 100)).toEqual({ fromMs: 0, toMs: 90, ms: 90 });
    expect(longestGap([10], 0, 100)).toEqual({ fromMs: 10, toMs: 100, ms: 90 });
  });
  it('is all of it when nothing arrives', () => {
    expect(longestGap([], 40, 100)).toEqual({ fromMs: 40, toMs: 100, ms: 60 });
    expect(longestGap([10, 130], 40, 100).ms).toBe(60);
  });
  it('is never shorter than an even spread and never longer than the bounds', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 1000 })), (times) => {
        const sorted = [...times].sort((a, b) => a - b);
        const { ms } = longestGap(sorted, 0, 1000);
        expect(ms).toBeGreaterThanOrEqual(1000 / (sorted.length + 1) - 1e-9);
        expect(ms).toBeLessThanOrEqual(1000);
      }),
    );
  });
});

it('the first gap that is long enough, not the longest', () => {
  expect(firstGap([10, 20, 50, 60, 160], 0, 170, 30)).toEqual({ fromMs: 20, toMs: 50, ms: 30 });
  expect(firstGap([10, 20], 0, 30, 11)).toBeUndefined();
});

describe('delay per second', () => {
  it('counts what arrived in each second from the zero, the one before it included', () => {
    const pictures = [
      { atMs: 4_500, delayMs: 40 },
      { atMs: 5_000, delayMs: 50 },
      { atMs: 5_400, delayMs: 70 },
      { atMs: 5_999, delayMs: 90 },
      { atMs: 9_000, delayMs: 1 },
    ];
    expect(delayPerSecond(pictures, 5_000, -1, 2)).toEqual([
      { second: -1, frames: 1, delayP50Ms: 40, delayMaxMs: 40 },
      { second: 0, frames: 3, delayP50Ms: 70, delayMaxMs: 90 },
      { second: 1, frames: 0, delayP50Ms: undefined, delayMaxMs: undefined },
    ]);
  });
});

describe('rate that is back', () => {
  const bits = (...each: number[]) => each.map((value, second) => ({ atMs: 1_000 + second * 1000, bits: value }));

  it('needs two whole seconds', () => {
    const question = { bitsPerSecond: 100, fromMs: 1_000, toMs: 7_000 };
    expect(rateBackMs(bits(50, 120, 50, 100, 110, 120), question)).toBe(3_000);
    expect(rateBackMs(bits(100, 100), question)).toBe(0);
    expect(rateBackMs(bits(50, 50, 50, 50, 50, 100), question)).toBeUndefined();
  });
  it('looks at no second that was not watched to its end', () => {
    expect(rateBackMs(bits(10, 200, 200), { bitsPerSecond: 100, fromMs: 1_000, toMs: 3_500 })).toBeUndefined();
  });
});
