import { describe, expect, it, onTestFinished } from 'vitest';
import type { RolloutRecord } from '../../cloud/store/records.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { openRollouts, type RolloutRequest } from '../../cloud/updates/rollouts.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { AgentFacts, AgentUpdateStatus, UpdateOutcome } from '../../shared/protocol/releases.ts';
import { codeOf } from '../support/code-of.ts';
import { createTestClock, type TestClock } from '../support/test-clock.ts';

const old: AgentFacts = { version: '1.3.0', architecture: 'arm64', canUpdate: true };
const soon = 300;

async function world({
  store = createSqliteStore({ file: ':memory:' }),
  clock = createTestClock() as TestClock,
  maxDevices = 100,
} = {}) {
  const orders: string[] = [];
  const changed: string[] = [];
  const gone = new Set<string>();
  const rollouts = await openRollouts({
    ...{ store, clock, log: silentLog(), maxDevices, resumeGraceMs: 5_000 },
    releases: {
      async get(version) {
        if (version === '9.9.9') throw new GlasscastError('RELEASE_NOT_FOUND');
        return { version, bytes: 1, sha256: '', publishedAtMs: 0 };
      },
    },
    toGlasses(userId, message: ToGlasses) {
      if (gone.has(userId)) return false;
      orders.push(`${userId} ${message.type === 'agent_update' ? message.version : message.type}`);
      return true;
    },
    onChange: (userId) => void changed.push(userId),
  });
  onTestFinished(() => rollouts.close());
  const hello = (userId: string, facts: Partial<AgentFacts> = {}) => rollouts.agentHello(userId, { ...old, ...facts });
  const say = (userId: string, state: AgentUpdateStatus['state'], more: Partial<AgentUpdateStatus> = {}) =>
    rollouts.agentUpdate(userId, { type: 'agent_update_status', version: '1.4.0', state, ...more });
  const told = () => orders.splice(0);
  const begin = (request: Partial<RolloutRequest> = {}) =>
    rollouts.begin({ version: '1.4.0', stages: [100], ...request });
  const newest = () => rollouts.list()[0];
  return { begin, changed, clock, gone, hello, newest, rollouts, say, store, told };
}
const outcome = (word: UpdateOutcome['outcome'], reason: string): UpdateOutcome => ({
  ...{ version: '1.4.0', outcome: word, reason },
});
const refusalOf = (work: Promise<unknown>) =>
  work.then(
    () => 'in',
    ({ code }) => code,
  );

describe('roll-outs', () => {
  it('order who is here at once, who comes at its hello, and are done after the soak', async () => {
    const { begin, changed, clock, hello, newest, rollouts, say, told } = await world();
    hello('ada');
    expect(await begin()).toMatchObject({ rolloutId: 'r1', state: 'running', stage: 1, devices: { underWay: 1 } });
    expect(told()).toEqual(['ada 1.4.0']);
    expect(rollouts.device('ada')).toEqual({ agent: old, update: { version: '1.4.0', state: 'ordered' } });
    hello('bob');
    await clock.advance(soon);
    expect(told()).toEqual(['bob 1.4.0']);
    changed.length = 0;
    say('ada', 'downloading', { percent: 40 });
    expect([changed, rollouts.device('ada')?.update]).toEqual([
      ['ada'],
      { version: '1.4.0', state: 'downloading', percent: 40 },
    ]);
    expect(newest()?.underWay[0]).toMatchObject({ userId: 'ada', percent: 40 });
    say('ada', 'switching');
    rollouts.agentGone('ada');
    hello('ada', { version: '1.4.0' });
    hello('bob', { version: '1.4.0' });
    await clock.advance(soon);
    expect(newest()).toMatchObject({
      state: 'running',
      devices: { done: 2 },
      nextStageAt: expect.stringMatching(/^20/),
    });
    await clock.advance(600_000);
    expect([newest()?.state, rollouts.device('ada')]).toEqual(['done', { agent: { ...old, version: '1.4.0' } }]);
    // Late, and still ordered.
    hello('eve');
    await clock.advance(soon);
    expect(told()).toEqual(['eve 1.4.0']);
    expect([rollouts.usesRelease('1.4.0'), rollouts.usesRelease('1.3.0')]).toEqual([true, false]);
    await rollouts.cancel('r1');
    expect(rollouts.usesRelease('1.4.0')).toBe(false);
    hello('joe');
    await clock.advance(soon);
    expect([told(), clock.pending()]).toEqual([[], []]);
  });

  it('order again after a reconnect, once for each connection, and never while paused', async () => {
    const { begin, clock, hello, rollouts, told } = await world();
    hello('ada');
    await begin();
    told();
    rollouts.agentGone('ada');
    await clock.advance(60_000);
    hello('ada');
    await clock.advance(60_000);
    expect(told()).toEqual(['ada 1.4.0']);
    await rollouts.pause('r1');
    hello('ada');
    hello('bob');
    await clock.advance(60_000);
    expect(told()).toEqual([]);
    expect(await rollouts.pause('r1')).toMatchObject({ state: 'paused', reason: 'paused by the operator' });
    await rollouts.resume('r1');
    await clock.advance(soon);
    expect(told().sort()).toEqual(['ada 1.4.0', 'bob 1.4.0']);
  });

  it('pause at a failure and say why; resume without those that failed, or with them', async () => {
    const { begin, clock, hello, newest, rollouts, say, told } = await world();
    for (const name of ['ada', 'bob', 'eve']) hello(name);
    await begin({ users: ['ada', 'bob', 'eve'] });
    told();
    say('ada', 'refused', { reason: 'older than 1.5.0' });
    expect(newest()).toMatchObject({
      state: 'paused',
      reason: 'ada: refused (older than 1.5.0)',
      failures: [{ userId: 'ada', outcome: 'refused', reason: 'older than 1.5.0' }],
      devices: { failed: 1, underWay: 2 },
    });
    const failed = { version: '1.4.0', state: 'failed', reason: 'older than 1.5.0' };
    expect(rollouts.device('ada')).toMatchObject({ agent: { lastUpdate: { outcome: 'refused' } }, update: failed });
    hello('bob', { lastUpdate: outcome('rolled_back', 'no hello') });
    expect(newest()?.devices).toMatchObject({ failed: 2 });
    await rollouts.resume('r1');
    await clock.advance(soon);
    expect([newest()?.state, told()]).toEqual(['running', []]);
    await rollouts.pause('r1');
    await rollouts.resume('r1', { retryFailed: true });
    expect(told().sort()).toEqual(['ada 1.4.0', 'bob 1.4.0']);
    // The outcome of before, told again: no news.
    hello('bob', { lastUpdate: outcome('rolled_back', 'no hello') });
    expect(newest()).toMatchObject({ state: 'running', devices: { failed: 0 } });
  });

  it('order those that failed again while they run, too', async () => {
    const { begin, hello, newest, rollouts, say, told } = await world();
    hello('ada');
    await begin({ users: ['ada'], maxFailures: 5 });
    say('ada', 'refused', { reason: 'no room' });
    expect([newest()?.state, told().length]).toEqual(['running', 1]);
    expect(await rollouts.resume('r1', { retryFailed: true })).toMatchObject({ devices: { failed: 0, underWay: 1 } });
    expect(told()).toEqual(['ada 1.4.0']);
  });

  it('count who does not come back from the switch', async () => {
    const { begin, clock, hello, newest, rollouts, say } = await world();
    hello('ada');
    await begin();
    say('ada', 'switching');
    rollouts.agentGone('ada');
    await clock.advance(14 * 60_000);
    expect(newest()?.state).toBe('running');
    await clock.advance(2 * 60_000);
    expect(newest()).toMatchObject({ state: 'paused', failures: [{ userId: 'ada', outcome: 'missing' }] });
    hello('ada', { version: '1.4.0' });
    expect(newest()?.devices).toMatchObject({ done: 1, failed: 0 });
  });

  it('are one at a time, and only with a release that is here', async () => {
    const { begin, hello, rollouts } = await world();
    hello('ada');
    expect(await refusalOf(begin({ version: '9.9.9' }))).toBe('RELEASE_NOT_FOUND');
    await begin();
    expect(await refusalOf(begin({ version: '1.5.0' }))).toBe('ROLLOUT_ACTIVE');
    await rollouts.cancel('r1');
    expect(await rollouts.cancel('r1')).toMatchObject({ state: 'cancelled' });
    expect(await begin({ version: '1.5.0' })).toMatchObject({ rolloutId: 'r2', devices: { underWay: 1 } });
    // Of the one before, what was known at its end.
    expect(rollouts.list()[1]).toMatchObject({ rolloutId: 'r1', state: 'cancelled', devices: { underWay: 1 } });
    expect(await refusalOf(rollouts.resume('r1'))).toBe('ROLLOUT_OVER');
    expect(await refusalOf(rollouts.pause('r7'))).toBe('ROLLOUT_NOT_FOUND');
  });

  it('leave alone whom the operator sends back', async () => {
    const { begin, clock, gone, hello, newest, rollouts, told } = await world();
    hello('ada', { version: '1.4.0' });
    hello('bob', { canUpdate: false });
    await begin();
    rollouts.rollback('ada');
    expect(told()).toEqual(['ada agent_rollback']);
    hello('ada');
    await clock.advance(60_000);
    expect([told(), newest()?.state]).toEqual([[], 'running']);
    expect(newest()?.skipped).toContainEqual({ userId: 'ada', reason: 'sent back by the operator' });
    const codeFor = (userId: string) => codeOf(() => rollouts.rollback(userId));
    expect(codeFor('bob')).toBe('GLASSES_CANNOT_UPDATE');
    gone.add('ada');
    expect([codeFor('nobody'), codeFor('ada')]).toEqual(['GLASSES_NOT_CONNECTED', 'GLASSES_NOT_CONNECTED']);
  });

  it('go on after a restart of the relay, and open no stage before all could be back', async () => {
    const first = await world();
    for (const name of ['ada', 'bob', 'eve']) first.hello(name);
    await first.begin({ stages: [100], soakSeconds: 0, maxFailures: 2 });
    first.say('ada', 'switching');
    first.hello('bob', { version: '1.4.0' });
    first.hello('eve', { lastUpdate: outcome('rolled_back', 'no hello') });
    const before = first.newest();
    first.rollouts.close();
    const second = await world({ store: first.store, clock: first.clock });
    expect(second.newest()).toMatchObject({ ...before, underWay: [{ userId: 'ada', state: 'ordered' }] });
    await second.clock.advance(4_000);
    expect([second.told(), second.newest()?.state]).toEqual([[], 'running']);
    second.hello('ada', { lastUpdate: outcome('interrupted', 'power cut') });
    await second.clock.advance(soon);
    expect(second.told()).toEqual(['ada 1.4.0']);
    second.hello('ada', { version: '1.4.0' });
    await second.clock.advance(2_000);
    expect(second.newest()).toMatchObject({ state: 'done', devices: { done: 2, failed: 1 } });
  });

  it('give twenty orders a second, however many glasses there are', async () => {
    const { begin, clock, hello, told } = await world({ maxDevices: 10_000 });
    for (let at = 0; at < 10_000; at += 1) hello(`user-${at}`);
    await begin();
    expect(told()).toHaveLength(20);
    await clock.advance(3_000);
    expect(told()).toHaveLength(60);
  });

  it('give no more of them when others come and go', async () => {
    const { begin, clock, hello, told } = await world();
    for (let at = 0; at < 90; at += 1) hello(`user-${at}`);
    await begin();
    for (let at = 0; at < 7; at += 1) {
      hello(`late-${at}`);
      await clock.advance(290);
    }
    // Two seconds, and what may go out at once.
    const early = told().length;
    expect(early).toBeLessThanOrEqual(20 + 2.1 * 20);
    await clock.advance(3_000);
    expect(early + told().length).toBe(97);
  });

  it('hear what an honest agent said last, however often its network came and went', async () => {
    const { begin, clock, hello, newest, rollouts, told } = await world();
    await begin();
    for (let at = 0; at < 60; at += 1) hello('ada');
    told();
    await clock.advance(5_000);
    expect([told(), newest()?.devices.underWay]).toEqual([['ada 1.4.0'], 1]);
    for (let at = 0; at < 60; at += 1) hello('ada', { version: '1.4.0', onTrial: true });
    hello('ada', { version: '1.4.0' });
    await clock.advance(5_000);
    expect(newest()?.devices).toMatchObject({ done: 1, underWay: 0 });
    for (let at = 0; at < 60; at += 1) hello('ada', { version: '1.4.0' });
    rollouts.agentGone('ada');
    await clock.advance(5_000);
    expect(codeOf(() => rollouts.rollback('ada'))).toBe('GLASSES_NOT_CONNECTED');
    for (let at = 0; at < 60; at += 1) hello('ada', { version: '1.4.0' });
    rollouts.close();
    expect(clock.pending()).toEqual([]);
  });

  it('blame nobody for not coming back while the relay itself was away', async () => {
    const first = await world();
    first.hello('ada');
    await first.begin();
    first.say('ada', 'switching');
    first.rollouts.close();
    await first.clock.advance(3_600_000);
    const second = await world({ store: first.store, clock: first.clock });
    await second.clock.advance(60_000);
    expect(second.newest()).toMatchObject({ state: 'running', devices: { underWay: 1 } });
    await second.clock.advance(15 * 60_000);
    expect(second.newest()).toMatchObject({ state: 'paused', failures: [{ outcome: 'missing' }] });
  });

  it('look again within the hour, however long the soak is and wherever the wall clock goes', async () => {
    const clock = createTestClock();
    const asked: number[] = [];
    let aheadMs = 0;
    const { begin, hello, newest } = await world({
      clock: {
        ...clock,
        now: () => clock.now() + aheadMs,
        after(name, ms, fire) {
          asked.push(ms);
          return clock.after(name, ms, fire);
        },
      },
    });
    hello('ada', { version: '1.4.0' });
    await begin({ soakSeconds: 30 * 24 * 3600 });
    await clock.advance(soon);
    expect(newest()?.nextStageAt).toBeDefined();
    expect(Math.max(...asked)).toBeLessThan(2 ** 31);
    aheadMs = 365 * 24 * 3_600_000;
    hello('bob', { canUpdate: false });
    await clock.advance(1_000);
    expect(newest()?.state).toBe('done');
  });

  it('are none when they could not be written down', async () => {
    const store = createSqliteStore({ file: ':memory:' });
    let isFull = true;
    const put: Store['rollouts']['put'] = (record) =>
      isFull ? Promise.reject(new Error('disk full')) : store.rollouts.put(record);
    const { begin, clock, hello, rollouts, told } = await world({
      store: { ...store, rollouts: { ...store.rollouts, put } },
    });
    hello('ada');
    await expect(begin()).rejects.toThrow('disk full');
    await clock.advance(60_000);
    expect([told(), rollouts.list()]).toEqual([[], []]);
    isFull = false;
    expect((await begin()).rolloutId).toBe('r1');
  });

  it('are in their order after a start, also when the clock was set back between them', async () => {
    const first = await world();
    await first.begin();
    await first.rollouts.cancel('r1');
    await first.store.rollouts.put({ ...((await first.store.rollouts.get('r1')) as RolloutRecord), createdAtMs: 9e12 });
    await first.begin();
    const second = await world({ store: first.store, clock: first.clock });
    expect(second.rollouts.list().map(({ rolloutId }) => rolloutId)).toEqual(['r2', 'r1']);
  });

  it('tell of named users of whom no agent ever spoke, until one does', async () => {
    const { begin, clock, hello, newest, rollouts } = await world();
    expect(await begin({ users: ['ada', 'typo'] })).toMatchObject({ devices: { away: 2 }, unseen: ['ada', 'typo'] });
    hello('ada', { version: '1.4.0' });
    await clock.advance(700_000);
    expect(newest()).toMatchObject({ state: 'done', devices: { done: 1, away: 1 }, unseen: ['typo'] });
    await begin();
    expect(rollouts.list()[1]?.unseen).toBeUndefined();
  });

  it('remember so many glasses, and forget first who was away for longest', async () => {
    const { clock, hello, rollouts, store } = await world({ maxDevices: 3 });
    const known = async () => (await store.agents.all()).map(({ userId }) => userId);
    for (const name of ['ada', 'bob', 'eve']) {
      hello(name);
      await clock.advance(1);
    }
    rollouts.agentGone('ada');
    rollouts.agentGone('bob');
    hello('joe');
    expect(await known()).toEqual(['bob', 'eve', 'joe']);
    hello('kim');
    hello('lea');
    expect([await known(), rollouts.device('lea')]).toEqual([['eve', 'joe', 'kim'], undefined]);
  });

  it('write no more of one user than a connection each two seconds would, whatever it says', async () => {
    const counted = countingStore(createSqliteStore({ file: ':memory:' }));
    const { begin, hello, say } = await world({ store: counted.store });
    hello('ada');
    await begin();
    for (let count = 0; count < 1_000; count += 1) {
      hello('ada', { architecture: `a${count}` });
      say('ada', count % 2 ? 'switching' : 'downloading');
      say('ada', 'refused', { reason: `number ${count}` });
    }
    expect(counted.puts()).toBeLessThan(80);
  });

  it('hear nothing of glasses that speak for no agent', async () => {
    const { begin, changed, hello, rollouts, say } = await world();
    rollouts.agentHello('phone', undefined);
    say('phone', 'downloading');
    expect([changed, rollouts.device('phone')]).toEqual([[], undefined]);
    // A phone took the place of the agent.
    hello('ada');
    rollouts.agentHello('ada', undefined);
    await begin();
    expect(codeOf(() => rollouts.rollback('ada'))).toBe('GLASSES_NOT_CONNECTED');
  });
});

function countingStore(inner: Store) {
  let puts = 0;
  const agents: Store['agents'] = {
    ...inner.agents,
    put(record) {
      puts += 1;
      return inner.agents.put(record);
    },
  };
  return { store: { ...inner, agents }, puts: () => puts };
}
