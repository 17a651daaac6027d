import { describe, expect, it } from 'vitest';
import { mediaOf } from '../../scripts/hardware/played-media.ts';

const log = [
  'Input #0, flv, from http://127.0.0.1:1/x/live.flv:',
  '  Stream #0:0: Video: h264 (High), yuv420p(progressive), 320x180, 195 kb/s, 5 fps, 5 tbr, 1k tbn',
  '  Stream #0:1: Audio: aac (LC), 48000 Hz, mono, fltp, 31 kb/s',
  "Output #0, framemd5, to 'pipe:1':",
  '  Stream #0:0: Video: rawvideo, yuv420p, 640x360, 5 fps',
  '[Parsed_volumedetect_0 @ 0x1] max_volume: -91.0 dB',
];
const frames = [
  '#format: frame checksums',
  '#tb 0: 1/5',
  '#media_type 0: video',
  '#tb 1: 1/48000',
  '#media_type 1: audio',
  '0,          0,          0,        1,    86400, aaaa',
  '1,          0,          0,     1024,     2048, cccc',
  '0,          1,          1,        1,    86400, bbbb',
  '1,       1024,       1024,     1024,     2048, cccc',
  '0,          2,          2,        1,    86400, bbbb',
];

describe('what a viewer decodes', () => {
  it('tells codecs and size of what came in, and frames of what was decoded', () => {
    expect(mediaOf(frames, log)).toEqual({
      ...{ videoCodec: 'h264', audioCodec: 'aac', widthPx: 320, heightPx: 180, sampleRateHz: 48_000 },
      ...{ frames: 3, differentFrames: 2, framesPerSecond: 5, peakDb: -91, complaints: [] },
      soundSeconds: expect.closeTo(2_048 / 48_000),
    });
  });

  it('hands on what the decoder complained about', () => {
    expect(mediaOf(frames, [...log, '[h264 @ 0x1] error while decoding MB 3 4']).complaints).toHaveLength(1);
  });

  it('is about nothing when nothing came', () => {
    expect(mediaOf([], ['http://x: 404 Not Found'])).toMatchObject({
      frames: 0,
      videoCodec: undefined,
      soundSeconds: 0,
    });
  });
});
