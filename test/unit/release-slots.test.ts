import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRandom } from '../../device/simulator/timeline.ts';
import { createReleaseSlots, type ReleaseSlots } from '../../device/updates/release-slots.ts';
import type { Placed } from '../../device/updates/slot-state.ts';
import { readReleaseHead, sealRelease } from '../../shared/release.ts';
import { createTornDisk, PowerCut, type TornDisk } from '../support/torn-disk.ts';

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const FLASHED: Placed = { place: 'flashed', version: '0.1.0' };
const codeOf = (version: string) => Buffer.from(`the code of ${version}`.repeat(20));
const heads = new Map<string, string>();
function headOf(version: string, minNode = 20): string {
  const key = `${version} ${minNode}`;
  const sealed = () =>
    readReleaseHead(sealRelease({ version, minNode, code: codeOf(version), privateKey }))?.line ?? '';
  const head = heads.get(key) ?? sealed();
  heads.set(key, head);
  return head;
}

function slotsOn(disk: TornDisk, flashedVersion = FLASHED.version): ReleaseSlots {
  return createReleaseSlots({
    disk,
    folder: '/state/releases',
    flashedVersion,
    trustedKeys: [publicKey],
    nodeMajor: 20,
  });
}
function world() {
  const disk = createTornDisk(createRandom(1));
  return { disk, slots: slotsOn(disk) };
}
/** As the updater does it. */
function marked(slots: ReleaseSlots, running: Placed, version: string): Placed {
  const target: Placed = { place: slots.free(running.place), version };
  slots.install(slots.free(running.place), headOf(version), codeOf(version));
  slots.mark(running, target);
  return target;
}
function updated(slots: ReleaseSlots, running: Placed, version: string): Placed {
  const target = marked(slots, running, version);
  expect(slots.start()).toMatchObject({ isTrial: true, placed: target });
  expect(slots.confirm(target)).toBe(true);
  return target;
}

describe('the slots', () => {
  it('of an empty disk are the flashed version', () => {
    const { slots, disk } = world();
    expect(slots.start()).toEqual({ isTrial: false, placed: FLASHED, trouble: undefined });
    expect(disk.operations).toBe(0);
  });

  it('take turns; the one that runs is never written to, the one before is kept', () => {
    const { slots } = world();
    const first = updated(slots, FLASHED, '0.2.0');
    const second = updated(slots, first, '0.3.0');
    const third = updated(slots, second, '0.4.0');
    expect([first.place, second.place, third.place]).toEqual(['a', 'b', 'a']);
    expect(slots.state()).toMatchObject({ current: third, previous: second, last: { outcome: 'installed' } });
    expect(slots.rollbackTarget(third)).toEqual(second);
  });

  it('go back step by step, each through a trial, to the flashed version', () => {
    const { slots } = world();
    let running = updated(slots, updated(slots, FLASHED, '0.2.0'), '0.3.0');
    for (const version of ['0.2.0', '0.1.0']) {
      const target = slots.rollbackTarget(running);
      expect(target?.version).toBe(version);
      if (!target) return;
      slots.mark(running, target);
      expect(slots.start()).toMatchObject({ isTrial: true, placed: target });
      expect(slots.confirm(target)).toBe(true);
      running = target;
    }
    expect(slots.rollbackTarget(running)).toBeUndefined();
  });

  it('try a version once: unconfirmed, the one of before runs, and why is on record', () => {
    const { slots } = world();
    const running = updated(slots, FLASHED, '0.2.0');
    const target = marked(slots, running, '0.3.0');
    expect([slots.start().isTrial, slots.start()]).toEqual([
      true,
      { isTrial: false, placed: running, trouble: expect.stringContaining('0.3.0 interrupted') },
    ]);
    expect(slots.confirm(target)).toBe(false);
    expect(slots.state()).toMatchObject({ last: { version: '0.3.0', outcome: 'interrupted' } });
    slots.mark(running, target);
    slots.start();
    slots.fail('the relay was not reached');
    slots.fail('a later reason');
    expect(slots.start().placed).toEqual(running);
    expect(slots.state().last).toEqual({
      version: '0.3.0',
      outcome: 'rolled_back',
      reason: 'the relay was not reached',
    });
    expect(slots.start().trouble).toBeUndefined();
  });

  it.each(['ENOSPC', 'EROFS', 'EIO'])('never try what cannot be written down (%s), and try it later', (failure) => {
    const { slots, disk } = world();
    const running = updated(slots, FLASHED, '0.2.0');
    const target = marked(slots, running, '0.3.0');
    disk.failure = failure;
    expect(slots.start()).toEqual({ isTrial: false, placed: running, trouble: expect.stringContaining(failure) });
    disk.failure = undefined;
    expect(slots.start()).toMatchObject({ isTrial: true, placed: target });
    disk.failure = failure;
    expect(slots.start()).toMatchObject({ isTrial: false, placed: running });
    expect(() => slots.confirm(target)).toThrow(failure);
  });

  it('that are damaged run nothing: the version before does, then the flashed one', () => {
    const { slots, disk } = world();
    updated(slots, updated(slots, FLASHED, '0.2.0'), '0.3.0');
    disk.write('/state/releases/b/agent.mjs', Buffer.from('something else'));
    expect(slots.start()).toMatchObject({
      placed: { place: 'a', version: '0.2.0' },
      trouble: expect.stringMatching(/damaged/),
    });
    disk.write('/state/releases/a/head', Buffer.from(headOf('0.9.0')));
    expect(slots.look().placed).toEqual(FLASHED);
    expect(slots.start().placed).toEqual(FLASHED);
    expect(slots.state()).toMatchObject({ current: FLASHED, last: { version: '0.2.0', outcome: 'rolled_back' } });
  });

  it('run nothing that another Node is needed for, or that nobody here has signed', () => {
    const { slots, disk } = world();
    slots.install('a', headOf('0.2.0', 22), codeOf('0.2.0'));
    slots.mark(FLASHED, { place: 'a', version: '0.2.0' });
    expect(slots.start()).toMatchObject({ placed: FLASHED, trouble: expect.stringMatching(/needs Node 22/) });
    updated(slots, FLASHED, '0.2.0');
    const stranger = createReleaseSlots({
      ...{ disk, folder: '/state/releases', flashedVersion: '0.1.0', nodeMajor: 20 },
      trustedKeys: [generateKeyPairSync('ed25519').publicKey],
    });
    expect(stranger.look().placed).toEqual(FLASHED);
    expect(() => stranger.install('a', headOf('0.2.0'), codeOf('0.2.0'))).toThrow(/signed by no key/);
    expect(() => slots.install('a', headOf('0.2.0'), codeOf('0.3.0'))).toThrow(/damaged/);
  });

  it('count for the flashed version that they were made beside: another one was flashed on purpose', () => {
    const { slots, disk } = world();
    updated(slots, FLASHED, '0.9.0');
    const flashedAnew: Placed = { place: 'flashed', version: '0.5.0' };
    expect(slotsOn(disk, '0.5.0').start().placed).toEqual(flashedAnew);
    expect(slotsOn(disk, '0.5.0').state().current).toEqual(flashedAnew);
  });

  it('take any bytes for a record, and then run what is sound', () => {
    const { slots, disk } = world();
    updated(slots, FLASHED, '0.2.0');
    const record = Buffer.from(disk.read('/state/releases/slots.json') ?? []);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: record.length }), (bytes, cutAt) => {
        for (const written of [bytes, record.subarray(0, cutAt), Buffer.concat([record.subarray(0, cutAt), bytes])]) {
          disk.write('/state/releases/slots.json', written);
          expect(['0.1.0', '0.2.0']).toContain(slots.start().placed.version);
        }
      }),
    );
  });
});

/** From the power on: the launcher, and the agent that it starts. `isGood`: a new version proves itself. */
function boot(disk: TornDisk, trials: string[], isGood: boolean): Placed {
  const slots = slotsOn(disk);
  const { isTrial, placed } = slots.start();
  expect(slots.unfitness(placed)).toBeUndefined();
  if (isTrial) {
    trials.push(placed.version);
    if (isGood) slots.confirm(placed);
    else slots.fail('it does not prove itself');
  }
  return placed;
}

describe('power that goes at any operation of an update', () => {
  const cuts = fc.record({
    seed: fc.nat(),
    at: fc.nat({ max: 60 }),
    again: fc.option(fc.nat({ max: 12 }), { nil: undefined }),
    isGood: fc.boolean(),
    isFromSlot: fc.boolean(),
  });

  it('leaves the old version or the new one, sound, and no version is tried twice', () => {
    const ends = { old: 0, new: 0 };
    fc.assert(
      fc.property(cuts, ({ seed, at, again, isGood, isFromSlot }) => {
        const disk = createTornDisk(createRandom(seed));
        let running = FLASHED;
        if (isFromSlot) running = updated(slotsOn(disk), updated(slotsOn(disk), FLASHED, '0.1.5'), '0.2.0');
        const trials: string[] = [];
        const until = (work: () => void, cutAfter: number | undefined) => {
          disk.cutAfter = cutAfter;
          try {
            work();
          } catch (error) {
            if (!(error instanceof PowerCut)) throw error;
          }
          disk.boot();
        };
        until(() => {
          marked(slotsOn(disk), running, '0.3.0');
          boot(disk, trials, isGood);
          boot(disk, trials, isGood);
        }, at);
        if (again !== undefined) until(() => void boot(disk, trials, isGood), again);
        const settled = boot(disk, trials, isGood);
        const after = boot(disk, trials, isGood);
        // Tried, and not confirmed: the one of before is there now.
        expect([running.version, '0.3.0']).toContain(settled.version);
        expect([running.version, '0.3.0']).toContain(after.version);
        if (!isGood) expect(after.version).toBe(running.version);
        expect(trials.length).toBeLessThanOrEqual(1);
        ends[after.version === '0.3.0' ? 'new' : 'old'] += 1;
      }),
      { numRuns: 600 },
    );
    expect(Math.min(ends.old, ends.new)).toBeGreaterThan(30);
  });
});
