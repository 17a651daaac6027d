import { describe, expect, it } from 'vitest';
import {
  createGovernor,
  type Governor,
  type GovernorDecision,
  type GovernorOptions,
  type GovernorSample,
} from '../../device/publishing/governor.ts';
import type { PictureQuality } from '../../device/publishing/quality-ladder.ts';
import { medianOf, type SimulationOptions, type SimulationRun, simulateUplink } from '../support/uplink-simulation.ts';

const hd: PictureQuality = { widthPx: 1280, heightPx: 720, frameRate: 30, videoBitrateBps: 2_000_000 };
const governor: GovernorOptions = { asked: hd, audioBitrateBps: 64_000 };
const WIDE_BPS = 10_000_000;
const minute = 60_000;

const simulate = (options: Partial<SimulationOptions>) =>
  simulateUplink({ governor, durationMs: 2 * minute, capacityBps: () => WIDE_BPS, ...options });
const codes = ({ changes }: SimulationRun) => changes.map(({ code }) => code);
const count = (run: SimulationRun, code: string) => codes(run).filter((each) => each === code).length;
function delays({ pictures }: SimulationRun, fromMs: number, toMs: number): number[] {
  return pictures.filter(({ atMs }) => atMs >= fromMs && atMs < toMs).map(({ delayMs }) => delayMs);
}
/** The most changes in any minute. */
function changesPerMinute({ changes }: SimulationRun): number {
  return Math.max(
    0,
    ...changes.map(({ atMs }) => changes.filter((c) => c.atMs >= atMs && c.atMs < atMs + minute).length),
  );
}

describe('an uplink squeezed to 800 kbit/s for 30 s under a stream of 2 Mbit/s', () => {
  const squeezed = (atMs: number) => (atMs >= 10_000 && atMs < 40_000 ? 800_000 : WIDE_BPS);

  it.each(['live', 'backfill'] as const)('is answered at once, at full rate and size, and left again; %s', (mode) => {
    const run = simulate({ capacityBps: squeezed, mode });
    const [first] = run.changes;
    expect(first?.atMs).toBeLessThanOrEqual(11_500);
    expect(first?.text).toBe(
      'Uplink 0.80 Mbit/s under the 2.06 asked: picture goes to 0.52 Mbit/s, 1280x720, 30 frames/s',
    );
    expect(count(run, 'UPLINK_NARROW')).toBeLessThanOrEqual(2);
    for (const { quality } of run.changes)
      expect(quality).toMatchObject({ widthPx: 1280, heightPx: 720, frameRate: 30 });
    expect(run.qualityAt(40_000 + minute)).toEqual(hd);
    expect(run.quality).toEqual(hd);
  });

  it('leaves no queue: live soon, backfill once it has caught up', () => {
    expect(medianOf(delays(simulate({ capacityBps: squeezed, mode: 'live' }), 13_000, 40_000))).toBeLessThan(150);
    expect(medianOf(delays(simulate({ capacityBps: squeezed }), 25_000, 40_000))).toBeLessThan(150);
  });

  it('tells of the frames that the push drops, not more than once in 2 s', () => {
    const { decisions } = simulate({ capacityBps: squeezed, mode: 'live' });
    const dropped = decisions.filter(({ decision }) => decision.kind === 'notice');
    expect(dropped[0]?.decision).toEqual({
      kind: 'notice',
      notice: {
        code: 'FRAMES_DROPPED',
        text: 'Uplink too narrow: dropped to the next key frame',
        numbers: { skips: 1 },
      },
    });
    for (const [index, { atMs }] of dropped.entries()) {
      expect(atMs - (dropped[index - 1]?.atMs ?? -2_000)).toBeGreaterThanOrEqual(2_000);
    }
  });

  it.each([50, 100, 200, 400])('is seen for what it is over a way of %d ms', (roundTripMs) => {
    const run = simulate({ capacityBps: squeezed, roundTripMs, mode: 'live' });
    expect(count(run, 'UPLINK_NARROW')).toBeLessThanOrEqual(2);
    expect(run.qualityAt(40_000 + minute)).toEqual(hd);
  });
});

describe('what is no narrow uplink', () => {
  it.each([
    ['a wide one', {}],
    ['a wide one over a long way', { roundTripMs: 400 }],
    [
      'key frames each 2 s on an uplink a tenth wider than the stream',
      { keyFrameIntervalMs: 2_000, capacityBps: () => 2_370_000 },
    ],
    ['3 s without any delivery', { capacityBps: (atMs: number) => (atMs >= 10_000 && atMs < 13_000 ? 0 : 4_000_000) }],
    [
      'the same on an uplink with little to spare',
      { capacityBps: (atMs: number) => (atMs >= 10_400 && atMs < 13_400 ? 0 : 2_600_000) },
    ],
    [
      '3 s without a connection',
      { isConnected: (atMs: number) => atMs < 10_000 || atMs >= 13_000, capacityBps: () => 4_000_000 },
    ],
    [
      '20 s without a connection',
      { isConnected: (atMs: number) => atMs < 10_000 || atMs >= 30_000, capacityBps: () => 4_000_000 },
    ],
    [
      'a scene at rest and one in motion, over a long way',
      {
        capacityBps: () => 3_500_000,
        roundTripMs: 200,
        sizeNoise: (atMs: number) => (atMs % 20_000 < 10_000 ? 0.2 : 1 + 0.3 * Math.sin(atMs)),
      },
    ],
    ['hiccups of half a second', { capacityBps: (atMs: number) => (atMs % 7_000 < 500 ? 0 : 4_000_000) }],
  ] satisfies [string, Partial<SimulationOptions>][])('%s', (_name, options) => {
    expect(simulate(options).changes).toEqual([]);
  });
});

it.each([500, 1_000, 1_500, 2_000, 2_500, 3_000])(
  'a pause of %d ms, wherever it begins, is no narrow uplink',
  (pauseMs) => {
    for (const mode of ['live', 'backfill'] as const) {
      for (const roundTripMs of [0, 60, 200]) {
        for (let fromMs = 10_000; fromMs < 11_000; fromMs += 230) {
          const run = simulate({
            mode,
            roundTripMs,
            durationMs: 25_000,
            capacityBps: (atMs) => (atMs >= fromMs && atMs < fromMs + pauseMs ? 0 : 4_000_000),
          });
          expect(run.changes, `${mode} ${roundTripMs} ${fromMs}`).toEqual([]);
        }
      }
    }
  },
);

describe('pictures and measurements that vary', () => {
  const varied = (seed: number, share: number) => (atMs: number) => {
    const mixed = Math.sin(seed * 999 + atMs * 12.9898) * 43_758.5453;
    return 1 + share * (2 * (mixed - Math.floor(mixed)) - 1);
  };

  it.each([0, 60, 200])('do not hide a squeeze, nor look like one, over a way of %d ms', (roundTripMs) => {
    for (let seed = 1; seed <= 8; seed += 1) {
      const options = { roundTripMs, sizeNoise: varied(seed, 0.4), rateNoise: varied(-seed, 0.1) };
      const beginsMs = 10_000 + 37 * seed;
      const run = simulate({
        ...options,
        capacityBps: (atMs) => (atMs >= beginsMs && atMs < beginsMs + 30_000 ? 800_000 : WIDE_BPS),
      });
      expect(run.changes[0]?.atMs).toBeLessThanOrEqual(beginsMs + 2_500);
      expect(count(run, 'UPLINK_NARROW')).toBeLessThanOrEqual(3);
      expect(run.qualityAt(beginsMs + 30_000 + minute)).toEqual(hd);
      expect(simulate({ ...options, durationMs: minute, capacityBps: () => 2_800_000 }).changes).toEqual([]);
    }
  });
});

describe('uplinks of all shapes', () => {
  it('a saw of LTE: follows it without nervousness', () => {
    const run = simulate({
      mode: 'live',
      capacityBps: (atMs) => 800_000 + 120 * (atMs % 20_000),
      durationMs: 5 * minute,
    });
    expect(changesPerMinute(run)).toBeLessThanOrEqual(8);
    expect(medianOf(delays(run, 0, 5 * minute))).toBeLessThan(150);
  });

  it('a slow decline: goes down with it', () => {
    const run = simulate({ mode: 'live', capacityBps: (atMs) => Math.max(500_000, 4_000_000 - 40 * atMs) });
    expect(run.quality.videoBitrateBps).toBeLessThan(500_000);
    expect(medianOf(delays(run, 100_000, 120_000))).toBeLessThan(200);
    expect(changesPerMinute(run)).toBeLessThanOrEqual(10);
  });

  it.each([0.9, 1, 1.05, 1.1])('noise around %d of what is sent: few steps', (share) => {
    const noise = (atMs: number) => Math.sin(atMs / 700) * Math.sin(atMs / 3_100) + 0.5 * Math.sin(atMs / 190);
    const run = simulate({ capacityBps: (atMs) => 2_150_000 * (share + 0.15 * noise(atMs)), durationMs: 5 * minute });
    expect(changesPerMinute(run)).toBeLessThanOrEqual(8);
  });

  it('one that only dropping keeps from filling up: is made room for', () => {
    const run = simulate({ capacityBps: () => 1_967_256, mode: 'live', durationMs: 30_000 });
    expect(codes(run)[0]).toBe('UPLINK_NARROW');
    expect(medianOf(delays(run, 20_000, 30_000))).toBeLessThan(150);
  });

  it('an uplink that stays narrow: tries again less and less often', () => {
    const run = simulate({ capacityBps: () => 1_000_000, durationMs: 10 * minute, mode: 'live' });
    const late = run.changes.filter(({ atMs }) => atMs >= 5 * minute);
    expect(late.length).toBeLessThanOrEqual(2 * 5);
    expect(run.quality.videoBitrateBps).toBeGreaterThan(500_000);
  });

  it('after an outage that the uplink cannot make up for: steps down once the backlog does not shrink', () => {
    const run = simulate({
      isConnected: (atMs) => atMs < 10_000 || atMs >= 13_000,
      capacityBps: (atMs) => (atMs < 10_000 ? WIDE_BPS : 1_500_000),
    });
    const [first] = run.changes;
    expect(first?.code).toBe('UPLINK_NARROW');
    expect(first?.atMs).toBeGreaterThanOrEqual(18_000);
    expect(first?.atMs).toBeLessThanOrEqual(19_500);
  });

  it.each([1_000, 2_000])(
    'any constant one from 300 kbit/s on, key frames each %d ms: settles without a queue',
    (keyFrameIntervalMs) => {
      const options = { ...governor, keyFrameIntervalMs };
      for (let capacityBps = 300_000; capacityBps < 4_000_000; capacityBps *= 1.25) {
        for (const mode of ['live', 'backfill'] as const) {
          const run = simulate({
            governor: options,
            keyFrameIntervalMs,
            mode,
            capacityBps: () => capacityBps,
            durationMs: 3 * minute,
          });
          expect(medianOf(delays(run, 1.5 * minute, 3 * minute)), `${Math.round(capacityBps)} ${mode}`).toBeLessThan(
            150,
          );
        }
      }
    },
  );
});

/** Samples by hand: `at` in ms, the queue in kB. */
function samples(options: Partial<GovernorOptions> = {}) {
  const subject: Governor = createGovernor({ ...governor, ...options });
  const idle = {
    isPublishing: true,
    backlogBytes: 0,
    backlogMs: 0,
    isCatchingUp: false,
    skips: 0,
    narrowBps: undefined,
  };
  return (atMs: number, queuedKb: number, deliveredBps?: number, more: Partial<GovernorSample['uplink']> = {}) =>
    subject.sample({ atMs, uplink: { ...idle, queuedBytes: queuedKb * 1_000, deliveredBps, ...more } });
}
const printed = (decision: GovernorDecision | undefined) =>
  decision?.kind === 'change' ? `${decision.notice.code} ${decision.quality.videoBitrateBps}` : decision?.kind;

describe('the rules of the uplink', () => {
  it('a key frame is no standing queue, however large', () => {
    const sample = samples();
    for (let second = 0; second < 20; second += 1) {
      for (const [part, kb] of [0, 0, 300, 150].entries()) {
        expect(sample(second * 1_000 + part * 250, kb, 1_500_000)).toBeUndefined();
      }
    }
  });

  /** When the first step comes, if any, with a queue of so many kB from 1 s on. */
  function standing(queuedKb: (atMs: number) => number, deliveredBps: number | undefined) {
    const sample = samples();
    sample(0, 0, deliveredBps);
    for (let atMs = 1_000; atMs < 10_000; atMs += 250) {
      const decision = sample(atMs, queuedKb(atMs), deliveredBps);
      if (decision) return { atMs, decision: printed(decision) };
    }
    return undefined;
  }
  it('a queue that has stood for a key frame interval and a second is a narrow uplink', () => {
    expect(standing(() => 80, 2_000_000)).toEqual({ atMs: 4_000, decision: 'UPLINK_NARROW 1377000' });
  });

  it('one that shrinks, that stands in an outage or where no rate is known is not', () => {
    expect(standing((atMs) => 400 - atMs / 50, 2_000_000)).toBeUndefined();
    expect(standing(() => 80, 10_000)).toBeUndefined();
    expect(standing(() => 80, undefined)).toBeUndefined();
  });

  it('one that has stood as long in time before the step down was the way, which has become longer', () => {
    const sample = samples();
    const stands = (fromMs: number, kb: number, deliveredBps: number) => {
      for (let atMs = fromMs; atMs < fromMs + 20_000; atMs += 250) {
        const decision = sample(atMs, kb, deliveredBps);
        if (decision) return { atMs, decision: printed(decision) };
      }
      return undefined;
    };
    sample(0, 0, 2_000_000);
    expect(stands(1_000, 80, 2_000_000)).toEqual({ atMs: 4_000, decision: 'UPLINK_NARROW 1377000' });
    expect(stands(5_000, 56, 1_400_000)?.decision).not.toMatch(/^UPLINK_NARROW/);
  });

  it('after a step up a shorter one is enough', () => {
    const sample = samples();
    const stands = (fromMs: number, kb: number) => {
      for (let atMs = fromMs; atMs < fromMs + 9_000; atMs += 250) {
        const decision = sample(atMs, kb, 1_000_000, { skips: 1, narrowBps: 1_500_000 });
        if (decision?.kind === 'change') return printed(decision);
      }
      return undefined;
    };
    sample(0, 0, 2_000_000);
    expect(stands(1_000, 0)).toBe('UPLINK_NARROW 1020750');
    expect(stands(10_000, 0)).toBe('UPLINK_RECOVERED 1429050');
    expect(stands(20_000, 30)).toMatch(/^UPLINK_NARROW/);
  });

  it('cannot go below the floor', () => {
    const sample = samples({ asked: { ...hd, videoBitrateBps: 150_000 } });
    for (let step = 0; step < 40; step += 1) expect(sample(step * 250, step * 20, 100_000)).toBeUndefined();
  });

  it('a count of skips that begins anew is no skip', () => {
    const sample = samples();
    expect(sample(0, 0, 0, { skips: 7 })).toBeUndefined();
    expect(sample(1_000, 0, 0, { skips: 0 })).toBeUndefined();
    expect(sample(2_000, 0, 0, { skips: 2 })).toMatchObject({ kind: 'notice', notice: { numbers: { skips: 2 } } });
  });

  it('a drop is judged by what the uplink takes, once that is known and no longer falls, and once', () => {
    const sample = samples();
    expect(sample(0, 0, 2_100_000)).toBeUndefined();
    // Growth is the push's own to judge.
    expect(sample(250, 60, 1_800_000)).toBeUndefined();
    expect(sample(500, 120, 1_200_000)).toBeUndefined();
    expect(sample(750, 110, 1_100_000, { skips: 1 })?.kind).toBe('notice');
    // Acknowledgements of better times are in it.
    expect(sample(850, 100, 1_000_000, { skips: 1, narrowBps: 1_300_000 })).toBeUndefined();
    expect(sample(950, 90, 900_000, { skips: 1, narrowBps: 800_000 })).toBeUndefined();
    expect(printed(sample(1_050, 80, 900_000, { skips: 1, narrowBps: 800_000 }))).toBe('UPLINK_NARROW 522000');
    for (let atMs = 1_300; atMs < 4_000; atMs += 250) {
      expect(sample(atMs, 5, 600_000, { skips: 1, narrowBps: 700_000 })).toBeUndefined();
    }
  });

  it('a second drop is judged without waiting for the first step to act', () => {
    const sample = samples();
    const drop = (atMs: number, skips: number, narrowBps: number) => {
      sample(atMs, 100, narrowBps, { skips, narrowBps });
      return printed(sample(atMs + 100, 100, narrowBps, { skips, narrowBps }));
    };
    sample(0, 0, 2_100_000);
    expect(drop(1_000, 1, 1_500_000)).toBe('UPLINK_NARROW 1020750');
    expect(drop(2_200, 2, 800_000)).toBe('UPLINK_NARROW 522000');
  });

  it('a drop on an uplink that takes what is made is an accident', () => {
    const sample = samples();
    sample(0, 0, 2_100_000);
    expect(sample(1_000, 120, 1_500_000, { skips: 1, narrowBps: 3_000_000 })?.kind).toBe('notice');
    expect(sample(2_000, 0, 2_000_000, { skips: 1, narrowBps: 3_000_000 })).toBeUndefined();
    expect(sample(3_000, 0, 2_000_000, { skips: 1, narrowBps: 700_000 })).toBeUndefined();
  });
});
