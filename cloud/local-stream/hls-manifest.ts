/** Writes HLS playlists (RFC 8216, version 7, fMP4) from a presentation. Pure text; knows no file and no socket. */
import type { TrackKind } from './fmp4.ts';
import {
  bandwidthBps,
  durationMs,
  initName,
  newestPeriod,
  type Presentation,
  segmentName,
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
  const { periods, isEnded, longestMs } = presentation;
  const segments = presentation.segments[track];
  const first = segments[0];
  const lines = [
    '#EXTM3U',
    '#EXT-X-VERSION:7',
    // An EXTINF rounded to whole seconds may not exceed it.
    `#EXT-X-TARGETDURATION:${Math.max(1, Math.round(longestMs / 1000))}`,
    `#EXT-X-MEDIA-SEQUENCE:${first?.number ?? 0}`,
    `#EXT-X-DISCONTINUITY-SEQUENCE:${first?.period ?? 0}`,
    '#EXT-X-INDEPENDENT-SEGMENTS',
  ];
  if (isEnded) lines.push('#EXT-X-PLAYLIST-TYPE:VOD');
  let period: number | undefined;
  for (const segment of segments) {
    if (segment.period !== period) {
      // One tag per period passed, also for one this track has nothing of: both tracks must count alike.
      const passed = period === undefined ? 0 : segment.period - period;
      for (let i = 0; i < passed; i += 1) lines.push('#EXT-X-DISCONTINUITY');
      lines.push(`#EXT-X-MAP:URI="${segmentBase}${initName(track, segment.period)}"`);
      period = segment.period;
    }
    lines.push(
      `#EXT-X-PROGRAM-DATE-TIME:${new Date(wallMs(segment, periods)).toISOString()}`,
      `#EXTINF:${(durationMs(segment) / 1000).toFixed(5)},`,
      `${segmentBase}${segmentName(segment)}`,
    );
  }
  if (isEnded) lines.push('#EXT-X-ENDLIST');
  return `${lines.join('\n')}\n`;
}
