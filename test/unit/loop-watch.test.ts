import { describe, expect, it } from 'vitest';
import { createLoopWatch } from '../../cloud/health/loop-watch.ts';
import { createTestClock } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  const state = { maxMs: 0, count: 0, isOn: false };
  const watch = createLoopWatch({
    clock,
    histogram: {
      enable: () => (state.isOn = true),
      disable() {
        state.isOn = false;
        return true;
      },
      reset() {
        state.maxMs = 0;
        state.count = 0;
      },
      percentile: (quantile) => (state.maxMs * 1e6 * quantile) / 100,
      get max() {
        return state.maxMs * 1e6;
      },
      get count() {
        return state.count;
      },
    },
  });
  return { clock, state, watch };
}

describe('the watch of the event loop', () => {
  it('remembers the worst of ten seconds, and the last second', async () => {
    const { clock, state, watch } = world();
    Object.assign(state, { maxMs: 820, count: 10 });
    expect(watch.worstMs()).toBe(800);
    await clock.advance(1_020);
    expect(watch.lag()).toEqual({ p50Ms: 390, p99Ms: 820 * 0.99 - 20, maxMs: 800 });
    await clock.advance(1_000);
    expect(watch.lag().maxMs).toBe(0);
    expect(watch.worstMs()).toBe(800);
    await clock.advance(10_000);
    expect(watch.worstMs()).toBe(0);
  });

  it('leaves nothing running', () => {
    const { clock, state, watch } = world();
    expect(state.isOn).toBe(true);
    watch.close();
    expect(state.isOn).toBe(false);
    expect(clock.pending()).toEqual([]);
  });
});
