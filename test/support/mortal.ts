/**
 * A process that can be killed in a test: its clock, its store and its calls to others stop in the middle of whatever
 * they do, as after SIGKILL. What had taken effect stays; nobody hears of the rest.
 */

import type { Collection, Store } from '../../cloud/store/store.ts';
import { type Clock, sleepOn, type Timer } from '../../shared/clock.ts';

export interface Mortal {
  readonly isDead: boolean;
  clock: Clock;
  store: Store;
  /** Passes a call on; dead, its outcome is never known. */
  through<T>(call: () => Promise<T>): Promise<T>;
  /** @param afterCalls dies only with that many further calls: 0 at once. */
  kill(afterCalls?: number): void;
}

/** @param onDeath in the very moment. */
export function createMortal(root: Clock, disk: Store, onDeath: () => void): Mortal {
  const timers = new Set<Timer>();
  const never = new Promise<never>(() => {});
  let callsLeft = Number.POSITIVE_INFINITY;
  /** Half of the deaths come before the call has taken effect. */
  let isLastLost = false;
  let isDead = false;

  function die(): void {
    if (isDead) return;
    isDead = true;
    for (const timer of timers) timer.cancel();
    timers.clear();
    onDeath();
  }
  function after(name: string, ms: number, fire: () => void): Timer {
    if (isDead) return { cancel() {} };
    const timer = root.after(name, ms, () => {
      timers.delete(timer);
      if (!isDead) fire();
    });
    timers.add(timer);
    return timer;
  }
  async function through<T>(call: () => Promise<T>): Promise<T> {
    if (isDead) return never;
    callsLeft -= 1;
    const isLast = callsLeft < 0;
    if (isLast && isLastLost) die();
    if (isDead) return never;
    const outcome = call();
    if (isLast) die();
    const result = await outcome;
    return isDead ? never : result;
  }
  const collection = <T>(kept: Collection<T>): Collection<T> => ({
    all: () => through(() => kept.all()),
    of: (userId) => through(() => kept.of(userId)),
    get: (key) => through(() => kept.get(key)),
    put: (record) => through(() => kept.put(record)),
    add: (record) => through(() => kept.add(record)),
    delete: (key) => through(() => kept.delete(key)),
  });

  return {
    get isDead() {
      return isDead;
    },
    clock: {
      now: root.now,
      monotonicMs: root.monotonicMs,
      after,
      every(name, ms, fire) {
        if (isDead) return { cancel() {} };
        const timer = root.every(name, ms, () => !isDead && fire());
        timers.add(timer);
        return timer;
      },
      sleep: (ms, options = {}) => sleepOn(after, ms, options),
      pending: root.pending,
    },
    store: {
      apps: collection(disk.apps),
      ledger: collection(disk.ledger),
      streams: collection(disk.streams),
      streamStories: collection(disk.streamStories),
      appSessions: collection(disk.appSessions),
      tokens: collection(disk.tokens),
      enrolments: collection(disk.enrolments),
      appStorage: collection(disk.appStorage),
      agents: collection(disk.agents),
      rollouts: collection(disk.rollouts),
      values: collection(disk.values),
      close: async () => {},
    },
    through,
    kill(afterCalls = 0) {
      if (afterCalls === 0) die();
      else callsLeft = Math.min(callsLeft, afterCalls);
      isLastLost = afterCalls % 2 === 0;
    },
  };
}
