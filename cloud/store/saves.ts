/**
 * What has to outlive the process, written in order: the last word about a record is the last one written. A write that fails
 * is made again: what is over would come to life with the next process if that were not written.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Collection } from './store.ts';

export interface Saves<T> {
  /**
   * @param record undefined: it is over, and nothing shall be left of it. Rejects when it could not be written; it is tried
   * again all the same.
   */
  save(of: SavedOf, record: T | undefined): Promise<void>;
  /** Something of the user's is not written yet. */
  has(userId: string): boolean;
  /**
   * Another process goes on with the user: what could not be written is tried once more, unless it `isLost` and is that one's
   * to write. Waits for what is being written, and tries nothing again then. Never rejects.
   */
  release(userId: string, how: { isLost: boolean }): Promise<void>;
  /** Waits for what is being written now. Never rejects. */
  written(): Promise<void>;
  /** The store answers again: what could not be written is written now. */
  retry(): void;
  /** What could not be written is tried once more. Nothing is tried again from then on. */
  close(): Promise<void>;
}

export interface SavedOf {
  /** As the collection knows it. */
  readonly key: string;
  readonly userId: string;
}

export interface SavesOptions<T> {
  collection: Pick<Collection<T>, 'put' | 'delete'>;
  /** Of one record, as the log names it: `stream` is `stream-not-saved` there. */
  name: string;
  /** Its key in the log; absent: not there. */
  keyName?: string;
  clock: Clock;
  log: Log;
  /** Nothing of the user's is left to be written. */
  onSaved?: ((userId: string) => void) | undefined;
}

interface Save<T> {
  of: SavedOf;
  record: T | undefined;
  written: Promise<void>;
  again: Timer | undefined;
}

const RETRY_MS = 10_000;

export function createSaves<T>(options: SavesOptions<T>): Saves<T> {
  const { collection, name, keyName, clock, log, onSaved } = options;
  const newest = new Map<string, Save<T>>();
  /** Keys that are not written yet, by user: ten thousand may be saved at once. */
  const unwritten = new Map<string, Set<string>>();
  let isClosed = false;

  function forget({ key, userId }: SavedOf): void {
    newest.delete(key);
    const others = unwritten.get(userId);
    others?.delete(key);
    if (others?.size === 0) unwritten.delete(userId);
  }
  function save(of: SavedOf, record: T | undefined): Promise<void> {
    const { key, userId } = of;
    const before = newest.get(key);
    before?.again?.cancel();
    const write = async () => void (await (record ? collection.put(record) : collection.delete(key)));
    const written = (before?.written ?? Promise.resolve()).then(write, write);
    const saving: Save<T> = { of, record, written, again: undefined };
    newest.set(key, saving);
    unwritten.set(userId, (unwritten.get(userId) ?? new Set()).add(key));
    written.then(
      () => {
        if (newest.get(key) !== saving) return;
        forget(of);
        if (!unwritten.has(userId)) onSaved?.(userId);
      },
      (error: unknown) => {
        // Of what another process has, a write that was still on its way is refused.
        const isOurs = newest.get(key) === saving && asGlasscastError(error).code !== 'SESSION_MOVED';
        const words = { ...(keyName ? { [keyName]: key } : {}), reason: errorText(error) };
        log[isOurs ? 'error' : 'debug'](words, `${name}-not-saved`);
        if (isClosed || newest.get(key) !== saving) return;
        saving.again = clock.after(`${name}-save`, RETRY_MS, () => void save(of, record).catch(() => {}));
      },
    );
    return written;
  }
  function tryAgain(saves: Iterable<Save<T>>): void {
    for (const { of, record, again } of [...saves]) if (again) void save(of, record).catch(() => {});
  }
  const savesOf = (userId: string) => [...(unwritten.get(userId) ?? [])].flatMap((key) => newest.get(key) ?? []);
  async function written(): Promise<void> {
    await Promise.allSettled([...newest.values()].map((saving) => saving.written));
  }
  return {
    ...{ save, written },
    has: (userId) => unwritten.has(userId),
    async release(userId, { isLost }) {
      if (!isLost) tryAgain(savesOf(userId));
      const last = savesOf(userId);
      for (const { of, again } of last) {
        again?.cancel();
        forget(of);
      }
      await Promise.allSettled(last.map((saving) => saving.written));
    },
    retry: () => tryAgain(newest.values()),
    async close() {
      isClosed = true;
      tryAgain(newest.values());
      await written();
    },
  };
}
