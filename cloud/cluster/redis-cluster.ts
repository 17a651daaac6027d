/** A cluster on Redis, put together: mesh, lease, ownership, leadership and what the leader takes up. Holds no rule of theirs. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import type { Secret } from '../../shared/secrets.ts';
import type { Fence } from '../store/redis-store.ts';
import type { Cluster } from './cluster.ts';
import { createClusterRecords } from './cluster-records.ts';
import { createMesh } from './mesh.ts';
import type { MeshLimits } from './mesh-line.ts';
import { createNodeLease } from './node-lease.ts';
import { createOrphans } from './orphans.ts';
import { createOwnership } from './ownership.ts';
import type { RedisLink } from './redis-link.ts';

export interface RedisClusterOptions {
  /** Not closed here: the store has it, too. */
  link: RedisLink;
  /** By which nodes know each other; the same for all of them. */
  secret: Secret;
  clock: Clock;
  log: Log;
  /** Default `glasscast:`, as for the store. */
  prefix?: string;
  /** Of this process alone. Default: made. */
  nodeId?: string;
  timings?: Partial<ClusterTimings>;
  meshLimits?: Partial<MeshLimits>;
}

export interface ClusterTimings {
  leaseMs: number;
  renewMs: number;
  handOverTimeoutMs: number;
  graceMs: number;
}

export interface RedisCluster extends Cluster {
  /** For the store: what this node may write. */
  readonly fence: Fence;
  /** For upgrades on `NODE_PATH`. Refuses by itself who is no node of this cluster. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** The lines to those who live already: whoever has a session is to be asked before it is taken. */
const MEET_MS = 1_000;

/** Nothing runs before `start`, which throws GlasscastError STORE_UNAVAILABLE while Redis is away. */
export function createRedisCluster(options: RedisClusterOptions): RedisCluster {
  const { link, secret, clock, log, prefix, nodeId = randomUUID(), timings = {}, meshLimits = {} } = options;
  const common = { nodeId, clock, log, ...timings };
  const records = createClusterRecords({ link, ...(prefix === undefined ? {} : { prefix }) });
  const mesh = createMesh({ ...common, secret, limits: meshLimits });
  const lease = createNodeLease({ ...common, records, mesh });
  const ownership = createOwnership({ ...common, records, mesh, lease });
  const adopt = (userId: string, entry: string) => ownership.adoptOrphan(userId, entry);
  const orphans = createOrphans({ ...common, records, lease, mesh, adopt });
  let draining: Promise<void> | undefined;
  let closing: Promise<void> | undefined;

  async function meet(): Promise<void> {
    const untilMs = clock.monotonicMs() + MEET_MS;
    const isMet = () => lease.others().every((other) => mesh.isReachable(other) || mesh.isGone(other));
    while (!isMet() && clock.monotonicMs() < untilMs) await clock.sleep(10, { name: 'cluster-meet' });
  }
  async function close(): Promise<void> {
    await orphans.close();
    await ownership.close();
    await lease.close();
    await mesh.close();
  }
  return {
    nodeId,
    mesh,
    ownership,
    leadership: lease.leadership,
    fence: ownership,
    accept: (request, socket, head) => mesh.accept(request, socket, head),
    async start(address, carrier) {
      ownership.start(carrier);
      orphans.start();
      mesh.start(address);
      await lease.start(address);
      await meet();
      log.info({ nodeId, address, others: mesh.others().length }, 'cluster-joined');
    },
    drain() {
      draining ??= lease.stepDown().then(() => ownership.drain());
      return draining;
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}
