import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chartPaths, GAP_MS, roundTop } from '../../cloud/console/chart-scaling.ts';
import { createFigureHistory, WINDOW_MS } from '../../cloud/console/figure-history.ts';
import type { StreamFigures } from '../../cloud/console/relay-shapes.ts';

const frame = { widthPx: 100, heightPx: 40, fromMs: 0, toMs: 10_000, leastTop: 1 };

describe('a chart', () => {
  it('goes from the left to the right and from the bottom to the top', () => {
    const samples = [0, 5000, 10_000].map((atMs, at) => ({ atMs, value: at * 5 }));
    expect(chartPaths(samples, frame)).toEqual({
      top: 10,
      line: 'M0 40L50 20L100 0',
      area: 'M0 40L0 40L50 20L100 0L100 40Z',
    });
  });
  it('breaks where nothing is known, and leaves out what is outside', () => {
    const wide = { ...frame, toMs: 100_000 };
    const samples = [-1, 0, 1000, 1000 + GAP_MS + 1, 100_001].map((atMs) => ({ atMs, value: 1 }));
    expect(chartPaths(samples, wide).line.match(/M/g)).toHaveLength(2);
  });
  it('is empty without samples', () => {
    expect(chartPaths([], frame)).toEqual({ top: 1, line: '', area: '' });
  });
  it('stays inside its frame, whatever is measured', () => {
    const sample = fc.record({
      atMs: fc.integer({ min: -5000, max: 15_000 }),
      value: fc.double({ min: -1e9, max: 1e12, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 60 }), fc.constantFrom(0, 20), (samples, bottom) => {
        const sorted = [...samples].sort((one, other) => one.atMs - other.atMs);
        const { area, line, top } = chartPaths(sorted, { ...frame, bottom });
        const points = [...`${line}${area}`.matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g)].map(([, x, y]) => [
          Number(x),
          Number(y),
        ]);
        expect(points.every(([x = -1, y = -1]) => x >= 0 && x <= 100 && y >= 0 && y <= 40)).toBe(true);
        expect(`${line}${area}`).not.toMatch(/NaN|Infinity/);
        expect(top).toBeGreaterThan(0);
      }),
    );
  });
  it('has a round number at its edge that is not below the highest value', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-3, max: 1e12, noNaN: true }), (value) => {
        const top = roundTop(value);
        expect(top).toBeGreaterThanOrEqual(value * (1 - 1e-6));
        expect(top).toBeLessThanOrEqual(value * 1.4);
      }),
    );
    expect([roundTop(0), roundTop(Number.NaN), roundTop(1_900_000), roundTop(30)]).toEqual([1, 1, 2_000_000, 30]);
  });
});

describe('the history of figures', () => {
  const stream = (stats?: StreamFigures, temperatureC?: number) => ({
    ...{ streamId: 'm1', userId: 'a@x', state: 'active' as const },
    ...(stats ? { stats } : {}),
    ...(temperatureC === undefined ? {} : { temperatureC }),
  });
  const values = (history: ReturnType<typeof createFigureHistory>, name: 'drops' | 'bitrate' | 'temperature') =>
    history.samples('m1', name).map(({ value }) => value);

  it('turns the count of drops into drops since the last word, also over a new start', () => {
    const history = createFigureHistory();
    for (const [at, droppedFrames] of [10, 12, 12, 3].entries()) {
      history.take(stream({ droppedFrames, duration: at }), at * 1000);
    }
    expect(values(history, 'drops')).toEqual([0, 2, 0, 3]);
  });
  it('takes the same figures once, and those that are there without the others', () => {
    const history = createFigureHistory();
    history.take(stream({ bitrate: 1 }), 0);
    history.take(stream({ bitrate: 1 }), 1000);
    history.take(stream({ bitrate: 2 }, 61), 2000);
    history.take(stream(), 3000);
    expect([values(history, 'bitrate'), values(history, 'temperature'), values(history, 'drops')]).toEqual([
      [1, 2],
      [61],
      [],
    ]);
  });
  it('keeps five minutes, of a bounded number of streams', () => {
    const history = createFigureHistory();
    for (let at = 0; at <= 400; at += 1) history.take(stream({ bitrate: at }), at * 1000);
    const kept = history.samples('m1', 'bitrate');
    expect(kept.at(0)?.atMs).toBe(400_000 - WINDOW_MS);
    for (let at = 0; at < 300; at += 1) history.take({ ...stream({ bitrate: at }), streamId: `x${at}` }, 500_000);
    expect(history.samples('m1', 'bitrate')).toEqual([]);
    expect(history.samples('x299', 'bitrate')).toHaveLength(1);
  });
});
