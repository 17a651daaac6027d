/** The newest segments of a live video, in memory: what live manifests list, and a little more for players that are late. */
import type { TrackKind } from './fmp4.ts';
import type { PackagerSink, Period, Segment } from './packager.ts';
import { durationMs, initName, type Presentation, segmentName } from './presentation.ts';

export interface LiveWindow extends PackagerSink {
  /** What a live manifest lists; the same object until something new comes. */
  presentation(): Presentation;
  /** An init or media segment by its name, while it is held. */
  media(name: string): Buffer | undefined;
}

/** Listed in live manifests, per track. */
export const LISTED_SEGMENTS = 8;
/** Fetchable for as long as a slow player may still hold an older manifest (RFC 8216 §6.2.2). */
const HELD_SEGMENTS = 2 * LISTED_SEGMENTS;

export function createLiveWindow(options: { startedMs: number }): LiveWindow {
  const media = new Map<string, Buffer>();
  const segments: Record<TrackKind, Segment[]> = { video: [], audio: [] };
  let periods: Period[] = [];
  let longestMs = 0;
  let listed: Presentation | undefined;

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

  return {
    period(period, inits) {
      periods.push(period);
      media.set(initName('video', period.index), inits.video);
      if (inits.audio) media.set(initName('audio', period.index), inits.audio);
    },
    segment(segment, data) {
      const track = segments[segment.track];
      track.push(segment);
      media.set(segmentName(segment), data);
      longestMs = Math.max(longestMs, durationMs(segment));
      const old = track.length > HELD_SEGMENTS ? track.shift() : undefined;
      if (old) {
        media.delete(segmentName(old));
        dropOldPeriods();
      }
      listed = undefined;
    },
    presentation() {
      const newest = (track: TrackKind) => segments[track].slice(-LISTED_SEGMENTS);
      listed ??= {
        startedMs: options.startedMs,
        periods: [...periods],
        segments: { video: newest('video'), audio: newest('audio') },
        longestMs,
        isEnded: false,
      };
      return listed;
    },
    media: (name) => media.get(name),
  };
}
