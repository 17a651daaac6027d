/** Percentiles, goals and lost frames: the arithmetic behind every printed number. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  describeMachine,
  goal,
  goalAtLeast,
  median,
  missingFrames,
  percentile,
  slope,
  summaries,
  summary,
} from '../../scripts/bench/measuring.ts';

describe('percentiles', () => {
  it('interpolates between neighbours', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(percentile([10, 20], 0.95)).toBeCloseTo(19.5);
    expect(percentile([7], 0.95)).toBe(7);
    expect(percentile([], 0.5)).toBeNaN();
  });
  it('stays between the smallest and the largest, and never falls as the share grows', () => {
    const samples = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1 });
    fc.assert(
      fc.property(samples, fc.double({ min: 0, max: 1, noNaN: true }), (values, share) => {
        const value = percentile(values, share);
        expect(value).toBeGreaterThanOrEqual(Math.min(...values));
        expect(value).toBeLessThanOrEqual(Math.max(...values));
        expect(percentile(values, Math.min(1, share + 0.1))).toBeGreaterThanOrEqual(value);
      }),
    );
  });
  it('summarises, and says nothing about nothing', () => {
    expect(summary([1, 2, 3, 4.04])).toEqual({ n: 4, min: 1, p50: 2.5, p95: 3.9, max: 4 });
    expect(summary([])).toBeUndefined();
    expect(summaries([{ a: 1, b: undefined }, { a: 3 }])).toEqual({
      a: { n: 2, min: 1, p50: 2, p95: 2.9, max: 3 },
      b: undefined,
    });
  });
});

describe('goals', () => {
  it('is met at the limit and missed beyond it', () => {
    expect(goal('x', 70, 70)).toEqual({ name: 'x', measured: 70, atMost: 70, unit: 'ms', met: true });
    expect(goal('x', 70.01, 70).met).toBe(false);
  });
  it('is not met by what was not measured', () => {
    expect(goal('x', undefined, 70)).toEqual({ name: 'x', measured: undefined, atMost: 70, unit: 'ms', met: false });
    expect(goal('x', Number.NaN, 70).met).toBe(false);
  });
});

describe('frames', () => {
  it('names the missing ones, both ends included', () => {
    expect(missingFrames(new Set([1, 2, 4, 6]), 1, 6)).toEqual([3, 5]);
    expect(missingFrames(new Set(), 5, 4)).toEqual([]);
  });
});

it('describes the machine', () => {
  expect(describeMachine()).toMatchObject({ node: process.version, cores: expect.any(Number) });
});

describe('slope', () => {
  const each10s = (value: (hour: number) => number) =>
    Array.from({ length: 360 }, (_, index) => ({ atMs: index * 10_000, value: value((index * 10) / 3_600) }));

  it('is exact on a line, and says how sure it is', () => {
    const line = slope(each10s((hour) => 60 + 4 * hour));
    expect(line?.perHour).toBeCloseTo(4);
    expect(line?.errorPerHour).toBeCloseTo(0);
    const noisy = slope(each10s((hour) => 60 + Math.sin(hour * 1e4)));
    expect(Math.abs(noisy?.perHour ?? 1)).toBeLessThan(3 * (noisy?.errorPerHour ?? 0));
  });
  it('is that of any line, whatever its height and begin', () => {
    const small = fc.integer({ min: -1000, max: 1000 });
    fc.assert(
      fc.property(small, small, fc.integer({ min: 0, max: 1e9 }), (perHour, height, beginMs) => {
        const samples = each10s((hour) => height + perHour * hour).map(({ atMs, value }) => ({
          atMs: atMs + beginMs,
          value,
        }));
        expect(slope(samples)?.perHour).toBeCloseTo(perHour, 3);
      }),
    );
  });
  it('needs three samples at different times', () => {
    expect(slope(each10s(() => 1).slice(0, 2))).toBeUndefined();
    expect(slope([1, 2, 3].map((value) => ({ atMs: 5, value })))).toBeUndefined();
  });
});

it('a goal from below is met from its number on, and never without a measurement', () => {
  expect(goalAtLeast('rate', 29, 29, 'frames/s')).toEqual({
    name: 'rate',
    measured: 29,
    atLeast: 29,
    unit: 'frames/s',
    met: true,
  });
  expect(goalAtLeast('rate', 28.9, 29, 'frames/s').met).toBe(false);
  expect(goalAtLeast('rate', undefined, 29, 'frames/s')).toMatchObject({ measured: undefined, met: false });
});
