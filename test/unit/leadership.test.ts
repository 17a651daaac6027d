import { describe, expect, it } from 'vitest';
import { createLeadership } from '../../cloud/cluster/leadership.ts';
import { createTestClock } from '../support/test-clock.ts';

describe('leadership', () => {
  it('ends by itself when it is not renewed, counted from when it was asked for', async () => {
    const clock = createTestClock();
    const leadership = createLeadership({ nodeId: 'a', clock, leaseMs: 2_000 });
    const heard: (string | undefined)[] = [];
    const stop = leadership.onChange(() => heard.push(leadership.leaderId()));
    expect([leadership.isLeader(), leadership.leaderId()]).toEqual([false, undefined]);
    await clock.advance(500);
    // The answer took its time.
    leadership.heard('a', 100);
    expect([leadership.isLeader(), heard]).toEqual([true, ['a']]);
    await clock.advance(1_599);
    expect(leadership.isLeader()).toBe(true);
    await clock.advance(1);
    expect(leadership.isLeader()).toBe(false);
    leadership.check();
    leadership.check();
    leadership.heard('b', clock.monotonicMs());
    leadership.heard('b', clock.monotonicMs());
    stop();
    leadership.heard(undefined, clock.monotonicMs());
    expect([heard, leadership.leaderId()]).toEqual([['a', undefined, 'b'], undefined]);
  });
});
