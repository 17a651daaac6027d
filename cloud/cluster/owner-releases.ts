/** Users that this node owns no more, told to Redis in batches, again until it has heard. Late words do no harm: they name the old proof. */
import type { ClusterRecords, Release } from './cluster-records.ts';

export interface OwnerReleases {
  add(release: Release): void;
  /** Tries again what Redis has not heard. */
  retry(): void;
  /** Once Redis has heard all, or does not answer. */
  settled(): Promise<void>;
}

const BATCH = 500;

export function createOwnerReleases(records: Pick<ClusterRecords, 'release'>): OwnerReleases {
  const waiting = new Map<string, Release>();
  let flushing: Promise<void> | undefined;

  async function flush(): Promise<void> {
    // Those of this moment go together.
    await Promise.resolve();
    while (waiting.size > 0) {
      const batch = [...waiting.values()].slice(0, BATCH);
      await records.release(batch);
      for (const release of batch) {
        if (waiting.get(release.userId) === release) waiting.delete(release.userId);
      }
    }
  }
  function start(): Promise<void> {
    flushing ??= flush()
      .catch(() => {})
      .finally(() => {
        flushing = undefined;
      });
    return flushing;
  }
  return {
    add(release) {
      // What was said first of this proof counts: a user that was let go is not set free.
      if (waiting.get(release.userId)?.proof !== release.proof) waiting.set(release.userId, release);
      void start();
    },
    retry() {
      if (waiting.size > 0) void start();
    },
    settled: () => (waiting.size > 0 || flushing ? start() : Promise.resolve()),
  };
}
