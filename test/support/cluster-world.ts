/** Nodes of a cluster in one process, on a real Redis and real sockets; each writes down what its carrier is told. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Carrier } from '../../cloud/cluster/cluster.ts';
import { createRedisCluster, type RedisCluster } from '../../cloud/cluster/redis-cluster.ts';
import { createRedisLink, type RedisLink } from '../../cloud/cluster/redis-link.ts';
import { createRedisStore } from '../../cloud/store/redis-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import type { Clock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';

export interface ClusterNode {
  readonly name: string;
  readonly cluster: RedisCluster;
  readonly link: RedisLink;
  readonly store: Store;
  /** `adopt ada`, `hand over ada`, `lose ada`. */
  readonly events: string[];
  /** As a kill does it: no word to Redis, no word to others, the port refuses. */
  kill(): Promise<void>;
  /** In order: drain, close. */
  end(): Promise<void>;
}

export interface ClusterWorld {
  add(name: string, carrier?: Partial<Carrier>): Promise<ClusterNode>;
  until(what: () => boolean | Promise<boolean>): Promise<void>;
  close(): Promise<void>;
}

export interface ClusterWorldOptions {
  clock: Clock;
  redisUrl: string;
  prefix: string;
}

export function createClusterWorld({ clock, redisUrl, prefix }: ClusterWorldOptions): ClusterWorld {
  const log = silentLog();
  const open: (() => Promise<void>)[] = [];
  return {
    async add(name, carrier = {}) {
      const link = createRedisLink({ url: new Secret(redisUrl), clock, log });
      await link.ready(5_000);
      const secret = new Secret('the secret of the cluster');
      const cluster = createRedisCluster({ link, secret, clock, log, prefix, nodeId: name });
      const store = createRedisStore({ link, prefix, fence: cluster.fence });
      const events: string[] = [];
      const server = createServer();
      server.on('upgrade', (request, socket, head) => cluster.accept(request, socket, head));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      await cluster.start(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
        async adopt(userId) {
          events.push(`adopt ${userId}`);
          await carrier.adopt?.(userId);
        },
        async handOver(userId, why) {
          events.push(`${why.isLost ? 'lose' : 'hand over'} ${userId}`);
          await carrier.handOver?.(userId, why);
        },
      });
      const stop = async (isKill: boolean) => {
        // A process that is killed says nothing more to Redis.
        if (isKill) await link.close();
        server.closeAllConnections();
        await Promise.all([new Promise<void>((resolve) => server.close(() => resolve())), cluster.close()]);
        await link.close();
      };
      open.push(() => stop(false));
      const end = () => cluster.drain().then(() => stop(false));
      return { name, cluster, link, store, events, kill: () => stop(true), end };
    },
    async until(what) {
      const untilMs = clock.monotonicMs() + 20_000;
      while (!(await what())) {
        if (clock.monotonicMs() > untilMs) throw new Error('it did not come to that');
        await clock.sleep(20);
      }
    },
    async close() {
      for (const end of open) await end();
    },
  };
}
