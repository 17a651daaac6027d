/**
 * What waits to be sent, what may have to be sent again, and what is dropped. Pure: no socket, no clock.
 *
 * Invariants (property-tested): after a start or a gap the output begins with the decoder headers in force and a key
 * frame; time stamps of one kind never go back (given an encoder that keeps this rule); bounds are never exceeded.
 */
import { type FlvTag, isKeyFrame, isMetadata, isSequenceHeader, timestampDiffMs } from './flv.ts';

export interface BacklogOptions {
  /** `live`: after a start or a gap only the newest key frame is good enough; `backfill`: the oldest that is here. */
  mode: 'backfill' | 'live';
  /** By arrival time. Default 10000. */
  maxAgeMs?: number;
  /** Default 20 MB. */
  maxBytes?: number;
}

export interface Backlog {
  /** A tag from the encoder. */
  add(tag: FlvTag, nowMs: number): void;
  /** The next tag to send, now counted as sent; undefined when nothing may be sent yet. */
  next(): FlvTag | undefined;
  /** The tag that `next` gave last ends at this byte of the connection. */
  sentUpTo(connectionBytes: number): void;
  /** Forgets what has certainly arrived, back to the key frame before it. */
  arrivedUpTo(connectionBytes: number): void;
  /** The connection is gone: all that is still here waits again. */
  rewind(): void;
  /** Uplink too narrow: drops what waits up to the newest key frame, or until one comes. */
  skip(): void;
  /** Drops all that waits: the next key frame to come begins anew. */
  skipAll(): void;
  stats(nowMs: number): BacklogStats;
}

export interface BacklogStats {
  /** All media held, sent or not. */
  heldBytes: number;
  heldTags: number;
  waitingBytes: number;
  /** Age of the oldest tag that waits. */
  waitingMs: number;
  /** Never sent, since the beginning; pictures among them. */
  tagsDropped: number;
  framesDropped: number;
  tagsResent: number;
}

type HeaderSlot = 'metadata' | 'video' | 'audio';
type Headers = Partial<Record<HeaderSlot, FlvTag>>;

interface Entry {
  tag: FlvTag;
  atMs: number;
  slot: HeaderSlot | undefined;
  isKey: boolean;
  /** How often `next` has given it. */
  timesSent: number;
  endsAtByte: number | undefined;
}

const SLOTS: readonly HeaderSlot[] = ['metadata', 'video', 'audio'];

export function createBacklog({ mode, maxAgeMs = 10_000, maxBytes = 20_000_000 }: BacklogOptions): Backlog {
  /** Oldest first; before `cursor` sent on this connection, from `cursor` on waiting. */
  const entries: Entry[] = [];
  let cursor = 0;
  let heldBytes = 0;
  let waitingBytes = 0;
  /** In force just before entries[0]: what a decoder needs that starts there. */
  const base: Headers = {};
  /** What this connection has been told; a header equal to it is not repeated after a gap. */
  let told: Headers = {};
  /** Headers that go before the entry at `cursor`. */
  let ahead: FlvTag[] = [];
  /** What comes next does not continue what was sent: it has to begin at a key frame. */
  let isGap = true;
  /** What comes cannot be decoded before the next key frame, on any connection: what is before it was dropped. */
  let isHole = false;
  let lastVideoMs: number | undefined;
  const lastTimestamp = new Map<FlvTag['kind'], number>();
  /** Of all kinds. */
  let latestMs: number | undefined;
  /** On this connection. */
  const sentTimestamp = new Map<FlvTag['kind'], number>();
  let tagsDropped = 0;
  let framesDropped = 0;
  let tagsResent = 0;
  let newestMs = 0;

  function add(tag: FlvTag, nowMs: number): void {
    newestMs = nowMs;
    const slot = slotOf(tag);
    if (tag.kind === 'video') lastVideoMs = nowMs;
    // A description has no neighbours of its kind: it comes after all that is here.
    const placed = slot ? restamped(tag, slot === 'metadata' ? latestMs : lastTimestamp.get(tag.kind)) : tag;
    lastTimestamp.set(tag.kind, placed.timestampMs);
    latestMs = restamped(placed, latestMs).timestampMs;
    const entry = { tag: placed, atMs: nowMs, slot, isKey: isKeyFrame(tag), timesSent: 0, endsAtByte: undefined };
    if (isHole && !slot && !canStart(entry)) {
      countDropped(entry);
      return;
    }
    if (!slot) isHole = false;
    entries.push(entry);
    heldBytes += tag.body.length;
    waitingBytes += tag.body.length;
    for (let oldest = entries[0]; oldest && isTooMuch(oldest, nowMs); oldest = entries[0]) removeOldest();
  }
  function isTooMuch(oldest: Entry, nowMs: number): boolean {
    return heldBytes > maxBytes || nowMs - oldest.atMs > maxAgeMs;
  }
  function removeOldest(): void {
    const entry = entries.shift();
    if (!entry) return;
    forget(entry);
    if (cursor > 0) {
      cursor -= 1;
      return;
    }
    // What follows no longer continues what was sent; a header that leaves stays in force and is sent by `begin`.
    waitingBytes -= entry.tag.body.length;
    countDropped(entry);
    isGap = true;
    ahead = [];
  }
  function forget(entry: Entry): void {
    heldBytes -= entry.tag.body.length;
    if (entry.slot) base[entry.slot] = entry.tag;
  }
  function countDropped({ slot, timesSent, tag }: Entry): void {
    if (slot || timesSent > 0) return;
    tagsDropped += 1;
    if (tag.kind === 'video') framesDropped += 1;
  }

  /** Moves the cursor to where sending may begin; false when there is no such place yet. */
  function begin(): boolean {
    const start = startIndex();
    dropWaiting((start ?? entries.length) - cursor);
    if (start === undefined) return false;
    const inForce = { ...base };
    for (const { slot, tag } of entries.slice(0, cursor)) if (slot) inForce[slot] = tag;
    ahead = SLOTS.flatMap((slot) => {
      const header = inForce[slot];
      return header && told[slot]?.body !== header.body ? [stampedFor(header)] : [];
    });
    isGap = false;
    return true;
  }
  /** Headers stay, as if sent: what comes after them, now or on the next connection, cannot be decoded without. */
  function dropWaiting(count: number): void {
    const dropped = entries.splice(cursor, count);
    const headers = dropped.filter(({ slot }) => slot !== undefined);
    entries.splice(cursor, 0, ...headers);
    cursor += headers.length;
    for (const entry of dropped) {
      waitingBytes -= entry.tag.body.length;
      if (entry.slot) continue;
      heldBytes -= entry.tag.body.length;
      countDropped(entry);
    }
  }
  function canStart({ isKey, slot, tag }: Entry): boolean {
    const needsKey = lastVideoMs !== undefined && newestMs - lastVideoMs <= maxAgeMs;
    return needsKey ? isKey : tag.kind === 'audio' && !slot;
  }
  function newestStart(): number | undefined {
    const index = entries.findLastIndex(canStart);
    return index >= cursor ? index : undefined;
  }
  function startIndex(): number | undefined {
    if (mode === 'live') return newestStart();
    const index = entries.findIndex((entry, at) => at >= cursor && canStart(entry));
    return index >= 0 ? index : undefined;
  }
  function skipTo(start: number | undefined): void {
    if (cursor >= entries.length || start === cursor) return;
    dropWaiting((start ?? entries.length) - cursor);
    isHole = start === undefined;
    isGap = true;
    ahead = [];
  }
  /** A header sent (again) out of its place: at the time of what surrounds it here, so that time never goes back. */
  function stampedFor(header: FlvTag): FlvTag {
    const { kind } = header;
    const first = entries[cursor];
    const after = entries.slice(cursor).find(({ tag, slot }) => tag.kind === kind && !slot);
    const near = kind === 'script' ? first : after;
    const at = sentTimestamp.get(kind) ?? near?.tag.timestampMs ?? lastTimestamp.get(kind);
    return { ...header, timestampMs: at ?? header.timestampMs };
  }
  function give(tag: FlvTag, slot: HeaderSlot | undefined): FlvTag {
    const given = slot ? restamped(tag, sentTimestamp.get(tag.kind)) : tag;
    if (slot) told[slot] = tag;
    sentTimestamp.set(tag.kind, given.timestampMs);
    return given;
  }

  return {
    add,
    next() {
      if (cursor >= entries.length || (isGap && !begin())) return undefined;
      const header = ahead.shift();
      if (header) return give(header, slotOf(header));
      const entry = entries[cursor];
      if (!entry) return undefined;
      cursor += 1;
      waitingBytes -= entry.tag.body.length;
      if (entry.timesSent > 0) tagsResent += 1;
      entry.timesSent += 1;
      return give(entry.tag, entry.slot);
    },
    sentUpTo(connectionBytes) {
      const last = entries[cursor - 1];
      if (last && ahead.length === 0) last.endsAtByte ??= connectionBytes;
    },
    arrivedUpTo(connectionBytes) {
      let keep = 0;
      for (let index = 0; index < cursor; index += 1) {
        const entry = entries[index];
        if (!entry || (entry.endsAtByte === undefined && !entry.slot)) break;
        if ((entry.endsAtByte ?? 0) > connectionBytes) break;
        if (entry.isKey) keep = index;
      }
      for (const entry of entries.splice(0, keep)) forget(entry);
      cursor -= keep;
    },
    rewind() {
      cursor = 0;
      waitingBytes = heldBytes;
      for (const entry of entries) entry.endsAtByte = undefined;
      told = {};
      sentTimestamp.clear();
      ahead = [];
      isGap = true;
    },
    skip: () => skipTo(newestStart()),
    skipAll: () => skipTo(undefined),
    stats(nowMs) {
      const waiting = entries[cursor];
      return {
        heldBytes,
        heldTags: entries.length,
        waitingBytes,
        waitingMs: waiting ? Math.max(0, nowMs - waiting.atMs) : 0,
        tagsDropped,
        framesDropped,
        tagsResent,
      };
    },
  };
}

function slotOf(tag: FlvTag): HeaderSlot | undefined {
  if (tag.kind === 'script') return isMetadata(tag) ? 'metadata' : undefined;
  return isSequenceHeader(tag) ? tag.kind : undefined;
}

/** A new encoder stamps its headers 0; in the middle of a stream that would be a step back. Media are never touched. */
function restamped(tag: FlvTag, lastMs: number | undefined): FlvTag {
  return lastMs !== undefined && timestampDiffMs(tag.timestampMs, lastMs) < 0 ? { ...tag, timestampMs: lastMs } : tag;
}
