/** What waits for what: one thing at a time for each user, in order; and so many at once of what costs others something. */

export interface UserQueues {
  /** @returns what `work` gives, after all that was queued for the user before has settled */
  add<T>(userId: string, work: () => Promise<T>): Promise<T>;
  isBusy(userId: string): boolean;
  /** Once nothing is queued for anybody. */
  idle(): Promise<void>;
}

export function createUserQueues(): UserQueues {
  const tails = new Map<string, Promise<unknown>>();
  return {
    add(userId, work) {
      const run = (tails.get(userId) ?? Promise.resolve()).then(work);
      const tail = run
        .catch(() => {})
        .then(() => {
          if (tails.get(userId) === tail) tails.delete(userId);
        });
      tails.set(userId, tail);
      return run;
    },
    isBusy: (userId) => tails.has(userId),
    async idle() {
      while (tails.size > 0) await Promise.all(tails.values());
    },
  };
}

/** Runs so many at once; the rest waits its turn. */
export function createGate(width: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting = new Set<() => void>();
  let running = 0;
  return async (work) => {
    if (running >= width) await new Promise<void>((resolve) => waiting.add(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      // The place goes on to who waits, if somebody does.
      const [next] = waiting;
      if (next) {
        waiting.delete(next);
        next();
      } else running -= 1;
    }
  };
}
