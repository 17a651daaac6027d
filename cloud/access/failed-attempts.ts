/**
 * Bounds guessing at tokens and keys: an address that was wrong too often is refused unseen until its minute is over.
 * Remembers a bounded number of addresses; knows no token.
 */
import { BlockList, isIPv6 } from 'node:net';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';

export interface FailedAttempts {
  /** Runs `check`; what it throws with HTTP 401 counts. Errors: its own; RATE_LIMITED in their place past the limit. */
  guard<T>(address: string | undefined, check: () => Promise<T>): Promise<T>;
}

/** Behind a proxy everybody has its address: a right token is let in from there, or one guesser would lock out all. */
function nearAddresses(): BlockList {
  const near = new BlockList();
  for (const [net, bits] of [
    ['127.0.0.0', 8],
    ['10.0.0.0', 8],
    ['172.16.0.0', 12],
    ['192.168.0.0', 16],
  ] as const) {
    near.addSubnet(net, bits);
  }
  near.addAddress('::1', 'ipv6');
  near.addSubnet('fc00::', 7, 'ipv6');
  return near;
}

/** @param maxFailures per address and window. Default 30 in 60 s: far above a device with an old token. */
export function createFailedAttempts({
  clock,
  maxFailures = 30,
  windowMs = 60_000,
  maxAddresses = 10_000,
}: {
  clock: Clock;
  maxFailures?: number;
  windowMs?: number;
  maxAddresses?: number;
}): FailedAttempts {
  const near = nearAddresses();
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
      const isFull = () => windows.has(address) && windowOf(address).failures >= maxFailures;
      const isNear = near.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
      if (isFull() && !isNear) throw new GlasscastError('RATE_LIMITED');
      try {
        return await check();
      } catch (error) {
        if (!isGlasscastError(error) || error.http !== 401) throw error;
        if (isFull()) throw new GlasscastError('RATE_LIMITED');
        windowOf(address).failures += 1;
        throw error;
      }
    },
  };
}
