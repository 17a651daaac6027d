import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createGovernor, type GovernorOptions } from '../../device/publishing/governor.ts';
import { floorOf, type PictureQuality } from '../../device/publishing/quality-ladder.ts';
import { streamNotice } from '../../shared/protocol/glasses-messages.ts';
import { type SimulationOptions, type SimulationRun, simulateUplink } from '../support/uplink-simulation.ts';

const hd: PictureQuality = { widthPx: 1280, heightPx: 720, frameRate: 30, videoBitrateBps: 2_000_000 };
const governor: GovernorOptions = { asked: hd, audioBitrateBps: 64_000 };
const WIDE_BPS = 10_000_000;
const minute = 60_000;

const simulate = (options: Partial<SimulationOptions>) =>
  simulateUplink({ governor, durationMs: 2 * minute, capacityBps: () => WIDE_BPS, ...options });
const codes = ({ changes }: SimulationRun) => changes.map(({ code }) => code);

describe('heat and battery', () => {
  const ramp = (atMs: number) => Math.floor(70 + Math.min(25, atMs / 4_000));

  it('heat: told, half the effort, a quarter, then the end', () => {
    const { decisions } = simulate({ temperatureC: ramp, durationMs: 3 * minute });
    expect(decisions.map(({ decision }) => (decision.kind === 'stop' ? decision : decision.notice))).toEqual([
      expect.objectContaining({ code: 'HEAT', text: '75 °C: picture stays at 2.00 Mbit/s, 1280x720, 30 frames/s' }),
      expect.objectContaining({ code: 'HEAT', text: '80 °C: picture goes to 1.00 Mbit/s, 1280x720, 15 frames/s' }),
      expect.objectContaining({
        code: 'HEAT',
        text: '85 °C: picture goes to 0.50 Mbit/s, 854x480, 15 frames/s',
        numbers: { temperatureC: 85, widthPx: 854, heightPx: 480, frameRate: 15, videoBitrateBps: 500_000 },
      }),
      { kind: 'stop', code: 'OVERHEATED', text: expect.stringMatching(/^9\d °C for too long$/) },
    ]);
  });

  it('heat: back to what was asked when it cools down', () => {
    const run = simulate({ temperatureC: (atMs) => (atMs < minute ? 81 : 60) });
    expect(codes(run)).toEqual(['HEAT', 'HEAT_RECOVERED']);
    expect(run.quality).toEqual(hd);
  });

  it('a battery that drains and is charged again', () => {
    const percent = (atMs: number) =>
      Math.round(atMs < 2 * minute ? 25 - atMs / 6_000 : 5 + (atMs - 2 * minute) / 6_000);
    const run = simulate({
      durationMs: 5 * minute,
      battery: (atMs) => ({ percent: percent(atMs), isCharging: atMs >= 2 * minute }),
    });
    expect(codes(run)).toEqual(['BATTERY_LOW', 'BATTERY_LOW', 'BATTERY_RECOVERED', 'BATTERY_RECOVERED']);
    expect(run.quality).toEqual(hd);
    expect(run.decisions.some(({ decision }) => decision.kind === 'stop')).toBe(false);
  });

  it('an empty battery ends the stream', () => {
    const run = simulate({ battery: (atMs) => ({ percent: atMs < 20_000 ? 8 : 4, isCharging: false }) });
    expect(run.decisions.at(-1)?.decision).toEqual({
      kind: 'stop',
      code: 'BATTERY_LOW',
      text: 'Battery at 4 %, no charger',
    });
  });

  it.each([
    ['milder than the uplink is told and changes nothing', 81, 'notice', { frameRate: 15 }],
    ['stricter than the uplink makes the picture smaller', 86, 'change', { widthPx: 854, frameRate: 15 }],
  ])('the strictest limit rules: heat %s', (_name, temperatureC, kind, picture) => {
    const run = simulate({
      capacityBps: () => 330_000,
      temperatureC: (atMs) => (atMs < 20_000 ? 50 : temperatureC),
      durationMs: 27_000,
      mode: 'live',
    });
    const hot = run.decisions.filter(({ decision }) => decision.kind !== 'stop' && decision.notice.code === 'HEAT');
    expect(hot.map(({ decision }) => decision.kind)).toEqual([kind]);
    expect(run.quality.videoBitrateBps).toBeLessThan(300_000);
    expect(run.quality).toMatchObject(picture);
  });

  it('uplink and heat: what heat holds down says nothing of the uplink', () => {
    const run = simulate({
      capacityBps: (atMs) => (atMs < 20_000 ? 1_200_000 : WIDE_BPS),
      temperatureC: (atMs) => (atMs > 10_000 && atMs < 80_000 ? 86 : 50),
      durationMs: 3 * minute,
      mode: 'live',
    });
    const recovered = run.changes.find(({ code }) => code === 'HEAT_RECOVERED');
    expect(recovered?.quality.videoBitrateBps).toBeLessThan(1_200_000);
    expect(run.quality).toEqual(hd);
  });
});

describe('properties', () => {
  const anyAsked: fc.Arbitrary<PictureQuality> = fc.constantFrom(
    hd,
    { widthPx: 1920, heightPx: 1080, frameRate: 30, videoBitrateBps: 4_000_000 },
    { widthPx: 640, heightPx: 360, frameRate: 24, videoBitrateBps: 800_000 },
    { widthPx: 720, heightPx: 1280, frameRate: 60, videoBitrateBps: 3_000_000 },
    { widthPx: 320, heightPx: 240, frameRate: 10, videoBitrateBps: 140_000 },
  );
  /** Capacity as a share of what was asked, each for some seconds; then wide for 3 min. */
  const anyCurve = fc.array(
    fc.record({ seconds: fc.integer({ min: 1, max: 40 }), share: fc.double({ min: 0, max: 3, noNaN: true }) }),
    { maxLength: 6 },
  );
  const anyRun = fc.record({
    asked: anyAsked,
    curve: anyCurve,
    mode: fc.constantFrom('live' as const, 'backfill' as const),
    roundTripMs: fc.constantFrom(0, 40, 150),
    keyFrameIntervalMs: fc.constantFrom(1_000, 2_000),
  });

  it('on any curve: between floor and asked, never two changes within 1 s, and back at the end', () => {
    fc.assert(
      fc.property(anyRun, ({ asked, curve, ...options }) => {
        const roughMs = curve.reduce((sum, { seconds }) => sum + seconds * 1_000, 0);
        const askedBps = asked.videoBitrateBps + 64_000;
        function capacityBps(atMs: number): number {
          let endMs = 0;
          for (const { seconds, share } of curve) {
            endMs += seconds * 1_000;
            if (atMs < endMs) return share * askedBps;
          }
          return 1.5 * askedBps;
        }
        const run = simulate({
          ...options,
          governor: { ...governor, asked, keyFrameIntervalMs: options.keyFrameIntervalMs },
          capacityBps,
          durationMs: roughMs + 3 * minute,
        });
        const floor = floorOf(asked);
        for (const [index, { atMs, quality }] of run.changes.entries()) {
          expect(atMs - (run.changes[index - 1]?.atMs ?? -1_000)).toBeGreaterThanOrEqual(1_000);
          for (const number of ['widthPx', 'heightPx', 'frameRate', 'videoBitrateBps'] as const) {
            expect(quality[number]).toBeGreaterThanOrEqual(floor[number]);
            expect(quality[number]).toBeLessThanOrEqual(asked[number]);
          }
        }
        expect(run.quality).toEqual(asked);
      }),
      { numRuns: 40 },
    );
  });

  it('on any samples at all: never throws, notices fit the protocol, numbers stay within what was asked', () => {
    const rate = fc.option(fc.integer({ min: 0, max: 20_000_000 }), { nil: undefined });
    const anySample = fc.record({
      stepMs: fc.integer({ min: 0, max: 3_000 }),
      isPublishing: fc.boolean(),
      queuedBytes: fc.integer({ min: 0, max: 2_000_000 }),
      backlogBytes: fc.integer({ min: 0, max: 2_000_000 }),
      deliveredBps: rate,
      isCatchingUp: fc.boolean(),
      skips: fc.integer({ min: 0, max: 5 }),
      narrowBps: rate,
      temperatureC: fc.option(fc.integer({ min: -10, max: 110 }), { nil: undefined }),
      percent: fc.option(fc.integer({ min: -1, max: 101 }), { nil: undefined }),
      isCharging: fc.boolean(),
    });
    fc.assert(
      fc.property(anyAsked, fc.array(anySample, { maxLength: 100 }), (asked, sequence) => {
        const subject = createGovernor({ ...governor, asked });
        let atMs = 0;
        for (const { stepMs, temperatureC, percent, isCharging, ...uplink } of sequence) {
          atMs += stepMs;
          const before = subject.quality;
          const decision = subject.sample({
            atMs,
            uplink: { ...uplink, backlogMs: 0 },
            ...(temperatureC === undefined ? {} : { temperatureC }),
            ...(percent === undefined ? {} : { battery: { percent, isCharging } }),
          });
          if (decision?.kind !== 'change') expect(subject.quality).toEqual(before);
          else expect(decision.quality).toEqual(subject.quality);
          if (decision && decision.kind !== 'stop')
            expect(streamNotice.parse(decision.notice)).toEqual(decision.notice);
          expect(subject.quality.videoBitrateBps).toBeLessThanOrEqual(asked.videoBitrateBps);
        }
      }),
    );
  });
});
