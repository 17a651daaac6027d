/** HLS and DASH written from a presentation: golden text, and the numbers a player relies on. */
import { describe, expect, it } from 'vitest';
import { mpd } from '../../cloud/local-stream/packaging/dash-manifest.ts';
import { masterPlaylist, mediaPlaylist } from '../../cloud/local-stream/packaging/hls-manifest.ts';
import type { Period, Segment } from '../../cloud/local-stream/packaging/packager.ts';
import { isMediaName, type Presentation } from '../../cloud/local-stream/packaging/presentation.ts';
import { MAX_KEPT_PLAYLISTS, wholePlaylists } from '../../cloud/local-stream/playback/delivery-manifests.ts';

const startedMs = 1_700_000_000_000;
const sound = { codec: 'mp4a.40.2', timescale: 44_100, width: 0, height: 0, channels: 1 };
const picture = (width: number, height: number) => ({
  codec: 'avc1.42c01f',
  timescale: 90_000,
  width,
  height,
  channels: 0,
});

function segment(track: 'video' | 'audio', number: number, period: number, startS: number, lengthS: number): Segment {
  const timescale = track === 'video' ? 90_000 : 44_100;
  const startTicks = Math.round(startS * timescale);
  const durationTicks = Math.round(lengthS * timescale);
  return { track, number, period, startTicks, durationTicks, timescale, bytes: track === 'video' ? 100_000 : 8000 };
}

/** Two periods with a pause of ten seconds between them, which the video's own timeline leaves out. */
function presentation(isEnded: boolean): Presentation {
  const periods: Period[] = [
    { index: 3, startMs: 20_000, wallMs: startedMs + 20_000, video: picture(640, 360), audio: sound },
    { index: 4, startMs: 22_000, wallMs: startedMs + 32_000, video: picture(1280, 720), audio: sound },
  ];
  const video = [segment('video', 20, 3, 20, 1), segment('video', 21, 3, 21, 1), segment('video', 22, 4, 22, 1.04)];
  const audio = [segment('audio', 19, 3, 20, 1), segment('audio', 20, 3, 21, 1), segment('audio', 21, 4, 22, 1)];
  return { startedMs, periods, segments: { video, audio }, longestMs: 1040, isEnded };
}

describe('HLS', () => {
  it('master: one variant, sound as a group', () => {
    expect(masterPlaylist(presentation(false), (track) => `${track}.m3u8`)).toBe(
      [
        '#EXTM3U',
        '#EXT-X-VERSION:7',
        '#EXT-X-INDEPENDENT-SEGMENTS',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="1",URI="audio.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=864000,AVERAGE-BANDWIDTH=853474,CODECS="avc1.42c01f,mp4a.40.2",RESOLUTION=1280x720,AUDIO="audio"',
        'video.m3u8',
        '',
      ].join('\n'),
    );
  });
  it('media: sequence, discontinuity, map and clock', () => {
    expect(mediaPlaylist(presentation(false), 'video', '../segments/')).toBe(
      [
        '#EXTM3U',
        '#EXT-X-VERSION:7',
        '#EXT-X-TARGETDURATION:1',
        '#EXT-X-MEDIA-SEQUENCE:20',
        '#EXT-X-DISCONTINUITY-SEQUENCE:3',
        '#EXT-X-INDEPENDENT-SEGMENTS',
        '#EXT-X-MAP:URI="../segments/video-init-3.mp4"',
        '#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:40.000Z',
        '#EXTINF:1.00000,',
        '../segments/video-20.m4s',
        '#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:41.000Z',
        '#EXTINF:1.00000,',
        '../segments/video-21.m4s',
        '#EXT-X-DISCONTINUITY',
        '#EXT-X-MAP:URI="../segments/video-init-4.mp4"',
        '#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:52.000Z',
        '#EXTINF:1.04000,',
        '../segments/video-22.m4s',
        '',
      ].join('\n'),
    );
  });
  it('an ended one says so, and both tracks count discontinuities alike', () => {
    const shown = presentation(true);
    const silentInBetween = { ...shown.segments, audio: [segment('audio', 0, 1, 0, 1), segment('audio', 1, 4, 22, 1)] };
    const audio = mediaPlaylist({ ...shown, segments: silentInBetween }, 'audio', '');
    expect(audio.match(/#EXT-X-DISCONTINUITY\n/g)).toHaveLength(3);
    expect(audio.trimEnd().split('\n').at(-1)).toBe('#EXT-X-ENDLIST');
  });
});

describe('DASH', () => {
  it('live: periods on the wall clock, runs of equal segments as one', () => {
    const text = mpd(presentation(false), '../segments/', startedMs + 40_000);
    expect(text).toContain(
      'type="dynamic" availabilityStartTime="2023-11-14T22:13:20.000Z" publishTime="2023-11-14T22:13:53.040Z"',
    );
    expect(text).toContain('utc:direct:2014" value="2023-11-14T22:14:00.000Z"');
    expect(text).toContain('<Period id="3" start="PT20.000S">');
    expect(text).toContain('<Period id="4" start="PT32.000S">');
    expect(text).toContain('presentationTimeOffset="1800000" startNumber="20" initialization="video-init-3.mp4"');
    expect(text).toContain('<S t="1800000" d="90000" r="1"/>');
    expect(text).toContain('<S t="882000" d="44100" r="1"/>');
    expect(text).toContain('<S t="1980000" d="93600"/>');
    expect(text).toContain('codecs="mp4a.40.2" bandwidth="64000" audioSamplingRate="44100"');
  });
  it('ended: static, from zero, without the pause', () => {
    const text = mpd(presentation(true), '', startedMs);
    expect(text).toContain('type="static" mediaPresentationDuration="PT3.040S"');
    expect(text).toContain('<Period id="3" start="PT0.000S">');
    expect(text).toContain('<Period id="4" start="PT2.000S">');
    expect(text).not.toContain('dynamic');
  });
});

describe('names', () => {
  it.each(['video-0.m4s', 'audio-12.m4s', 'video-init-0.mp4'])('%s is media', (name) => {
    expect(isMediaName(name)).toBe(true);
  });
  it.each(['../catalogue.db', 'timeline.jsonl', 'video-.m4s', 'video-1.m4s/..', 'api-token', ''])(
    '%s is not',
    (name) => {
      expect(isMediaName(name)).toBe(false);
    },
  );
});

describe('playlists of whole broadcasts', () => {
  it('are written once, and kept for the videos that were asked for last', () => {
    const shown = presentation(true);
    const playlist = wholePlaylists({ whole: (found) => found.presentation });
    const of = (videoUid: string) => playlist({ videoUid, isLive: false, presentation: shown }, 'video');
    const first = of('first');
    expect(of('first')).toBe(first);
    for (let number = 0; number < MAX_KEPT_PLAYLISTS; number += 1) of(`video ${number}`);
    expect(of('first')).not.toBe(first);
    expect(of('first').equals(first)).toBe(true);
  });
});
