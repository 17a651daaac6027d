/**
 * That this node lives, told to Redis twice a second, and what Redis answers: which nodes live, who leads, and whether Redis
 * has lost something. Costs the same for one session and for ten thousand. A node that cannot renew goes on with what it owns.
 */
import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ClusterRecords, Renewed } from './cluster-records.ts';
import { createLeadership, type LeaseOfLeader } from './leadership.ts';
import type { ClusterMesh } from './mesh.ts';

export interface NodeLeaseOptions {
  nodeId: string;
  records: Pick<ClusterRecords, 'renew' | 'leave' | 'onBack'>;
  mesh: Pick<ClusterMesh, 'setPeers' | 'isReachable' | 'isGone'>;
  clock: Clock;
  log: Log;
  /** Default 2000. */
  leaseMs?: number;
  /** Default 500. */
  renewMs?: number;
}

export interface NodeLease {
  readonly leadership: LeaseOfLeader;
  /** The newest token that was seen anywhere; see `saw`. */
  readonly seenToken: number;
  /** Redis's clock at the last renewal. */
  readonly redisNowMs: number;
  /** What Redis has to say of itself; undefined before the first renewal. */
  readonly epoch: string | undefined;
  saw(token: number): void;
  /** Those whose leases held at the last renewal, without this node. */
  others(): string[];
  /** It answers, or its lease holds and nothing says that it has ended. @param isLeased as Redis said it just now */
  isLiving(nodeId: string, isLeased?: boolean): boolean;
  /** Once the address can be reached. Settles with the first renewal. Errors: STORE_UNAVAILABLE. */
  start(address: string): Promise<void>;
  /** Leads no more, and will not. */
  stepDown(): Promise<void>;
  /** After each renewal, and after one that failed (undefined). */
  onBeat(take: (renewed: Renewed | undefined) => void): () => void;
  /** Ends the lease: others need not wait for it. */
  close(): Promise<void>;
}

export function createNodeLease(options: NodeLeaseOptions): NodeLease {
  return new Lease(options);
}

class Lease implements NodeLease {
  readonly leadership: LeaseOfLeader;
  readonly #options: NodeLeaseOptions;
  readonly #leaseMs: number;
  readonly #listeners = new Set<(renewed: Renewed | undefined) => void>();
  #address = '';
  #seenToken = 0;
  #last: Renewed | undefined;
  #living = new Set<string>();
  #mayLead = true;
  #renewing: Promise<void> | undefined;
  #beats: Timer | undefined;
  #stopListening: (() => void) | undefined;
  #isClosed = false;

  constructor(options: NodeLeaseOptions) {
    const { nodeId, clock, leaseMs = 2_000 } = options;
    this.#options = options;
    this.#leaseMs = leaseMs;
    this.leadership = createLeadership({ nodeId, clock, leaseMs });
  }

  get seenToken(): number {
    return this.#seenToken;
  }

  get redisNowMs(): number {
    return this.#last?.nowMs ?? 0;
  }

  get epoch(): string | undefined {
    return this.#last?.epoch;
  }

  saw(token: number): void {
    this.#seenToken = Math.max(this.#seenToken, token);
  }

  others(): string[] {
    return [...this.#living].filter((nodeId) => nodeId !== this.#options.nodeId);
  }

  isLiving(nodeId: string, isLeased = this.#living.has(nodeId)): boolean {
    const { mesh } = this.#options;
    return mesh.isReachable(nodeId) || (isLeased && !mesh.isGone(nodeId));
  }

  async start(address: string): Promise<void> {
    const { clock, records, renewMs = 500 } = this.#options;
    this.#address = address;
    await this.#renew();
    this.#beats = clock.every('node-lease', renewMs, () => this.#beat());
    this.#stopListening = records.onBack(() => this.#beat());
  }

  async stepDown(): Promise<void> {
    this.#mayLead = false;
    await this.#renewing?.catch(() => {});
    await this.#renew().catch(() => {});
  }

  onBeat(take: (renewed: Renewed | undefined) => void): () => void {
    this.#listeners.add(take);
    return () => void this.#listeners.delete(take);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#beats?.cancel();
    this.#stopListening?.();
    await this.#renewing?.catch(() => {});
    await this.#options.records.leave(this.#options.nodeId).catch(() => {});
    this.leadership.heard(undefined, 0);
  }

  #beat(): void {
    if (this.#isClosed || this.#renewing) return;
    this.#renewing = this.#renew()
      .catch((thrown: unknown) => {
        const { code, message } = asGlasscastError(thrown);
        this.#options.log.debug({ code, reason: message }, 'node-lease-not-renewed');
        this.leadership.check();
        this.#tell(undefined);
      })
      .finally(() => {
        this.#renewing = undefined;
      });
  }

  async #renew(): Promise<void> {
    const { nodeId, records, clock, mesh } = this.#options;
    const askedMs = clock.monotonicMs();
    const renewed = await records.renew({
      node: { nodeId, address: this.#address },
      ...{ leaseMs: this.#leaseMs, seenToken: this.#seenToken, newEpoch: randomUUID(), mayLead: this.#mayLead },
    });
    this.saw(renewed.token);
    this.#last = renewed;
    this.#living = new Set(renewed.nodes.map((node) => node.nodeId));
    mesh.setPeers(renewed.nodes);
    this.leadership.heard(renewed.leaderId, askedMs);
    this.#tell(renewed);
  }

  #tell(renewed: Renewed | undefined): void {
    for (const take of [...this.#listeners]) take(renewed);
  }
}
