import { describe, expect, it } from 'vitest';
import { createReadiness } from '../../cloud/health/readiness.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createTestClock } from '../support/test-clock.ts';

function world(values: Partial<Store['values']> = {}) {
  const clock = createTestClock();
  const store = createSqliteStore({ file: ':memory:' });
  const state = {
    provider: 'ok',
    isEnding: false,
    worstMs: 3,
    cluster: undefined as string | undefined,
    asked: 0,
  };
  const counted: Store['values'] = {
    ...store.values,
    put(record) {
      state.asked += 1;
      return (values.put ?? store.values.put)(record);
    },
  };
  const readiness = createReadiness({
    clock,
    store: { values: counted },
    provider: () => state.provider,
    isEnding: () => state.isEnding,
    loop: { worstMs: () => state.worstMs },
    cluster: () => state.cluster,
  });
  const failed = async () => {
    const { isReady, checks } = await readiness.check();
    const wrong = checks.filter(({ isOk }) => !isOk).map(({ name }) => name);
    expect(isReady).toBe(wrong.length === 0);
    return wrong;
  };
  return { clock, state, store, readiness, failed };
}

describe('readiness', () => {
  it('is there when all is well, also before the provider has answered', async () => {
    const { failed, state } = world();
    expect(await failed()).toEqual([]);
    state.provider = 'unknown';
    expect(await failed()).toEqual([]);
    state.provider = 'PROVIDER_RATE_LIMITED';
    expect(await failed()).toEqual([]);
  });

  it('names each thing that is wrong', async () => {
    const { failed, state } = world();
    state.provider = 'PROVIDER_UNREACHABLE';
    expect(await failed()).toEqual(['provider']);
    state.isEnding = true;
    expect(await failed()).toEqual(['provider', 'ending']);
    state.worstMs = 1_500;
    state.cluster = 'Redis does not answer';
    expect(await failed()).toEqual(['provider', 'ending', 'loop', 'cluster']);
  });

  it('asks the store once a second, however many ask', async () => {
    const { clock, failed, state } = world();
    await Promise.all([failed(), failed(), failed()]);
    expect(state.asked).toBe(1);
    await clock.advance(1_000);
    await failed();
    expect(state.asked).toBe(2);
  });

  it('a store that throws, and one that is closed, are told without their own words', async () => {
    const { readiness, store } = world();
    await store.close();
    const { checks } = await readiness.check();
    expect(checks[0]).toEqual({ name: 'store', isOk: false, reason: 'the store cannot be written or read' });
  });

  it('a store that hangs is late after its time, and is not asked again while it hangs', async () => {
    let answer = () => {};
    const hanging = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const { clock, failed, state } = world({ put: () => hanging });
    const first = failed();
    await clock.advance(1_000);
    expect(await first).toEqual(['store']);
    const second = failed();
    await clock.advance(1_000);
    expect(await second).toEqual(['store']);
    expect(state.asked).toBe(1);
    answer();
    await clock.advance(1_000);
    const third = failed();
    await clock.advance(0);
    expect(state.asked).toBe(2);
    // Written by nobody: this fake keeps nothing.
    expect(await third).toEqual(['store']);
  });

  it("says our own error's sentence", async () => {
    const { readiness } = world({ put: () => Promise.reject(new GlasscastError('STORE_UNAVAILABLE')) });
    const { checks } = await readiness.check();
    expect(checks[0]?.reason).toContain('cannot be reached or written');
  });

  it('is alive until the loop stood still for very long', () => {
    const { readiness, state } = world();
    state.worstMs = 4_000;
    expect(readiness.isAlive()).toBe(true);
    state.worstMs = 6_000;
    expect(readiness.isAlive()).toBe(false);
  });
});
