/**
 * Writes the low-latency media playlist (draft-pantos-hls-rfc8216bis, fMP4) of a live window with parts. Pure text. No delta
 * updates: the list is short, next to nothing could be skipped.
 */
import type { TrackKind } from './fmp4.ts';
import { headLines, openingLines, segmentLines } from './hls-manifest.ts';
import type { ListedParts } from './live-parts.ts';
import type { LowLatencyPresentation } from './live-window.ts';
import type { Part } from './packager.ts';
import { durationMs, partName, targetMs } from './presentation.ts';

export interface LowLatencyOptions {
  track: TrackKind;
  /** Prefix of init segment, segment and part names, ending in a slash. */
  segmentBase: string;
  /** What parts are cut to. */
  partTargetMs: number;
  /** Address of the other track's playlist; undefined when it has none. */
  otherUri: string | undefined;
}

/** RFC 8216 wants three target durations; the draft the same of parts. */
const HELD_BACK = 3;

export function lowLatencyPlaylist(presentation: LowLatencyPresentation, options: LowLatencyOptions): string {
  const { track, segmentBase, otherUri } = options;
  const { parts, next, longestMs } = presentation.parts[track];
  const segments = presentation.segments[track];
  // A picture that stood for long makes a long part; while it is listed, the promise has to cover it.
  const partTargetS = Math.max(options.partTargetMs, longestMs) / 1000;
  const open = parts.find(({ segment }) => segment === next.segment);
  const opening = open && { number: next.segment, period: open.period };
  const lines = [
    ...headLines(presentation, { track, version: 9, open: opening }),
    '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES' +
      `,PART-HOLD-BACK=${(HELD_BACK * partTargetS).toFixed(5)},HOLD-BACK=${(HELD_BACK * targetMs(presentation)) / 1000}`,
    `#EXT-X-PART-INF:PART-TARGET=${partTargetS.toFixed(5)}`,
    '#EXT-X-INDEPENDENT-SEGMENTS',
  ];
  const partLines = (number: number) =>
    parts.filter(({ segment }) => segment === number).map((part) => partLine(part, segmentBase));
  segments.forEach((segment, index) => {
    lines.push(
      ...openingLines(presentation, segment, segments[index - 1], options),
      ...partLines(segment.number),
      ...segmentLines(segment, segmentBase),
    );
  });
  if (open) lines.push(...openingLines(presentation, open, segments.at(-1), options), ...partLines(next.segment));
  lines.push(`#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${segmentBase}${partName(track, next)}"`);
  if (otherUri) lines.push(reportLine(otherUri, presentation.parts[track === 'video' ? 'audio' : 'video']));
  return `${lines.join('\n')}\n`;
}

function partLine(part: Part, segmentBase: string): string {
  const seconds = (durationMs(part) / 1000).toFixed(5);
  const independent = part.isIndependent ? ',INDEPENDENT=YES' : '';
  return `#EXT-X-PART:DURATION=${seconds},URI="${segmentBase}${partName(part.track, part)}"${independent}`;
}

/** Where the other track has come to, so that a player that changes over asks for the right place at once. */
function reportLine(uri: string, { parts, next }: ListedParts): string {
  const last = parts.at(-1) ?? { segment: Math.max(0, next.segment - 1), index: 0 };
  return `#EXT-X-RENDITION-REPORT:URI="${uri}",LAST-MSN=${last.segment},LAST-PART=${last.index}`;
}
