/** Writes HLS playlists (RFC 8216, version 7, fMP4) from a presentation. Pure text; knows no file and no socket. */
import type { TrackKind } from './fmp4.ts';
import type { Segment } from './packager.ts';
import {
  bandwidthBps,
  durationMs,
  initName,
  newestPeriod,
  type Presentation,
  segmentName,
  targetMs,
  wallMs,
} from './presentation.ts';

/** @param mediaUri address of a track's media playlist, as the player will resolve it against this one's. */
export function masterPlaylist(presentation: Presentation, mediaUri: (track: TrackKind) => string): string {
  const period = newestPeriod(presentation);
  if (!period) return '';
  const { video, audio } = period;
  const rates = [
    bandwidthBps(presentation.segments.video),
    ...(audio ? [bandwidthBps(presentation.segments.audio)] : []),
  ];
  const peak = rates.reduce((sum, rate) => sum + rate.peak, 0);
  const mean = rates.reduce((sum, rate) => sum + rate.mean, 0);
  const lines = ['#EXTM3U', '#EXT-X-VERSION:7', '#EXT-X-INDEPENDENT-SEGMENTS'];
  if (audio) {
    lines.push(
      `#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="${audio.channels}",URI="${mediaUri('audio')}"`,
    );
  }
  const codecs = [video.codec, ...(audio ? [audio.codec] : [])].join(',');
  const group = audio ? ',AUDIO="audio"' : '';
  lines.push(
    `#EXT-X-STREAM-INF:BANDWIDTH=${peak},AVERAGE-BANDWIDTH=${mean},CODECS="${codecs}",RESOLUTION=${video.width}x${video.height}${group}`,
    mediaUri('video'),
  );
  return `${lines.join('\n')}\n`;
}

/** @param segmentBase prefix of init and media segment names, ending in a slash. */
export function mediaPlaylist(presentation: Presentation, track: TrackKind, segmentBase: string): string {
  const { isEnded } = presentation;
  const segments = presentation.segments[track];
  const lines = [...headLines(presentation, { track, version: 7 }), '#EXT-X-INDEPENDENT-SEGMENTS'];
  if (isEnded) lines.push('#EXT-X-PLAYLIST-TYPE:VOD');
  segments.forEach((segment, index) => {
    const before = segments[index - 1];
    // Days of segments: what has ended needs no clock where the lengths before tell it.
    if (!isEnded || !before || !goesOn(before, segment)) {
      lines.push(...openingLines(presentation, segment, before, { track, segmentBase }));
    }
    lines.push(...segmentLines(segment, segmentBase));
  });
  if (isEnded) lines.push('#EXT-X-ENDLIST');
  return `${lines.join('\n')}\n`;
}

function goesOn(before: Segment, segment: Segment): boolean {
  return segment.period === before.period && segment.startTicks === before.startTicks + before.durationTicks;
}

/** @param open the first of what is listed when there is no whole segment. */
export function headLines(
  presentation: Presentation,
  {
    track,
    version,
    open,
  }: { track: TrackKind; version: number; open?: Pick<Segment, 'number' | 'period'> | undefined },
): string[] {
  const first = presentation.segments[track][0] ?? open;
  return [
    '#EXTM3U',
    `#EXT-X-VERSION:${version}`,
    `#EXT-X-TARGETDURATION:${targetMs(presentation) / 1000}`,
    `#EXT-X-MEDIA-SEQUENCE:${first?.number ?? 0}`,
    `#EXT-X-DISCONTINUITY-SEQUENCE:${first?.period ?? 0}`,
  ];
}

/** What stands before a segment, whole or open: a new period since the one before it, and the wall clock. */
export function openingLines(
  { periods }: Presentation,
  segment: Pick<Segment, 'period' | 'startTicks' | 'durationTicks' | 'timescale'>,
  before: Pick<Segment, 'period'> | undefined,
  { track, segmentBase }: { track: TrackKind; segmentBase: string },
): string[] {
  const lines: string[] = [];
  if (segment.period !== before?.period) {
    // One tag per period passed, also for one this track has nothing of: both tracks must count alike.
    const passed = before === undefined ? 0 : segment.period - before.period;
    for (let i = 0; i < passed; i += 1) lines.push('#EXT-X-DISCONTINUITY');
    lines.push(`#EXT-X-MAP:URI="${segmentBase}${initName(track, segment.period)}"`);
  }
  lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(wallMs(segment, periods)).toISOString()}`);
  return lines;
}

export function segmentLines(segment: Segment, segmentBase: string): string[] {
  return [`#EXTINF:${(durationMs(segment) / 1000).toFixed(5)},`, `${segmentBase}${segmentName(segment)}`];
}
