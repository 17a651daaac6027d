/**
 * Users whose node has died, or who were set free, and whose people did not come back by themselves: the leader takes them up,
 * after a grace and a few at a time. Looks through all owners only when a node has gone, and now and then.
 */
import type { Clock } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ClusterRecords } from './cluster-records.ts';
import type { ClusterMesh } from './mesh.ts';
import type { NodeLease } from './node-lease.ts';

export interface OrphansOptions {
  records: Pick<ClusterRecords, 'scan'>;
  lease: Pick<NodeLease, 'isLiving' | 'leadership' | 'onBeat' | 'redisNowMs'>;
  mesh: Pick<ClusterMesh, 'onLost' | 'onGone'>;
  adopt: (userId: string, entry: string) => Promise<void>;
  clock: Clock;
  log: Log;
  /** For glasses and apps to come by themselves. Default 3000. */
  graceMs?: number;
  /** Between two looks without a reason. Default 30000. */
  lookMs?: number;
}

export interface Orphans {
  start(): void;
  close(): Promise<void>;
}

/** Adopted at once, and the pause after each lot: 200 a second at most, so that those who come by themselves are served first. */
const LOT = 10;
const PAUSE_MS = 50;

export function createOrphans(options: OrphansOptions): Orphans {
  return new Search(options);
}

class Search implements Orphans {
  readonly #options: OrphansOptions;
  /** Nodes that were not there when they were looked for, and since when, by the monotonic clock. */
  readonly #missing = new Map<string, number>();
  readonly #ended = new AbortController();
  #dueMs = 0;
  #looking: Promise<void> | undefined;
  #stops: (() => void)[] = [];

  constructor(options: OrphansOptions) {
    this.#options = options;
  }

  start(): void {
    const { lease, mesh, clock } = this.#options;
    const hasReason = () => {
      this.#dueMs = 0;
    };
    const onMissing = (nodeId: string) => {
      if (!lease.isLiving(nodeId) && !this.#missing.has(nodeId)) this.#missing.set(nodeId, clock.monotonicMs());
      hasReason();
    };
    this.#stops = [
      lease.leadership.onChange(hasReason),
      mesh.onLost(onMissing),
      mesh.onGone(onMissing),
      lease.onBeat((renewed) => renewed && this.#beat()),
    ];
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#ended.abort(new Error('closed'));
    await this.#looking;
  }

  #beat(): void {
    const { lease, clock, log, lookMs = 30_000 } = this.#options;
    if (!lease.leadership.isLeader() || this.#looking || clock.monotonicMs() < this.#dueMs) return;
    this.#dueMs = clock.monotonicMs() + lookMs;
    this.#looking = this.#look()
      .catch((thrown: unknown) => {
        if (!this.#ended.signal.aborted) log.debug({ reason: errorText(thrown) }, 'orphans-not-found');
        this.#dueMs = 0;
      })
      .finally(() => {
        this.#looking = undefined;
      });
  }

  async #look(): Promise<void> {
    const { records, lease, log } = this.#options;
    const missingBefore = [...this.#missing.keys()];
    const named = new Set<string>();
    const seen = new Set<string>();
    let cursor = '0';
    do {
      const page = await records.scan(cursor);
      cursor = page.cursor;
      for (const { userId, entry } of page.owners) {
        named.add(nodeOf(entry));
        if (this.#isOrphan(entry)) seen.add(`${userId}\n${entry}`);
      }
    } while (cursor !== '0' && !this.#ended.signal.aborted);
    const isOver = (nodeId: string) => lease.isLiving(nodeId) || !named.has(nodeId);
    for (const nodeId of missingBefore.filter(isOver)) this.#missing.delete(nodeId);
    if (seen.size > 0) log.info({ users: seen.size }, 'orphans-found');
    await this.#adopt([...seen]);
    if (seen.size > 0) log.info({ users: seen.size }, 'orphans-taken-up');
  }

  async #adopt(orphans: readonly string[]): Promise<void> {
    const { adopt, clock, lease, log } = this.#options;
    const { signal } = this.#ended;
    for (let at = 0; at < orphans.length && lease.leadership.isLeader(); at += LOT) {
      const lot = orphans.slice(at, at + LOT).map(async (orphan) => {
        const split = orphan.lastIndexOf('\n');
        const [userId, entry] = [orphan.slice(0, split), orphan.slice(split + 1)];
        // Its node may be back since.
        if (lease.isLiving(nodeOf(entry))) return;
        await adopt(userId, entry).catch((thrown: unknown) => {
          log.debug({ userId, reason: errorText(thrown) }, 'orphan-not-taken-up');
        });
      });
      await Promise.all(lot);
      await clock.sleep(PAUSE_MS, { signal, name: 'orphans' });
    }
  }

  /** When its grace is over; one whose grace is not makes another look due then. */
  #isOrphan(entry: string): boolean {
    const { lease, clock, graceMs = 3_000 } = this.#options;
    const nodeId = nodeOf(entry);
    const nowMs = clock.monotonicMs();
    let leftMs = graceMs;
    if (nodeId.startsWith('-')) {
      leftMs -= lease.redisNowMs - Number(nodeId.slice(1));
    } else {
      if (lease.isLiving(nodeId)) return false;
      const sinceMs = this.#missing.get(nodeId) ?? nowMs;
      this.#missing.set(nodeId, sinceMs);
      leftMs -= nowMs - sinceMs;
    }
    if (leftMs > 0) this.#dueMs = Math.min(this.#dueMs, nowMs + leftMs);
    return leftMs <= 0;
  }
}

/** Or `-since` of a user that was set free. */
const nodeOf = (entry: string): string => entry.slice(0, entry.lastIndexOf(' '));
