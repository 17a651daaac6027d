import { expect, test } from 'vitest';
import { type CaptureSource, parseCaptureSource } from '../../device/capture/capture-source.ts';
import { causeOf } from '../../device/encoding/ffmpeg-causes.ts';

const camera = parseCaptureSource('v4l2:/dev/video9', 'alsa:hw:9');
const link = parseCaptureSource('v4l2:/dev/glasscast-camera');
const libcamera = parseCaptureSource('libcamera');
const file = parseCaptureSource('file:/tmp/film.mp4');
const pulse = parseCaptureSource('test-pattern', 'pulse:nope');
const pattern = parseCaptureSource('test-pattern');

/** What ffmpeg 4.1 and 5.1 really said. Lines of one run are divided by |. */
const recorded: [string, CaptureSource, string, string][] = [
  [
    '[video4linux2,v4l2 @ 0x561197ca2880] [error] Cannot open video device /dev/video9: No such file or directory|[error] /dev/video9: No such file or directory',
    camera,
    'CAMERA_NOT_FOUND',
    '/dev/video9',
  ],
  ['[error] /dev/video9: Device or resource busy', camera, 'CAMERA_BUSY', '/dev/video9'],
  [
    '[video4linux2,v4l2 @ 0x3d] [error] ioctl(VIDIOC_STREAMON): Device or resource busy|[error] /dev/video9: Device or resource busy',
    camera,
    'CAMERA_BUSY',
    '/dev/video9',
  ],
  [
    '[video4linux2,v4l2 @ 0x3d] [error] Cannot open video device /dev/video9: Permission denied',
    camera,
    'CAPTURE_FORBIDDEN',
    'Permission denied',
  ],
  [
    '[video4linux2,v4l2 @ 0x563c41f35880] [error] ioctl(VIDIOC_QUERYCAP): Inappropriate ioctl for device|[error] /etc/passwd: Inappropriate ioctl for device',
    camera,
    'CAMERA_NOT_FOUND',
    '/dev/video9',
  ],
  [
    'ALSA lib confmisc.c:165:(snd_config_get_card) Cannot get card index for 9|[alsa @ 0x55d454cb5880] [error] cannot open audio device hw:9 (No such file or directory)|[error] hw:9: Input/output error',
    camera,
    'MICROPHONE_NOT_FOUND',
    'alsa:hw:9',
  ],
  [
    '[alsa @ 0x55d4] [error] cannot open audio device hw:9 (Device or resource busy)',
    camera,
    'MICROPHONE_BUSY',
    'alsa:hw:9',
  ],
  [
    'ALSA lib ../../src/conf.c:3545:(snd_config_hooks_call) Cannot open shared library libasound_module_conf_pulse.so|ALSA lib ../../../src/pcm/pcm.c:2565:(snd_pcm_open_noupdate) Unknown PCM hw:9|[alsa @ 0x19be8bc0] [error] cannot open audio device hw:9 (No such file or directory)|[error] hw:9: Input/output error',
    camera,
    'MICROPHONE_NOT_FOUND',
    'alsa:hw:9, as this ffmpeg cannot read the ALSA configuration',
  ],
  ['[error] nope: No such process', pulse, 'MICROPHONE_NOT_FOUND', 'or name another one: pulse:nope'],
  [
    '[alsa @ 0x55bd4a5f4a00] [warning] ALSA buffer xrun.|[alsa @ 0x55bd4a5f4a00] [error] ALSA read error: No such device|[error] hw:9: Input/output error',
    camera,
    'MICROPHONE_NOT_FOUND',
    'or name another one: alsa:hw:9',
  ],
  [
    '[alsa @ 0x55d4] [error] cannot open audio device hw:9 (Permission denied)',
    camera,
    'CAPTURE_FORBIDDEN',
    'groups video and audio: alsa:hw:9',
  ],
  ['[error] /dev/glasscast-camera: Device or resource busy', link, 'CAMERA_BUSY', '/dev/glasscast-camera'],
  ['[error] /dev/glasscast-camera: No such file or directory', link, 'CAMERA_NOT_FOUND', '/dev/glasscast-camera'],
  ['[error] /dev/dri/renderD128: Device or resource busy', pattern, 'ENCODER_FAILED', '/dev/dri/renderD128'],
  [
    '[video4linux2,v4l2 @ 0x55c9] [error] ioctl(VIDIOC_DQBUF): Input/output error|[error] /dev/video9: Input/output error|[video4linux2,v4l2 @ 0x55c9] [warning] Some buffers are still owned by the caller on close.|[error] ioctl(VIDIOC_QBUF): Bad file descriptor',
    camera,
    'ENCODER_FAILED',
    '/dev/video9: Input/output error',
  ],
  ["[fatal] Unknown input format: 'pulse'", pulse, 'MICROPHONE_NOT_FOUND', 'pulse:nope'],
  [
    '[error] file:/tmp/film.mp4: Invalid data found when processing input',
    file,
    'CAPTURE_FILE_UNREADABLE',
    '/tmp/film.mp4',
  ],
  ['[error] file:/tmp/film.mp4: No such file or directory', file, 'CAPTURE_FILE_UNREADABLE', '/tmp/film.mp4'],
  ["[fatal] Stream map '0:v:0' matches no streams.", file, 'CAPTURE_FILE_UNREADABLE', '/tmp/film.mp4'],
  ["[fatal] Unknown encoder 'libx264'", pattern, 'FFMPEG_MISSING', "Unknown encoder 'libx264'"],
  [
    '[libx264 @ 0x1] [error] malloc of size 5 failed|Conversion failed!',
    pattern,
    'ENCODER_FAILED',
    'malloc of size 5 failed',
  ],
  [
    '[video4linux2,v4l2 @ 0x3d] [error] ioctl(VIDIOC_DQBUF): No such device|[error] /dev/video9: No such device',
    camera,
    'CAMERA_NOT_FOUND',
    '/dev/video9',
  ],
  ['Preview window unavailable|ERROR: *** no cameras available ***', libcamera, 'CAMERA_NOT_FOUND', 'plug it in'],
  [
    '[0:19:06.419] [2746]  INFO Camera camera.cpp:839 Pipeline handler in use by another process|ERROR: *** failed to acquire camera /base/soc/i2c0mux/i2c@1/ov5647@36 ***',
    libcamera,
    'CAMERA_BUSY',
    'another program',
  ],
  [
    '[0:00:52.242] [982] ERROR V4L2 v4l2_videodevice.cpp:1047 /dev/video0[13:cap]: Unable to set format: Device or resource busy|ERROR: *** failed to configure streams ***',
    libcamera,
    'CAMERA_BUSY',
    'another program',
  ],
  [
    '[0:01] [9] WARN V4L2 v4l2_videodevice.cpp:2007 /dev/video0[15:cap]: Dequeue timer of 1000000.00us has expired!|[0:01] [9] ERROR RPI pipeline_base.cpp:1325 Camera frontend has timed out!',
    libcamera,
    'CAMERA_NOT_FOUND',
    'plug it in',
  ],
  ['something else', pattern, 'ENCODER_FAILED', 'something else'],
];

test.each(recorded)('%s', (lines, source, code, text) => {
  const cause = causeOf(lines.split('|'), source);
  expect(cause.code).toBe(code);
  expect(cause.message).toContain(text);
});

test('an end without words is a failed encoder', () => {
  expect(causeOf([], pattern)).toMatchObject({ code: 'ENCODER_FAILED' });
});
