/**
 * What an earlier process left, sorted before anybody comes in: streams that can go on are taken up, the live inputs of
 * all others are removed.
 */
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Cleanup } from '../provider/cleanup.ts';
import type { StreamRecord } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import type { StreamPeers, StreamRegistry } from './stream-registry.ts';

export interface TakeOverOptions {
  store: Pick<Store, 'ledger' | 'streams'>;
  cleanup: Pick<Cleanup, 'start'>;
  streams: Pick<StreamRegistry, 'resume'>;
  peers: StreamPeers;
  log: Log;
}

export async function takeOver({ store, cleanup, streams, peers, log }: TakeOverOptions): Promise<void> {
  const records = await store.streams.all();
  const entries = new Map((await store.ledger.all()).map((entry) => [entry.streamId, entry]));
  // The process may have died, or its disk been full, between the two words about one end.
  const canGoOn = ({ ingest, streamId }: StreamRecord) => {
    const entry = entries.get(streamId);
    return entry ? !entry.doomed : !ingest?.liveInputUid;
  };
  const kept = records.filter(canGoOn);
  await cleanup.start(new Set(kept.map(({ streamId }) => streamId)));
  for (const { streamId, userId } of records.filter((record) => !canGoOn(record))) {
    await store.streams.delete(streamId).catch((error: unknown) => {
      log.warn({ streamId, userId, reason: errorText(error) }, 'stream-not-erased');
    });
  }
  streams.resume(kept, peers);
}
