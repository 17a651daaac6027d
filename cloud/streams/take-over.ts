/**
 * What another process left of one user, sorted before the user comes in: streams that can go on are taken up, the live
 * inputs of all others are removed.
 */
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Cleanup } from '../provider/cleanup.ts';
import type { StreamRecord } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import type { StreamPeers, StreamRegistry } from './stream-registry.ts';

export interface TakeOverOptions {
  store: Pick<Store, 'ledger' | 'streams'>;
  cleanup: Pick<Cleanup, 'adopt'>;
  streams: Pick<StreamRegistry, 'resume'>;
  peers: StreamPeers;
  log: Log;
}

export async function takeOver(userId: string, options: TakeOverOptions): Promise<void> {
  const { store, cleanup, streams, peers, log } = options;
  const records = await store.streams.of(userId);
  const entries = new Map((await store.ledger.of(userId)).map((entry) => [entry.streamId, entry]));
  for (const { streamId } of records.filter((record) => !entries.has(record.streamId))) {
    // Older versions wrote no user.
    const entry = await store.ledger.get(streamId);
    if (entry) entries.set(streamId, { ...entry, userId });
  }
  // The process may have died, or its disk been full, between the two words about one end.
  const canGoOn = ({ ingest, streamId }: StreamRecord) => {
    const entry = entries.get(streamId);
    return entry ? !entry.doomed : !ingest?.liveInputUid;
  };
  const kept = records.filter(canGoOn);
  cleanup.adopt([...entries.values()], new Set(kept.map(({ streamId }) => streamId)));
  for (const { streamId } of records.filter((record) => !canGoOn(record))) {
    await store.streams.delete(streamId).catch((error: unknown) => {
      log.warn({ streamId, userId, reason: errorText(error) }, 'stream-not-erased');
    });
  }
  streams.resume(kept, peers);
}

/** Everybody of whom something is kept that a process has to go on with. */
export async function usersToTakeOver(store: Pick<Store, 'appSessions' | 'ledger' | 'streams'>): Promise<string[]> {
  const kept = [...(await store.streams.all()), ...(await store.appSessions.all()), ...(await store.ledger.all())];
  return [...new Set(kept.flatMap(({ userId }) => userId ?? []))];
}
