/** Once before the tests with real parts: what clusters of relays are run against, found or installed from Debian's packages. */
import type { TestProject } from 'vitest/node';
import { findOrInstall, type Peer } from './global-setup.ts';
import { redisServer } from './redis.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** False: tests with Redis are skipped. */
    hasRedis: boolean;
  }
}

const peers: readonly Peer[] = [
  { packages: ['redis-server'], for: 'clusters on Redis', isThere: () => redisServer() !== undefined },
];

export default async function setUp(project: TestProject): Promise<void> {
  await findOrInstall(peers);
  project.provide('hasRedis', redisServer() !== undefined);
}
