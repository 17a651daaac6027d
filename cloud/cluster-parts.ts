/**
 * The relay's store and its cluster: by itself on a file, or one of several on a Redis. Part of the composition root: what
 * comes after it hardly knows the difference.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { GlasscastError } from '../shared/errors.ts';
import type { Secret } from '../shared/secrets.ts';
import type { Cluster, Ownership } from './cluster/cluster.ts';
import { createLoneCluster } from './cluster/lone-node.ts';
import { NODE_PATH } from './cluster/mesh.ts';
import { createRedisCluster } from './cluster/redis-cluster.ts';
import { createRedisLink } from './cluster/redis-link.ts';
import { keptSecret, type RelayOptions } from './relay-parts.ts';
import { createRedisStore } from './store/redis-store.ts';
import { createSqliteStore } from './store/sqlite-store.ts';
import type { Store } from './store/store.ts';

export interface ClusterParts {
  cluster: Cluster;
  store: Store;
  /** The store is this process's alone: what is in it is taken up whole, before anybody comes in. */
  isAlone: boolean;
  /** Takes lines of other nodes; false: the request is for somebody else. */
  acceptNode: (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean;
  /** False while the store does not answer. */
  isStoreUp: () => boolean;
  /** Called each time that the store answers again. */
  onStoreBack: (take: () => void) => void;
}

/** For Redis to answer at the start, which waits no longer. */
const READY_MS = 5_000;

/**
 * @param closers are called in reverse.
 * @throws GlasscastError STORE_UNAVAILABLE when Redis does not answer; INVALID_CONFIG of a data folder or a Redis URL.
 */
export function composeCluster(options: RelayOptions, closers: (() => Promise<void> | void)[]): Promise<ClusterParts> {
  const { redisUrl } = options;
  return redisUrl ? oneOfSeveral(options, redisUrl, closers) : Promise.resolve(oneAlone(options, closers));
}

function oneAlone({ dataDir, log }: RelayOptions, closers: (() => Promise<void> | void)[]): ClusterParts {
  const store = createSqliteStore({
    file: dataDir === ':memory:' ? ':memory:' : join(dataDir, 'relay.db'),
    onUnreadable: (record) => log.warn(record, 'record-not-readable'),
  });
  // Everybody is taken up at the start.
  const cluster = createLoneCluster({ nodeId: randomUUID(), isAdopted: () => true });
  closers.push(
    () => store.close(),
    () => cluster.close(),
  );
  return {
    ...{ cluster, store, isAlone: true, acceptNode: () => false },
    isStoreUp: () => true,
    onStoreBack() {},
  };
}

async function oneOfSeveral(
  { redisPrefix: prefix = 'glasscast:', clock, log, redactor }: RelayOptions,
  url: Secret,
  closers: (() => Promise<void> | void)[],
): Promise<ClusterParts> {
  redactor.add(url);
  const link = createRedisLink({ url, clock, log });
  closers.push(() => link.close());
  await link.ready(READY_MS);
  const onUnreadable = (record: object) => log.warn(record, 'record-not-readable');
  // What nodes know each other by stands beside what only the owner of a user may write.
  const secret = await keptSecret(createRedisStore({ link, prefix, onUnreadable }), 'node-secret');
  redactor.add(secret);
  const cluster = createRedisCluster({ link, secret, clock, log, prefix });
  const store = createRedisStore({ link, prefix, fence: cluster.fence, onUnreadable });
  closers.push(
    () => store.close(),
    () => cluster.close(),
  );
  return {
    ...{ cluster, store, isAlone: false },
    acceptNode(request, socket, head) {
      const isNode = request.url?.split('?')[0] === NODE_PATH;
      if (isNode) cluster.accept(request, socket, head);
      return isNode;
    },
    isStoreUp: () => link.isUp,
    onStoreBack: (take) => void link.onUp(take),
  };
}

/** As `ownership`; whoever comes before the cluster is joined waits for that. */
export function afterJoining(ownership: Ownership, joined: Promise<void>): Ownership {
  return {
    async take(userId) {
      await joined;
      // Until it is here without a doubt: it may be asked for elsewhere in the same moment.
      for (let tries = 0; tries < 3; tries += 1) {
        await ownership.take(userId);
        if (ownership.isHere(userId)) return;
      }
      throw new GlasscastError('SESSION_MOVED');
    },
    async place(userId) {
      await joined;
      return ownership.place(userId);
    },
    whereIs: (userId) => ownership.whereIs(userId),
    isHere: (userId) => ownership.isHere(userId),
    count: () => ownership.count(),
    letGo: (userId) => ownership.letGo(userId),
  };
}
