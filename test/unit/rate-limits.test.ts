import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBucket, createRateLimit } from '../../cloud/access/rate-limits.ts';
import { createTestClock } from '../support/test-clock.ts';

describe('a bucket', () => {
  it('gives a burst, then its rate, and fills up to the burst again', async () => {
    const clock = createTestClock();
    const bucket = createBucket({ clock, perSecond: 10, burst: 5 });
    const taken = (tries: number) => Array.from({ length: tries }, () => bucket.take()).filter(Boolean).length;
    expect(taken(20)).toBe(5);
    await clock.advance(200);
    expect(taken(20)).toBe(2);
    await clock.advance(60_000);
    expect(taken(20)).toBe(5);
    expect(clock.pending()).toEqual([]);
  });

  it('never gives more than burst and rate together, in whatever steps time goes', async () => {
    const steps = fc.array(fc.record({ waitMs: fc.integer({ min: 0, max: 5_000 }), tries: fc.nat(30) }), {
      maxLength: 20,
    });
    await fc.assert(
      fc.asyncProperty(
        steps,
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 50 }),
        async (all, perSecond, burst) => {
          const clock = createTestClock();
          const bucket = createBucket({ clock, perSecond, burst });
          let taken = 0;
          for (const { waitMs, tries } of all) {
            await clock.advance(waitMs);
            for (let count = 0; count < tries; count += 1) if (bucket.take()) taken += 1;
          }
          expect(taken).toBeLessThanOrEqual(burst + (clock.monotonicMs() / 1000) * perSecond + 1e-6);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('gives all or nothing', () => {
    const bucket = createBucket({ clock: createTestClock(), perSecond: 1, burst: 10 });
    expect([bucket.take(11), bucket.take(6), bucket.take(6), bucket.take(4)]).toEqual([false, true, false, true]);
  });
});

describe('a rate limit', () => {
  it('counts by key, and forgets the key that was quiet for longest', () => {
    const limit = createRateLimit({ clock: createTestClock(), perSecond: 1, burst: 1, maxKeys: 2 });
    expect([limit.take('a'), limit.take('b'), limit.take('a')]).toEqual([true, true, false]);
    expect([limit.take('c'), limit.take('a'), limit.take('b')]).toEqual([true, false, true]);
  });
});
