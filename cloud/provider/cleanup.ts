/**
 * The ledger of live inputs: written before one is created, struck out when nothing of it is left at the provider.
 * Owns the order and the repetition of deletion, and the sweep of strays; never decides that a stream has ended.
 * A write that fails (full disk) is repeated and loses nothing: memory knows, and so does the mark on the input.
 */
import { type BackoffPolicy, backoffMs, type Clock, type Timer } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { LedgerEntry } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import { type DeletableInputs, removeInput, removeRecordings } from './removal.ts';

export interface CleanupOptions {
  inputs: DeletableInputs;
  store: Pick<Store, 'ledger'>;
  clock: Clock;
  log: Log;
  /** Recordings stay when their stream ends. */
  keepRecordings: boolean;
  /** After an input is gone, when to look for recordings that came to light late. Default: never. */
  lateRecordingLooksMs?: readonly number[];
  random?: () => number;
}

export interface Cleanup {
  /**
   * Takes over what an earlier process left behind: all of it has to go but what belongs to the streams in `kept`.
   * Sweeps strays now and every 15 min.
   */
  start(kept: ReadonlySet<string>): Promise<void>;
  /** Before the creation: a crash from here on leaves a trace. Rejects when the trace cannot be written. */
  intend(streamId: string): Promise<void>;
  /** The creation has an outcome; without a uid it failed, and may have left an input all the same. Never rejects. */
  created(streamId: string, liveInputUid: string | undefined): Promise<void>;
  /** The provider refused outright: there is nothing to look for. Never rejects. */
  refused(streamId: string): Promise<void>;
  /** Nothing of this stream is wanted any more. Repeated until it is gone. */
  discard(streamId: string): void;
  /** A sign that something has changed at the provider, e.g. a recording has landed: what waits for it looks at once. */
  lookAgain(liveInputUid: string): void;
  /** The stream that this input was made for, as long as a trace of it may be left. */
  streamOf(liveInputUid: string): string | undefined;
  /** Streams of which something may still be at the provider. */
  pending(): string[];
  /** Lets running deletions come to an end, at most `patienceMs`; the rest stays in the ledger for the next start. */
  close(patienceMs?: number): Promise<void>;
}

/** A recording that is still live can be deleted once the provider has let go of it, after its hold window at worst. */
const RETRY: BackoffPolicy = { firstMs: 300, factor: 2, maxMs: 60_000, jitter: 0.2 };
/** A creation that nobody answered may still be at work at the provider: looked for this long before it counts as failed. */
const UNSEEN_MS = 60_000;
const SWEEP_MS = 15 * 60_000;
/** Hundreds that are left behind at once take turns, or a start and a stop of now would wait behind all their calls. */
const MAX_AT_ONCE = 4;
/** What fails the same way again is said about once an hour. */
const SAID_AGAIN_AFTER = 60;
/** A younger input may be one whose creation has not been answered yet. */
const STRAY_AGE_MS = 10 * 60_000;

interface Tracked {
  entry: LedgerEntry;
  /** The create call is under way: its outcome decides what there is to delete. */
  creating: boolean;
  /** An earlier process may have made it. */
  mayExist: boolean;
  attempt: number;
  /** Of the last attempt. */
  failure: ErrorCode | undefined;
  running: Promise<void> | undefined;
  timer: Timer | undefined;
  /** A sign came while it was at work. */
  again: boolean;
}

export function createCleanup(options: CleanupOptions): Cleanup {
  return new Ledger(options);
}

class Ledger implements Cleanup {
  readonly #options: CleanupOptions;
  readonly #tracked = new Map<string, Tracked>();
  /** Streams whose turn has not come. */
  #queue: string[] = [];
  #atWork = 0;
  #sweeping: { timer: Timer; running: Promise<void> } | undefined;
  #closed = false;

  constructor(options: CleanupOptions) {
    this.#options = options;
  }

  async start(kept: ReadonlySet<string>): Promise<void> {
    const { clock, log, store } = this.#options;
    for (const entry of await store.ledger.all()) {
      const { streamId, userId } = entry;
      if (this.#tracked.has(streamId)) continue;
      const isKept = kept.has(streamId) && !entry.doomed;
      this.#tracked.set(streamId, newTracked({ ...entry, doomed: !isKept }, false));
      if (isKept) continue;
      log.info({ streamId, userId }, 'cleanup-left-over-found');
      this.#attempt(streamId);
    }
    if (this.#closed) return;
    const sweep = () => this.#sweep().catch((error) => log.warn({ reason: errorText(error) }, 'cleanup-sweep-failed'));
    const sweeping = { timer: clock.every('cleanup-sweep', SWEEP_MS, again), running: sweep() };
    function again(): void {
      sweeping.running = sweeping.running.then(sweep);
    }
    this.#sweeping = sweeping;
  }

  async intend(streamId: string): Promise<void> {
    const { clock, keepRecordings, store } = this.#options;
    const known = this.#tracked.get(streamId);
    // A stream that goes on over a restart may be created once more: by its key it is the same input.
    const entry = { streamId, doomed: false, keepRecordings, ...known?.entry, createdAtMs: clock.now() };
    this.#tracked.set(streamId, { ...newTracked(entry, true), mayExist: known !== undefined });
    try {
      await store.ledger.put(entry);
    } catch (error) {
      if (known) this.#tracked.set(streamId, known);
      else this.#tracked.delete(streamId);
      throw error;
    }
  }

  async created(streamId: string, liveInputUid: string | undefined): Promise<void> {
    const tracked = this.#tracked.get(streamId);
    if (!tracked) return;
    tracked.entry = { ...tracked.entry, liveInputUid: liveInputUid ?? tracked.entry.liveInputUid };
    await this.#write(tracked);
    tracked.creating = false;
    if (tracked.entry.doomed) this.#attempt(streamId);
  }

  async refused(streamId: string): Promise<void> {
    // A refusal now takes nothing back of what an earlier process may have made.
    if (this.#tracked.get(streamId)?.mayExist) return this.created(streamId, undefined);
    this.#tracked.delete(streamId);
    // Left in the ledger, it is looked for once more by the next process and not found.
    await this.#options.store.ledger.delete(streamId).catch((error) => this.#unwritten(streamId, error));
  }

  discard(streamId: string): void {
    const tracked = this.#tracked.get(streamId);
    if (!tracked || tracked.entry.doomed) return;
    tracked.timer?.cancel();
    tracked.entry = { ...tracked.entry, doomed: true };
    // Its broadcast may go on until it is cut: before what is long over.
    this.#attempt(streamId, true);
  }

  lookAgain(liveInputUid: string): void {
    const streamId = this.streamOf(liveInputUid);
    const tracked = streamId === undefined ? undefined : this.#tracked.get(streamId);
    if (!tracked?.entry.doomed || streamId === undefined) return;
    tracked.again = true;
    tracked.timer?.cancel();
    this.#attempt(streamId);
  }

  streamOf(liveInputUid: string): string | undefined {
    for (const { entry } of this.#tracked.values()) if (entry.liveInputUid === liveInputUid) return entry.streamId;
    return undefined;
  }

  pending(): string[] {
    return [...this.#tracked.keys()];
  }

  async close(patienceMs = 3_000): Promise<void> {
    const { clock } = this.#options;
    // What only waits for recordings that may never come has its time in the next process.
    const isAtWork = ({ entry }: Tracked) => entry.doomed && entry.inputGoneAtMs === undefined;
    const untilMs = clock.monotonicMs() + patienceMs;
    while ([...this.#tracked.values()].some(isAtWork) && clock.monotonicMs() < untilMs) {
      await clock.sleep(50, { name: 'cleanup-close' });
    }
    this.#closed = true;
    this.#sweeping?.timer.cancel();
    for (const { timer } of this.#tracked.values()) timer?.cancel();
  }

  #attempt(streamId: string, isNext = false): void {
    if (!this.#ready(streamId) || this.#queue.includes(streamId)) return;
    if (isNext) this.#queue.unshift(streamId);
    else this.#queue.push(streamId);
    this.#work();
  }

  #ready(streamId: string): Tracked | undefined {
    const tracked = this.#tracked.get(streamId);
    return tracked?.creating || tracked?.running || this.#closed ? undefined : tracked;
  }

  #work(): void {
    while (this.#atWork < MAX_AT_ONCE) {
      const streamId = this.#queue.shift();
      if (streamId === undefined) return;
      const tracked = this.#ready(streamId);
      if (!tracked) continue;
      this.#atWork += 1;
      tracked.again = false;
      tracked.running = this.#remove(tracked)
        .then(
          (nextLookMs) => this.#removed(tracked, nextLookMs),
          (thrown: unknown) => this.#postponed(tracked, asGlasscastError(thrown)),
        )
        .finally(() => {
          this.#atWork -= 1;
          this.#work();
        });
    }
  }

  #removed(tracked: Tracked, nextLookMs: number | undefined): void {
    const { streamId, userId } = tracked.entry;
    tracked.running = undefined;
    tracked.attempt = 0;
    tracked.failure = undefined;
    if (nextLookMs !== undefined) {
      this.#attemptIn(tracked, nextLookMs);
      return;
    }
    this.#tracked.delete(streamId);
    this.#options.log.info({ streamId, userId }, 'cleanup-done');
  }

  #postponed(tracked: Tracked, { code, details: { retryAfterMs } }: GlasscastError): void {
    tracked.running = undefined;
    if (this.#closed) return;
    const { attempt, entry, failure } = tracked;
    const backMs = backoffMs(RETRY, attempt, this.#options.random);
    const waitMs = typeof retryAfterMs === 'number' ? Math.max(backMs, retryAfterMs) : backMs;
    const isNews = code !== failure || attempt % SAID_AGAIN_AFTER === 0;
    const isExpected = code === 'PROVIDER_CONFLICT';
    const fields = { streamId: entry.streamId, userId: entry.userId, code, attempt: attempt + 1, waitMs };
    this.#options.log[isNews && !isExpected ? 'warn' : 'debug'](fields, 'cleanup-postponed');
    tracked.attempt += 1;
    tracked.failure = code;
    this.#attemptIn(tracked, waitMs);
  }

  #attemptIn(tracked: Tracked, waitMs: number): void {
    if (this.#closed) return;
    const { streamId } = tracked.entry;
    tracked.timer?.cancel();
    const ms = tracked.again ? 0 : waitMs;
    tracked.timer = this.#options.clock.after('cleanup-retry', ms, () => this.#attempt(streamId));
  }

  /** Undefined: nothing is left, and it is struck out. Else when to look again for recordings that come late. */
  async #remove(tracked: Tracked): Promise<number | undefined> {
    const { clock, inputs, lateRecordingLooksMs = [], store } = this.#options;
    const { entry } = tracked;
    const { keepRecordings, streamId } = entry;
    if (entry.inputGoneAtMs === undefined) {
      // A full disk must not keep the provider's bill running; the next process finds the entry as it was.
      await this.#put(entry);
      const uids = await this.#uidsOf(entry);
      for (const uid of uids) await removeInput(inputs, uid, { keepRecordings });
      const [liveInputUid] = uids;
      if (liveInputUid !== undefined && !keepRecordings && lateRecordingLooksMs.length > 0) {
        tracked.entry = { ...entry, liveInputUid, inputGoneAtMs: clock.now() };
        await this.#put(tracked.entry);
      }
    } else if (entry.liveInputUid !== undefined) {
      await removeRecordings(inputs, entry.liveInputUid);
    }
    const { inputGoneAtMs } = tracked.entry;
    const agoMs = clock.now() - (inputGoneAtMs ?? 0);
    const nextMs = inputGoneAtMs === undefined ? undefined : lateRecordingLooksMs.find((lookMs) => lookMs > agoMs);
    // A wall clock that was set back must not keep an entry for years.
    if (nextMs !== undefined && agoMs >= 0) return nextMs - agoMs;
    // A sign that came meanwhile was of something that this look may have missed.
    if (tracked.again) return 0;
    await store.ledger.delete(streamId);
    return undefined;
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

  /** Inputs of this relay that the ledger does not know: an answer that came after we had given up, a second creation. */
  async #sweep(): Promise<void> {
    const { clock, inputs, keepRecordings, log } = this.#options;
    for (const { uid, streamId, createdAtMs } of await inputs.list()) {
      if (this.#closed) return;
      if (streamId === undefined || createdAtMs === undefined || this.streamOf(uid)) continue;
      const known = this.#tracked.get(streamId);
      // The entry without a uid finds it by the mark.
      const isAwaited = known !== undefined && known.entry.liveInputUid === undefined;
      if (isAwaited || clock.now() - createdAtMs < STRAY_AGE_MS) continue;
      // The stream may be alive with another input, so the stray has an entry of its own.
      const key = `stray-${uid}`;
      const entry = { streamId: key, liveInputUid: uid, doomed: true, keepRecordings, createdAtMs };
      log.warn({ streamId, inputUid: uid }, 'cleanup-stray-found');
      this.#tracked.set(key, newTracked(entry, false));
      this.#attempt(key);
    }
  }

  /** Written now or, when the disk does not let us, as soon as it does. */
  async #write(tracked: Tracked): Promise<void> {
    if ((await this.#put(tracked.entry)) || this.#closed || tracked.entry.doomed) return;
    const again = () => void this.#write(tracked);
    tracked.timer = this.#options.clock.after('ledger-write', RETRY.maxMs, again);
  }

  async #put(entry: LedgerEntry): Promise<boolean> {
    try {
      await this.#options.store.ledger.put(entry);
      return true;
    } catch (error) {
      this.#unwritten(entry.streamId, error);
      return false;
    }
  }

  #unwritten(streamId: string, error: unknown): void {
    this.#options.log.warn({ streamId, reason: errorText(error) }, 'ledger-write-failed');
  }
}

function newTracked(entry: LedgerEntry, creating: boolean): Tracked {
  const nothing = { failure: undefined, running: undefined, timer: undefined };
  return { ...nothing, entry, creating, mayExist: false, attempt: 0, again: false };
}
