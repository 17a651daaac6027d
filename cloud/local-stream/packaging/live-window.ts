/**
 * The newest segments of a live video, in memory: what live manifests list, and a little more for players that are late. With
 * parts also the open segment, and word for those who wait for what comes next.
 */
import type { TrackKind } from './fmp4.ts';
import { createLiveParts, type ListedParts } from './live-parts.ts';
import type { PackagerSink, Part, Period, Segment } from './packager.ts';
import { durationMs, initName, type Presentation, partName, segmentName, targetMs } from './presentation.ts';

export interface LiveWindow extends PackagerSink {
  part(part: Part, data: Buffer): void;
  /** What a live manifest lists; the same object until something new comes. */
  presentation(): Presentation;
  /** With the parts, for low latency; undefined without them. The same object until something new comes. */
  lowLatency(): LowLatencyPresentation | undefined;
  /** An init segment, a media segment or a part by its name, while it is held. */
  media(name: string): Buffer | undefined;
  /** Parts of a segment that is held, or of the open one. */
  partsOf(track: TrackKind, segment: number): readonly Part[];
  /** Calls back after each part and segment, and at the end. Returns the way to leave. */
  onNews(listener: () => void): () => void;
  /** Nothing more comes: the broadcast is over. */
  close(): void;
  isClosed(): boolean;
}

export interface LowLatencyPresentation extends Presentation {
  readonly parts: Readonly<Record<TrackKind, ListedParts>>;
}

/** Listed in live manifests, per track. */
export const LISTED_SEGMENTS = 8;
/** Fetchable for as long as a slow player may still hold an older manifest (RFC 8216 §6.2.2). */
const HELD_SEGMENTS = 2 * LISTED_SEGMENTS;

export function createLiveWindow(options: { startedMs: number }): LiveWindow {
  const media = new Map<string, Buffer>();
  const segments: Record<TrackKind, Segment[]> = { video: [], audio: [] };
  const parts = { video: createLiveParts('video'), audio: createLiveParts('audio') };
  const listeners = new Set<() => void>();
  let periods: Period[] = [];
  let longestMs = 0;
  let hasParts = false;
  let isClosed = false;
  let listed: Presentation | undefined;
  let lowLatency: LowLatencyPresentation | undefined;

  function dropOldPeriods(): void {
    const oldest = Math.min(
      segments.video[0]?.period ?? Number.POSITIVE_INFINITY,
      segments.audio[0]?.period ?? Infinity,
    );
    for (const { index } of periods.filter((period) => period.index < oldest)) {
      media.delete(initName('video', index));
      media.delete(initName('audio', index));
    }
    periods = periods.filter(({ index }) => index >= oldest);
  }

  /** From here on a part is a piece of its segment's bytes, not held twice. */
  function keepPartsWithin({ track, number }: Segment, data: Buffer): void {
    let at = 0;
    for (const { index, bytes } of parts[track].of(number)) {
      media.set(partName(track, { segment: number, index }), data.subarray(at, at + bytes));
      at += bytes;
    }
  }

  function drop(segment: Segment): void {
    media.delete(segmentName(segment));
    for (const name of parts[segment.track].drop(segment.number)) media.delete(name);
    dropOldPeriods();
  }

  function news(): void {
    listed = undefined;
    lowLatency = undefined;
    for (const listener of [...listeners]) listener();
  }

  function presentation(): Presentation {
    const newest = (track: TrackKind) => segments[track].slice(-LISTED_SEGMENTS);
    listed ??= {
      startedMs: options.startedMs,
      periods: [...periods],
      segments: { video: newest('video'), audio: newest('audio') },
      longestMs,
      isEnded: false,
    };
    return listed;
  }

  return {
    period(period, inits) {
      periods.push(period);
      media.set(initName('video', period.index), inits.video);
      if (inits.audio) media.set(initName('audio', period.index), inits.audio);
    },
    part(part, data) {
      hasParts = true;
      parts[part.track].part(part);
      media.set(partName(part.track, part), data);
      news();
    },
    segment(segment, data) {
      const track = segments[segment.track];
      track.push(segment);
      media.set(segmentName(segment), data);
      parts[segment.track].segment(segment);
      keepPartsWithin(segment, data);
      longestMs = Math.max(longestMs, durationMs(segment));
      const old = track.length > HELD_SEGMENTS ? track.shift() : undefined;
      if (old) drop(old);
      news();
    },
    presentation,
    lowLatency() {
      if (!hasParts) return undefined;
      const shown = presentation();
      const target = targetMs(shown);
      lowLatency ??= {
        ...shown,
        parts: { video: parts.video.listed(target), audio: parts.audio.listed(target) },
      };
      return lowLatency;
    },
    media: (name) => media.get(name),
    partsOf: (track, segment) => parts[track].of(segment),
    onNews(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      isClosed = true;
      news();
      listeners.clear();
    },
    isClosed: () => isClosed,
  };
}
