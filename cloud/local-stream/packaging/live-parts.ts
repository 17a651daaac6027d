/**
 * The parts of a live video's newest segments, per track: which a low-latency playlist lists, what comes next, and whether a
 * place that a player waits for has been reached. Holds descriptions only; the bytes are the live window's.
 */
import type { TrackKind } from './fmp4.ts';
import type { Part, Segment } from './part-cutter.ts';
import { durationMs, partName } from './presentation.ts';

/** What a low-latency playlist tells of one track's parts. */
export interface ListedParts {
  /** Of the newest whole segments and of the open one, oldest first. */
  parts: readonly Part[];
  /** The part that comes next. Its segment is the open one; all before are whole. */
  next: { segment: number; index: number };
  /** None of `parts` is longer. */
  longestMs: number;
}

export interface LiveParts {
  part(part: Part): void;
  /** The open segment is whole. */
  segment(segment: Segment): void;
  /** The segment is held no longer; returns the names of its parts. */
  drop(segment: number): string[];
  /** @param targetMs the playlist's target duration */
  listed(targetMs: number): ListedParts;
  /** Of a whole segment that is held, or of the open one. */
  of(segment: number): readonly Part[];
}

/** Parts older than this many target durations are of no use to a player near the live edge (rfc8216bis §6.2.2). */
const LISTED_TARGETS = 3;

export function createLiveParts(track: TrackKind): LiveParts {
  const bySegment = new Map<number, Part[]>();
  const lengthsMs = new Map<number, number>();
  let open = 0;

  return {
    part(part) {
      open = part.segment;
      const parts = bySegment.get(open);
      if (parts) parts.push(part);
      else bySegment.set(open, [part]);
    },
    segment(segment) {
      lengthsMs.set(segment.number, durationMs(segment));
      open = segment.number + 1;
    },
    drop(segment) {
      const parts = bySegment.get(segment) ?? [];
      bySegment.delete(segment);
      lengthsMs.delete(segment);
      return parts.map(({ index }) => partName(track, { segment, index }));
    },
    listed(targetMs) {
      let first = open;
      for (let coveredMs = 0; coveredMs < LISTED_TARGETS * targetMs && lengthsMs.has(first - 1); first -= 1) {
        coveredMs += lengthsMs.get(first - 1) ?? 0;
      }
      const parts: Part[] = [];
      for (let number = first; number <= open; number += 1) parts.push(...(bySegment.get(number) ?? []));
      const longestMs = parts.reduce((longest, part) => Math.max(longest, durationMs(part)), 0);
      return { parts, next: { segment: open, index: bySegment.get(open)?.length ?? 0 }, longestMs };
    },
    of: (segment) => bySegment.get(segment) ?? [],
  };
}

/** A player's delivery directives `_HLS_msn` and `_HLS_part`. */
export interface WantedPlace {
  segment: number;
  part?: number | undefined;
}

/**
 * How many parts ahead of the newest one a player may ask (rfc8216bis §6.2.5.2: three, or as many as make three seconds).
 * Segments: two ahead of the newest whole one.
 */
function advanceParts(partTargetMs: number): number {
  return partTargetMs >= 1000 ? 3 : Math.ceil(3000 / partTargetMs);
}

/** A playlist that holds the wanted place can be answered now, later, or never reasonably. */
export function placeIn(
  { next }: ListedParts,
  { segment, part }: WantedPlace,
  partsOfSegment: number,
  partTargetMs: number,
): 'there' | 'ahead' | 'too far' {
  if (segment > next.segment + 1) return 'too far';
  if (part === undefined) return segment < next.segment ? 'there' : 'ahead';
  if (segment < next.segment) {
    // Past the end of a whole segment means the first part of the one after it.
    const isPastEnd = segment === next.segment - 1 && part >= partsOfSegment;
    return isPastEnd && next.index === 0 ? 'ahead' : 'there';
  }
  const newest = segment === next.segment ? next.index - 1 : -1;
  if (part <= newest) return 'there';
  return part > newest + advanceParts(partTargetMs) ? 'too far' : 'ahead';
}
