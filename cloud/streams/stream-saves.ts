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
  save(of: StreamOf, record: StreamRecord | undefined): Promise<void>;
  /** Something of the user's is not written yet. */
  has(userId: string): boolean;
  /**
   * Another process goes on with the user: what could not be written is tried once more, unless it `isLost` and is that one's
   * to write. Waits for what is being written, and tries nothing again then. Never rejects.
   */
  release(userId: string, how: { isLost: boolean }): Promise<void>;
  /** The store answers again: what could not be written is written now. */
  retry(): void;
  /** What could not be written is tried once more. Nothing is tried again from then on. */
  close(): Promise<void>;
}

type StreamOf = Readonly<Pick<StreamRecord, 'streamId' | 'userId'>>;

interface Save {
  of: StreamOf;
  record: StreamRecord | undefined;
  written: Promise<void>;
  again: Timer | undefined;
}

const RETRY_MS = 10_000;

export function createStreamSaves({
  streams,
  clock,
  log,
  onSaved,
}: {
  streams: Pick<Collection<StreamRecord>, 'put' | 'delete'>;
  clock: Clock;
  log: Log;
  /** Nothing of the user's is left to be written. */
  onSaved?: ((userId: string) => void) | undefined;
}): StreamSaves {
  const newest = new Map<string, Save>();
  /** Streams that are not written yet, by user: ten thousand may be saved at once. */
  const unwritten = new Map<string, Set<string>>();
  let isClosed = false;

  function forget({ streamId, userId }: StreamOf): void {
    newest.delete(streamId);
    const others = unwritten.get(userId);
    others?.delete(streamId);
    if (others?.size === 0) unwritten.delete(userId);
  }
  function save(of: StreamOf, record: StreamRecord | undefined): Promise<void> {
    const { streamId, userId } = of;
    const before = newest.get(streamId);
    before?.again?.cancel();
    const write = async () => void (await (record ? streams.put(record) : streams.delete(streamId)));
    const written = (before?.written ?? Promise.resolve()).then(write, write);
    const saving: Save = { of, record, written, again: undefined };
    newest.set(streamId, saving);
    unwritten.set(userId, (unwritten.get(userId) ?? new Set()).add(streamId));
    written.then(
      () => {
        if (newest.get(streamId) !== saving) return;
        forget(of);
        if (!unwritten.has(userId)) onSaved?.(userId);
      },
      (error: unknown) => {
        // Of one that another process has, a write that was still on its way is refused.
        const isOurs = newest.get(streamId) === saving && asGlasscastError(error).code !== 'SESSION_MOVED';
        log[isOurs ? 'error' : 'debug']({ streamId, reason: errorText(error) }, 'stream-not-saved');
        if (isClosed || newest.get(streamId) !== saving) return;
        saving.again = clock.after('stream-save', RETRY_MS, () => void save(of, record).catch(() => {}));
      },
    );
    return written;
  }
  function tryAgain(saves: Iterable<Save>): void {
    for (const { of, record, again } of [...saves]) if (again) void save(of, record).catch(() => {});
  }
  const savesOf = (userId: string) => [...(unwritten.get(userId) ?? [])].flatMap((id) => newest.get(id) ?? []);
  return {
    save,
    has: (userId) => unwritten.has(userId),
    async release(userId, { isLost }) {
      if (!isLost) tryAgain(savesOf(userId));
      const last = savesOf(userId);
      for (const { of, again } of last) {
        again?.cancel();
        forget(of);
      }
      await Promise.allSettled(last.map(({ written }) => written));
    },
    retry: () => tryAgain(newest.values()),
    async close() {
      isClosed = true;
      tryAgain(newest.values());
      await Promise.allSettled([...newest.values()].map(({ written }) => written));
    },
  };
}
