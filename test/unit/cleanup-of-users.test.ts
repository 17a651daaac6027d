/** The ledger in a cluster: each node has its users' entries, and one node what belongs to nobody. */
import { expect, it } from 'vitest';
import { type CleanupOptions, createCleanup } from '../../cloud/provider/cleanup.ts';
import type { LiveInputSummary } from '../../cloud/provider/live-inputs.ts';
import type { LedgerEntry } from '../../cloud/store/records.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const [ADA, BOB] = ['ada@example.com', 'bob@example.com'];
const entry = (streamId: string, userId?: string): LedgerEntry => ({
  ...{ streamId, liveInputUid: `uid-${streamId}`, doomed: false, keepRecordings: true, createdAtMs: 1 },
  ...(userId ? { userId } : {}),
});

function world(store: Store = createSqliteStore({ file: ':memory:' }), rest: Partial<CleanupOptions> = {}) {
  const clock = createTestClock();
  const deleted: string[] = [];
  const gone: string[] = [];
  const provider = {
    listed: [] as LiveInputSummary[],
    delete: async (uid: string): Promise<void> => void deleted.push(uid),
  };
  const inputs = {
    setEnabled: async () => {},
    delete: (uid: string) => provider.delete(uid),
    list: async () => provider.listed,
    videos: async () => [],
    deleteVideo: async () => {},
    outputs: async () => [],
    deleteOutput: async () => {},
  };
  const cleanup = createCleanup({
    ...{ inputs, store, clock, log: silentLog(), keepRecordings: true, random: () => 0 },
    onGone: (userId) => void gone.push(userId),
    ...rest,
  });
  return { clock, store, cleanup, deleted, gone, provider };
}

it('a user’s entries that are released are neither deleted nor written here, and the next node has them', async () => {
  const first = world();
  await first.cleanup.intend('m1', ADA);
  await first.cleanup.created('m1', 'uid-m1');
  await first.cleanup.intend('m2', BOB);
  await first.cleanup.created('m2', 'uid-m2');
  first.cleanup.release(ADA ?? '');
  first.cleanup.discard('m1');
  first.cleanup.discard('m2');
  await settle();
  expect([first.deleted, first.gone, first.cleanup.has(ADA ?? '')]).toEqual([['uid-m2'], [BOB], false]);
  expect(await first.store.ledger.all()).toMatchObject([{ streamId: 'm1', userId: ADA, doomed: false }]);
  const next = world(first.store);
  // Its stream had ended on the way: nothing goes on with it.
  next.cleanup.adopt(await first.store.ledger.of(ADA ?? ''), new Set());
  await settle();
  expect([next.deleted, await first.store.ledger.all()]).toEqual([['uid-m1'], []]);
});

it('a deletion that was under way when another node took the user writes nothing behind its back', async () => {
  const { cleanup, store, provider, deleted } = world();
  let answer = () => {};
  provider.delete = (uid) =>
    new Promise<void>((resolve) => {
      answer = () => {
        deleted.push(uid);
        resolve();
      };
    });
  await store.ledger.put(entry('m1', ADA));
  cleanup.adopt([entry('m1', ADA)], new Set());
  await settle();
  cleanup.release(ADA ?? '');
  await store.ledger.put({ ...entry('m1', ADA), createdAtMs: 2 });
  answer();
  await settle();
  expect(await store.ledger.all()).toMatchObject([{ streamId: 'm1', createdAtMs: 2 }]);
});

it('a ledger that another node has refuses the write: the live input is left to that node', async () => {
  const { cleanup, store, deleted, clock } = world();
  Object.assign(store.ledger, { put: () => Promise.reject(new GlasscastError('SESSION_MOVED')) });
  cleanup.adopt([entry('m1', ADA)], new Set());
  await clock.advance(500);
  expect(deleted).toEqual([]);
  cleanup.release(ADA ?? '');
  expect(clock.pending()).toEqual([]);
});

it('the leader alone takes up what names no user, and gives it up with the lead', async () => {
  const { cleanup, store, deleted, clock } = world();
  for (const one of [entry('m-old'), entry('m-kept'), entry('m-of-ada', ADA)]) await store.ledger.put(one);
  await cleanup.lead(new Set(['m-kept']));
  await settle();
  expect([deleted, cleanup.pending()]).toEqual([['uid-m-old'], ['m-kept']]);
  // An older version wrote no user: the record of its stream names one.
  cleanup.adopt([{ ...entry('m-kept'), userId: ADA }], new Set(['m-kept']));
  cleanup.follow();
  expect([cleanup.pending(), cleanup.has(ADA ?? ''), clock.pending()]).toEqual([['m-kept'], true, []]);
});

it('an input that any node’s ledger knows is no stray, also while its creation is under way', async () => {
  const { cleanup, store, deleted, provider } = world();
  const old = { createdAtMs: 1_600_000_000_000 };
  provider.listed = [
    { uid: 'uid-m-there', streamId: 'm-there', ...old },
    { uid: 'uid-new', streamId: 'm-making', ...old },
    { uid: 'uid-stray', streamId: 'm-gone', ...old },
  ];
  await store.ledger.put(entry('m-there', BOB));
  const { liveInputUid: _, ...making } = entry('m-making', BOB);
  await store.ledger.put(making);
  await cleanup.lead();
  await settle();
  expect(deleted).toEqual(['uid-stray']);
  await cleanup.close(0);
});

it('a live input that another node knows is no stray, whatever the store has lost', async () => {
  const elsewhere = { say: async () => [{ streamId: 'm-there', liveInputUid: 'uid-m-there' }] };
  const { cleanup, clock, deleted, provider } = world(undefined, { knownElsewhere: () => elsewhere.say() });
  const old = { createdAtMs: 1_600_000_000_000 };
  provider.listed = [
    { uid: 'uid-m-there', streamId: 'm-there', ...old },
    { uid: 'uid-stray', streamId: 'm-gone', ...old },
  ];
  const { say } = elsewhere;
  elsewhere.say = () => Promise.reject(new GlasscastError('NODE_UNREACHABLE'));
  await cleanup.lead();
  await settle();
  expect(deleted).toEqual([]);
  elsewhere.say = say;
  await clock.advance(15 * 60_000);
  expect(deleted).toEqual(['uid-stray']);
  await cleanup.close(0);
});

it('what a store has lost that was away is written anew', async () => {
  const { cleanup, store } = world();
  await cleanup.intend('m1', ADA);
  await cleanup.created('m1', 'uid-m1');
  await store.ledger.delete('m1');
  cleanup.saveAgain();
  await settle();
  expect(await store.ledger.all()).toMatchObject([{ streamId: 'm1', liveInputUid: 'uid-m1', userId: ADA }]);
});

it('a node of several deletes nothing while the store is away: another one may go on with the stream', async () => {
  const { cleanup, store, deleted, clock } = world(undefined, { isShared: true });
  await cleanup.intend('m1', ADA);
  await cleanup.created('m1', 'uid-m1');
  const { put } = store.ledger;
  Object.assign(store.ledger, { put: () => Promise.reject(new GlasscastError('STORE_UNAVAILABLE')) });
  cleanup.discard('m1');
  await clock.advance(120_000);
  expect(deleted).toEqual([]);
  Object.assign(store.ledger, { put });
  cleanup.saveAgain();
  await settle();
  expect([deleted, cleanup.pending()]).toEqual([['uid-m1'], []]);
});
