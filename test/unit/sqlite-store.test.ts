import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AgentRecord, LedgerEntry, RegisteredApp, RolloutRecord } from '../../cloud/store/records.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';

const app: RegisteredApp = {
  packageName: 'com.a',
  publicUrl: 'http://a',
  hashedApiKey: 'x',
  permissions: [{ type: 'CAMERA', description: 'to see' }],
  appType: 'standard',
  settings: [{ key: 'k', value: [1] }],
  source: 'rest',
};
const entry: LedgerEntry = { streamId: 'm1', doomed: false, keepRecordings: false, createdAtMs: 5 };

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-store-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the SQLite store', () => {
  it('belongs to one relay at a time, and says so', async () => {
    const file = join(folder, 'relay.db');
    const first = createSqliteStore({ file });
    const open = () => createSqliteStore({ file });
    expect(open).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringContaining(folder) }));
    expect(open).toThrow(/another relay uses this data folder/);
    await first.close();
    await open().close();
    expect(() => createSqliteStore({ file: join(file, 'below', 'relay.db') })).toThrow(/relay\.db\/below: /);
  });

  it('passes over what another version wrote, says so without a word of it, and refuses only where that would be unsafe', async () => {
    const file = join(folder, 'relay.db');
    const first = createSqliteStore({ file });
    await first.ledger.put(entry);
    await first.apps.put(app);
    await first.tokens.put({ tokenId: 't', userId: 'u', issuedAtMs: 1, revokedAtMs: 2 });
    await first.close();
    const database = new Database(file);
    const put = database.prepare('INSERT OR REPLACE INTO records (kind, key, body) VALUES (?, ?, ?)');
    put.run('streams', 'm1', '{"ingest":{"publishUrl":"a-secret"},"viewers":[7]}');
    put.run('ledger', 'm0', 'a-secret that is no JSON');
    put.run('tokens', 't', '{"revokedAt":2}');
    database.close();
    const unreadable: { kind: string; key: string; reason: string }[] = [];
    const second = createSqliteStore({ file, onUnreadable: (record) => void unreadable.push(record) });
    expect([await second.streams.all(), await second.streams.get('m1')]).toEqual([[], undefined]);
    expect([await second.ledger.all(), await second.apps.all()]).toEqual([[entry], [app]]);
    expect(unreadable.map(({ kind, key }) => `${kind} ${key}`)).toEqual(['streams m1', 'streams m1', 'ledger m0']);
    expect(unreadable[0]?.reason).toMatch(/streamId.*viewers\.0/);
    expect(JSON.stringify(unreadable)).not.toContain('a-secret');
    const refusal = { code: 'INVALID_CONFIG', message: expect.stringContaining('the record tokens t is not readable') };
    await expect(second.tokens.all()).rejects.toMatchObject(refusal);
    await second.close();
  });

  it('keeps everything over a restart, in a file for its owner alone', async () => {
    const file = join(folder, 'deep', 'relay.db');
    const first = createSqliteStore({ file });
    await first.apps.put(app);
    await first.ledger.put(entry);
    await first.ledger.put({ ...entry, liveInputUid: 'uid', doomed: true });
    await first.values.put({ name: 'secret', value: 'one' });
    await first.values.put({ name: 'secret', value: 'two' });
    await first.close();
    await first.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const second = createSqliteStore({ file });
    expect(await second.apps.get('com.a')).toEqual(app);
    expect(await second.apps.all()).toEqual([app]);
    expect(await second.ledger.all()).toEqual([{ ...entry, liveInputUid: 'uid', doomed: true }]);
    expect([await second.values.get('secret'), await second.values.get('none')]).toEqual([
      { name: 'secret', value: 'two' },
      undefined,
    ]);
    expect([await second.apps.delete('com.a'), await second.apps.delete('com.a')]).toEqual([true, false]);
    await second.ledger.delete('m1');
    expect([await second.ledger.all(), await second.apps.all(), await second.apps.get('com.a')]).toEqual([
      [],
      [],
      undefined,
    ]);
    await second.close();
  });

  it('keeps roll-outs, and the agents on glasses with how they stand in one', async () => {
    const file = join(folder, 'relay.db');
    const first = createSqliteStore({ file });
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
    await first.agents.put(agent);
    await first.rollouts.put(rollout);
    await first.close();
    const second = createSqliteStore({ file });
    expect([await second.agents.all(), await second.rollouts.all()]).toEqual([[agent], [rollout]]);
    expect([await second.agents.delete(agent.userId), await second.rollouts.delete('r1')]).toEqual([true, true]);
    await second.close();
  });
});
