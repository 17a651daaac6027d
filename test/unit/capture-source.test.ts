import { describe, expect, test } from 'vitest';
import { burnedClock, secondsOfDay } from '../../device/capture/burned-clock.ts';
import {
  type CaptureSource,
  checkCaptureSource,
  checkMicrophone,
  parseCaptureSource,
  pictureGraph,
  soundGraph,
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
const optionsOf = (source: CaptureSource, hasAudio = true) => ({
  source,
  hasAudio,
  settings: resolveSettings({ width: 640, height: 360, frameRate: 25 }),
  epochMs: 1_700_000_000_000,
  nowMs: 1_700_000_007_500,
  feedInput: ['-f', 'mpjpeg'],
});
const pictureOf = (source: CaptureSource) => pictureGraph(optionsOf(source));
const soundOf = (source: CaptureSource, hasAudio?: boolean) => soundGraph(optionsOf(source, hasAudio));

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

describe('picture and sound', () => {
  test('the test pattern is made in the size and rate asked for, with the clock in it', () => {
    const picture = pictureOf(parseCaptureSource('test-pattern'));
    const sound = soundOf(parseCaptureSource('test-pattern'));
    expect([picture.input.url, sound.input.url]).toEqual([
      'testsrc2=size=640x360:rate=25',
      'sine=frequency=1000:sample_rate=48000',
    ]);
    expect(picture.filters.filter((filter) => filter.startsWith('drawbox')).length).toBe(1 + 7 * 7 + 1);
    expect(picture.filters[1]).toContain('(RTCTIME-1700000000000000)/1000');
    expect(sound.filters[1]).toBe("volume=volume=0:enable='not(lt(mod(t+80000.000,1),0.1))'");
  });

  test('a file keeps its own timing, moved to the time of the encoder’s start', () => {
    const source = { kind: 'file', path: '/a b.mp4' } as const;
    expect(pictureOf(source).input).toEqual(soundOf(source).input);
    expect(pictureOf(source).filters).toContain('setpts=PTS+7.500/TB');
    expect(soundOf(source)).toMatchObject({ map: '0:a:0', filters: ['atrim=start=0', 'asetpts=PTS+7.500/TB'] });
  });

  test('a silent file gets a silent track', () => {
    const { input, map } = soundOf({ kind: 'file', path: '/a.mp4' }, false);
    expect([input.url, map]).toEqual(['anullsrc=channel_layout=mono:sample_rate=48000', '0:a:0']);
  });

  test('camera and microphone are stamped on arrival, on one clock', () => {
    const source = parseCaptureSource('v4l2:/dev/video2', 'alsa:hw:1');
    const [picture, sound] = [pictureOf(source), soundOf(source)];
    // The camera itself is its capture's to open.
    expect(picture.input).toEqual({ options: ['-f', 'mpjpeg'], url: 'pipe:0' });
    expect(sound.input.url).toBe('hw:1');
    expect(picture.filters.slice(0, 2)).toEqual([
      'settb=1/1000',
      "setpts='max(PREV_OUTPTS+1,(RTCTIME-1700000000000000)/1000)'",
    ]);
    expect(picture.filters.join()).toContain('scale=640:360:force_original_aspect_ratio=decrease,pad=640:360');
    expect(sound.filters[0]).toContain('(RTCTIME-1700000000000000)/1000000/TB-NB_SAMPLES/SR/TB');
  });

  test.each([
    ['slower', 12.5, false],
    ['as asked', 25, false],
    ['faster', 30, true],
    ['not known', undefined, true],
  ])(
    'a camera whose rate is %s: frames are left out only where there may be too many',
    (_, feedFrameRate, isThinned) => {
      const { filters } = pictureGraph({ ...optionsOf(parseCaptureSource('v4l2:auto')), feedFrameRate });
      expect(filters.join().includes('select=')).toBe(isThinned);
    },
  );

  test('a screen is grabbed at its own size, then fitted', () => {
    const { input, filters } = pictureOf(parseCaptureSource('screen::0.0'));
    expect(input.url).toBe(':0.0');
    expect(input.options.join(' ')).toContain('-f x11grab -framerate 25');
    expect(filters.join()).toContain('scale=640:360:force_original_aspect_ratio=decrease');
  });

  test('raw frames of the size asked for are not scaled, and fewer of them are taken when fewer are asked for', () => {
    const raw = { kind: 'rawvideo', microphone: { kind: 'beep' }, attach: () => () => {} } as const;
    const same = pictureOf({ ...raw, widthPx: 640, heightPx: 360, frameRate: 25 }).filters.join();
    expect(same).not.toMatch(/scale|select/);
    const more = pictureOf({ ...raw, widthPx: 1280, heightPx: 720, frameRate: 30 }).filters.join();
    expect(more).toContain('scale=640:360');
    expect(more).toContain('gte(t,ld(0)-0.02)');
  });
});

describe('checkCaptureSource', () => {
  test.each([
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
    // Of a camera nothing is known before it is asked.
    await checkCaptureSource(parseCaptureSource('v4l2:/dev/no-such-camera'), binary);
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
