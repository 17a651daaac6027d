import { describe, expect, it } from 'vitest';
import { createGate, createUserQueues } from '../../cloud/cluster/user-queues.ts';
import { createTestClock } from '../support/test-clock.ts';

describe('queues of users', () => {
  it('do one thing at a time for one user, and go on after a failure; others do not wait', async () => {
    const clock = createTestClock();
    const queues = createUserQueues();
    const order: string[] = [];
    const work = (name: string, ms: number) => async () => {
      order.push(`${name} begins`);
      await clock.sleep(ms);
      order.push(`${name} ends`);
      if (name === 'one') throw new Error('one fails');
      return name;
    };
    const one = queues.add('ada', work('one', 20)).catch((error: Error) => error.message);
    const two = queues.add('ada', work('two', 5));
    const other = queues.add('bob', work('other', 5));
    expect([queues.isBusy('ada'), queues.isBusy('eve')]).toEqual([true, false]);
    await clock.advance(30);
    expect(await Promise.all([one, two, other])).toEqual(['one fails', 'two', 'other']);
    expect(order).toEqual(['one begins', 'other begins', 'other ends', 'one ends', 'two begins', 'two ends']);
    await queues.idle();
    expect(queues.isBusy('ada')).toBe(false);
  });
});

describe('a gate', () => {
  it('lets so many through at once, in order, and gives a place on after a failure', async () => {
    const clock = createTestClock();
    const gate = createGate(2);
    const running = { now: 0, most: 0 };
    const done: number[] = [];
    const all = Array.from({ length: 7 }, (_, number) =>
      gate(async () => {
        running.now += 1;
        running.most = Math.max(running.most, running.now);
        await clock.sleep(10);
        running.now -= 1;
        done.push(number);
        if (number === 1) throw new Error('cannot');
      }).catch(() => {}),
    );
    await clock.advance(100);
    await Promise.all(all);
    expect([running, done]).toEqual([{ now: 0, most: 2 }, [0, 1, 2, 3, 4, 5, 6]]);
  });
});
