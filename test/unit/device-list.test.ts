import { expect, test } from 'vitest';
import { parseV4l2Ctl } from '../../device/capture/camera-listings.ts';
import type { Camera } from '../../device/capture/cameras.ts';
import { describeDevices } from '../../device/capture/device-list.ts';
import { GlasscastError } from '../../shared/errors.ts';
import * as texts from '../support/camera-listings.ts';

const wanted = { widthPx: 1280, heightPx: 720, frameRate: 30, keyFrameIntervalMs: 1000, videoBitrateBps: 2_000_000 };
const binary = { file: '/usr/bin/ffmpeg', version: '5.1', inputs: new Set(['v4l2', 'alsa', 'pulse']) };
const { name, modes } = parseV4l2Ctl(texts.webcam.split('\n'));
const webcam: Camera = {
  ...{ driver: 'v4l2' as const, device: '/dev/video0', name, modes },
  lastingDevice: '/dev/v4l/by-id/usb-C920-video-index0',
};
const forbidden: Camera = {
  ...{ driver: 'v4l2' as const, device: '/dev/video2', name: 'Other', modes: [] },
  cause: new GlasscastError('CAPTURE_FORBIDDEN', { reason: '/dev/video2' }),
};
const microphone = {
  ...{ source: 'pulse:usb', name: 'usb', sampleSpec: 's16le 1ch 48000Hz' },
  ...{ isDefault: true, isMonitor: false },
};

test('what is there, what would be taken and why', () => {
  const alsa = { source: 'alsa:plughw:1,0', name: 'Webcam', sampleSpec: undefined, isDefault: false, isMonitor: false };
  const lines = describeDevices({ cameras: [webcam, forbidden], microphones: [microphone, alsa], wanted, binary });
  expect(lines).toEqual([
    'Cameras, for 1280x720 at 30/s',
    '  v4l2:/dev/video0  HD Pro Webcam C920',
    '    yuyv422   1280x720 at 10/s, 640x480 at 30/s, 640x360 at 30/s',
    '    h264      1280x720 at 30/s',
    '    mjpeg     1920x1080 at 30/s, 1280x720 at 30/s, 640x480 at 30/s',
    '    would take h264 1280x720 at 30/s: H.264 of exactly the size and rate, sent on as the camera made it, nothing to encode; the size asked for; the rate asked for; key frames and bitrate are its own',
    '    next best  mjpeg 1280x720 at 30/s: MJPEG, as raw pictures of this size come at 10/s only; the size asked for; the rate asked for',
    '    keeps its name when plugged in again: v4l2:/dev/v4l/by-id/usb-C920-video-index0',
    '  v4l2:/dev/video2  Other',
    expect.stringMatching(/^ {4}cannot be used: .*groups video and audio/),
    '  --source v4l2:auto takes /dev/video0',
    '',
    'Microphones',
    '  pulse:usb  s16le 1ch 48000Hz; the default, also as pulse:default',
    '  alsa:plughw:1,0  Webcam',
  ]);
});

test('a microphone that may not be opened says why', () => {
  const cause = new GlasscastError('CAPTURE_FORBIDDEN', { reason: 'alsa:plughw:0,1' });
  const text = describeDevices({ cameras: [], microphones: [{ ...microphone, cause }], wanted, binary }).join('\n');
  expect(text).toMatch(/cannot be used: .*groups video and audio/);
});

test('nothing there: what to do', () => {
  const text = describeDevices({ cameras: [], microphones: [], wanted, binary }).join('\n');
  expect(text).toContain('--source test-pattern');
  expect(text).toContain('--microphone silence');
  expect(text).not.toContain('v4l2:auto takes');
});

test('an ffmpeg that cannot read them is named', () => {
  const poor = { ...binary, inputs: new Set<string>() };
  const text = describeDevices({ cameras: [webcam], microphones: [microphone], wanted, binary: poor }).join('\n');
  expect(text).toContain('/usr/bin/ffmpeg (5.1) does not read from v4l2');
  expect(text).toContain('does not record from pulse');
});
