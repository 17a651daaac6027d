/**
 * The ledger of live inputs: written before one is created, struck out when nothing of it is left at the provider.
 * Owns the order and the repetition of deletion; never decides that a stream has ended.
 */
import { type BackoffPolicy, backoffMs, type Clock, type Timer } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { LedgerEntry } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import type { LiveInputOutput, LiveInputSummary, Video } from './live-inputs.ts';

/** The part of the provider that deletion needs. */
export interface DeletableInputs {
  setEnabled(uid: string, enabled: boolean): Promise<void>;
  delete(uid: string): Promise<void>;
  list(): Promise<LiveInputSummary[]>;
  outputs(uid: string): Promise<LiveInputOutput[]>;
  deleteOutput(uid: string, outputUid: string): Promise<void>;
  videos(uid: string): Promise<Video[]>;
  deleteVideo(videoUid: string): Promise<void>;
}

export interface CleanupOptions {
  inputs: DeletableInputs;
  store: Pick<Store, 'ledger'>;
  clock: Clock;
  log: Log;
  /** Recordings stay when their stream ends. */
  keepRecordings: boolean;
  random?: () => number;
}

export interface Cleanup {
  /** Takes over what an earlier process left behind: all of it has to go. */
  start(): Promise<void>;
  /** Before the creation: a crash from here on leaves a trace. */
  intend(streamId: string): Promise<void>;
  /** The creation has an outcome; without a uid it failed, and may have left an input all the same. */
  created(streamId: string, liveInputUid: string | undefined): Promise<void>;
  /** The provider refused outright: there is nothing to look for. */
  refused(streamId: string): Promise<void>;
  /** Nothing of this stream is wanted any more. Repeated until it is gone. */
  discard(streamId: string): void;
  /** Streams whose traces are still at the provider. */
  pending(): string[];
  /** Lets running deletions come to an end, at most `patienceMs`; the rest stays in the ledger for the next start. */
  close(patienceMs?: number): Promise<void>;
}

/** A recording that is still live can be deleted once the provider has let go of it, after its hold window at worst. */
const RETRY: BackoffPolicy = { firstMs: 300, factor: 2, maxMs: 60_000, jitter: 0.2 };

/** A creation that nobody answered may still be at work at the provider: looked for this long before it counts as failed. */
const UNSEEN_MS = 60_000;

interface Tracked {
  entry: LedgerEntry;
  /** The create call is under way: its outcome decides what there is to delete. */
  creating: boolean;
  attempt: number;
  running: Promise<void> | undefined;
  timer: Timer | undefined;
}

export function createCleanup(options: CleanupOptions): Cleanup {
  return new Ledger(options);
}

class Ledger implements Cleanup {
  readonly #options: CleanupOptions;
  readonly #tracked = new Map<string, Tracked>();
  #closed = false;

  constructor(options: CleanupOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    for (const entry of await this.#options.store.ledger.all()) {
      const { streamId } = entry;
      if (this.#tracked.has(streamId)) continue;
      this.#tracked.set(streamId, newTracked({ ...entry, doomed: true }, false));
      this.#options.log.info({ streamId }, 'cleanup-left-over-found');
      this.#attempt(streamId);
    }
  }

  async intend(streamId: string): Promise<void> {
    const { clock, keepRecordings, store } = this.#options;
    const entry = { streamId, doomed: false, keepRecordings, createdAtMs: clock.now() };
    this.#tracked.set(streamId, newTracked(entry, true));
    try {
      await store.ledger.put(entry);
    } catch (error) {
      this.#tracked.delete(streamId);
      throw error;
    }
  }

  async created(streamId: string, liveInputUid: string | undefined): Promise<void> {
    const tracked = this.#tracked.get(streamId);
    if (!tracked) return;
    tracked.creating = false;
    tracked.entry = { ...tracked.entry, liveInputUid };
    await this.#options.store.ledger.put(tracked.entry);
    if (tracked.entry.doomed) this.#attempt(streamId);
  }

  async refused(streamId: string): Promise<void> {
    this.#tracked.delete(streamId);
    await this.#options.store.ledger.delete(streamId);
  }

  discard(streamId: string): void {
    const tracked = this.#tracked.get(streamId);
    if (!tracked || tracked.entry.doomed) return;
    tracked.entry = { ...tracked.entry, doomed: true };
    this.#attempt(streamId);
  }

  pending(): string[] {
    return [...this.#tracked.keys()];
  }

  async close(patienceMs = 3_000): Promise<void> {
    const doomed = () => [...this.#tracked.values()].filter(({ entry }) => entry.doomed);
    const untilMs = this.#options.clock.monotonicMs() + patienceMs;
    while (doomed().length > 0 && this.#options.clock.monotonicMs() < untilMs) {
      await this.#options.clock.sleep(50, { name: 'cleanup-close' });
    }
    this.#closed = true;
    for (const { timer } of this.#tracked.values()) timer?.cancel();
  }

  #attempt(streamId: string): void {
    const tracked = this.#tracked.get(streamId);
    if (!tracked || tracked.creating || tracked.running || this.#closed) return;
    const { clock, log, store, random } = this.#options;
    const removal = this.#remove(tracked.entry).then(() => store.ledger.delete(streamId));
    tracked.running = removal.then(
      () => {
        tracked.running = undefined;
        this.#tracked.delete(streamId);
        log.info({ streamId, attempts: tracked.attempt + 1 }, 'cleanup-done');
      },
      (thrown: unknown) => {
        const error = asGlasscastError(thrown);
        tracked.running = undefined;
        const waitMs = backoffMs(RETRY, tracked.attempt, random);
        tracked.attempt += 1;
        const isExpected = error.code === 'PROVIDER_CONFLICT';
        log[isExpected ? 'debug' : 'warn']({ streamId, code: error.code, waitMs }, 'cleanup-postponed');
        if (this.#closed) return;
        tracked.timer = clock.after('cleanup-retry', waitMs, () => this.#attempt(streamId));
      },
    );
  }

  /** Broadcast ended → recordings → outputs → input. What is gone already is done. */
  async #remove(entry: LedgerEntry): Promise<void> {
    const { inputs, store } = this.#options;
    await store.ledger.put(entry);
    for (const uid of await this.#uidsOf(entry)) {
      await goneIsDone(() => inputs.setEnabled(uid, false));
      if (!entry.keepRecordings) {
        // Deleting an input leaves its recordings, billed and hard to find: they go first.
        for (const video of (await goneIsDone(() => inputs.videos(uid))) ?? []) {
          await goneIsDone(() => inputs.deleteVideo(video.uid));
        }
      }
      for (const output of (await goneIsDone(() => inputs.outputs(uid))) ?? []) {
        await goneIsDone(() => inputs.deleteOutput(uid, output.uid));
      }
      await goneIsDone(() => inputs.delete(uid));
    }
  }

  /** An input whose creation was never answered is known only by the mark it carries. */
  async #uidsOf({ createdAtMs, streamId, liveInputUid }: LedgerEntry): Promise<string[]> {
    if (liveInputUid) return [liveInputUid];
    const listed = await this.#options.inputs.list();
    const uids = listed.filter((input) => input.streamId === streamId).map(({ uid }) => uid);
    const ageMs = this.#options.clock.now() - createdAtMs;
    if (uids.length === 0 && ageMs >= 0 && ageMs < UNSEEN_MS) {
      throw new GlasscastError('PROVIDER_CONFLICT', { reason: 'the creation may still come to something' });
    }
    return uids;
  }
}

function newTracked(entry: LedgerEntry, creating: boolean): Tracked {
  return { entry, creating, attempt: 0, running: undefined, timer: undefined };
}

async function goneIsDone<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (isGlasscastError(error) && error.code === 'LIVE_INPUT_NOT_FOUND') return undefined;
    throw error;
  }
}
