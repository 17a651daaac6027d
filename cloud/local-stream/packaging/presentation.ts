/**
 * What can be played of one video: periods and segments, as plain data. The live window and a recording both are one,
 * and both manifest formats are written from it.
 */
import type { TrackKind } from './fmp4.ts';
import type { Part, Period, Segment } from './packager.ts';

export interface Presentation {
  /** Wall clock of the video's first picture, ms since the epoch. */
  readonly startedMs: number;
  /** Oldest first; every period that a segment here names. */
  readonly periods: readonly Period[];
  readonly segments: Readonly<Record<TrackKind, readonly Segment[]>>;
  /** Longest segment of the whole video so far, also of those no longer listed: a live TARGETDURATION must not shrink. */
  readonly longestMs: number;
  /** Nothing more will come. */
  readonly isEnded: boolean;
}

export function segmentName({ track, number }: Pick<Segment, 'track' | 'number'>): string {
  return `${track}-${number}.m4s`;
}
/** A part is named by its segment and its index there. */
export function partName(track: TrackKind, { segment, index }: Pick<Part, 'segment' | 'index'>): string {
  return `${track}-${segment}.${index}.m4s`;
}
export function initName(track: TrackKind, period: number): string {
  return `${track}-init-${period}.mp4`;
}
/** True for names of segments and init segments, which a recording has; anything else never reaches the disk. */
export function isMediaName(name: string): boolean {
  return /^(video|audio)-(\d{1,9}\.m4s|init-\d{1,9}\.mp4)$/.test(name);
}

type Timed = Pick<Segment, 'period' | 'startTicks' | 'durationTicks' | 'timescale'>;

export function startMs({ startTicks, timescale }: Timed): number {
  return (startTicks * 1000) / timescale;
}
export function durationMs({ durationTicks, timescale }: Timed): number {
  return (durationTicks * 1000) / timescale;
}

/** Whole seconds, in ms: no segment that was rounded to seconds may exceed it (RFC 8216 §4.3.3.1). Never shrinks. */
export function targetMs({ longestMs }: Pick<Presentation, 'longestMs'>): number {
  return Math.max(1, Math.round(longestMs / 1000)) * 1000;
}

/** From the first listed picture to the end of the last one. */
export function totalMs({ segments: { video } }: Presentation): number {
  const first = video[0];
  const last = video.at(-1);
  return first && last ? startMs(last) + durationMs(last) - startMs(first) : 0;
}

/** The newest period that has a picture to show; undefined when there is nothing to play yet. */
export function newestPeriod({ periods, segments }: Presentation): Period | undefined {
  const index = segments.video.at(-1)?.period;
  return periods.find((period) => period.index === index);
}

/** Wall clock of a segment's, or a part's, first frame. */
export function wallMs(segment: Timed, periods: readonly Period[]): number {
  // Their indexes follow each other: a search for each of a million segments would be one too many.
  const guess = periods[segment.period - (periods[0]?.index ?? 0)];
  const period = guess?.index === segment.period ? guess : periods.find(({ index }) => index === segment.period);
  return period ? period.wallMs + startMs(segment) - period.startMs : 0;
}

/** Peak and mean of one track, from the listed segments. */
export function bandwidthBps(segments: readonly Segment[]): { peak: number; mean: number } {
  let peak = 0;
  let bits = 0;
  let ms = 0;
  for (const segment of segments) {
    const lengthMs = durationMs(segment);
    if (lengthMs <= 0) continue;
    peak = Math.max(peak, (segment.bytes * 8000) / lengthMs);
    bits += segment.bytes * 8;
    ms += lengthMs;
  }
  return { peak: Math.round(peak), mean: ms ? Math.round((bits * 1000) / ms) : 0 };
}
