import { expect, it } from 'vitest';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { takeOver } from '../../cloud/streams/take-over.ts';
import { silentLog } from '../../shared/log.ts';

const record = (streamId: string, liveInputUid?: string) => ({
  ...{ streamId, userId: 'ada@example.com', kind: 'managed' as const, request: {} },
  ...{ createdAtMs: 1, savedAtMs: 1, viewers: [], outputs: [], wantedOutputs: [], isStarted: false },
  ...(liveInputUid ? { ingest: { liveInputUid, publishUrl: 'rtmp://a/b/c' } } : {}),
});
const entry = (streamId: string, doomed: boolean, userId?: string) => ({
  ...{ streamId, doomed, keepRecordings: false, createdAtMs: 1 },
  ...(userId ? { userId } : {}),
});

it('does not take up a stream whose live input is on its way out or gone: the end was not wholly written', async () => {
  const store = createSqliteStore({ file: ':memory:' });
  const records = [record('m-alive', 'u1'), record('m-doomed', 'u2'), record('m-gone', 'u3'), record('m-unmade')];
  for (const each of records) await store.streams.put(each);
  for (const [streamId, isDoomed] of [
    ['m-alive', false],
    ['m-doomed', true],
  ] as const) {
    // An older version wrote no user.
    await store.ledger.put(entry(streamId, isDoomed, isDoomed ? 'ada@example.com' : undefined));
  }
  await store.ledger.put(entry('m-recordless', false, 'ada@example.com'));
  await store.ledger.put(entry('m-stray', true));
  const heard: string[][] = [];
  await takeOver('ada@example.com', {
    ...{ store, log: silentLog() },
    cleanup: {
      adopt: (entries, kept) =>
        void heard.push(
          entries.map(({ streamId, userId }) => `${streamId} of ${userId}`),
          [...kept],
        ),
    },
    streams: { resume: (taken) => void heard.push(taken.map(({ streamId }) => streamId)) },
    peers: { viewer: () => undefined, glasses: () => ({ isConnected: () => false, send: () => false }) },
  });
  expect(heard).toEqual([
    ['m-doomed of ada@example.com', 'm-recordless of ada@example.com', 'm-alive of ada@example.com'],
    ['m-alive', 'm-unmade'],
    ['m-alive', 'm-unmade'],
  ]);
  expect((await store.streams.all()).map(({ streamId }) => streamId)).toEqual(['m-alive', 'm-unmade']);
  await store.close();
});
