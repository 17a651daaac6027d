/**
 * Samples of one track in, CMAF chunks out: the open segment is given out in parts of about `partTargetMs`, and the whole
 * segment is its parts one after the other, byte for byte. Without a target the segment is one part.
 * Owns where parts end; what belongs into the segment, and where that ends, is the packager's.
 */
import { chunk, type Sample, type TrackKind } from './fmp4.ts';

/** One chunk of a segment (a Partial Segment of draft-pantos-hls-rfc8216bis). */
export interface Part {
  track: TrackKind;
  /** Number of the segment it belongs to. */
  segment: number;
  /** 0, 1, 2, … within its segment. */
  index: number;
  period: number;
  /** Decode time of the first sample on the video's own timeline. */
  startTicks: number;
  durationTicks: number;
  timescale: number;
  /** Holds a picture, or sound, that a player can start at. */
  isIndependent: boolean;
  bytes: number;
}

export interface Segment {
  track: TrackKind;
  /** 0, 1, 2, … per track. */
  number: number;
  period: number;
  /** Decode time of the first sample on the video's own timeline. */
  startTicks: number;
  durationTicks: number;
  timescale: number;
  bytes: number;
}

export interface PartCutter {
  /**
   * Goes on with the open segment; a sample's duration is final. `startTicks` is the first one's decode time: within a
   * segment it is the end of what was taken before.
   */
  take(samples: readonly Sample[], place: { startTicks: number; timescale: number; period: number }): void;
  /** Ends the segment; does nothing when it holds no sample. */
  finish(): void;
  /** Number of the open segment, or of the next one. */
  nextNumber(): number;
}

export interface PartCutterOptions {
  track: TrackKind;
  /** Undefined: a segment is one part, and no part is told of. */
  partTargetMs: number | undefined;
  part(part: Part, data: Buffer): void;
  segment(segment: Segment, data: Buffer): void;
}

export function createPartCutter({ track, partTargetMs, part, segment }: PartCutterOptions): PartCutter {
  let number = 0;
  /** Counts chunks over all segments (mfhd). */
  let sequence = 0;
  let place = { timescale: 1, period: 0 };
  let parts: { durationTicks: number; data: Buffer }[] = [];
  let segmentStartTicks = 0;
  let pending: Sample[] = [];
  let pendingStartTicks = 0;
  let pendingTicks = 0;

  function cut(): void {
    if (pending.length === 0) return;
    if (parts.length === 0) segmentStartTicks = pendingStartTicks;
    sequence += 1;
    const data = chunk({ sequence, startTicks: pendingStartTicks, samples: pending, isFirst: parts.length === 0 });
    const made: Part = {
      ...{ track, segment: number, index: parts.length, startTicks: pendingStartTicks, durationTicks: pendingTicks },
      ...place,
      isIndependent: pending.some(({ isKey }) => isKey),
      bytes: data.length,
    };
    parts.push({ durationTicks: pendingTicks, data });
    pending = [];
    pendingStartTicks += pendingTicks;
    pendingTicks = 0;
    if (partTargetMs !== undefined) part(made, data);
  }

  return {
    take(samples, { startTicks, timescale, period }) {
      const targetTicks = ((partTargetMs ?? Number.POSITIVE_INFINITY) * timescale) / 1000;
      place = { timescale, period };
      if (pending.length === 0) pendingStartTicks = startTicks;
      for (const sample of samples) {
        // A picture that stood for long is a part of its own: only that part is longer than the target.
        if (pendingTicks + sample.durationTicks > targetTicks) cut();
        pending.push(sample);
        pendingTicks += sample.durationTicks;
        // No waiting for a sample that would not fit anyway.
        if (pendingTicks + sample.durationTicks > targetTicks) cut();
      }
    },
    finish() {
      cut();
      if (parts.length === 0) return;
      const data = Buffer.concat(parts.map((one) => one.data));
      const durationTicks = parts.reduce((sum, one) => sum + one.durationTicks, 0);
      const { timescale, period } = place;
      const at = { track, number, period, startTicks: segmentStartTicks };
      const whole: Segment = { ...at, durationTicks, timescale, bytes: data.length };
      parts = [];
      number += 1;
      segment(whole, data);
    },
    nextNumber: () => number,
  };
}
