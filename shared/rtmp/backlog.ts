/**
 * What waits to be sent, what may have to be sent again, and what is dropped. Pure: no socket, no clock.
 *
 * Invariants (property-tested): after a start or a gap the output begins with the decoder headers in force and a key
 * frame; time stamps of one kind never go back (given an encoder that keeps this rule); bounds are never exceeded.
 */
import { type FlvTag, isKeyFrame, isMetadata, isSequenceHeader, timestampDiffMs } from './flv.ts';
import type { SpilledBody, SpillFile } from './spill-file.ts';

export interface BacklogOptions {
  /** `live`: after a start or a gap only the newest key frame is good enough; `backfill`: the oldest that is here. */
  mode: 'backfill' | 'live';
  /** By arrival time. Default 10000. */
  maxAgeMs?: number;
  /** Of memory. Default 20 MB. */
  maxBytes?: number;
  /** Takes what memory has no room for. Default: that is dropped. */
  spill?: Pick<SpillFile, 'put' | 'memoryBytes' | 'unwrittenBytes' | 'hasFailed'> | undefined;
}

export interface Backlog {
  /** A tag from the encoder. */
  add(tag: FlvTag, nowMs: number): void;
  /** The next tag to send, now counted as sent; undefined when nothing may be sent yet, or it comes from the disk. */
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
  /** Of these, what is not in memory. */
  spilledBytes: number;
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
  /** Without its body when that is spilled. */
  tag: FlvTag;
  bytes: number;
  spilled: SpilledBody | undefined;
  atMs: number;
  slot: HeaderSlot | undefined;
  isKey: boolean;
  /** How often `next` has given it. */
  timesSent: number;
  endsAtByte: number | undefined;
}

/** What is read from the disk before its turn, at most. */
const AHEAD_BYTES = 512_000;
const AHEAD_TAGS = 200;
const NOTHING = Buffer.alloc(0);
const SLOTS: readonly HeaderSlot[] = ['metadata', 'video', 'audio'];

export function createBacklog(options: BacklogOptions): Backlog {
  const { mode, maxAgeMs = 10_000, maxBytes = 20_000_000, spill } = options;
  /** Oldest first; before `cursor` sent on this connection, from `cursor` on waiting. */
  const entries: Entry[] = [];
  let cursor = 0;
  let heldBytes = 0;
  /** Of these, what is in `entries`; the rest is in the spill. */
  let ownBytes = 0;
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
    const entry: Entry = {
      ...{ tag: placed, bytes: tag.body.length, atMs: nowMs, slot, isKey: isKeyFrame(tag) },
      ...{ spilled: undefined, timesSent: 0, endsAtByte: undefined },
    };
    if (isHole && !slot && !canStart(entry)) {
      countDropped(entry);
      return;
    }
    if (!slot) isHole = false;
    for (let oldest = entries[0]; oldest && nowMs - oldest.atMs > maxAgeMs; oldest = entries[0]) removeOldest();
    while (!store(entry) && entries.length > 0) removeOldest();
    entries.push(entry);
    heldBytes += entry.bytes;
    waitingBytes += entry.bytes;
    if (!entry.spilled) ownBytes += entry.bytes;
    // Alone it is already more than there is room for.
    if (ownBytes > maxBytes) removeOldest();
  }
  /** False: older ones have to go first. Memory is for what is sent next, half of it; for what is on its way to the disk, and from it. */
  function store(entry: Entry): boolean {
    const { slot, bytes, tag } = entry;
    if (!spill || spill.hasFailed) return ownBytes + (spill?.memoryBytes ?? 0) + bytes <= maxBytes;
    if (slot || ownBytes + bytes <= maxBytes / 2) return true;
    if (spill.unwrittenBytes + bytes > maxBytes / 3) return false;
    entry.spilled = spill.put(tag.body);
    if (entry.spilled) entry.tag = { ...tag, body: NOTHING };
    return entry.spilled !== undefined || spill.hasFailed;
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
    waitingBytes -= entry.bytes;
    countDropped(entry);
    isGap = true;
    ahead = [];
  }
  function forget(entry: Entry): void {
    heldBytes -= entry.bytes;
    if (entry.spilled) entry.spilled.free();
    else ownBytes -= entry.bytes;
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
      waitingBytes -= entry.bytes;
      if (entry.slot) continue;
      forget(entry);
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
  function fetchAhead(): void {
    const atMostBytes = Math.min(AHEAD_BYTES, maxBytes / 8);
    let bytes = 0;
    for (let index = cursor; index < cursor + AHEAD_TAGS && bytes < atMostBytes; index += 1) {
      const entry = entries[index];
      if (!entry) return;
      entry.spilled?.fetch();
      bytes += entry.bytes;
    }
  }
  /** The disk took it away: what follows needs a key frame. */
  function lose(entry: Entry): void {
    entries.splice(cursor, 1);
    forget(entry);
    waitingBytes -= entry.bytes;
    countDropped(entry);
    isGap = true;
    isHole = startIndex() === undefined;
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

  function next(): FlvTag | undefined {
    if (cursor >= entries.length || (isGap && !begin())) return undefined;
    const header = ahead.shift();
    if (header) return give(header, slotOf(header));
    const entry = entries[cursor];
    if (!entry) return undefined;
    const { spilled } = entry;
    if (spill) fetchAhead();
    if (spilled?.isLost) {
      lose(entry);
      return next();
    }
    const tag = spilled ? spilled.body && { ...entry.tag, body: spilled.body } : entry.tag;
    if (!tag) return undefined;
    spilled?.release();
    cursor += 1;
    waitingBytes -= entry.bytes;
    if (entry.timesSent > 0) tagsResent += 1;
    entry.timesSent += 1;
    return give(tag, entry.slot);
  }

  return {
    add,
    next,
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
      for (const entry of entries) {
        entry.endsAtByte = undefined;
        entry.spilled?.release();
      }
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
        spilledBytes: heldBytes - ownBytes,
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
