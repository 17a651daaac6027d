/** The scripts of a cluster in a real Redis. */
import { afterAll, beforeAll, describe, inject } from 'vitest';
import { createClusterRecords } from '../../cloud/cluster/cluster-records.ts';
import { createRedisLink, type RedisLink } from '../../cloud/cluster/redis-link.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { describeClusterRecords } from '../support/cluster-records-suite.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const clock = createSystemClock();
const log = silentLog();
const spawner = createChildSpawner({ clock, log, redactor: createRedactor() });

describe.skipIf(!inject('hasRedis'))('in a real Redis', () => {
  let redis: TestRedis;
  let link: RedisLink;
  beforeAll(async () => {
    redis = await startRedis({ spawn: spawner.spawn, clock });
    link = createRedisLink({ url: new Secret(redis.url), clock, log });
    await link.ready(5_000);
  });
  afterAll(async () => {
    await link.close();
    await redis.close();
    await spawner.close();
  });
  describeClusterRecords('records of a cluster', async () => {
    await redis.flush();
    return {
      records: createClusterRecords({ link, prefix: 'here:' }),
      wait: (ms) => clock.sleep(ms),
      forget: () => redis.flush(),
      async close() {},
    };
  });
});
