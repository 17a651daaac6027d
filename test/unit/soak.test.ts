import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { growthOf, type ProcessSample, trendOf, trendWords } from '../../scripts/soak/account.ts';
import { watchFamily } from '../../scripts/soak/family.ts';
import { eventually, oneStreamEach, truthOf } from '../../scripts/soak/invariants.ts';
import { faultNames, mayRestartAt, pick, planStorm, shuffled } from '../../scripts/soak/plan.ts';
import type { AppSessionView } from '../../scripts/soak/soak-apps.ts';
import type { StreamJson } from '../../scripts/soak/soak-world.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { createTestClock } from '../support/test-clock.ts';

const storm = { seed: 7, cycle: 3, faults: 6, lengthMs: 24_000, mayRestart: true, hasRedis: true };
const namesOf = (cycles: number, mayRestart: boolean, seed: number) =>
  Array.from({ length: cycles }, (_, cycle) => planStorm({ ...storm, seed, cycle, mayRestart }))
    .flat()
    .map(({ name }) => name);

describe('what a soak plans', () => {
  it('is the same for the same seed and cycle, in order, and within the storm', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 500 }), fc.integer({ min: 1, max: 20 }), (seed, cycle, faults) => {
        const plan = planStorm({ ...storm, seed, cycle, faults });
        expect(planStorm({ ...storm, seed, cycle, faults })).toEqual(plan);
        expect(plan.map(({ atMs }) => atMs)).toEqual(plan.map(({ atMs }) => atMs).sort((one, other) => one - other));
        expect(plan.every(({ atMs, whom }) => atMs >= 0 && atMs <= storm.lengthMs && whom >= 0 && whom < 1)).toBe(true);
      }),
    );
  });

  it('brings every fault once before one comes again', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const names = planStorm({ ...storm, seed, cycle: 0, faults: faultNames.length }).map(({ name }) => name);
        expect([...names].sort()).toEqual([...faultNames].sort());
      }),
    );
    const names = namesOf(faultNames.length, true, 11);
    for (const name of faultNames) expect(names.filter((one) => one === name)).toHaveLength(6);
    expect(planStorm({ ...storm, faults: 100, hasRedis: false }).map(({ name }) => name)).not.toContain('redis-killed');
  });

  it('ends no relay and no local Stream while memory is measured', () => {
    const names = namesOf(40, false, 3);
    expect(names.filter((name) => /^relay-|^stream-/.test(name))).toEqual([]);
    expect(mayRestartAt(0, 1_200_000)).toBe(true);
    expect(mayRestartAt(199_999, 1_200_000)).toBe(true);
    expect(mayRestartAt(200_001, 1_200_000)).toBe(false);
    expect(mayRestartAt(1_200_001, 1_200_000)).toBe(false);
    expect(mayRestartAt(3_600_001, 36_000_000)).toBe(true);
    expect(mayRestartAt(5, 0)).toBe(true);
  });

  it('shuffles without losing one, and picks one that there is', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.double({ min: 0, max: 1, noNaN: true }), (items, draw) => {
        expect(shuffled(items, () => draw).sort()).toEqual([...items].sort());
        const one = pick(items, draw);
        expect(items.length === 0 ? one === undefined : one !== undefined && items.includes(one)).toBe(true);
      }),
    );
  });
});

const stream = (fields: Partial<StreamJson>): StreamJson => ({
  ...{ streamId: 'm1', userId: 'ada', kind: 'managed', state: 'active', viewers: ['app'] },
  ...fields,
});
const session = (status?: string, streamId = 'm1'): AppSessionView => ({
  ...{ userId: 'ada', packageName: 'app', isIn: true },
  last: status === undefined ? undefined : { status, streamId, atMs: 0 },
});

describe('what must hold in a soak', () => {
  it('nobody has two streams, but one may end while the next begins', () => {
    expect(oneStreamEach([stream({}), stream({ streamId: 'm2', userId: 'bob' })])).toEqual([]);
    expect(oneStreamEach([stream({ state: 'stopping' }), stream({ streamId: 'm2', state: 'starting' })])).toEqual([]);
    expect(oneStreamEach([stream({}), stream({ streamId: 'm2', state: 'starting' })])).toEqual([
      'ada has 2 streams: m1 active, m2 starting',
    ]);
  });

  it.each([
    ['active', [stream({})], session('active'), true],
    ['interrupted is told as preparing', [stream({ state: 'interrupted' })], session('preparing'), true],
    ['never told', [stream({})], session(), false],
    ['told of another', [stream({})], session('active', 'm0'), false],
    ['told that it stopped', [stream({})], session('stopped'), false],
    ['believes in what is over', [stream({ state: 'stopping' })], session('active'), false],
    ['watches no more', [stream({ viewers: ['other'] })], session('stopped'), true],
    ['nothing, and never was', [], session(), true],
    ['a failure is an end', [], session('error'), true],
  ])('what an app hears: %s', (_name, streams, view, holds) => {
    expect(truthOf(view, streams)).toHaveLength(holds ? 0 : 1);
  });

  it('asks again until it holds, and says what does not in the end; a question that fails is one', async () => {
    const clock = createTestClock();
    const { signal } = new AbortController();
    const answers = [['late'], []];
    const held = eventually(clock, { ms: 1_000, signal }, () => answers.shift() ?? []);
    await clock.advance(250);
    expect(await held).toEqual([]);
    const failing = eventually(clock, { ms: 400, signal }, () => {
      throw new Error('no relay');
    });
    await clock.advance(250);
    await clock.advance(250);
    expect(await failing).toEqual(['no relay']);
  });
});

describe('the processes of a soak', () => {
  it('are looked for until that is closed', () => {
    const clock = createSystemClock();
    const family = watchFamily({ clock, pid: process.pid });
    expect(clock.pending()).toEqual(['soak-family']);
    family.close();
    expect(clock.pending()).toEqual([]);
  });
});

describe('memory and descriptors of a soak', () => {
  const at = (minute: number, fields: Partial<ProcessSample>) => ({
    ...{ atMs: minute * 60_000, pid: 1, rssMb: 100, descriptors: 50, rssFoundMb: 120, threads: 11, heapUsedMb: 30 },
    isWarm: true,
    ...fields,
  });

  it('is of the process that was warm for longest, while it was', () => {
    const short = Array.from({ length: 30 }, (_, minute) => at(minute, { pid: 1, rssMb: 500, isWarm: minute > 27 }));
    const long = Array.from({ length: 21 }, (_, minute) => {
      const isWarm = minute >= 6;
      return at(3 + minute, { pid: 2, rssMb: isWarm ? 100 : 50, isWarm });
    });
    expect(trendOf([...short, ...long])).toMatchObject({ minutes: 14, rssMbPerHour: 0, samples: 15 });
  });

  const trend = (of: (minute: number) => Partial<ProcessSample>, minutes = 12) =>
    trendOf(Array.from({ length: minutes }, (_, minute) => at(minute, of(minute))));
  /** Of no direction. */
  const noise = [0, -2, 1, 3, 2, 3, -1, 4, -4, 2, 0, -1];

  it('sees a leak', () => {
    const leak = trend((minute) => ({ rssMb: 100 + minute / 6, heldDescriptors: 50 + minute }), 30);
    expect(growthOf(leak)).toEqual(['RSS by 10 ± 0 MB/h', 'descriptors by 29']);
  });

  it('takes what comes and goes for no growth, and says nothing of a few samples', () => {
    const still = trend((minute) => ({
      rssMb: 100 + (noise[minute] ?? 0) / 4,
      descriptors: 50 + 2 * minute,
      ...(minute % 5 === 1 ? { heldDescriptors: 40 + Math.floor(minute / 5) } : {}),
    }));
    expect([growthOf(still), still.descriptorGrowth]).toEqual([[], 2]);
    expect(trendWords(still)).toMatch(/ MB\/h and 2 descriptors$/);
    const few = trend((minute) => ({ rssMb: 100 + minute, heldDescriptors: 50 + 3 * minute }), 7);
    expect([growthOf(few), trendWords(few)]).toEqual([[], 'not judged by 7 samples']);
    const once = trend((minute) => (minute === 3 ? { heldDescriptors: 50 } : {}));
    expect([once.descriptorGrowth, trendWords(once)]).toEqual([undefined, '0 ± 0 MB/h']);
  });

  it('takes two pages in ten minutes for no growth, and as much again and again for one', () => {
    const pages = trend((minute) => ({ rssMb: minute < 2 ? 95 : minute < 7 ? 95.25 : 95.5 }), 11);
    expect([pages.resolutionMbPerHour, growthOf(pages)]).toEqual([3, []]);
    expect(pages.rssMbPerHour).toBeGreaterThan(2.5);
    const leak = trend((minute) => ({ rssMb: 95 + Math.floor(minute / 3) / 4 }), 11);
    expect(growthOf(leak)).toEqual([expect.stringMatching(/^RSS by 4\.\d+ ± /)]);
  });

  it('leaves out what could not be collected among what was', () => {
    const samples = Array.from({ length: 12 }, (_, minute) => at(minute, minute === 11 ? { rssMb: 130 } : {}));
    const last = { ...at(11, { rssMb: 130 }), heapUsedMb: undefined };
    expect(trendOf([...samples.slice(0, 11), last])).toMatchObject({ samples: 11, rssMbPerHour: 0 });
    expect(trendOf(samples).rssMbPerHour).toBeGreaterThan(0);
  });

  it('says nothing of nothing', () => {
    expect(trendOf([])).toMatchObject({ samples: 0, rssMbPerHour: undefined, descriptorGrowth: undefined });
  });
});
