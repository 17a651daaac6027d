/**
 * The entries of one story, bounded: the first ones stay, for they tell how it began, and so do the newest and the first
 * of each code, which a verdict may point at. What had no room is counted, what repeats itself is folded.
 */
import type { TimelineEntry } from './stream-story.ts';

export interface EntryList {
  /** @returns it as it stands, folded into the one before when that says the same. */
  add(entry: Omit<TimelineEntry, 'id'>): TimelineEntry;
  /** Oldest first. */
  readonly all: readonly TimelineEntry[];
  readonly leftOut: number;
  find(id: number | undefined): TimelineEntry | undefined;
}

export interface EntryListOptions {
  /** Wall clock of the request. */
  createdAtMs: number;
  /** Of an earlier process. */
  kept?: { entries: readonly TimelineEntry[]; leftOut: number } | undefined;
  /** Default 200. */
  maxEntries?: number;
  /** Of them, the oldest that stay. Default 40. */
  maxFirst?: number;
}

/** Others may come between two of the same. */
const FOLD_BACK = 3;

export function createEntryList(options: EntryListOptions): EntryList {
  return new Entries(options);
}

/** A class: an object literal with an accessor costs each of ten thousand streams 2 kB. */
class Entries implements EntryList {
  readonly #options: EntryListOptions;
  /** Of its exact length: one that grows has room for a dozen more. */
  #entries: readonly TimelineEntry[];
  #leftOut: number;
  #lastId: number;

  constructor(options: EntryListOptions) {
    const { entries = [], leftOut = 0 } = options.kept ?? {};
    this.#options = options;
    this.#entries = entries;
    this.#leftOut = leftOut;
    this.#lastId = entries.at(-1)?.id ?? -1;
  }

  get all(): readonly TimelineEntry[] {
    return this.#entries;
  }
  get leftOut(): number {
    return this.#leftOut;
  }

  add(entry: Omit<TimelineEntry, 'id'>): TimelineEntry {
    const newest = this.#entries.slice(-FOLD_BACK);
    // What comes after a recovery is something new.
    const open = newest.slice(newest.findLastIndex(({ kind }) => kind === 'recovery') + 1);
    const same = open.find((earlier) => saysTheSame(earlier, entry));
    if (same) {
      const { text, atMs, numbers } = entry;
      Object.assign(same, { text, ...(numbers ? { numbers } : {}), times: (same.times ?? 1) + 1, lastAtMs: atMs });
      return same;
    }
    this.#lastId = Math.max(this.#lastId + 1, Math.round(entry.atMs - this.#options.createdAtMs));
    const added = { id: this.#lastId, ...entry };
    this.#entries = [...this.#entries, added];
    this.#makeRoom();
    return added;
  }

  find(id: number | undefined): TimelineEntry | undefined {
    return id === undefined ? undefined : this.#entries.find((entry) => entry.id === id);
  }

  #makeRoom(): void {
    const { maxEntries = 200, maxFirst = 40 } = this.#options;
    const entries = this.#entries;
    if (entries.length <= maxEntries) return;
    const codes = new Set<string | undefined>();
    const goes = entries.slice(0, -1).findIndex(({ code }, index) => {
      const isFirstOfCode = code !== undefined && !codes.has(code);
      codes.add(code);
      return index >= Math.min(maxFirst, maxEntries - 1) && !isFirstOfCode;
    });
    // Nothing but first ones: the bound holds all the same.
    this.#entries = entries.toSpliced(goes === -1 ? Math.min(maxFirst, maxEntries - 1) : goes, 1);
    this.#leftOut += 1;
  }
}

/** What steps the picture up or down stays by itself: each has numbers of its own. */
function saysTheSame(earlier: TimelineEntry, entry: Omit<TimelineEntry, 'id'>): boolean {
  if (earlier.kind !== entry.kind || earlier.source !== entry.source || earlier.code !== entry.code) return false;
  if (['state', 'recovery', 'takeover', 'glasses'].includes(entry.kind)) return false;
  if (entry.code === undefined) return earlier.text === entry.text;
  return earlier.numbers?.videoBitrateBps === entry.numbers?.videoBitrateBps;
}
