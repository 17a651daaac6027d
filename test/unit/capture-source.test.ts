import { describe, expect, test } from 'vitest';
import { burnedClock, secondsOfDay } from '../../device/capture/burned-clock.ts';
import {
  type CaptureSource,
  captureGraph,
  checkCaptureSource,
  checkMicrophone,
  parseCaptureSource,
} from '../../device/capture/capture-source.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import { resolveSettings } from '../../shared/stream.ts';

const binary: FfmpegBinary = {
  file: '/usr/bin/ffmpeg',
  version: '4.1',
  origin: 'PATH',
  encoders: new Set(['libx264', 'aac']),
  inputs: new Set(['lavfi', 'alsa', 'v4l2']),
  hasFpsMode: false,
  reason: 'test',
};
const graphOf = (source: CaptureSource, hasAudio = true) =>
  captureGraph({
    source,
    hasAudio,
    settings: resolveSettings({ width: 640, height: 360, frameRate: 25 }),
    epochMs: 1_700_000_000_000,
    nowMs: 1_700_000_007_500,
  });

describe('parseCaptureSource', () => {
  test.each([
    ['test-pattern', undefined, { kind: 'test-pattern', microphone: { kind: 'beep' } }],
    ['test-pattern', 'silence', { kind: 'test-pattern', microphone: { kind: 'silence' } }],
    ['file:/a b/c:d.mp4', undefined, { kind: 'file', path: '/a b/c:d.mp4' }],
    [
      'v4l2:/dev/video0',
      undefined,
      { kind: 'camera', driver: 'v4l2', device: '/dev/video0', microphone: { kind: 'silence' } },
    ],
    [
      'v4l2:/dev/video0',
      'alsa:hw:1,0',
      { kind: 'camera', driver: 'v4l2', device: '/dev/video0', microphone: { kind: 'alsa', name: 'hw:1,0' } },
    ],
    ['v4l2:auto', 'beep', { kind: 'camera', driver: 'v4l2', device: 'auto', microphone: { kind: 'beep' } }],
    ['libcamera', undefined, { kind: 'camera', driver: 'libcamera', device: '0', microphone: { kind: 'silence' } }],
    ['libcamera:1', undefined, { kind: 'camera', driver: 'libcamera', device: '1', microphone: { kind: 'silence' } }],
    ['screen::0.0', undefined, { kind: 'screen', display: ':0.0', microphone: { kind: 'silence' } }],
    ['screen:far:1', 'beep', { kind: 'screen', display: 'far:1', microphone: { kind: 'beep' } }],
    ['test-pattern', 'pulse:default', { kind: 'test-pattern', microphone: { kind: 'pulse', name: 'default' } }],
  ])('%s with %s', (source, microphone, expected) => {
    expect(parseCaptureSource(source, microphone)).toEqual(expected);
  });

  test.each([
    ['', undefined],
    ['test-pattern:x', undefined],
    ['file:', undefined],
    ['v4l2', undefined],
    ['libcamera:', undefined],
    ['libcamera:front', undefined],
    ['screen', undefined],
    ['http://x/y', undefined],
    ['file:/a.mp4', 'beep'],
    ['test-pattern', 'alsa'],
    ['test-pattern', 'oss:x'],
  ])('refuses %j with %j', (source, microphone) => {
    expect(() => parseCaptureSource(source, microphone)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  });
});

describe('captureGraph', () => {
  test('the test pattern is made in the size and rate asked for, with the clock in it', () => {
    const { inputs, video, audio } = graphOf(parseCaptureSource('test-pattern'));
    expect(inputs.map(({ url }) => url)).toEqual([
      'testsrc2=size=640x360:rate=25',
      'sine=frequency=1000:sample_rate=48000',
    ]);
    expect(video.filters.filter((filter) => filter.startsWith('drawbox')).length).toBe(1 + 7 * 7 + 1);
    expect(video.filters[1]).toContain('(RTCTIME-1700000000000000)/1000');
    expect(audio.filters[1]).toBe("volume=volume=0:enable='not(lt(mod(t+80000.000,1),0.1))'");
  });

  test('a file keeps its own timing, moved to the time of the encoder’s start', () => {
    const { inputs, video, audio } = graphOf({ kind: 'file', path: '/a b.mp4' });
    expect(inputs).toHaveLength(1);
    expect(inputs[0]).toEqual({ options: ['-re', '-stream_loop', '-1', '-fflags', '+genpts'], url: 'file:/a b.mp4' });
    expect(video.filters).toContain('setpts=PTS+7.500/TB');
    expect(audio).toEqual({ map: '0:a:0', filters: ['asetpts=PTS+7.500/TB'] });
  });

  test('a silent file gets a silent track', () => {
    const { inputs, audio } = graphOf({ kind: 'file', path: '/a.mp4' }, false);
    expect(inputs[1]?.url).toBe('anullsrc=channel_layout=mono:sample_rate=48000');
    expect(audio.map).toBe('1:a:0');
  });

  test('camera and microphone are stamped on arrival, on one clock', () => {
    const { inputs, video, audio } = graphOf(parseCaptureSource('v4l2:/dev/video2', 'alsa:hw:1'));
    expect(inputs.map(({ url }) => url)).toEqual(['/dev/video2', 'hw:1']);
    expect(inputs[0]?.options.join(' ')).toContain('-f v4l2 -framerate 25 -video_size 640x360');
    expect(video.filters.slice(0, 2)).toEqual([
      'settb=1/1000',
      "setpts='max(PREV_OUTPTS+1,(RTCTIME-1700000000000000)/1000)'",
    ]);
    expect(video.filters.join()).toContain('scale=640:360:force_original_aspect_ratio=decrease,pad=640:360');
    expect(audio.filters[0]).toContain('(RTCTIME-1700000000000000)/1000000/TB-NB_SAMPLES/SR/TB');
  });

  test('a screen is grabbed at its own size, then fitted', () => {
    const { inputs, video } = graphOf(parseCaptureSource('screen::0.0'));
    expect(inputs[0]?.url).toBe(':0.0');
    expect(inputs[0]?.options.join(' ')).toContain('-f x11grab -framerate 25');
    expect(video.filters.join()).toContain('scale=640:360:force_original_aspect_ratio=decrease');
  });

  test('raw frames of the size asked for are not scaled', () => {
    const raw = { kind: 'rawvideo', frameRate: 30, microphone: { kind: 'beep' }, attach: () => () => {} } as const;
    expect(graphOf({ ...raw, widthPx: 640, heightPx: 360 }).video.filters.join()).not.toContain('scale');
    expect(graphOf({ ...raw, widthPx: 1280, heightPx: 720 }).video.filters.join()).toContain('scale=640:360');
  });
});

test.each(['test-pattern', 'v4l2:/dev/video0'])('generated sound of %s is not paced by itself', (text) => {
  // Paced, it was read blocking: after one late picture two packets of sound were served per picture, for good.
  const [, sound] = graphOf(parseCaptureSource(text)).inputs;
  expect(sound?.options).toContain('lavfi');
  expect(sound?.options).not.toContain('-re');
});

describe('checkCaptureSource', () => {
  test.each([
    ['v4l2:/dev/no-such-camera', undefined, 'CAMERA_NOT_FOUND'],
    ['screen::0', undefined, 'CAMERA_NOT_FOUND'],
    ['file:/no/such/file', undefined, 'CAPTURE_FILE_UNREADABLE'],
    ['file:/tmp', undefined, 'CAPTURE_FILE_UNREADABLE'],
  ])('%s with %s is %s', async (source, microphone, code) => {
    await expect(checkCaptureSource(parseCaptureSource(source, microphone), binary)).rejects.toMatchObject({ code });
  });

  test('a microphone that this ffmpeg cannot record from is MICROPHONE_NOT_FOUND, and no matter of the picture', async () => {
    await checkCaptureSource(parseCaptureSource('test-pattern', 'pulse:x'), binary);
    expect(() => checkMicrophone({ kind: 'pulse', name: 'x' }, binary)).toThrow(/pulse/);
    checkMicrophone({ kind: 'beep' }, binary);
  });

  test('what is there passes', async () => {
    await checkCaptureSource(parseCaptureSource('test-pattern'), binary);
    await checkCaptureSource(parseCaptureSource('v4l2:auto'), binary);
    await checkCaptureSource(parseCaptureSource('libcamera'), binary);
    await checkCaptureSource(parseCaptureSource(`file:${import.meta.filename}`), binary);
  });
});

describe('burnedClock', () => {
  test('seconds of the day at time stamp 0', () => {
    expect(secondsOfDay(Date.UTC(2026, 0, 2, 1, 1, 1, 250))).toBe('3661.250');
  });

  test.each([
    [160, 120],
    [320, 180],
    [720, 1280],
    [1920, 1080],
  ])('stays inside a picture of %dx%d', (widthPx, heightPx) => {
    for (const filter of burnedClock({ widthPx, heightPx, epochMs: 0 })) {
      const [x, y, w, h] = [...filter.matchAll(/[xywh]=(-?\d+)/g)].map(([, value]) => Number(value));
      expect(Math.min(x ?? -1, y ?? -1), filter).toBeGreaterThanOrEqual(0);
      expect(Math.min(w ?? 0, h ?? 0), filter).toBeGreaterThan(0);
      expect((x ?? 0) + (w ?? 0), filter).toBeLessThanOrEqual(widthPx);
      expect((y ?? 0) + (h ?? 0), filter).toBeLessThanOrEqual(heightPx);
    }
  });
});
