/**
 * The relay's store and its cluster: by itself on a file, or one of several on a Redis. Part of the composition root: what
 * comes after it knows no difference.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Cluster } from './cluster/cluster.ts';
import { createLoneCluster } from './cluster/lone-node.ts';
import type { RelayOptions } from './relay-parts.ts';
import { createSqliteStore } from './store/sqlite-store.ts';
import type { Store } from './store/store.ts';

export interface ClusterParts {
  cluster: Cluster;
  store: Store;
  /** The store is this process's alone: what is in it is taken up whole, before anybody comes in. */
  isAlone: boolean;
  /** Takes lines of other nodes; false: the request is for somebody else. */
  acceptNode: (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean;
  /** Undefined without Redis. */
  redis?: { readonly isUp: boolean } | undefined;
  /** Called each time that the store answers again. */
  onStoreBack: (take: () => void) => void;
}

export async function composeCluster(options: RelayOptions): Promise<ClusterParts> {
  const { dataDir, log } = options;
  const store = createSqliteStore({
    file: dataDir === ':memory:' ? ':memory:' : join(dataDir, 'relay.db'),
    onUnreadable: (record) => log.warn(record, 'record-not-readable'),
  });
  const cluster = createLoneCluster({ nodeId: randomUUID() });
  return { cluster, store, isAlone: true, acceptNode: () => false, onStoreBack() {} };
}
