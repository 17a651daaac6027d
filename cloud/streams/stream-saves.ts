/**
 * What has to outlive the process of each stream, written in order: the last word about a stream is the last one
 * written. A write that fails is made again: a stream whose end is not written would come to life with the next process.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { StreamRecord } from '../store/records.ts';
import type { Collection } from '../store/store.ts';

export interface StreamSaves {
  /** @param record undefined: the stream is over. Rejects when it could not be written; it is tried again all the same. */
  save(streamId: string, record: StreamRecord | undefined): Promise<void>;
  /** Another process goes on with it: waits for what is being written, and tries nothing again. Never rejects. */
  release(streamId: string): Promise<void>;
  /** The store answers again: what could not be written is written now. */
  retry(): void;
  /** Waits for what is being written. Nothing is tried again from now on. */
  close(): Promise<void>;
}

const RETRY_MS = 10_000;

export function createStreamSaves({
  streams,
  clock,
  log,
}: {
  streams: Collection<StreamRecord>;
  clock: Clock;
  log: Log;
}): StreamSaves {
  interface Save {
    written: Promise<void>;
    again: Timer | undefined;
    record: StreamRecord | undefined;
  }
  const newest = new Map<string, Save>();
  let isClosed = false;

  function save(streamId: string, record: StreamRecord | undefined): Promise<void> {
    const before = newest.get(streamId);
    before?.again?.cancel();
    const write = async () => void (await (record ? streams.put(record) : streams.delete(streamId)));
    const saving: Save = {
      written: (before?.written ?? Promise.resolve()).then(write, write),
      again: undefined,
      record,
    };
    newest.set(streamId, saving);
    saving.written.then(
      () => newest.get(streamId) === saving && newest.delete(streamId),
      (error: unknown) => {
        // Of one that another process has, a write that was still on its way is refused.
        if (newest.get(streamId) === saving && asGlasscastError(error).code === 'SESSION_MOVED')
          newest.delete(streamId);
        const isCurrent = newest.get(streamId) === saving;
        log[isCurrent ? 'error' : 'debug']({ streamId, reason: errorText(error) }, 'stream-not-saved');
        if (isClosed || !isCurrent) return;
        saving.again = clock.after('stream-save', RETRY_MS, () => void save(streamId, record).catch(() => {}));
      },
    );
    return saving.written;
  }
  return {
    save,
    async release(streamId) {
      const last = newest.get(streamId);
      last?.again?.cancel();
      newest.delete(streamId);
      await last?.written.catch(() => {});
    },
    retry() {
      for (const [streamId, { again, record }] of [...newest]) if (again) void save(streamId, record).catch(() => {});
    },
    async close() {
      isClosed = true;
      for (const { again } of newest.values()) again?.cancel();
      await Promise.allSettled([...newest.values()].map(({ written }) => written));
    },
  };
}
