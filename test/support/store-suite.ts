/** What every store does alike, as tests: run on SQLite and on a real Redis. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type {
  AgentRecord,
  LedgerEntry,
  RegisteredApp,
  RolloutRecord,
  StreamRecord,
} from '../../cloud/store/records.ts';
import type { Store } from '../../cloud/store/store.ts';

export interface StoreUnderTest {
  /** Opens it again over the same records, as the next process would. */
  reopen(): Promise<Store>;
  /** A body as another version may have written it. */
  putRaw(kind: string, key: string, body: string): Promise<void>;
  unreadable: { kind: string; key: string; reason: string }[];
  close(): Promise<void>;
}

export const storedApp: RegisteredApp = {
  packageName: 'com.a',
  publicUrl: 'http://a',
  hashedApiKey: 'x',
  permissions: [{ type: 'CAMERA', description: 'to see' }],
  appType: 'standard',
  settings: [{ key: 'k', value: [1] }],
  source: 'rest',
};
export const storedEntry: LedgerEntry = { streamId: 'm1', doomed: false, keepRecordings: false, createdAtMs: 5 };
export const storedStream = (streamId: string, userId: string): StreamRecord => ({
  ...{ streamId, userId, kind: 'managed', request: {}, createdAtMs: 1, savedAtMs: 2, viewers: [], outputs: [] },
  ...{ wantedOutputs: [], isStarted: false },
});

export function describeStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    let under: StoreUnderTest;
    let store: Store;
    beforeEach(async () => {
      under = await open();
      store = await under.reopen();
    });
    afterEach(() => under.close());
    const reopened = async () => {
      await store.close();
      store = await under.reopen();
    };

    it('keeps everything over a restart', async () => {
      await store.apps.put(storedApp);
      await store.ledger.put(storedEntry);
      await store.ledger.put({ ...storedEntry, liveInputUid: 'uid', doomed: true });
      await store.values.put({ name: 'secret', value: 'one' });
      await store.values.put({ name: 'secret', value: 'two' });
      await reopened();
      expect([await store.apps.get('com.a'), await store.apps.all()]).toEqual([storedApp, [storedApp]]);
      expect(await store.ledger.all()).toEqual([{ ...storedEntry, liveInputUid: 'uid', doomed: true }]);
      const values = [await store.values.get('secret'), await store.values.get('none')];
      expect(values).toEqual([{ name: 'secret', value: 'two' }, undefined]);
    });

    it('of two that delete or add the same record, one hears true', async () => {
      const added = await Promise.all([store.apps.add(storedApp), store.apps.add({ ...storedApp, hashedApiKey: 'y' })]);
      expect([added.filter(Boolean).length, await store.apps.get('com.a')]).toEqual([1, storedApp]);
      const deleted = await Promise.all([store.apps.delete('com.a'), store.apps.delete('com.a')]);
      expect([deleted.filter(Boolean).length, await store.apps.all()]).toEqual([1, []]);
      expect([await store.apps.add(storedApp), await store.apps.delete('com.b')]).toEqual([true, false]);
    });

    it('tells the records of one user, in the order of their keys, also when a record changes its user', async () => {
      const session = { userId: 'ada', packageName: 'com.a', restarts: 0, isDormant: false };
      for (const sessionId of ['s3', 's1', 's2']) await store.appSessions.put({ ...session, sessionId });
      await store.appSessions.put({ ...session, sessionId: 's2', userId: "bob 'or' %_*[" });
      const keys = async (userId: string) => (await store.appSessions.of(userId)).map(({ sessionId }) => sessionId);
      expect([await keys('ada'), await keys("bob 'or' %_*["), await keys('')]).toEqual([['s1', 's3'], ['s2'], []]);
      expect((await store.appSessions.all()).map(({ sessionId }) => sessionId)).toEqual(['s1', 's2', 's3']);
      await store.appSessions.delete('s1');
      expect(await keys('ada')).toEqual(['s3']);
      await store.apps.put(storedApp);
      expect(await store.apps.of('ada')).toEqual([]);
      await store.ledger.put({ ...storedEntry, userId: 'ada' });
      await store.ledger.put(storedEntry);
      expect([await store.ledger.of('ada'), await store.ledger.get('m1')]).toEqual([[], storedEntry]);
    });

    it('keeps roll-outs, and the agents on glasses with how they stand in one', async () => {
      const agent: AgentRecord = {
        ...{ userId: 'ada@example.com', version: '1.3.0', architecture: 'arm64', canUpdate: true, seenAtMs: 5 },
        lastUpdate: { version: '1.4.0', outcome: 'rolled_back', reason: 'no hello' },
        task: {
          rolloutId: 'r1',
          state: 'ordered',
          interruptions: 1,
          before: '1.4.0 rolled_back no hello',
          switchingSinceMs: 7,
        },
      };
      const rollout: RolloutRecord = {
        ...{ rolloutId: 'r1', version: '1.4.0', stages: [5, 100], soakSeconds: 600, maxFailures: 1, state: 'paused' },
        ...{ stage: 1, createdAtMs: 1, pausedBecause: 'ada', failureCount: 1, forgivenCount: 0 },
        failures: [{ userId: 'ada@example.com', outcome: 'missing', atMs: 9 }],
      };
      await store.agents.put(agent);
      await store.rollouts.put(rollout);
      await reopened();
      expect([await store.agents.all(), await store.rollouts.all()]).toEqual([[agent], [rollout]]);
      expect([await store.agents.delete(agent.userId), await store.rollouts.delete('r1')]).toEqual([true, true]);
    });

    it('passes over what another version wrote, says so without a word of it, and refuses only where that would be unsafe', async () => {
      await store.ledger.put(storedEntry);
      await store.apps.put(storedApp);
      await store.tokens.put({ tokenId: 't', userId: 'u', issuedAtMs: 1, revokedAtMs: 2 });
      await under.putRaw('streams', 'm1', '{"ingest":{"publishUrl":"a-secret"},"viewers":[7]}');
      await under.putRaw('ledger', 'm0', 'a-secret that is no JSON');
      await under.putRaw('tokens', 't', '{"revokedAt":2}');
      await reopened();
      expect([await store.streams.all(), await store.streams.get('m1')]).toEqual([[], undefined]);
      expect([await store.ledger.all(), await store.apps.all()]).toEqual([[storedEntry], [storedApp]]);
      const passed = under.unreadable.map(({ kind, key }) => `${kind} ${key}`);
      expect(passed).toEqual(['streams m1', 'streams m1', 'ledger m0']);
      expect(under.unreadable[0]?.reason).toMatch(/streamId.*viewers\.0/);
      expect(JSON.stringify(under.unreadable)).not.toContain('a-secret');
      const refusal = {
        code: 'INVALID_CONFIG',
        message: expect.stringContaining('the record tokens t is not readable'),
      };
      await expect(store.tokens.all()).rejects.toMatchObject(refusal);
    });

    it('tells thousands of records, each of them once', async () => {
      const names = Array.from({ length: 2_500 }, (_, number) => `n${String(number).padStart(5, '0')}`);
      await Promise.all(names.map((name) => store.values.put({ name, value: `${name} value` })));
      expect((await store.values.all()).map(({ name }) => name)).toEqual(names);
    });
  });
}
