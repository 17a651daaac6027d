/**
 * Instant clips of a broadcast or a recording: which segments a stretch of time is, and its MP4 piece by piece. Cut where segments
 * end, nothing re-encoded. Cloudflare: "Live Instant Clipping"; unlike there a clip may be as long as the recording.
 */

import type { TrackKind } from '../packaging/fmp4.ts';
import type { Segment } from '../packaging/packager.ts';
import { durationMs, initName, type Presentation, segmentName, startMs, totalMs } from '../packaging/presentation.ts';
import type { Piece } from '../playback/pieces.ts';
import { clipFragment, clipInit } from './clip-file.ts';

export interface ClipRange {
  /** From the start of the broadcast. */
  fromMs: number;
  lengthMs: number;
}

/** Of `?duration=` at a manifest, as there. */
const MAX_PREVIEW_MS = 300_000;

/** `600s`, `2.5`, `3m`, `1h2m3s`; undefined for anything else. */
export function clipTimeMs(text: string): number | undefined {
  const [whole, hours = '0', minutes = '0', seconds = '0'] =
    /^(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8}(?:\.\d{1,6})?)s?)?$/.exec(text) ?? [];
  if (!whole) return undefined;
  return Number(hours) * 3_600_000 + Number(minutes) * 60_000 + Math.round(Number(seconds) * 1000);
}

/** What a clip's address asks for; a sentence when it cannot be understood. Default: from the start to the end. */
export function clipRange({ time, duration }: { time?: unknown; duration?: unknown }): ClipRange | string {
  const ms = (given: unknown, otherwise: number) =>
    given === undefined ? otherwise : typeof given === 'string' ? clipTimeMs(given) : undefined;
  const fromMs = ms(time, 0);
  const lengthMs = ms(duration, Number.MAX_SAFE_INTEGER);
  if (fromMs === undefined) return 'time must be a number of seconds such as 600s';
  if (!lengthMs) return 'duration must be a number of seconds such as 30s';
  return { fromMs, lengthMs };
}

/** The newest so many ms, up to five minutes. */
export function previewRange(presentation: Presentation, lengthMs: number): ClipRange {
  const last = presentation.segments.video.at(-1);
  const endMs = last ? startMs(last) + durationMs(last) : 0;
  const wantedMs = Math.min(lengthMs, MAX_PREVIEW_MS);
  return { fromMs: Math.max(0, Math.round(endMs - wantedMs)), lengthMs: wantedMs };
}

/** The segments that a stretch of time touches, as something that has ended; undefined when it touches none. */
export function clipped(presentation: Presentation, { fromMs, lengthMs }: ClipRange): Presentation | undefined {
  const { segments, periods } = presentation;
  const endOf = (segment: Segment) => startMs(segment) + durationMs(segment);
  const video = segments.video.filter((one) => endOf(one) > fromMs && startMs(one) < fromMs + lengthMs);
  const [first, last] = [video[0], video.at(-1)];
  if (!first || !last) return undefined;
  const middleOf = (segment: Segment) => startMs(segment) + durationMs(segment) / 2;
  const audio = segments.audio.filter((one) => middleOf(one) >= startMs(first) && middleOf(one) < endOf(last));
  return {
    ...presentation,
    periods: periods.filter(({ index }) => index >= first.period && index <= last.period),
    segments: { video, audio },
    longestMs: video.reduce((longest, one) => Math.max(longest, durationMs(one)), 0),
    isEnded: true,
  };
}

/**
 * A clip as one fragmented MP4. It ends where the codec configuration changes: a file has one for all.
 * @param media init and media segments by name. Undefined when the first ones are gone.
 */
export async function clipPieces(
  clip: Presentation,
  media: (name: string) => Promise<Buffer | undefined>,
): Promise<Piece[] | undefined> {
  const [first] = clip.segments.video;
  const inits = first && (await initsOf(clip, first.period, media));
  if (!first || !inits?.video) return undefined;
  const { video, audio } = inits;
  let endPeriod = first.period;
  for (const { index } of clip.periods.filter((period) => period.index > first.period)) {
    const next = await initsOf(clip, index, media);
    if (!next.video?.equals(video) || (next.audio && !audio?.equals(next.audio))) break;
    endPeriod = index;
  }
  const kept = [...clip.segments.video, ...(audio ? clip.segments.audio : [])]
    .filter(({ period }) => period <= endPeriod)
    .sort((a, b) => startMs(a) - startMs(b) || (a.track === 'video' ? -1 : 1));
  const originMs = Math.min(...kept.slice(0, 2).map(startMs));
  const shown = { ...clip, segments: { video: kept.filter(({ track }) => track === 'video'), audio: [] } };
  const init = clipInit({ video, audio, durationMs: Math.round(totalMs(shown)) });
  const fragments = kept.map((segment, index) => ({
    bytes: segment.bytes,
    async read() {
      const data = await media(segmentName(segment));
      const shiftTicks = Math.round((originMs * segment.timescale) / 1000);
      return data && clipFragment(data, { track: segment.track, sequence: index, shiftTicks });
    },
  }));
  return [{ bytes: init.length, read: async () => init }, ...fragments];
}

async function initsOf(clip: Presentation, period: number, media: (name: string) => Promise<Buffer | undefined>) {
  const hasAudio = clip.periods.find(({ index }) => index === period)?.audio !== undefined;
  const init = (track: TrackKind) => media(initName(track, period));
  const [video, audio] = await Promise.all([init('video'), hasAudio ? init('audio') : undefined]);
  return { video, audio };
}
