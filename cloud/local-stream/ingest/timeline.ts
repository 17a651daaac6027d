/**
 * Decides for each tag of an input whether viewers have had it already, across connections of the same publisher.
 * Knows time stamps and fingerprints, nothing of sockets.
 *
 * The rule. A publisher that reconnects sends again, byte for byte and with the same time stamps, what it cannot prove
 * delivered (up to 2 s). TCP delivers a prefix, so what did arrive before is one unbroken stretch up to each track's
 * newest time stamp. The first media tag of a connection tells which case this is:
 *   - newer than its track's newest: the timeline goes on; everything passes.
 *   - not newer, but the very tag (kind, time, fingerprint) was seen in the last `overlapMs` of the timeline: a resend;
 *     each track's tags are dropped until they pass its newest.
 *   - not newer and never seen: another encoder with another zero, so a new timeline; everything passes.
 * A time difference alone could not tell a resend from a broadcast that ended after 3 s and began again at 0. The same
 * file sent again looks like a resend, too. But it begins with the very first tag and comes at the pace of life, a resend
 * as fast as the network takes it: what begins so and after 2 s is not catching up is a new timeline as well.
 */
import type { Clock } from '../../../shared/clock.ts';
import { type FlvTag, isConfiguration, timestampDiffMs } from '../../../shared/rtmp/flv.ts';

export interface Timeline {
  /** A new connection publishes from here on. */
  begin(): void;
  /** `drop`: seen already. `restart`: passes, and is the first tag of a new timeline. */
  judge(tag: FlvTag): 'pass' | 'drop' | 'restart';
}

export interface TimelineOptions {
  clock: Clock;
  /** How far back a resend may reach. Default 30000: 2 s of sending hold more than 2 s of media after an outage. */
  overlapMs?: number;
  /** After so long without media nothing counts as a resend. Default 60000: longer than any backfill. */
  forgetMs?: number;
}

const MAX_REMEMBERED = 4096;
/** What may be a file sent again is judged by its pace after this time; a resend is so much faster than life. */
const PACE_AFTER_MS = 2000;
const RESEND_PACE = 1.25;

export function createTimeline({ clock, overlapMs = 30_000, forgetMs = 60_000 }: TimelineOptions): Timeline {
  /** Newest time stamp that went on, per track. */
  const newest = new Map<FlvTag['kind'], number>();
  /** Fingerprints of the last `overlapMs`, oldest first. */
  const seen = new Map<number, number>();
  let mode: 'judging' | 'resuming' | 'open' = 'open';
  let lastMediaMs = clock.monotonicMs();
  /** The first tag of the timeline. */
  let origin: number | undefined;
  /** Where and when the resend began. */
  let resumed = { isOrigin: false, timestampMs: 0, atMs: 0 };

  function remember(tag: FlvTag): void {
    origin ??= identity(tag);
    newest.set(tag.kind, tag.timestampMs);
    seen.set(identity(tag), fingerprint(tag.body));
    lastMediaMs = clock.monotonicMs();
    for (const key of seen.keys()) {
      const isOld = timestampDiffMs(tag.timestampMs, timestampOf(key)) > overlapMs;
      if (!isOld && seen.size <= MAX_REMEMBERED) break;
      seen.delete(key);
    }
  }
  function restart(tag: FlvTag): 'restart' {
    newest.clear();
    seen.clear();
    origin = undefined;
    mode = 'open';
    remember(tag);
    return 'restart';
  }
  /** How far the tag is ahead of its track; at most 0: not new. A track without history is ahead. */
  function aheadMs({ kind, timestampMs }: FlvTag): number {
    const newestMs = newest.get(kind);
    return newestMs === undefined ? 1 : timestampDiffMs(timestampMs, newestMs);
  }
  function isReplay({ timestampMs }: FlvTag): boolean {
    const elapsedMs = clock.monotonicMs() - resumed.atMs;
    if (!resumed.isOrigin || elapsedMs < PACE_AFTER_MS) return false;
    return timestampDiffMs(timestampMs, resumed.timestampMs) < RESEND_PACE * elapsedMs;
  }

  return {
    begin() {
      if (clock.monotonicMs() - lastMediaMs > forgetMs) seen.clear();
      mode = newest.size > 0 ? 'judging' : 'open';
    },
    judge(tag) {
      // Decoder configuration and metadata belong to the connection and are needed again after each one.
      if (isConfiguration(tag)) return 'pass';
      if (mode === 'judging') {
        const isNew = aheadMs(tag) > 0;
        if (!isNew && seen.get(identity(tag)) !== fingerprint(tag.body)) return restart(tag);
        mode = isNew ? 'open' : 'resuming';
        const isOrigin = identity(tag) === origin;
        resumed = { isOrigin, timestampMs: tag.timestampMs, atMs: clock.monotonicMs() };
      }
      if (mode === 'resuming') {
        const ahead = aheadMs(tag);
        if (ahead < -overlapMs || (ahead <= 0 && isReplay(tag))) return restart(tag);
        if (ahead <= 0) return 'drop';
      }
      remember(tag);
      return 'pass';
    },
  };
}

/** Time stamp and track in one number. */
function identity({ kind, timestampMs }: FlvTag): number {
  return timestampMs * 2 + (kind === 'video' ? 1 : 0);
}

function timestampOf(key: number): number {
  return Math.floor(key / 2);
}

const SAMPLE_BYTES = 32;

/** FNV-1a over length, first and last bytes: 64 bytes tell two coded pictures apart, and cost nothing per tag. */
function fingerprint(body: Buffer): number {
  let hash = 0x811c9dc5 ^ body.length;
  const mix = (from: number, to: number) => {
    for (let at = from; at < to; at += 1) hash = Math.imul(hash ^ (body[at] ?? 0), 0x01000193);
  };
  mix(0, Math.min(SAMPLE_BYTES, body.length));
  mix(Math.max(SAMPLE_BYTES, body.length - SAMPLE_BYTES), body.length);
  return hash | 0;
}
