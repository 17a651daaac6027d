/**
 * Time as a parameter. The only file that touches Date and timers, so that a test clock can replace all of it.
 * Timers have names: what is left running after a close is a list, not a guess.
 */
import { setTimeout as delay } from 'node:timers';

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the epoch. May jump; use for time stamps. */
  now(): number;
  /** Milliseconds that never go back. Use for durations. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted first. */
  sleep(ms: number, options?: { signal?: AbortSignal | undefined; name?: string }): Promise<void>;
  /** Calls `fire` once after `ms`, unless cancelled. */
  after(name: string, ms: number, fire: () => void): Timer;
  /** Calls `fire` each `ms` until cancelled. */
  every(name: string, ms: number, fire: () => void): Timer;
  /** Names of timers and sleeps that are still waiting. */
  pending(): string[];
}

/** The real clock. One per program, so that `pending()` speaks for that program only. */
export function createSystemClock(): Clock {
  const live = new Set<SystemTimer>();
  const after = (name: string, ms: number, fire: () => void): Timer => new SystemTimer({ live, name, fire }, ms);
  return {
    now: () => Date.now(),
    monotonicMs: () => performance.now(),
    after,
    every: (name, ms, fire) => new SystemTimer({ live, name, fire, isRepeating: true }, ms),
    pending: () => [...live].map(({ name }) => name),
    sleep: (ms, options = {}) => sleepOn(after, ms, options),
  };
}

/** Resolves when what has come in meanwhile has been read. No time is meant to pass in it, so it is no part of a clock. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

interface SystemTimerOptions {
  live: Set<SystemTimer>;
  name: string;
  fire: () => void;
  isRepeating?: boolean;
}

/** A class, and no closures of its own: a relay has five of them for each of ten thousand streams. */
class SystemTimer implements Timer {
  readonly name: string;
  readonly #live: Set<SystemTimer>;
  readonly #fire: () => void;
  readonly #handle: NodeJS.Timeout;

  constructor({ live, name, fire, isRepeating = false }: SystemTimerOptions, ms: number) {
    this.name = name;
    this.#live = live;
    this.#fire = fire;
    this.#handle = isRepeating ? setInterval(SystemTimer.#beat, ms, this) : delay(SystemTimer.#end, ms, this);
    live.add(this);
  }

  cancel(): void {
    // The same for both kinds.
    clearTimeout(this.#handle);
    this.#live.delete(this);
  }

  static #beat(timer: SystemTimer): void {
    timer.#fire();
  }

  static #end(timer: SystemTimer): void {
    timer.#live.delete(timer);
    timer.#fire();
  }
}

/** `Clock.sleep` over `Clock.after`; shared with the test clock. */
export function sleepOn(
  after: Clock['after'],
  ms: number,
  { signal, name = 'sleep' }: { signal?: AbortSignal | undefined; name?: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = after(name, ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Settles as `work` does, or rejects with `onTimeout()` after `ms`. The loser's timer is always removed. */
export async function withTimeout<T>(
  clock: Clock,
  name: string,
  ms: number,
  work: Promise<T>,
  onTimeout: () => Error,
): Promise<T> {
  let timer: Timer | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = clock.after(name, ms, () => reject(onTimeout()));
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    timer?.cancel();
  }
}

export interface BackoffPolicy {
  firstMs: number;
  factor: number;
  maxMs: number;
  /** 0…1: share of the delay that is random, so that ten thousand devices do not come back at once. */
  jitter: number;
}

/** Delay before retry number `attempt` (0 = first retry). */
export function backoffMs(policy: BackoffPolicy, attempt: number, random: () => number = Math.random): number {
  const full = Math.min(policy.maxMs, policy.firstMs * policy.factor ** Math.min(attempt, 64));
  return Math.round(full * (1 - policy.jitter * random()));
}
