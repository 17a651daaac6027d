/** What the records of a cluster do, as tests: run on the fake and on a real Redis, so that the one stands for the other. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Claim, ClusterRecords, Renewal } from '../../cloud/cluster/cluster-records.ts';

export interface RecordsUnderTest {
  records: ClusterRecords;
  wait(ms: number): Promise<void>;
  /** Everything is lost. */
  forget(): Promise<void>;
  close(): Promise<void>;
}

export function describeClusterRecords(name: string, open: () => Promise<RecordsUnderTest>): void {
  describe(name, () => {
    let under: RecordsUnderTest;
    let records: ClusterRecords;
    beforeEach(async () => {
      under = await open();
      records = under.records;
    });
    afterEach(() => under.close());

    const renew = (nodeId: string, more: Partial<Renewal> = {}) =>
      records.renew({
        node: { nodeId, address: `http://${nodeId}:1` },
        ...{ leaseMs: 400, seenToken: 0, newEpoch: `of ${nodeId}`, mayLead: true, ...more },
      });
    const claim = (userId: string, nodeId: string, act: Claim['act'], entry?: string) =>
      records.claim({ userId, nodeId, seenToken: 0, act, entry });
    const owners = async () =>
      Object.fromEntries((await records.scan('0')).owners.map((one) => [one.userId, one.entry]));

    it('a lease holds as long as it says, and so does the leadership', async () => {
      expect(await renew('a')).toMatchObject({ leaderId: 'a', epoch: 'of a', token: 0 });
      const { nodes, leaderId, epoch } = await renew('b');
      expect(nodes.map(({ nodeId, address }) => `${nodeId} ${address}`).sort()).toEqual([
        'a http://a:1',
        'b http://b:1',
      ]);
      expect([leaderId, epoch]).toEqual(['a', 'of a']);
      await under.wait(600);
      const later = await renew('b');
      expect([later.nodes.map(({ nodeId }) => nodeId), later.leaderId]).toEqual([['b'], 'b']);
      expect(later.nowMs).toBeGreaterThan(1_500_000_000_000);
    });

    it('a node that leaves or steps down makes room at once', async () => {
      await renew('a');
      expect((await renew('a', { mayLead: false })).leaderId).toBeUndefined();
      expect((await renew('b')).leaderId).toBe('b');
      await records.leave('b');
      await records.leave('b');
      const { nodes, leaderId } = await renew('a');
      expect([nodes.length, leaderId]).toEqual([1, 'a']);
    });

    it('a user is claimed once, looked at, taken by force from the entry that was seen, and by nobody else’s', async () => {
      await renew('a');
      expect(await claim('ada', 'a', 'look')).toEqual({ got: 'nobody' });
      expect(await claim('ada', 'a', 'exact', 'x 1')).toEqual({ got: 'nobody' });
      expect(await claim('ada', 'a', 'free')).toEqual({ got: 'claimed', proof: 'a 1', token: 1 });
      const seen = { got: 'other', nodeId: 'a', entry: 'a 1', isLeased: true };
      expect([await claim('ada', 'b', 'look'), await claim('ada', 'b', 'free')]).toEqual([seen, seen]);
      expect([await claim('ada', 'b', 'force', 'a 9'), await claim('ada', 'b', 'exact', '')]).toEqual([seen, seen]);
      expect(await claim('ada', 'b', 'force', 'a 1')).toEqual({ got: 'claimed', proof: 'b 2', token: 2 });
      expect(await claim('ada', 'a', 'look')).toEqual({ got: 'other', nodeId: 'b', entry: 'b 2', isLeased: false });
      // One that does not know of its own claim.
      expect(await claim('ada', 'b', 'free')).toEqual({ got: 'claimed', proof: 'b 3', token: 3 });
      expect(await claim('ada', 'c', 'exact', 'b 3')).toEqual({ got: 'claimed', proof: 'c 4', token: 4 });
    });

    it('a release names the proof: late ones do nothing; who is set free keeps an entry', async () => {
      await claim('ada', 'a', 'free');
      await claim('bob', 'a', 'free');
      await records.release([
        { userId: 'ada', proof: 'a 1', isFree: true },
        { userId: 'bob', proof: 'a 1', isFree: false },
        { userId: 'nobody', proof: 'a 1', isFree: true },
      ]);
      expect(await owners()).toEqual({ ada: expect.stringMatching(/^-\d{13} 1$/), bob: 'a 2' });
      await records.release([{ userId: 'bob', proof: 'a 2', isFree: false }]);
      expect(await claim('ada', 'b', 'look')).toEqual({ got: 'nobody' });
      const free = (await owners()).ada;
      expect(await claim('ada', 'b', 'exact', free)).toEqual({ got: 'claimed', proof: 'b 3', token: 3 });
      expect(await owners()).toEqual({ ada: 'b 3' });
    });

    it('an audit writes again what was lost, and tells what was taken or let go', async () => {
      await renew('a');
      for (const userId of ['ada', 'bob', 'eve']) await claim(userId, 'a', 'free');
      const owned = ['ada', 'bob', 'eve'].map((userId, at) => ({ userId, proof: `a ${at + 1}` }));
      const audit = (epoch = 'of a') => records.audit({ nodeId: 'a', epoch, seenToken: 3, owned });
      expect(await audit()).toEqual([]);
      await claim('ada', 'b', 'force', 'a 1');
      await claim('bob', 'b', 'force', 'a 2');
      await records.release([{ userId: 'bob', proof: 'b 5', isFree: false }]);
      expect((await audit()).sort()).toEqual(['ada', 'bob']);
      await under.forget();
      // Somebody was quicker, with a token that is older than none of ours.
      await records.claim({ userId: 'ada', nodeId: 'b', seenToken: 5, act: 'free' });
      expect(await audit()).toEqual(['ada']);
      expect(await owners()).toEqual({ ada: 'b 6', bob: 'a 2', eve: 'a 3' });
      expect((await claim('new', 'a', 'free')).got).toBe('claimed');
    });

    it('a Redis with older tokens than a node has seen has lost something, and gets a new epoch', async () => {
      await renew('a');
      expect(await renew('a', { seenToken: 7, newEpoch: 'later' })).toMatchObject({ epoch: 'later', token: 7 });
      expect(await renew('b')).toMatchObject({ epoch: 'later', token: 7 });
      expect(await claim('ada', 'a', 'free')).toMatchObject({ proof: 'a 8' });
      expect(await records.claim({ userId: 'bob', nodeId: 'a', seenToken: 20, act: 'free' })).toMatchObject({
        token: 21,
      });
    });
  });
}
