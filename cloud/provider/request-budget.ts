/**
 * When a call to the provider's API may go: a steady pace with a small burst, urgent calls before all others, and
 * silence while the provider asks for it. One budget for every call of a token, since the provider counts so.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';

export interface RequestBudget {
  /**
   * Settles when the call may go. Errors: PROVIDER_RATE_LIMITED, with `details.retryAfterMs`, while the silence that was
   * asked for is longer than anybody waits here; the reason of the signal.
   */
  take(isUrgent: boolean): Promise<void>;
  /** The provider wants no call for so long: one refusal is meant for every call. At most 5 min are believed. */
  block(ms: number): void;
}

/** Calls that may go at once before the pace applies. */
const BURST = 5;
/** Cloudflare blocks a token for 5 min; a longer wait is looked at again by then. */
const MAX_BLOCK_MS = 300_000;

interface Waiting {
  isUrgent: boolean;
  go: () => void;
  refuse: (reason: unknown) => void;
}

export function createRequestBudget(options: {
  clock: Clock;
  /** Undefined: no pace. */
  perSecond: number | undefined;
  /** How many processes share the pace. Default 1. */
  sharers?: (() => number) | undefined;
  /** A longer silence is an error at once. */
  maxWaitMs: number;
  signal: AbortSignal;
}): RequestBudget {
  const { clock, perSecond, sharers = () => 1, maxWaitMs, signal } = options;
  const gap = () => (perSecond === undefined ? 0 : (1000 * Math.max(1, sharers())) / perSecond);
  let waiting: Waiting[] = [];
  let timer: Timer | undefined;
  /** A token bucket as one number: when the call before the next one was due. */
  let dueMs = Number.NEGATIVE_INFINITY;
  let blockedUntilMs = 0;

  function blockedMs(): number {
    return Math.max(0, blockedUntilMs - clock.monotonicMs());
  }
  function refusal(): GlasscastError {
    const retryAfterMs = blockedMs();
    const reason = `no call for ${Math.ceil(retryAfterMs / 1000)} s`;
    return new GlasscastError('PROVIDER_RATE_LIMITED', { reason, details: { retryAfterMs } });
  }
  function refuseAll(reason: unknown): void {
    timer?.cancel();
    timer = undefined;
    for (const { refuse } of waiting.splice(0)) refuse(reason);
  }
  /** Lets go whoever may. */
  function serve(): void {
    timer?.cancel();
    timer = undefined;
    while (waiting.length > 0) {
      const nowMs = clock.monotonicMs();
      const gapMs = gap();
      const nextMs = Math.max(dueMs, nowMs - BURST * gapMs) + gapMs;
      const waitMs = Math.max(nextMs - nowMs, blockedMs());
      if (gapMs === 0 ? blockedMs() > 0 : waitMs > 0) {
        timer = clock.after('provider-budget', Math.ceil(waitMs), serve);
        return;
      }
      dueMs = nextMs;
      const next = waiting.find(({ isUrgent }) => isUrgent) ?? waiting[0];
      waiting = waiting.filter((one) => one !== next);
      next?.go();
    }
  }
  signal.addEventListener('abort', () => refuseAll(signal.reason), { once: true });

  return {
    take(isUrgent) {
      if (signal.aborted) return Promise.reject(signal.reason);
      if (blockedMs() > maxWaitMs) return Promise.reject(refusal());
      return new Promise((go, refuse) => {
        waiting.push({ isUrgent, go, refuse });
        serve();
      });
    },
    block(ms) {
      blockedUntilMs = Math.max(blockedUntilMs, clock.monotonicMs() + Math.min(ms, MAX_BLOCK_MS));
      if (blockedMs() > maxWaitMs) refuseAll(refusal());
      else serve();
    },
  };
}
