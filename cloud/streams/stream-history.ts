/**
 * The stories of the streams that run and of those that ended last, for operators: what happened and why, how each served,
 * and one sentence about it. Watches only; no stream knows of it. Kept in the store, so that another process goes on with
 * what this one began.
 */
import type { Clock } from '../../shared/clock.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { isStreamOver, type StreamState } from '../../shared/stream.ts';
import type { EndedStory, StoryArchive } from './story-archive.ts';
import { createServiceRecord, type RecordKeeper } from './stream-figures.ts';
import { isErrorCode, type ServiceRecord, type StreamStory, type TimelineEntry } from './stream-story.ts';
import { createStreamTimeline, type ProviderTrouble, type StreamTimeline } from './stream-timeline.ts';
import { verdictOf } from './stream-verdict.ts';
import type { StreamSnapshot } from './stream-views.ts';

export interface EndedStream extends StreamSnapshot {
  /** ISO 8601. */
  endedAt: string;
}

/** What operators are told of one stream. */
export interface Explanation {
  streamId: string;
  userId: string;
  state: StreamState;
  /** One sentence. */
  verdict: string;
  record: ServiceRecord;
  /** Oldest first. */
  entries: readonly TimelineEntry[];
  /** Entries between the first and the newest that there was no room for. */
  leftOut: number;
}

export interface StreamHistory {
  /** Before anything is seen: reads what earlier processes left. */
  open(): Promise<void>;
  /** A stream has changed. */
  saw(snapshot: StreamSnapshot): void;
  /** A status is on its way to the user's stream. @param pass hands it on. */
  deviceStatus(userId: string, status: DeviceStreamStatus, pass: () => void): void;
  glasses(userId: string, areThere: boolean): void;
  /** The provider lets the start of a stream wait. */
  provider(streamId: string, trouble: ProviderTrouble): void;
  /** Undefined: no such stream, or too long ago. Errors: STORE_UNAVAILABLE. */
  explain(streamId: string): Promise<Explanation | undefined>;
  /** Newest first. */
  ended(): EndedStream[];
  /** As long as the stream is remembered. */
  userOf(streamId: string): string | undefined;
  /**
   * Another process goes on with the user's stream: writes its story and forgets it.
   * @param isLost the other one has it already, and writes it: nothing is written over that.
   */
  release(userId: string, options?: { isLost?: boolean }): Promise<void>;
  /** Writes what is not written yet; nothing is seen from now on. */
  close(): Promise<void>;
}

export interface StreamHistoryOptions {
  clock: Clock;
  redact: (text: string) => string;
  onEntry: (streamId: string, entry: TimelineEntry) => void;
  archive: StoryArchive;
  /** Of ended streams, in memory. Default 50. */
  maxEnded?: number;
}

interface Chapter {
  snapshot: StreamSnapshot;
  timeline: StreamTimeline;
  record: RecordKeeper;
  endedAtMs: number | undefined;
  /** What waits until the store has said what was before. */
  waiting: ((atMs: number) => void)[] | undefined;
  /** From the monotonic clock to the wall clock, as they stood at first: the latter may be set. */
  offsetMs: number;
}

/** Of two stages apart in time only by the way to the relay. */
const NEW_MS = 10_000;
const MAX_WAITING = 500;

export function createStreamHistory(options: StreamHistoryOptions): StreamHistory {
  const history = new History(options);
  return {
    open: () => history.open(),
    saw: (snapshot) => history.saw(snapshot),
    deviceStatus: (userId, status, pass) => history.deviceStatus(userId, status, pass),
    glasses: (userId, areThere) => history.glasses(userId, areThere),
    provider: (streamId, trouble) => history.provider(streamId, trouble),
    explain: (streamId) => history.explain(streamId),
    ended: () => history.ended(),
    userOf: (streamId) => history.userOf(streamId),
    release: (userId, how) => history.release(userId, how),
    close: () => history.close(),
  };
}

class History implements StreamHistory {
  readonly #options: StreamHistoryOptions;
  /** In the order of their beginnings, the ended ones of their ends. */
  readonly #chapters = new Map<string, Chapter>();
  /** By user, who has one at a time. */
  readonly #running = new Map<string, Chapter>();
  #isClosed = false;

  constructor(options: StreamHistoryOptions) {
    this.#options = options;
  }

  open(): Promise<void> {
    return this.#options.archive.open();
  }

  saw(snapshot: StreamSnapshot): void {
    if (this.#isClosed) return;
    const { streamId, state, userId } = snapshot;
    const chapter = this.#chapters.get(streamId) ?? this.#begin(snapshot);
    if (!isStreamOver(state)) this.#running.set(userId, chapter);
    else if (this.#running.get(userId) === chapter) this.#running.delete(userId);
    this.#write(chapter, (atMs) => {
      chapter.snapshot = snapshot;
      const cause = chapter.timeline.stallCause();
      const news = chapter.timeline.saw(snapshot, atMs);
      chapter.record.saw(snapshot, atMs, cause);
      if (chapter.endedAtMs === undefined && (state === 'stopped' || state === 'failed')) this.#end(chapter, atMs);
      return news;
    });
  }

  deviceStatus(userId: string, status: DeviceStreamStatus, pass: () => void): void {
    const chapter = this.#running.get(userId);
    const isOthers = status.streamId && status.streamId !== chapter?.snapshot.streamId;
    if (chapter && !isOthers && !this.#isClosed) {
      this.#write(chapter, (atMs) => {
        const isWorse = chapter.record.heard(status, atMs);
        const news = chapter.timeline.heard(status, atMs);
        if (isWorse && news.length === 0) this.#changed(chapter);
        return news;
      });
    }
    pass();
  }

  glasses(userId: string, areThere: boolean): void {
    const chapter = this.#running.get(userId);
    if (!chapter || this.#isClosed) return;
    this.#write(chapter, (atMs) => {
      chapter.record.glasses(areThere, atMs);
      return chapter.timeline.glasses(areThere, atMs);
    });
  }

  provider(streamId: string, trouble: ProviderTrouble): void {
    const chapter = this.#chapters.get(streamId);
    if (!chapter || this.#isClosed || isStreamOver(chapter.snapshot.state)) return;
    this.#write(chapter, (atMs) => {
      chapter.record.providerRetried(trouble.waitMs);
      return chapter.timeline.provider(trouble, atMs);
    });
  }

  async explain(streamId: string): Promise<Explanation | undefined> {
    const chapter = this.#chapters.get(streamId);
    const story = chapter && !chapter.waiting ? this.#storyOf(chapter) : await this.#options.archive.get(streamId);
    if (!story) return undefined;
    const { userId, kind, state, entries, leftOut, errorCode } = story;
    const record = createServiceRecord(story).read(story.endedAtMs ?? story.savedAtMs);
    return {
      streamId,
      userId,
      state,
      verdict: verdictOf({ kind, state, entries, record, errorCode }),
      record,
      entries,
      leftOut,
    };
  }

  ended(): EndedStream[] {
    return this.#options.archive.list().map((story) => {
      const chapter = this.#chapters.get(story.streamId);
      const endedAt = new Date(story.endedAtMs).toISOString();
      return { ...(chapter?.snapshot ?? snapshotOf(story)), endedAt };
    });
  }

  userOf(streamId: string): string | undefined {
    const chapter = this.#chapters.get(streamId);
    return chapter?.snapshot.userId ?? this.#options.archive.userOf(streamId);
  }

  async release(userId: string, { isLost = false }: { isLost?: boolean } = {}): Promise<void> {
    const chapter = this.#running.get(userId);
    if (!chapter) return;
    this.#running.delete(userId);
    this.#chapters.delete(chapter.snapshot.streamId);
    if (isLost) return this.#options.archive.drop(chapter.snapshot.streamId);
    this.#letGo(chapter);
    await this.#options.archive.flush();
  }

  close(): Promise<void> {
    if (!this.#isClosed) for (const chapter of this.#running.values()) this.#letGo(chapter);
    this.#isClosed = true;
    return this.#options.archive.close();
  }

  #letGo(chapter: Chapter): void {
    // What was not read is not written over.
    if (chapter.waiting) return;
    const story = { ...this.#storyOf(chapter), isLetGo: true };
    this.#options.archive.changed(story.streamId, () => story);
  }

  #begin(snapshot: StreamSnapshot): Chapter {
    const { clock } = this.#options;
    const { streamId, state, createdAt } = snapshot;
    const offsetMs = clock.now() - clock.monotonicMs();
    const createdAtMs = Date.parse(createdAt);
    const isNew = state === 'provisioning' && !(clock.now() - createdAtMs > NEW_MS);
    const { timeline, record } = this.#parts(snapshot);
    const chapter: Chapter = { timeline, record, snapshot, endedAtMs: undefined, waiting: undefined, offsetMs };
    this.#chapters.set(streamId, chapter);
    if (!isNew) this.#goOn(chapter);
    return chapter;
  }

  #parts({ createdAt }: StreamSnapshot, kept?: StreamStory): Pick<Chapter, 'timeline' | 'record'> {
    const { clock, redact } = this.#options;
    const parsedMs = Date.parse(createdAt);
    const createdAtMs = Number.isFinite(parsedMs) ? parsedMs : clock.now();
    return { timeline: createStreamTimeline({ createdAtMs, redact, kept }), record: createServiceRecord(kept) };
  }

  /** With what another process began: what comes meanwhile waits for that. */
  #goOn(chapter: Chapter): void {
    const waiting: Chapter['waiting'] = [];
    const sinceMs = this.#nowMs(chapter);
    chapter.waiting = waiting;
    void this.#options.archive.read(chapter.snapshot.streamId).then((kept) => {
      chapter.waiting = undefined;
      if (this.#isClosed) return;
      if (kept) Object.assign(chapter, this.#parts(chapter.snapshot, kept));
      chapter.record.takenOver();
      const awayMs = kept && Math.max(0, sinceMs - kept.savedAtMs);
      // Written some time before that process ended, but for one that ended in order.
      this.#tell(chapter, chapter.timeline.takenOver(sinceMs, kept?.isLetGo ? awayMs : undefined));
      for (const write of waiting) write(sinceMs);
    });
  }

  #write(chapter: Chapter, write: (atMs: number) => TimelineEntry[]): void {
    const atMs = this.#nowMs(chapter);
    if (!chapter.waiting) this.#tell(chapter, write(atMs));
    else if (chapter.waiting.length < MAX_WAITING) chapter.waiting.push(() => this.#tell(chapter, write(atMs)));
  }

  #tell(chapter: Chapter, news: readonly TimelineEntry[]): void {
    if (news.length === 0) return;
    for (const entry of news) this.#options.onEntry(chapter.snapshot.streamId, entry);
    this.#changed(chapter);
  }

  #changed(chapter: Chapter): void {
    const { archive } = this.#options;
    if (chapter.endedAtMs !== undefined) archive.ended(this.#storyOf(chapter));
    else archive.changed(chapter.snapshot.streamId, () => this.#storyOf(chapter));
  }

  #end(chapter: Chapter, atMs: number): void {
    const { maxEnded = 50 } = this.#options;
    const { streamId } = chapter.snapshot;
    chapter.endedAtMs = Math.round(atMs);
    // By their ends from now on.
    this.#chapters.delete(streamId);
    this.#chapters.set(streamId, chapter);
    const over = [...this.#chapters].filter(([, { endedAtMs }]) => endedAtMs !== undefined);
    for (const [oldest] of over.slice(0, Math.max(0, over.length - maxEnded))) this.#chapters.delete(oldest);
  }

  #storyOf({ snapshot, timeline, record, endedAtMs, offsetMs }: Chapter): StreamStory {
    const { streamId, userId, kind, state, createdAt, errorCode, message } = snapshot;
    const nowMs = Math.round(this.#options.clock.monotonicMs() + offsetMs);
    return {
      ...{ streamId, userId, kind, state, savedAtMs: nowMs, createdAtMs: Date.parse(createdAt) },
      ...(endedAtMs === undefined ? {} : { endedAtMs }),
      ...(errorCode === undefined ? {} : { errorCode }),
      ...(message === undefined ? {} : { message }),
      ...{ entries: [...timeline.entries], leftOut: timeline.leftOut },
      ...record.kept(),
    };
  }

  #nowMs({ offsetMs }: Chapter): number {
    return this.#options.clock.monotonicMs() + offsetMs;
  }
}

/** What is left of one after a restart. */
function snapshotOf({
  streamId,
  userId,
  kind,
  state,
  createdAtMs,
  errorCode,
  message,
  liveMs,
}: EndedStory): StreamSnapshot {
  return {
    ...{ streamId, userId, kind, state, message, liveMs, createdAt: new Date(createdAtMs).toISOString() },
    ...{ viewers: [], outputs: [], urls: undefined, playback: undefined, stats: undefined, temperatureC: undefined },
    ...{ startSentMs: undefined, publishingMs: undefined, resolvedConfig: undefined },
    errorCode: isErrorCode(errorCode) ? errorCode : undefined,
  };
}
