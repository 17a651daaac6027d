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
import { type DeletableInputs, removeInput, removeRecordings, uidsOf } from './removal.ts';
import { createStraySweep, type KnownInput, type StraySweep } from './stray-sweep.ts';

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
  /** Nothing is left of one of the user's live inputs. */
  onGone?: (userId: string) => void;
  /** While the store is away another process may have the user: without the store's word nothing is deleted. */
  isShared?: boolean;
  /** What the other processes of the same store have at the provider. Rejects when not all of them say it. */
  knownElsewhere?: () => Promise<readonly KnownInput[]>;
}

export interface Cleanup {
  /** Takes up what another process had written: all of it has to go but what belongs to the streams in `kept`. */
  adopt(entries: readonly LedgerEntry[], kept: ReadonlySet<string>): void;
  /** Another process has the user's entries: they are forgotten here, and nothing more is asked of the provider for them. */
  release(userId: string): void;
  /**
   * Of several processes one does it: takes up the entries that name no user (strays, and those of older versions), and
   * sweeps strays now and every 15 min. All those entries have to go but what belongs to the streams in `kept`.
   */
  lead(kept?: ReadonlySet<string>): Promise<void>;
  /** Another process does it. */
  follow(): void;
  /** Something of the user's may still be at the provider. */
  has(userId: string): boolean;
  /** Before the creation: a crash from here on leaves a trace. Rejects when the trace cannot be written. */
  intend(streamId: string, userId?: string): Promise<void>;
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
  /** What this process has at the provider, or may have. */
  known(): LedgerEntry[];
  /** The store is back, and may have lost what it had taken: it is written anew, and what waited for the store goes on. */
  saveAgain(): void;
  /** Lets running deletions come to an end, at most `patienceMs`; the rest stays in the ledger for the next start. */
  close(patienceMs?: number): Promise<void>;
}

/** A recording that is still live can be deleted once the provider has let go of it, after its hold window at worst. */
const RETRY: BackoffPolicy = { firstMs: 300, factor: 2, maxMs: 60_000, jitter: 0.2 };
/** Hundreds that are left behind at once take turns, or a start and a stop of now would wait behind all their calls. */
const MAX_AT_ONCE = 4;
/** What fails the same way again is said about once an hour. */
const SAID_AGAIN_AFTER = 60;

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
  /** Another process has it: nothing may be written. */
  isReleased: boolean;
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
  readonly #sweep: StraySweep;
  #isLeading = false;
  #closed = false;

  constructor(options: CleanupOptions) {
    this.#options = options;
    this.#sweep = createStraySweep({
      ...options,
      known: () => this.known(),
      onStray: (stray) => this.#onStray(stray),
    });
  }

  adopt(entries: readonly LedgerEntry[], kept: ReadonlySet<string>): void {
    for (const entry of entries) {
      const { streamId, userId } = entry;
      const known = this.#tracked.get(streamId);
      // A leader may have met it before its user was known.
      if (known && (known.entry.doomed || known.entry.userId === userId)) continue;
      const isKept = kept.has(streamId) && !entry.doomed;
      this.#tracked.set(streamId, newTracked({ ...entry, doomed: !isKept }));
      if (isKept) continue;
      this.#options.log.info({ streamId, userId }, 'cleanup-left-over-found');
      this.#attempt(streamId);
    }
  }

  release(userId: string): void {
    this.#letGo((entry) => entry.userId === userId);
  }

  async lead(kept: ReadonlySet<string> = new Set()): Promise<void> {
    this.#isLeading = true;
    const entries = await this.#options.store.ledger.all();
    if (this.#closed || !this.#isLeading) return;
    this.adopt(
      entries.filter(({ userId }) => userId === undefined),
      kept,
    );
    this.#sweep.start();
  }

  follow(): void {
    this.#isLeading = false;
    this.#sweep.stop();
    this.#letGo((entry) => entry.userId === undefined);
  }

  has(userId: string): boolean {
    for (const { entry } of this.#tracked.values()) if (entry.userId === userId) return true;
    return false;
  }

  async intend(streamId: string, userId?: string): Promise<void> {
    const { clock, keepRecordings, store } = this.#options;
    const known = this.#tracked.get(streamId);
    // A stream that goes on over a restart may be created once more: by its key it is the same input.
    const ofUser = userId === undefined ? {} : { userId };
    const entry = { streamId, ...ofUser, doomed: false, keepRecordings, ...known?.entry, createdAtMs: clock.now() };
    const mine = { ...newTracked(entry), creating: true, mayExist: known !== undefined };
    this.#tracked.set(streamId, mine);
    try {
      await store.ledger.put(entry);
    } catch (error) {
      if (known && !mine.isReleased) this.#tracked.set(streamId, known);
      else this.#forget(mine);
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
    const tracked = this.#tracked.get(streamId);
    if (tracked?.mayExist) return this.created(streamId, undefined);
    if (!tracked) return;
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

  known(): LedgerEntry[] {
    return [...this.#tracked.values()].map(({ entry }) => entry);
  }

  saveAgain(): void {
    for (const [streamId, tracked] of this.#tracked) {
      if (tracked.entry.doomed && tracked.failure === 'STORE_UNAVAILABLE') this.#attempt(streamId);
      else if (!tracked.entry.doomed && !tracked.creating) void this.#write(tracked);
    }
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
    this.#sweep.stop();
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
    if (tracked.isReleased) return;
    if (nextLookMs !== undefined) {
      this.#attemptIn(tracked, nextLookMs);
      return;
    }
    this.#forget(tracked);
    this.#options.log.info({ streamId, userId }, 'cleanup-done');
    if (userId !== undefined) this.#options.onGone?.(userId);
  }

  #postponed(tracked: Tracked, { code, details: { retryAfterMs } }: GlasscastError): void {
    tracked.running = undefined;
    if (this.#closed || tracked.isReleased) return;
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
    const { clock, inputs, isShared, lateRecordingLooksMs = [], store } = this.#options;
    const { entry } = tracked;
    const { keepRecordings, streamId } = entry;
    if (entry.inputGoneAtMs === undefined) {
      // A full disk must not keep the provider's bill running; the next process finds the entry as it was.
      const unwritten = await this.#put(tracked);
      // Another process has it, and may go on with its stream.
      if (unwritten?.code === 'SESSION_MOVED' || (isShared && unwritten?.code === 'STORE_UNAVAILABLE')) throw unwritten;
      const uids = await uidsOf(inputs, entry, clock.now());
      if (tracked.isReleased) return undefined;
      for (const uid of uids) await removeInput(inputs, uid, { keepRecordings });
      const [liveInputUid] = uids;
      if (liveInputUid !== undefined && !keepRecordings && lateRecordingLooksMs.length > 0) {
        tracked.entry = { ...entry, liveInputUid, inputGoneAtMs: clock.now() };
        await this.#put(tracked);
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
    if (!tracked.isReleased) await store.ledger.delete(streamId);
    return undefined;
  }

  #onStray({ uid, createdAtMs }: { uid: string; createdAtMs: number }): void {
    // The stream may be alive with another input, so the stray has an entry of its own.
    const streamId = `stray-${uid}`;
    const { keepRecordings } = this.#options;
    if (this.#tracked.has(streamId)) return;
    this.#tracked.set(streamId, newTracked({ streamId, liveInputUid: uid, doomed: true, keepRecordings, createdAtMs }));
    this.#attempt(streamId);
  }

  /** Written now or, when the disk does not let us, as soon as it does. */
  async #write(tracked: Tracked): Promise<void> {
    if (!(await this.#put(tracked)) || this.#closed || tracked.isReleased || tracked.entry.doomed) return;
    const again = () => void this.#write(tracked);
    tracked.timer?.cancel();
    tracked.timer = this.#options.clock.after('ledger-write', RETRY.maxMs, again);
  }

  /** What kept it from being written, if anything did. */
  async #put(tracked: Tracked): Promise<GlasscastError | undefined> {
    const { entry } = tracked;
    if (tracked.isReleased) return new GlasscastError('SESSION_MOVED');
    try {
      await this.#options.store.ledger.put(entry);
      return undefined;
    } catch (error) {
      if (!tracked.isReleased) this.#unwritten(entry.streamId, error);
      return asGlasscastError(error);
    }
  }

  #letGo(fits: (entry: LedgerEntry) => boolean): void {
    for (const tracked of [...this.#tracked.values()]) {
      if (!fits(tracked.entry)) continue;
      tracked.isReleased = true;
      tracked.timer?.cancel();
      this.#forget(tracked);
    }
  }

  #forget(tracked: Tracked): void {
    const { streamId } = tracked.entry;
    if (this.#tracked.get(streamId) === tracked) this.#tracked.delete(streamId);
  }

  #unwritten(streamId: string, error: unknown): void {
    this.#options.log.warn({ streamId, reason: errorText(error) }, 'ledger-write-failed');
  }
}

function newTracked(entry: LedgerEntry): Tracked {
  const nothing = { failure: undefined, running: undefined, timer: undefined };
  return { ...nothing, entry, creating: false, mayExist: false, attempt: 0, again: false, isReleased: false };
}
