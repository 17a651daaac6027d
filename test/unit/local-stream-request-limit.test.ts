import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRequestLimit } from '../../cloud/local-stream/api/request-limit.ts';
import { createTestClock } from '../support/test-clock.ts';

const WINDOW_MS = 300_000;

describe('the limit on requests', () => {
  it('lets so many pass in five minutes, then none for five, whoever still knocks', async () => {
    const clock = createTestClock();
    const limit = createRequestLimit({ clock, requestsPerWindow: 2 });
    const take = () => limit.take().isAllowed;
    expect([take(), take()]).toEqual([true, true]);
    await clock.advance(200_000);
    expect(limit.take()).toEqual({
      isAllowed: false,
      headers: {
        ratelimit: '"default";r=0;t=300',
        'ratelimit-policy': '"default";q=2;w=300',
        'retry-after': '300',
      },
    });
    await clock.advance(WINDOW_MS - 1);
    expect(take()).toBe(false);
    await clock.advance(1);
    expect([take(), take(), take()]).toEqual([true, true, false]);
  });

  it('never lets more than twice its number through in any five minutes, and always opens again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(120_000), { maxLength: 60 }), async (pauses) => {
        const clock = createTestClock();
        const limit = createRequestLimit({ clock, requestsPerWindow: 5 });
        const passed: number[] = [];
        for (const pause of pauses) {
          await clock.advance(pause);
          const { isAllowed, headers } = limit.take();
          if (isAllowed) passed.push(clock.monotonicMs());
          else expect(Number(headers['retry-after'])).toBeGreaterThan(0);
        }
        for (const from of passed) {
          expect(passed.filter((at) => at >= from && at < from + WINDOW_MS).length).toBeLessThanOrEqual(10);
        }
        await clock.advance(WINDOW_MS);
        expect(limit.take().isAllowed).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});
