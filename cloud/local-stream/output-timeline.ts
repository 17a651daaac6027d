/**
 * One rising timeline for destinations, whatever the publisher's does: a new encoder that begins at zero goes on where the
 * former stopped, after the time that has really passed. Pure but for the clock.
 */
import type { Clock } from '../../shared/clock.ts';
import { type FlvTag, isConfiguration, timestampDiffMs } from '../../shared/rtmp/flv.ts';

export interface OutputTimeline {
  /** Another connection publishes from here on. */
  begin(): void;
  /** The tag with its time on this timeline; its body is the same. */
  place(tag: FlvTag): FlvTag;
}

/** A publisher that goes on may be ahead by what it sent late, not by more. */
const MAX_LEAP_MS = 10_000;

export function createOutputTimeline({ clock }: { clock: Clock }): OutputTimeline {
  let offsetMs = 0;
  /** Newest placed time, per track and of all. */
  const newest = new Map<FlvTag['kind'], number>();
  let latest: { timestampMs: number; atMs: number } | undefined;
  /** The first media tag of a connection tells whether the timeline goes on. */
  let isJudging = false;

  /** Where a new timeline's first tag belongs. */
  function judge({ kind, timestampMs }: FlvTag, last: { timestampMs: number; atMs: number }): void {
    const passedMs = Math.round(clock.monotonicMs() - last.atMs);
    const aheadMs = timestampDiffMs(wrapped(timestampMs + offsetMs), newest.get(kind) ?? last.timestampMs);
    if (aheadMs > 0 && aheadMs <= passedMs + MAX_LEAP_MS) return;
    offsetMs = last.timestampMs + Math.max(1, passedMs) - timestampMs;
  }

  return {
    begin() {
      isJudging = latest !== undefined;
    },
    place(tag) {
      const isMedia = !isConfiguration(tag);
      // A description stands where its track is: its own zero may be another one's.
      if (!isMedia && latest && isJudging) return at(tag, newest.get(tag.kind) ?? latest.timestampMs);
      if (isMedia && latest && isJudging) {
        judge(tag, latest);
        isJudging = false;
      }
      const placed = at(tag, wrapped(tag.timestampMs + offsetMs));
      if (!isMedia) return placed;
      newest.set(tag.kind, placed.timestampMs);
      const isLatest = !latest || timestampDiffMs(placed.timestampMs, latest.timestampMs) > 0;
      latest = {
        timestampMs: isLatest ? placed.timestampMs : (latest?.timestampMs ?? 0),
        atMs: clock.monotonicMs(),
      };
      return placed;
    },
  };
}

function at(tag: FlvTag, timestampMs: number): FlvTag {
  return tag.timestampMs === timestampMs ? tag : { ...tag, timestampMs };
}

/** Time stamps count in 32 bits. */
function wrapped(ms: number): number {
  return ((ms % 2 ** 32) + 2 ** 32) % 2 ** 32;
}
