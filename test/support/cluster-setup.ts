/** Once before the tests with real parts: what clusters of relays are run against, found or installed from Debian's packages. */
import type { TestProject } from 'vitest/node';
import { haproxyFile } from '../../scripts/bench/haproxy-process.ts';
import { findOrInstall, type Peer } from './global-setup.ts';
import { redisServer } from './redis.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** False: tests with Redis are skipped. */
    hasRedis: boolean;
    /** False: tests with a load balancer are skipped. */
    hasHaproxy: boolean;
  }
}

const peers: readonly Peer[] = [
  { packages: ['redis-server'], for: 'clusters on Redis', isThere: () => redisServer() !== undefined },
  { packages: ['haproxy'], for: 'clusters behind a load balancer', isThere: () => haproxyFile() !== undefined },
];

export default async function setUp(project: TestProject): Promise<void> {
  await findOrInstall(peers);
  project.provide('hasRedis', redisServer() !== undefined);
  project.provide('hasHaproxy', haproxyFile() !== undefined);
}
