/** Percentiles, goals and lost frames: the arithmetic behind every printed number. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  describeMachine,
  goal,
  median,
  missingFrames,
  percentile,
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
