/** The process is cut off at every await between the intent and the last deletion; the next one leaves nothing behind. */
import { describe, expect, it } from 'vitest';
import { type Cleanup, createCleanup } from '../../cloud/provider/cleanup.ts';
import { createIngestSource, type IngestPoint } from '../../cloud/provider/ingest-source.ts';
import { createLiveInputs, providerProfiles } from '../../cloud/provider/live-inputs.ts';
import { createStreamApi } from '../../cloud/provider/stream-api.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createFakeCloudflare } from '../support/fake-cloudflare.ts';
import { createTestClock, settle, type TestClock } from '../support/test-clock.ts';

/** Counts what leaves the process; at the chosen one the process is dead, before or after it took effect. */
function createKnife(at: number, side: 'before' | 'after') {
  let count = 0;
  const never = new Promise<never>(() => {});
  const knife = {
    isCut: false,
    async through<T>(work: () => Promise<T>): Promise<T> {
      count += 1;
      if (knife.isCut) return never;
      knife.isCut = count === at;
      if (knife.isCut && side === 'before') return never;
      const result = await work();
      return knife.isCut ? never : result;
    },
  };
  return knife;
}
type Knife = ReturnType<typeof createKnife>;

interface World {
  clock: TestClock;
  store: Store;
  provider: ReturnType<typeof createFakeCloudflare>;
}

/** A process as far as live inputs are concerned; `knife` cuts its calls to the provider and to the disk. */
function createProcess({ clock, store, provider }: World, knife: Knife) {
  const api = createStreamApi({
    ...{ apiBaseUrl: 'https://api.example/client/v4', accountId: 'acc', apiToken: new Secret('the-api-token') },
    ...{ clock, log: silentLog(), random: () => 0, maxRequestsPerSecond: 3 },
    fetch: ((url: string, init: RequestInit) => knife.through(() => provider.fetch(url, init))) as typeof fetch,
  });
  const inputs = createLiveInputs({ api, profile: providerProfiles.cloudflare, relayId: 'relay-1' });
  const ledger: Store['ledger'] = {
    all: () => knife.through(() => store.ledger.all()),
    of: (userId) => knife.through(() => store.ledger.of(userId)),
    get: (key) => knife.through(() => store.ledger.get(key)),
    put: (record) => knife.through(() => store.ledger.put(record)),
    add: (record) => knife.through(() => store.ledger.add(record)),
    delete: (key) => knife.through(() => store.ledger.delete(key)),
  };
  const { lateRecordingLooksMs } = providerProfiles.cloudflare;
  const cleanup = createCleanup({
    ...{ inputs, store: { ledger }, clock, log: silentLog(), keepRecordings: false, lateRecordingLooksMs },
    random: () => 0,
  });
  const source = createIngestSource({
    ...{ inputs, cleanup, admit() {}, redactor: createRedactor() },
    ...{ profile: providerProfiles.cloudflare, keepsRecordings: false, holdSeconds: 120, deleteRecordingAfterDays: 30 },
  });
  return { cleanup, inputs, source };
}

/** As a relay alone does at its start, when no stream goes on. */
async function takeUp(cleanup: Cleanup, { ledger }: Store): Promise<void> {
  cleanup.adopt(await ledger.all(), new Set());
  await cleanup.lead();
}

/** Start, live with an output, stop, and all of the deletion. */
async function runOnce(world: World, knife: Knife, lateMs: number): Promise<Cleanup> {
  const { clock, provider } = world;
  const { cleanup, source } = createProcess(world, knife);
  void takeUp(cleanup, world.store);
  await clock.advance(1_000);
  void source.provision('m1', 'ada@example.com').catch(() => {});
  await clock.advance(5_000);
  for (const uid of provider.inputs.keys()) {
    provider.publish(uid, lateMs);
    provider.restream(uid);
  }
  if (!knife.isCut) source.discard('m1');
  for (let second = 0; second < 20 * 60 && !knife.isCut; second += 1) await clock.advance(1_000);
  return cleanup;
}

async function kill(at: number, side: 'before' | 'after', lateMs: number): Promise<{ wasCut: boolean }> {
  const clock = createTestClock();
  const world = { clock, store: createSqliteStore({ file: ':memory:' }), provider: createFakeCloudflare({ clock }) };
  const knife = createKnife(at, side);
  const dead = await runOnce(world, knife, lateMs);
  // Its timers die with it.
  const closing = dead.close(0);
  await clock.advance(100);
  await closing;
  const next = createProcess(world, createKnife(0, 'before'));
  void takeUp(next.cleanup, world.store);
  // By the ledger alone: as a stray it would be too young.
  await clock.advance(5 * 60_000);
  expect([...world.provider.inputs.keys()]).toEqual([]);
  await clock.advance(40 * 60_000);
  const where = `cut ${side} call ${at}`;
  expect([where, world.provider.left(), await world.store.ledger.all()]).toEqual([where, [], []]);
  expect([where, next.cleanup.pending()]).toEqual([where, []]);
  await next.cleanup.close(0);
  await world.store.close();
  return { wasCut: knife.isCut };
}

describe('killed at any await of start, live and stop (defect 11)', () => {
  it.each([
    ['before', 0],
    ['after', 0],
    ['before', 90_000],
    ['after', 90_000],
  ] as const)('%s its effect, recordings late by %i ms: nothing is orphaned', async (side, lateMs) => {
    let at = 1;
    while ((await kill(at, side, lateMs)).wasCut) at += 1;
    // Intent, creation, outcome, doom, off, two lists, recording, outputs, output, input, gone, three looks, strike.
    expect(at).toBeGreaterThan(20);
  });

  it('the creation is still on its way when the process dies: found by its mark, now or by a sweep', async () => {
    for (const delayMs of [30_000, 20 * 60_000]) {
      const clock = createTestClock();
      const provider = createFakeCloudflare({ clock });
      const world = { clock, store: createSqliteStore({ file: ':memory:' }), provider };
      const late = (url: string, init?: RequestInit) =>
        init?.method === 'POST'
          ? clock.sleep(delayMs).then(() => provider.fetch(url, init))
          : provider.fetch(url, init);
      const knife = createKnife(0, 'before');
      const dead = createProcess({ ...world, provider: { ...provider, fetch: late as typeof fetch } }, knife);
      void dead.source.provision('m1', 'ada@example.com').catch(() => {});
      await settle();
      knife.isCut = true;
      const next = createProcess(world, createKnife(0, 'before'));
      void takeUp(next.cleanup, world.store);
      await clock.advance(delayMs - 1_000);
      expect(provider.left()).toEqual([]);
      await clock.advance(1_001);
      expect(provider.left()).toEqual(['input-1']);
      await clock.advance(2 * 3_600_000);
      expect([provider.left(), await world.store.ledger.all()]).toEqual([[], []]);
      await next.cleanup.close(0);
    }
  });
});

describe('hundreds of streams that a process left behind', () => {
  it('hold up neither a start nor a stop of now, and all of them go', async () => {
    const clock = createTestClock();
    const provider = createFakeCloudflare({ clock, landingMs: 200_000 });
    const world = { clock, provider, store: createSqliteStore({ file: ':memory:' }) };
    const { cleanup, inputs, source } = createProcess(world, createKnife(0, 'before'));
    for (let count = 0; count < 300; count += 1) {
      const liveInputUid = `left-${count}`;
      const created = { uid: liveInputUid, body: {}, createdAtMs: clock.now(), enabled: true, outputs: [] };
      provider.inputs.set(liveInputUid, created);
      provider.publish(liveInputUid);
      const entry = { streamId: `m-left-${count}`, liveInputUid, doomed: false, keepRecordings: false };
      await world.store.ledger.put({ ...entry, createdAtMs: clock.now() });
    }
    void takeUp(cleanup, world.store);
    await clock.advance(60_000);
    let point: IngestPoint | undefined;
    void source.provision('m-now', 'ada@example.com').then((made) => {
      point = made;
    });
    await clock.advance(3_000);
    expect(point?.liveInputUid).toBeDefined();
    let polled = false;
    void inputs.outputs(point?.liveInputUid ?? '').then(() => {
      polled = true;
    });
    await clock.advance(3_000);
    expect(polled).toBe(true);
    source.discard('m-now');
    await clock.advance(10_000);
    expect(provider.inputs.get(point?.liveInputUid ?? '')?.enabled ?? false).toBe(false);
    await clock.advance(2 * 3_600_000);
    expect([provider.left(), await world.store.ledger.all()]).toEqual([[], []]);
    await cleanup.close(0);
  });
});
