/**
 * Whether this relay may take new work, and if not, why: one check each of the store, the provider, the ending, the event
 * loop, the cluster. Whether the process is alive is asked of the loop alone: no restart mends a store that is away.
 */
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { errorText, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { Store } from '../store/store.ts';
import type { LoopWatch } from './loop-watch.ts';

export interface Check {
  name: 'store' | 'provider' | 'ending' | 'loop' | 'cluster';
  isOk: boolean;
  /** What is wrong, or how it is. */
  reason: string;
}

export interface Readiness {
  check(): Promise<{ isReady: boolean; checks: Check[] }>;
  /** False: the loop stood still for so long that a supervisor had better start the process anew. */
  isAlive(): boolean;
}

export interface ReadinessOptions {
  clock: Clock;
  store: Pick<Store, 'values'>;
  provider: () => string;
  /** It drains or closes: nothing new is taken. */
  isEnding: () => boolean;
  loop: Pick<LoopWatch, 'worstMs'>;
  /** Undefined: all is well, else what is not. Default: a relay alone. */
  cluster?: (() => string | undefined) | undefined;
  /** Default 1000. */
  storeTimeoutMs?: number;
}

/** An answer of the store serves all who ask for so long. */
const STORE_FRESH_MS = 1_000;
const STUCK_MS = 1_000;
const DEAD_MS = 5_000;
/** Written and read back: a disk that is full still reads. */
const PROBE = 'readiness-probe';
/** A new start would fail by these; after the others it may well succeed, or waits. */
const PROVIDER_DOWN: ReadonlySet<string> = new Set([
  'PROVIDER_UNREACHABLE',
  'PROVIDER_UNAUTHORIZED',
  'PROVIDER_FAILED',
  'PROVIDER_REJECTED',
  'PROVIDER_STORAGE_FULL',
  'PROVIDER_SUBSCRIPTION_MISSING',
]);

export function createReadiness(options: ReadinessOptions): Readiness {
  const { clock, store, loop, storeTimeoutMs = 1_000 } = options;
  let asked: { atMs: number; check: Promise<Check> } | undefined;
  /** One that hangs is asked once, not by every prober again. */
  let probing: Promise<void> | undefined;

  async function probe(): Promise<void> {
    const value = String(clock.now());
    await store.values.put({ name: PROBE, value });
    if ((await store.values.get(PROBE)) === undefined) throw new GlasscastError('STORE_UNAVAILABLE');
  }
  async function askStore(): Promise<Check> {
    probing ??= probe().finally(() => {
      probing = undefined;
    });
    const late = () => new GlasscastError('STORE_UNAVAILABLE', { reason: `no answer within ${storeTimeoutMs} ms` });
    try {
      await withTimeout(clock, 'readiness-store', storeTimeoutMs, probing, late);
      return { name: 'store', isOk: true, reason: 'ok' };
    } catch (thrown) {
      // A database says what it will: only our own sentences are for strangers.
      const reason = isGlasscastError(thrown) ? errorText(thrown) : 'the store cannot be written or read';
      return { name: 'store', isOk: false, reason };
    }
  }
  function storeCheck(): Promise<Check> {
    const nowMs = clock.monotonicMs();
    if (!asked || nowMs - asked.atMs >= STORE_FRESH_MS) asked = { atMs: nowMs, check: askStore() };
    return asked.check;
  }
  function others(): Check[] {
    const provider = options.provider();
    const stuckMs = Math.round(loop.worstMs());
    const apart = options.cluster?.();
    const isEnding = options.isEnding();
    return [
      { name: 'provider', isOk: !PROVIDER_DOWN.has(provider), reason: provider },
      { name: 'ending', isOk: !isEnding, reason: isEnding ? 'the relay is ending and takes nothing new' : 'ok' },
      {
        name: 'loop',
        isOk: stuckMs < STUCK_MS,
        reason: stuckMs < STUCK_MS ? 'ok' : `the event loop stood still for ${stuckMs} ms in the last 10 s`,
      },
      { name: 'cluster', isOk: apart === undefined, reason: apart ?? 'ok' },
    ];
  }

  return {
    async check() {
      const checks = [await storeCheck(), ...others()];
      return { isReady: checks.every(({ isOk }) => isOk), checks };
    },
    isAlive: () => loop.worstMs() < DEAD_MS,
  };
}
