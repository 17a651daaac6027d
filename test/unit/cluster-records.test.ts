import { createFakeRecords } from '../support/cluster-fakes.ts';
import { describeClusterRecords } from '../support/cluster-records-suite.ts';
import { createTestClock } from '../support/test-clock.ts';

describeClusterRecords('records of a cluster, as the tests of ownership have them', async () => {
  const clock = createTestClock();
  const records = createFakeRecords(clock);
  return {
    records,
    wait: (ms) => clock.advance(ms),
    async forget() {
      records.kept = { nodes: new Map(), leader: undefined, owners: new Map(), token: 0, epoch: undefined };
    },
    async close() {},
  };
});
