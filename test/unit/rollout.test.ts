import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AgentRecord, RolloutRecord } from '../../cloud/store/records.ts';
import {
  afterEvent,
  afterHello,
  afterMissing,
  afterStatus,
  censusOf,
  type Device,
  MAX_INTERRUPTIONS,
  MISSING_MS,
  orderedTask,
  placeOf,
  review,
  rolloutTable,
  taskOf,
  type Verdict,
  withFailure,
} from '../../cloud/updates/rollout.ts';
import type { UpdateOutcome } from '../../shared/protocol/releases.ts';

const rolloutOf = (fields: Partial<RolloutRecord> = {}): RolloutRecord => ({
  ...{ rolloutId: 'r1', version: '1.4.0', stages: [5, 25, 100], soakSeconds: 600, maxFailures: 1 },
  ...{ state: 'running', stage: 0, createdAtMs: 0, failures: [], failureCount: 0, forgivenCount: 0 },
  ...fields,
});
const deviceOf = (userId: string, fields: Partial<Device> = {}): Device => ({
  ...{ userId, version: '1.3.0', architecture: 'arm64', canUpdate: true, seenAtMs: 0, isHere: true },
  ...fields,
});
const outcome = (word: UpdateOutcome['outcome'], reason?: string): UpdateOutcome => ({
  ...{ version: '1.4.0', outcome: word },
  ...(reason === undefined ? {} : { reason }),
});
const many = (count: number, fields: Partial<Device> = {}) =>
  Array.from({ length: count }, (_, at) => deviceOf(`user-${at}@example.com`, fields));
const status = (state: 'downloading' | 'waiting' | 'switching' | 'refused', reason?: string) => ({
  ...{ type: 'agent_update_status' as const, version: '1.4.0', state },
  ...(reason === undefined ? {} : { reason }),
});

describe('the place of a user', () => {
  it('is the same each time, another one in each roll-out, and all per cents are alike', () => {
    expect(placeOf('ada@example.com', 'r1')).toBe(placeOf('ada@example.com', 'r1'));
    expect(placeOf('ada@example.com', 'r1')).not.toBe(placeOf('ada@example.com', 'r2'));
    const places = many(10_000).map(({ userId }) => placeOf(userId, 'r7'));
    expect(places.every((place) => place >= 0 && place < 100)).toBe(true);
    for (const percent of [5, 25, 50]) {
      const share = places.filter((place) => place < percent).length / 100;
      expect(Math.abs(share - percent)).toBeLessThan(2);
    }
  });
});

describe('a stage', () => {
  it('orders its part of the users who are here, and nobody else', () => {
    const devices = many(400);
    const { orders } = review(rolloutOf(), devices, 0);
    expect(orders.length).toBeGreaterThan(5);
    expect(orders.length).toBeLessThan(45);
    expect(orders.every((userId) => placeOf(userId, 'r1') < 5)).toBe(true);
    expect(review(rolloutOf({ stage: 2 }), devices, 0).orders).toHaveLength(400);
  });

  it('without anybody in it takes the first one of the later stages', () => {
    const devices = many(3);
    const [first] = [...devices].sort((a, b) => placeOf(a.userId, 'r1') - placeOf(b.userId, 'r1'));
    expect(review(rolloutOf({ stages: [0.001, 100] }), devices, 0).orders).toEqual([first?.userId]);
    const away = devices.map((device) => ({ ...device, isHere: false }));
    expect(review(rolloutOf({ stages: [0.001, 100] }), away, 0)).toMatchObject({ orders: [], wakeAtMs: undefined });
  });

  it('lets out who cannot, need not or shall not, and says why', () => {
    const devices = [
      deviceOf('a', { canUpdate: false }),
      deviceOf('b', { version: '1.10.0' }),
      deviceOf('c', { version: 'dev' }),
      deviceOf('d', { task: { rolloutId: 'r1', state: 'withdrawn', interruptions: 0, reason: 'sent back' } }),
      deviceOf('e', { task: { rolloutId: 'r0', state: 'failed', interruptions: 0 } }),
    ];
    const rollout = rolloutOf({ stage: 2 });
    expect(review(rollout, devices, 0).orders).toEqual(['e']);
    expect(censusOf(rollout, devices).skipped).toEqual([
      { userId: 'a', reason: 'does not update itself; flash it' },
      { userId: 'b', reason: 'runs 1.10.0, which is newer' },
      { userId: 'c', reason: 'runs a version that has no number' },
      { userId: 'd', reason: 'sent back' },
    ]);
  });

  it('opens the next one after the soak; who is away holds nothing up, who went to switch does', () => {
    const devices = many(2);
    const [a, b] = devices as [Device, Device];
    const rollout = rolloutOf({ stages: [100, 100] });
    a.task = afterHello(rollout, { ...a, version: '1.4.0' }).task;
    b.task = { ...orderedTask(rollout, b), switchingSinceMs: 0 };
    b.isHere = false;
    expect(review(rollout, devices, 1_000)).toMatchObject({ rollout, wakeAtMs: MISSING_MS });
    expect(review(rollout, devices, MISSING_MS).missing).toEqual([b.userId]);
    // It was downloading when it went.
    b.task = orderedTask(rollout, { ...b, task: undefined });
    const soaking = review(rollout, devices, 2_000);
    expect([soaking.rollout.completeSinceMs, soaking.wakeAtMs]).toEqual([2_000, 602_000]);
    // It comes back meanwhile: that does not begin the soak again.
    b.isHere = true;
    expect(review(soaking.rollout, devices, 601_999).rollout).toBe(soaking.rollout);
    const next = review(soaking.rollout, devices, 602_000);
    expect([next.rollout.stage, next.wakeAtMs]).toEqual([1, 602_000]);
    // Nobody new in it.
    expect(review(next.rollout, devices, 602_000).rollout).toMatchObject({ state: 'done', endedAtMs: 602_000 });
  });

  it('opens none before all had time to come back after a restart', () => {
    const devices = [deviceOf('a', { task: { rolloutId: 'r1', state: 'done', interruptions: 0 } })];
    const rollout = rolloutOf({ soakSeconds: 0, completeSinceMs: 5 });
    expect(review(rollout, devices, 100, 30_000)).toMatchObject({ rollout, wakeAtMs: 30_000 });
    expect(review(rollout, devices, 30_000, 30_000).rollout.stage).toBe(1);
  });

  it('takes none of the later stages before all of its own had time to come back', () => {
    const [first, other] = many(200).sort((a, b) => placeOf(a.userId, 'r1') - placeOf(b.userId, 'r1')) as [
      Device,
      Device,
    ];
    const away = { ...first, isHere: false, task: { rolloutId: 'r1', state: 'ordered' as const, interruptions: 0 } };
    const rollout = rolloutOf({ stages: [0.000_001, 100] });
    expect(review(rollout, [away, other], 100, 30_000).orders).toEqual([]);
    expect(review(rollout, [away, other], 30_000, 30_000).orders).toEqual([other.userId]);
  });

  it('does not pass by time alone when the operator sends back all who had it', () => {
    const task = { rolloutId: 'r1', state: 'withdrawn' as const, interruptions: 0, reason: 'sent back' };
    const back = review(rolloutOf({ completeSinceMs: 0 }), [deviceOf('a', { task })], 600_000);
    expect(back.rollout).toMatchObject({ stage: 0, state: 'running' });
    expect(back.rollout.completeSinceMs).toBeUndefined();
  });

  it('of named users orders these alone, and is done when none of them is left to wait for', () => {
    const [a, b, c] = many(3) as [Device, Device, Device];
    const rollout = rolloutOf({ stages: [100], users: [a.userId, b.userId], soakSeconds: 0 });
    expect(review(rollout, [a, b, c], 0).orders).toEqual([a.userId, b.userId]);
    a.canUpdate = false;
    b.isHere = false;
    expect(review(rollout, [a, b, c], 0).rollout.state).toBe('done');
    // Who comes late is ordered all the same.
    b.isHere = true;
    expect(review({ ...rollout, state: 'done' }, [a, b, c], 0).orders).toEqual([b.userId]);
  });
});

describe('an outcome', () => {
  const rollout = rolloutOf();
  const ordered = (fields: Partial<Device> = {}) => {
    const device = deviceOf('a', fields);
    return { ...device, task: orderedTask(rollout, device) };
  };
  const switched = (fields: Partial<Device> = {}) => {
    const device = ordered(fields);
    return { ...device, task: afterStatus(rollout, device, status('switching'), 7).task };
  };

  it('is done once the version runs, whatever was before', () => {
    for (const device of [deviceOf('a'), ordered(), switched()]) {
      expect(afterHello(rollout, { ...device, version: '1.4.0' }).task?.state).toBe('done');
    }
    const failed = { ...deviceOf('a'), task: { rolloutId: 'r1', state: 'failed' as const, interruptions: 0 } };
    expect(afterHello(rollout, { ...failed, version: '1.4.0' }).task?.state).toBe('done');
    expect(afterHello(rollout, failed).task?.state).toBe('failed');
  });

  it('is none yet while the version is on trial', () => {
    const trial = { ...switched(), version: '1.4.0', onTrial: true };
    expect(afterHello(rollout, trial)).toEqual({ task: trial.task });
    expect(censusOf(rollout, [{ ...trial, isHere: false }]).switching).toEqual([{ userId: 'a', sinceMs: 7 }]);
    const back = { ...trial, version: '1.3.0', onTrial: undefined, lastUpdate: outcome('rolled_back', 'no encoder') };
    expect(afterHello(rollout, back).failure).toEqual({ outcome: 'rolled_back', reason: 'no encoder' });
  });

  it.each<[string, UpdateOutcome, Verdict['failure']]>([
    ['rolled back', outcome('rolled_back', 'no hello'), { outcome: 'rolled_back', reason: 'no hello' }],
    ['refused', outcome('refused', 'not trusted'), { outcome: 'refused', reason: 'not trusted' }],
    ['installed, and another runs', outcome('installed'), { outcome: 'rolled_back', reason: 'runs 1.3.0 again' }],
  ])('%s is a failure', (_name, lastUpdate, failure) => {
    expect(afterHello(rollout, { ...switched(), lastUpdate })).toMatchObject({ task: { state: 'failed' }, failure });
    expect(afterHello(rollout, { ...ordered(), lastUpdate })).toMatchObject({ failure });
  });

  it('that was told before the order is no news; after they said that they switch it is', () => {
    const lastUpdate = outcome('rolled_back', 'no hello');
    expect(afterHello(rollout, ordered({ lastUpdate }))).not.toHaveProperty('failure');
    expect(afterHello(rollout, switched({ lastUpdate }))).toMatchObject({ failure: { outcome: 'rolled_back' } });
    const ofAnother = { ...outcome('rolled_back'), version: '1.2.0' };
    expect(afterHello(rollout, { ...ordered(), lastUpdate: ofAnother })).not.toHaveProperty('failure');
  });

  it('that is an interruption is forgiven three times', () => {
    let device = switched();
    for (let count = 1; count <= MAX_INTERRUPTIONS; count += 1) {
      const verdict = afterHello(rollout, { ...device, lastUpdate: outcome('interrupted') });
      expect(verdict).toEqual({ task: expect.objectContaining({ state: 'ordered', interruptions: count }) });
      device = { ...device, lastUpdate: outcome('interrupted'), task: verdict.task };
      // A reconnect in between tells the same again.
      expect(afterHello(rollout, device).task?.interruptions).toBe(count);
      device = { ...device, task: afterStatus(rollout, device, status('switching'), 7).task };
    }
    expect(afterHello(rollout, device)).toMatchObject({
      failure: { outcome: 'interrupted' },
      task: { state: 'failed' },
    });
    // Back without a word of what happened.
    expect(afterHello(rollout, switched())).toMatchObject({ task: { interruptions: 1 } });
  });

  it('comes by status too: refused is one, what was not ordered is none', () => {
    const refusal = afterStatus(rollout, ordered(), status('refused', 'older than 1.5.0'), 7);
    expect(refusal.failure).toEqual({ outcome: 'refused', reason: 'older than 1.5.0' });
    expect(afterStatus(rollout, deviceOf('a'), status('refused'), 7)).toEqual({ task: undefined });
    const other = afterStatus(rollout, ordered(), { ...status('refused'), version: '1.2.0' }, 7);
    expect(other).not.toHaveProperty('failure');
    const back = afterStatus(rollout, switched(), status('waiting'), 8);
    expect(back.task).not.toHaveProperty('switchingSinceMs');
  });

  it('that is lost again later is a failure; a newer version is none', () => {
    const done = deviceOf('a', { task: { rolloutId: 'r1', state: 'done', interruptions: 0 } });
    expect(afterHello(rollout, done).failure).toEqual({ outcome: 'rolled_back', reason: 'runs 1.3.0 again' });
    expect(afterHello(rollout, { ...done, version: '1.5.0' })).toEqual({ task: undefined });
    const withdrawn = { ...done, task: { rolloutId: 'r1', state: 'withdrawn' as const, interruptions: 0 } };
    expect(afterHello(rollout, withdrawn)).toEqual({ task: withdrawn.task });
  });
});

describe('failures', () => {
  const failure = { userId: 'a', outcome: 'rolled_back', reason: 'no hello', atMs: 5 } as const;

  it('pause at the limit, with the reason, and begin the soak again below it', () => {
    const soaking = rolloutOf({ maxFailures: 2, completeSinceMs: 1 });
    const first = withFailure(soaking, failure);
    expect([first.state, first.completeSinceMs]).toEqual(['running', undefined]);
    const second = withFailure(first, failure);
    expect([second.state, second.pausedBecause]).toEqual(['paused', 'a: rolled back (no hello)']);
    expect(review(second, many(100), 0).orders).toEqual([]);
    const resumed = afterEvent(second, 'resume', 9);
    expect(resumed).toMatchObject({ state: 'running', failureCount: 2, forgivenCount: 2 });
    expect(resumed).not.toHaveProperty('pausedBecause');
    expect(resumed && withFailure(resumed, failure).state).toBe('running');
  });

  it('of those who come late pause one that was done; 50 are kept', () => {
    expect(withFailure(rolloutOf({ state: 'done', endedAtMs: 4 }), failure).state).toBe('paused');
    let rollout = rolloutOf({ maxFailures: 1_000 });
    for (let count = 0; count < 60; count += 1) rollout = withFailure(rollout, failure);
    expect([rollout.failures.length, rollout.failureCount]).toEqual([50, 60]);
  });
});

/** Everything that can happen, in any order. */
const step = fc.record({
  kind: fc.constantFrom(
    ...(['arrive', 'arrive', 'leave', 'install', 'install', 'roll back', 'interrupt', 'refuse', 'switch'] as const),
    ...(['wait', 'wait', 'pause', 'resume', 'resume', 'cancel'] as const),
  ),
  at: fc.integer({ min: 0, max: 29 }),
  ms: fc.integer({ min: 0, max: 900_000 }),
});

describe('a roll-out', () => {
  it('under any events orders only whom it may, opens no stage early, and goes only ways of its table', () => {
    const stages = fc.constantFrom<number[]>([5, 25, 100], [10, 50], [100], [1, 2, 3, 100]);
    fc.assert(
      fc.property(
        stages,
        fc.integer({ min: 1, max: 3 }),
        fc.array(step, { maxLength: 120 }),
        (percents, max, steps) => {
          const world = simulated(rolloutOf({ stages: percents, maxFailures: max }));
          for (const each of steps) {
            world.happen(each);
            world.settle();
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('ends once nobody fails, however many there are', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 29 }), { minLength: 1, maxLength: 30 }), (here) => {
        const world = simulated(rolloutOf());
        for (const at of here) world.happen({ kind: 'arrive', at, ms: 0 });
        for (let round = 0; round < 10; round += 1) {
          world.settle();
          for (let at = 0; at < 30; at += 1) world.happen({ kind: 'install', at, ms: 0 });
          world.happen({ kind: 'wait', at: 0, ms: 600_000 });
        }
        world.settle();
        expect(world.rollout.state).toBe('done');
        expect(world.devices.filter(({ isHere }) => isHere).every(({ version }) => version === '1.4.0')).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});

/** What the relay does with the policy, in a few lines, with an eye on what may never be. */
function simulated(begun: RolloutRecord) {
  let nowMs = 0;
  let calmSinceMs = 0;
  const world = { rollout: begun, devices: many(30, { isHere: false }) };
  const turns = (before: RolloutRecord, after: RolloutRecord) => {
    if (before.state === after.state) return;
    expect(Object.values(rolloutTable[before.state])).toContain(after.state);
  };
  function become(after: RolloutRecord) {
    turns(world.rollout, after);
    expect(after.stage).toBeGreaterThanOrEqual(world.rollout.stage);
    world.rollout = after;
  }
  function judge(device: Device, { task, failure }: Verdict) {
    device.task = task;
    if (!failure) return;
    calmSinceMs = nowMs;
    become(withFailure(world.rollout, { userId: device.userId, ...failure, atMs: nowMs }));
  }
  function hello(device: Device, told: Partial<AgentRecord>) {
    Object.assign(device, told, { isHere: true });
    judge(device, afterHello(world.rollout, device));
  }
  const isOrdered = (device: Device) => taskOf(world.rollout, device)?.state === 'ordered';

  function order(userId: string) {
    const { rollout, devices } = world;
    const device = devices.find((each) => each.userId === userId);
    if (!device) throw new Error('a stranger');
    expect(['running', 'done']).toContain(rollout.state);
    expect([device.isHere, device.version === '1.4.0', taskOf(rollout, device)]).toEqual([true, false, undefined]);
    const isMember = placeOf(userId, rollout.rolloutId) < (rollout.stages[rollout.stage] ?? 0);
    const isAlone = !devices.some(
      (each) => taskOf(rollout, each)?.state === 'done' || (isOrdered(each) && each.isHere),
    );
    expect(isMember || isAlone).toBe(true);
    device.task = orderedTask(rollout, device);
  }
  return Object.assign(world, {
    settle() {
      for (let round = 0; round < 20; round += 1) {
        const before = world.rollout;
        const { rollout, orders, missing, wakeAtMs } = review(before, world.devices, nowMs);
        if (rollout.stage > before.stage || (rollout.state === 'done' && before.state === 'running')) {
          expect(nowMs - calmSinceMs).toBeGreaterThanOrEqual(before.soakSeconds * 1000);
        }
        become(rollout);
        for (const userId of orders) order(userId);
        for (const device of world.devices) {
          if (missing.includes(device.userId) && device.task) judge(device, afterMissing(device.task));
        }
        const { failureCount, forgivenCount, maxFailures, state } = world.rollout;
        if (state === 'running') expect(failureCount - forgivenCount).toBeLessThan(maxFailures);
        if (orders.length + missing.length === 0 && rollout === before) {
          expect(wakeAtMs === undefined || wakeAtMs > nowMs).toBe(true);
          return;
        }
      }
      throw new Error('it does not settle');
    },
    happen({ kind, at, ms }: { kind: string; at: number; ms: number }) {
      const device = world.devices[at];
      if (!device) return;
      if (kind === 'wait') nowMs += ms;
      else if (kind === 'arrive') hello(device, {});
      else if (kind === 'leave') device.isHere = false;
      else if (kind === 'pause' || kind === 'resume' || kind === 'cancel') {
        const turned = afterEvent(world.rollout, kind, nowMs);
        if (turned) become(turned);
      } else if (!isOrdered(device)) return;
      else if (kind === 'install') hello(device, { version: '1.4.0', lastUpdate: outcome('installed') });
      else if (kind === 'roll back') hello(device, { lastUpdate: outcome('rolled_back', `at ${nowMs}`) });
      else if (kind === 'interrupt') hello(device, { lastUpdate: outcome('interrupted', `at ${nowMs}`) });
      else if (device.isHere && kind === 'refuse')
        judge(device, afterStatus(world.rollout, device, status('refused'), nowMs));
      else if (device.isHere && kind === 'switch') {
        judge(device, afterStatus(world.rollout, device, status('switching'), nowMs));
        device.isHere = false;
      }
    },
  });
}
