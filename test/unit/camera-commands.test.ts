import { expect, test } from 'vitest';
import {
  feedInputArguments,
  libcameraCaptureArguments,
  passthroughArguments,
  v4l2CaptureArguments,
} from '../../device/capture/camera-commands.ts';

const camera = { driver: 'v4l2', device: '/dev/video2' } as const;
const pi = { driver: 'libcamera', device: '1' } as const;
const modeOf = (pixelFormat: string) => ({ pixelFormat, widthPx: 1280, heightPx: 720, frameRate: 30 });
const asked = { keyFrameIntervalMs: 2000, videoBitrateBps: 2_000_000 };

test.each([
  ['yuyv422', 'rawvideo'],
  ['mjpeg', 'mpjpeg'],
  ['h264', 'h264'],
])('a V4L2 camera’s %s is copied out as %s', (pixelFormat, format) => {
  expect(v4l2CaptureArguments({ camera, mode: modeOf(pixelFormat), ...asked }).join(' ')).toBe(
    `-hide_banner -nostdin -nostats -loglevel level+info -probesize 32 -analyzeduration 0 -f v4l2 -input_format ${pixelFormat} -framerate 30 -video_size 1280x720 -i /dev/video2 -map 0:v:0 -c:v copy -flush_packets 1 -f ${format} pipe:1`,
  );
});

test('rpicam-vid: raw, or H.264 with our key frames and bitrate', () => {
  const common = '--camera 1 --nopreview --timeout 0 --width 1280 --height 720 --framerate 30';
  expect(libcameraCaptureArguments({ camera: pi, mode: modeOf('yuv420p'), ...asked }).join(' ')).toBe(
    `${common} --codec yuv420 --flush --output -`,
  );
  expect(libcameraCaptureArguments({ camera: pi, mode: modeOf('h264'), ...asked }).join(' ')).toBe(
    `${common} --codec h264 --profile baseline --inline --intra 60 --bitrate 2000000 --flush --output -`,
  );
});

test('what an encoder run reads a feed with', () => {
  expect(feedInputArguments(modeOf('nv12')).join(' ')).toBe(
    '-probesize 32 -analyzeduration 0 -f rawvideo -pixel_format nv12 -video_size 1280x720 -framerate 30',
  );
  expect(feedInputArguments(modeOf('mjpeg')).join(' ')).toBe('-probesize 32 -analyzeduration 0 -f mpjpeg');
});

test('H.264 passed through: from the camera itself, or from the feed’s pipe', () => {
  const direct = passthroughArguments(camera, modeOf('h264'), 1_700_000_000_123);
  expect(direct.url).toBe('/dev/video2');
  expect(direct.inputOptions.join(' ')).toContain('-use_wallclock_as_timestamps 1');
  expect(direct.inputOptions.join(' ')).toContain('-f v4l2 -input_format h264');
  expect(direct.outputOptions.join(' ')).toBe('-map 0:v:0 -c:v copy -copyts -output_ts_offset -1700000000.123');
  const piped = passthroughArguments(pi, modeOf('h264'), 0);
  expect(piped.url).toBe('pipe:0');
  expect(piped.inputOptions.join(' ')).toContain('-f h264 -framerate 30');
});
