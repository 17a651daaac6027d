import { describe, expect, it } from 'vitest';
import { createWheelClock } from '../../scripts/fleet/wheel-clock.ts';
import { createTestClock } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  return { clock, wheel: createWheelClock(clock, 20) };
}

describe('wheel clock', () => {
  it('fires late by one tick at most and never early, on one timer', async () => {
    const { clock, wheel } = world();
    const fired: number[] = [];
    const beganMs = clock.monotonicMs();
    for (const ms of [0, 1, 20, 33, 1_000]) wheel.after('x', ms, () => fired.push(clock.monotonicMs() - beganMs));
    expect(clock.pending()).toEqual(['wheel']);
    await clock.advance(1_100);
    expect(fired).toEqual([20, 20, 20, 40, 1_000]);
    wheel.close();
    expect(clock.pending()).toEqual([]);
  });

  it('repeats until it is cancelled, also from within', async () => {
    const { clock, wheel } = world();
    let count = 0;
    const timer = wheel.every('beat', 100, () => {
      count += 1;
      if (count === 3) timer.cancel();
    });
    await clock.advance(2_000);
    expect([count, wheel.pending()]).toEqual([3, []]);
  });

  it('forgets what was cancelled, and takes what is asked for in a turn', async () => {
    const { clock, wheel } = world();
    const told: string[] = [];
    const never = wheel.after('never', 40, () => told.push('never'));
    wheel.after('first', 20, () => {
      never.cancel();
      wheel.after('second', 0, () => told.push('second'));
    });
    await clock.advance(100);
    expect(told).toEqual(['second']);
  });
});
