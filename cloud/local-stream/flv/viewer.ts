/**
 * One viewer of an input's live FLV, over whatever carries bytes: from the feed through its tracks and its queue to its
 * connection. Tells it each second what time it was here when a picture came, and that we wait too when none comes.
 */
import type { Clock } from '../../../shared/clock.ts';
import { encodeAmf0 } from '../../../shared/rtmp/amf0.ts';
import { type FlvTag, flvHeader, flvTagBytes, isSequenceHeader } from '../../../shared/rtmp/flv.ts';
import type { LiveFeed } from '../live-feed.ts';
import { createFlvQueue } from './queue.ts';
import { createFlvTracks } from './tracks.ts';

/** Why a viewer is sent away. `too-slow`: it read nothing for too long. */
export type FlvEnd = 'ended' | 'tracks-changed' | 'too-slow' | 'closing';

export interface FlvConnection {
  /** `flushed` also when it fails. */
  write(bytes: Buffer, flushed: () => void): void;
  /** Once; what is still unsent may be lost. */
  end(why: FlvEnd): void;
  /**
   * At its end is a page that takes our script data for what they are, and comes back when it is told to. Other players
   * show a data track for the former, and end for the latter: they go on without sound that comes later.
   */
  readonly knowsUs: boolean;
}

export interface FlvViewer {
  /** To be called each second. */
  tick(): void;
  end(why: FlvEnd): void;
  /** The connection is gone. */
  leave(): void;
}

export interface FlvViewerOptions {
  feed: Pick<LiveFeed, 'join'>;
  inputUid: string;
  connection: FlvConnection;
  encode: (tag: FlvTag) => Buffer;
  clock: Pick<Clock, 'now' | 'monotonicMs'>;
  maxQueuedBytes: number;
  /** A connection that takes nothing for so long is ended. */
  stuckTimeoutMs: number;
}

/** Script data of ours, for players that know it: `wallMs`, and `mediaMs` of the picture, `isWaiting`, or `isChanged` before an end. */
const FLV_CLOCK = 'onGlasscastClock';
const CLOCK_EVERY_MS = 1000;
/** Without a picture for so long the viewer is told that it is not its connection. */
const WAITING_MS = 1500;

/** Undefined when nothing is on air. */
export function createFlvViewer(options: FlvViewerOptions): FlvViewer | undefined {
  const { feed, inputUid, connection, encode, clock, maxQueuedBytes, stuckTimeoutMs } = options;
  const queue = createFlvQueue({ write: connection.write, maxQueuedBytes, nowMs: clock.monotonicMs });
  let originMs: number | undefined;
  let header: Buffer | undefined;
  let newest = { timestampMs: 0, atMs: clock.monotonicMs() };
  let clockSentMs = Number.NEGATIVE_INFINITY;
  let isJoining = true;
  let isOver = false;
  let leaveFeed: (() => void) | undefined;

  const tracks = createFlvTracks({
    opened(tracks) {
      originMs = tracks.originMs;
      header = flvHeader(tracks);
    },
    tag(tag) {
      // In one piece with the first tag: players look for the header in what comes first, and expect more behind it.
      const bytes = header ? Buffer.concat([header, encode(tag)]) : encode(tag);
      header = undefined;
      queue.push(tag, bytes);
    },
    changed() {
      if (!connection.knowsUs) return;
      tellClock({ wallMs: clock.now(), isChanged: true });
      end('tracks-changed');
    },
  });

  function tellClock(fields: { wallMs: number; mediaMs?: number; isWaiting?: true; isChanged?: true }): void {
    if (!connection.knowsUs) return;
    const tag: FlvTag = {
      kind: 'script',
      timestampMs: newest.timestampMs,
      body: encodeAmf0(FLV_CLOCK, fields),
    };
    queue.pushNote(flvTagBytes(tag));
  }
  function take(tag: FlvTag): void {
    if (isOver) return;
    tracks.take(tag);
    if (tag.kind !== 'video' || isSequenceHeader(tag)) return;
    const atMs = clock.monotonicMs();
    newest = { timestampMs: tag.timestampMs, atMs };
    // What was kept for who joins came earlier; how much, nobody knows any more.
    if (isJoining || originMs === undefined || atMs - clockSentMs < CLOCK_EVERY_MS) return;
    clockSentMs = atMs;
    tellClock({ wallMs: clock.now(), mediaMs: (tag.timestampMs - originMs) >>> 0 });
  }
  function end(why: FlvEnd): void {
    if (isOver) return;
    leave();
    connection.end(why);
  }
  function leave(): void {
    isOver = true;
    queue.close();
    leaveFeed?.();
  }

  leaveFeed = feed.join(inputUid, { tag: take, ended: () => end('ended') });
  isJoining = false;
  if (!leaveFeed) return undefined;
  // What was kept may have been enough to send it away.
  if (isOver) leaveFeed();
  return {
    tick() {
      if (isOver) return;
      if (queue.stuckMs() >= stuckTimeoutMs) end('too-slow');
      const isWaiting = originMs !== undefined && clock.monotonicMs() - newest.atMs >= WAITING_MS;
      if (isWaiting) tellClock({ wallMs: clock.now(), isWaiting });
    },
    end,
    leave,
  };
}

/** One encoding for all viewers of a tag, for as long as somebody keeps the tag. */
export function createSharedEncoding(): (tag: FlvTag) => Buffer {
  const known = new WeakMap<FlvTag, Buffer>();
  return (tag) => {
    const bytes = known.get(tag) ?? flvTagBytes(tag);
    known.set(tag, bytes);
    return bytes;
  };
}
