/**
 * Token buckets: so many things each second, and a burst after a rest. One alone, or one per key with a bounded number of
 * keys. No timers: a bucket is looked at when something is taken from it.
 */
import type { Clock } from '../../shared/clock.ts';

export interface Rate {
  /** In the long run. */
  perSecond: number;
  /** At once, after a rest. */
  burst: number;
}

export interface Bucket {
  /** False when there is not that much in it; then nothing is taken. Default 1. */
  take(amount?: number): boolean;
}

export function createBucket({ clock, perSecond, burst }: Rate & { clock: Clock }): Bucket {
  let left = burst;
  let sinceMs = clock.monotonicMs();
  return {
    take(amount = 1) {
      const nowMs = clock.monotonicMs();
      left = Math.min(burst, left + ((nowMs - sinceMs) / 1000) * perSecond);
      sinceMs = nowMs;
      if (left < amount) return false;
      left -= amount;
      return true;
    },
  };
}

export interface RateLimit {
  /** False when this key has had its share. */
  take(key: string): boolean;
}

/** @param maxKeys the keys remembered; the one unused for longest is forgotten first. Default 10,000. */
export function createRateLimit({
  clock,
  perSecond,
  burst,
  maxKeys = 10_000,
}: Rate & { clock: Clock; maxKeys?: number }): RateLimit {
  const buckets = new Map<string, Bucket>();
  return {
    take(key) {
      const bucket = buckets.get(key) ?? createBucket({ clock, perSecond, burst });
      // Put at the end again: a map is in the order of its insertions.
      buckets.delete(key);
      const oldest = buckets.keys().next().value;
      if (buckets.size >= maxKeys && oldest !== undefined) buckets.delete(oldest);
      buckets.set(key, bucket);
      return bucket.take();
    },
  };
}
