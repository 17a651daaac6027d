import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffMs, createSystemClock, withTimeout } from '../../shared/clock.ts';
import { createTestClock } from '../support/test-clock.ts';

describe.each([
  ['system clock', createSystemClock],
  ['test clock', createTestClock],
])('%s', (_name, create) => {
  it('lists what waits by name and forgets what is cancelled', () => {
    const clock = create();
    const one = clock.after('one', 60_000, () => {});
    const two = clock.every('two', 60_000, () => {});
    expect(clock.pending().sort()).toEqual(['one', 'two']);
    one.cancel();
    two.cancel();
    expect(clock.pending()).toEqual([]);
  });

  it('ends a sleep when its signal aborts, leaving nothing', async () => {
    const clock = create();
    const abort = new AbortController();
    const sleeping = clock.sleep(60_000, { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    await expect(clock.sleep(1, { signal: abort.signal })).rejects.toThrow('enough');
    expect(clock.pending()).toEqual([]);
  });
});

describe('withTimeout', () => {
  it('gives the work, or the error after the time', async () => {
    const clock = createTestClock();
    await expect(withTimeout(clock, 't', 10, Promise.resolve(7), () => new Error('late'))).resolves.toBe(7);
    const late = expect(withTimeout(clock, 't', 10, new Promise(() => {}), () => new Error('late'))).rejects.toThrow(
      'late',
    );
    await clock.advance(10);
    await late;
    expect(clock.pending()).toEqual([]);
  });
});

describe('backoff', () => {
  it('grows to its limit and never leaves its range', () => {
    const policy = { firstMs: 100, factor: 2, maxMs: 5_000, jitter: 0.5 };
    fc.assert(
      fc.property(fc.nat(10_000), fc.double({ min: 0, max: 1, noNaN: true }), (attempt, random) => {
        const ms = backoffMs(policy, attempt, () => random);
        expect(ms).toBeGreaterThanOrEqual(50);
        expect(ms).toBeLessThanOrEqual(5_000);
      }),
    );
    expect([0, 1, 2, 10].map((attempt) => backoffMs(policy, attempt, () => 0))).toEqual([100, 200, 400, 5_000]);
  });
});
