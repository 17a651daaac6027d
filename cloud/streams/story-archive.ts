/**
 * The stories of streams in the store: written some seconds after they changed, and at once when they end; the newest ended
 * ones stay. One timer for all of them, and none while nothing changes. A store that does not answer harms no stream: what
 * could not be written is written with the next change or the next round.
 */
import { type Clock, type Timer, withTimeout } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Store } from '../store/store.ts';
import type { StreamStory } from './stream-story.ts';

/** What is remembered of a stream that is over. */
export type EndedStory = Pick<
  StreamStory,
  'streamId' | 'userId' | 'kind' | 'state' | 'createdAtMs' | 'errorCode' | 'message'
> & { endedAtMs: number; liveMs: number | undefined };

export interface StoryArchive {
  /** Reads what earlier processes left, and forgets the oldest of it. Never rejects. */
  open(): Promise<void>;
  /** Undefined: none, or the store did not answer in time. */
  read(streamId: string): Promise<StreamStory | undefined>;
  /** As `read`, but errors are told: STORE_UNAVAILABLE. */
  get(streamId: string): Promise<StreamStory | undefined>;
  /** It has changed. @param story as it stands when it is written. */
  changed(streamId: string, story: () => StreamStory): void;
  /** What has not been written yet shall not be. */
  drop(streamId: string): void;
  /** Its last word: written now. */
  ended(story: StreamStory): void;
  /** By their ends, newest first. */
  list(): EndedStory[];
  /** Whose ended stream it was. */
  userOf(streamId: string): string | undefined;
  /** Writes what has changed, and waits for it, some seconds at most. */
  flush(): Promise<void>;
  /** The last `flush`. */
  close(): Promise<void>;
}

export interface StoryArchiveOptions {
  store: Pick<Store, 'streamStories' | 'streams'>;
  clock: Clock;
  log: Log;
  /** Default 5000. */
  saveEveryMs?: number;
  /** Default 500. */
  maxEnded?: number;
}

/** Writes at a time: ten thousand stories may change in one moment. */
const CONCURRENCY = 32;
/** Then glasses and apps have so many times as long as those writes took, */
const PAUSE_FACTOR = 4;
/** but no longer than that: a store elsewhere takes its time without holding anybody up. */
const MAX_PAUSE_MS = 25;
const READ_PATIENCE_MS = 2_000;
const CLOSE_PATIENCE_MS = 3_000;

export function createStoryArchive(options: StoryArchiveOptions): StoryArchive {
  return new Archive(options);
}

class Archive implements StoryArchive {
  readonly #options: StoryArchiveOptions;
  readonly #dirty = new Map<string, () => StreamStory>();
  readonly #ended = new Map<string, EndedStory>();
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #failures = 0;
  /** Somebody waits for all that is to be written. */
  #hurried = 0;
  #endPause: () => void = () => {};

  constructor(options: StoryArchiveOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { clock, store } = this.#options;
    try {
      const asked = Promise.all([store.streamStories.all(), store.streams.all()]);
      const [stories, records] = await withTimeout(clock, 'story-archive', READ_PATIENCE_MS, asked, noAnswer);
      const running = new Set(records.map(({ streamId }) => streamId));
      // One that is neither over nor running: the relay died between the two words about its end.
      const over = stories.flatMap((story) => {
        const endedAtMs = story.endedAtMs ?? (running.has(story.streamId) ? undefined : story.savedAtMs);
        return endedAtMs === undefined ? [] : [{ ...story, endedAtMs }];
      });
      over.sort((a, b) => a.endedAtMs - b.endedAtMs);
      for (const story of over) this.#ended.set(story.streamId, summaryOf(story));
      await this.#prune();
    } catch (error) {
      this.#failed(error);
    }
  }

  read(streamId: string): Promise<StreamStory | undefined> {
    const { clock } = this.#options;
    return withTimeout(clock, 'story-read', READ_PATIENCE_MS, this.get(streamId), noAnswer).catch((error: unknown) => {
      this.#failed(error);
      return undefined;
    });
  }

  async get(streamId: string): Promise<StreamStory | undefined> {
    return this.#options.store.streamStories.get(streamId);
  }

  changed(streamId: string, story: () => StreamStory): void {
    const { clock, saveEveryMs = 5_000 } = this.#options;
    this.#dirty.set(streamId, story);
    // It was taken for one whose end nobody wrote.
    this.#ended.delete(streamId);
    this.#timer ??= clock.after('story-save', saveEveryMs, () => {
      this.#timer = undefined;
      void this.#flush();
    });
  }

  drop(streamId: string): void {
    this.#dirty.delete(streamId);
  }

  ended(story: StreamStory): void {
    const { endedAtMs = story.savedAtMs } = story;
    this.#dirty.delete(story.streamId);
    // By their ends from now on.
    this.#ended.delete(story.streamId);
    this.#ended.set(story.streamId, summaryOf({ ...story, endedAtMs }));
    this.#dirty.set(story.streamId, () => story);
    void this.#flush().then(() => this.#prune());
  }

  list(): EndedStory[] {
    return [...this.#ended.values()].reverse();
  }

  userOf(streamId: string): string | undefined {
    return this.#ended.get(streamId)?.userId;
  }

  async flush(): Promise<void> {
    const { clock } = this.#options;
    this.#hurried += 1;
    this.#endPause();
    await withTimeout(clock, 'story-flush', CLOSE_PATIENCE_MS, this.#flush(), noAnswer).catch(() => {});
    this.#hurried -= 1;
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.flush();
  }

  /** One round after another; what fails is taken up by the next. */
  #flush(): Promise<void> {
    const { clock } = this.#options;
    this.#writing = this.#writing.then(async () => {
      const due = [...this.#dirty];
      this.#dirty.clear();
      for (let from = 0; from < due.length; from += CONCURRENCY) {
        const beganMs = clock.monotonicMs();
        await Promise.all(due.slice(from, from + CONCURRENCY).map(([streamId, story]) => this.#put(streamId, story)));
        if (from + CONCURRENCY < due.length) await this.#pause((clock.monotonicMs() - beganMs) * PAUSE_FACTOR);
      }
    });
    return this.#writing;
  }

  /** A store in this process holds the loop while it writes. */
  async #pause(ms: number): Promise<void> {
    if (this.#hurried > 0) return;
    await new Promise<void>((resolve) => {
      const pauseMs = Math.min(MAX_PAUSE_MS, Math.max(1, ms));
      const timer = this.#options.clock.after('story-pause', pauseMs, resolve);
      this.#endPause = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#endPause = () => {};
  }

  async #put(streamId: string, story: () => StreamStory): Promise<void> {
    try {
      await this.#options.store.streamStories.put(story());
      this.#failures = 0;
    } catch (error) {
      if (!this.#dirty.has(streamId)) this.#dirty.set(streamId, story);
      this.#failed(error);
    }
  }

  async #prune(): Promise<void> {
    const { maxEnded = 500, store } = this.#options;
    const over = [...this.#ended.keys()].slice(0, Math.max(0, this.#ended.size - maxEnded));
    for (const streamId of over) {
      this.#ended.delete(streamId);
      await store.streamStories.delete(streamId).catch((error: unknown) => this.#failed(error));
    }
  }

  /** Once for a whole outage. */
  #failed(error: unknown): void {
    if (this.#failures === 0) this.#options.log.warn({ reason: errorText(error) }, 'story-not-kept');
    this.#failures += 1;
  }
}

function noAnswer(): GlasscastError {
  return new GlasscastError('STORE_UNAVAILABLE');
}

function summaryOf(story: StreamStory & { endedAtMs: number }): EndedStory {
  const { streamId, userId, kind, state, createdAtMs, endedAtMs, errorCode, message, record } = story;
  return {
    ...{ streamId, userId, kind, state, createdAtMs, endedAtMs, liveMs: record.timeToFirstFrameMs },
    ...(errorCode === undefined ? {} : { errorCode }),
    ...(message === undefined ? {} : { message }),
  };
}
