/**
 * Bounds guessing at tokens, keys and codes: an address that was wrong too often is refused unseen until its minute is
 * over. Remembers a bounded number of addresses; knows no token.
 */
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import { countedAddress } from '../../shared/network-address.ts';
import type { Callers } from './callers.ts';

export interface FailedAttempts {
  /**
   * Runs `check`; what it throws with HTTP 401 counts. Errors: its own; RATE_LIMITED in their place past the limit.
   * @param address of the caller: Fastify's `request.ip`, `Callers.addressOf` at an upgrade.
   */
  guard<T>(address: string | undefined, check: () => Promise<T>): Promise<T>;
}

/** @param maxFailures per address and window. Default 30 in 60 s: far above a device with an old token. */
export function createFailedAttempts({
  clock,
  callers,
  maxFailures = 30,
  windowMs = 60_000,
  maxAddresses = 10_000,
}: {
  clock: Clock;
  /** An address that stands for many lets right tokens in all the time, or one guesser would lock out all. */
  callers: Pick<Callers, 'standsForMany'>;
  maxFailures?: number;
  windowMs?: number;
  maxAddresses?: number;
}): FailedAttempts {
  const windows = new Map<string, { sinceMs: number; failures: number }>();

  function windowOf(address: string): { sinceMs: number; failures: number } {
    const nowMs = clock.monotonicMs();
    const known = windows.get(address);
    if (known && nowMs - known.sinceMs < windowMs) return known;
    windows.delete(address);
    const oldest = windows.keys().next().value;
    if (windows.size >= maxAddresses && oldest !== undefined) windows.delete(oldest);
    const fresh = { sinceMs: nowMs, failures: 0 };
    windows.set(address, fresh);
    return fresh;
  }

  return {
    async guard(address = 'unknown', check) {
      const key = countedAddress(address);
      const isFull = () => windows.has(key) && windowOf(key).failures >= maxFailures;
      if (isFull() && !callers.standsForMany(address)) throw new GlasscastError('RATE_LIMITED');
      try {
        return await check();
      } catch (error) {
        if (!isGlasscastError(error) || error.http !== 401) throw error;
        if (isFull()) throw new GlasscastError('RATE_LIMITED');
        windowOf(key).failures += 1;
        throw error;
      }
    },
  };
}
