import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPowerGauge, defaultBatteryLimits, defaultHeatLimits } from '../../device/publishing/power-limits.ts';

/** A reading each 2 s; undefined = the sensor said nothing. Gives what was said, as `code value`, and the shares left. */
function run(readings: { temperatureC?: number | undefined; percent?: number; isCharging?: boolean }[]) {
  const gauge = createPowerGauge(defaultHeatLimits, defaultBatteryLimits);
  const said: string[] = [];
  const shares: number[] = [];
  for (const [index, { temperatureC, percent, isCharging = false }] of readings.entries()) {
    const battery = percent === undefined ? undefined : { percent, isCharging };
    const { steps, stop } = gauge.sample({ atMs: index * 2_000, temperatureC, battery });
    for (const { code, value } of steps) said.push(`${code} ${value}`);
    shares.push(gauge.effortShare);
    if (!stop) continue;
    said.push(`stop ${stop.code} ${stop.value} at ${index * 2}`);
    break;
  }
  return { said, shares };
}
const hot = (...celsius: (number | undefined)[]) => run(celsius.map((temperatureC) => ({ temperatureC })));
const each = (value: number, times: number) => Array<number>(times).fill(value);
const empty = (...percents: number[]) => run(percents.map((percent) => ({ percent })));

describe('heat', () => {
  it('is told at 75 °C, halves the effort at 80, quarters it at 85, and lets go 5 below each', () => {
    const { said, shares } = hot(...each(74, 3), ...each(75, 3), ...each(80, 3), ...each(86, 3));
    expect(said).toEqual(['HEAT 75', 'HEAT 80', 'HEAT 86']);
    expect([...new Set(shares)]).toEqual([1, 0.5, 0.25]);
    const back = hot(...each(86, 3), ...each(81, 3), ...each(80, 3), ...each(76, 3), ...each(75, 3), ...each(70, 3));
    expect(back.said).toEqual(['HEAT 86', 'HEAT_RECOVERED 80', 'HEAT_RECOVERED 75', 'HEAT_RECOVERED 70']);
    expect(back.shares.at(-1)).toBe(1);
  });

  it('ends the stream after 10 s at 92 °C, not before, and not for a peak', () => {
    expect(hot(...each(93, 9)).said).toEqual(['HEAT 93', 'stop OVERHEATED 93 at 14']);
    expect(hot(...each(93, 6), ...each(91, 2), ...each(93, 5)).said).toEqual(['HEAT 93']);
  });

  it('is not moved by outliers, missing values and what cannot be', () => {
    expect(hot(60, 60, 140, 60, 60, undefined, 99, 60, -1, -273, 60, 1e9, Number.NaN, 60).said).toEqual([]);
    expect(hot(99, 99).said).toEqual([]);
  });

  it('does not flap around a limit', () => {
    const around = Array.from({ length: 200 }, (_, index) => 80 + 4 * Math.sin(index));
    expect(hot(...around).said.length).toBeLessThanOrEqual(2);
  });
});

describe('the battery', () => {
  it('halves the effort below 20 %, quarters it below 10, and ends the stream below 5', () => {
    const { said, shares } = empty(...each(20, 3), ...each(19, 3), ...each(9, 3), ...each(4, 3));
    expect(said).toEqual(['BATTERY_LOW 19', 'BATTERY_LOW 9', 'stop BATTERY_LOW 4 at 20']);
    expect([...new Set(shares)]).toEqual([1, 0.5, 0.25]);
  });

  it('recovers on a charger, 3 % above each limit', () => {
    const up = [4, 4, 4, 6, 9, 12, 13, 13, 16, 20, 22, 23, 23, 50];
    const { said, shares } = run(up.map((percent) => ({ percent, isCharging: true })));
    expect(said).toEqual(['BATTERY_LOW 4', 'BATTERY_RECOVERED 13', 'BATTERY_RECOVERED 23']);
    expect(shares.at(-1)).toBe(1);
  });

  it('takes a charger away only after three readings', () => {
    const at = (isCharging: boolean, times: number) =>
      Array.from({ length: times }, () => ({ percent: 3, isCharging }));
    expect(run([...at(true, 4), ...at(false, 2), ...at(true, 1), ...at(false, 2)]).said).toEqual(['BATTERY_LOW 3']);
    expect(run([...at(true, 4), ...at(false, 3)]).said).toEqual(['BATTERY_LOW 3', 'stop BATTERY_LOW 3 at 12']);
  });

  it('does not believe a single 0, nor -1', () => {
    expect(empty(50, 0, 50, 50, 0, -1, -1, -1, 50).said).toEqual([]);
    expect(empty(0, 0).said).toEqual([]);
  });
});

describe('heat and battery', () => {
  it('together leave what the stricter one leaves', () => {
    const { shares } = run(Array.from({ length: 3 }, () => ({ temperatureC: 81, percent: 8 })));
    expect(shares).toEqual([1, 1, 0.25]);
  });

  it('change at most as often as the median crosses a limit and its way back', () => {
    const reading = fc.record({
      temperatureC: fc.oneof(fc.double({ min: -300, max: 300 }), fc.double({ min: 70, max: 90, noNaN: true })),
      percent: fc.integer({ min: 6, max: 30 }),
    });
    fc.assert(
      fc.property(fc.array(reading, { maxLength: 60 }), (readings) => {
        const { said, shares } = run(readings);
        for (const share of shares) expect([1, 0.5, 0.25]).toContain(share);
        // Each kind goes up before it comes down.
        for (const [worse, better] of [
          ['HEAT ', 'HEAT_RECOVERED '],
          ['BATTERY_LOW ', 'BATTERY_RECOVERED '],
        ] as const) {
          const own = said.filter((text) => text.startsWith(worse) || text.startsWith(better));
          expect(own[0] ?? worse).toMatch(worse);
        }
      }),
    );
  });
});
