import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type CameraMode,
  parseFfmpegFormats,
  parseLibcameraList,
  parseV4l2Ctl,
} from '../../device/capture/camera-listings.ts';
import * as texts from '../support/camera-listings.ts';

const lines = (text: string) => text.split('\n');
const short = (modes: readonly CameraMode[]) =>
  modes.map(({ pixelFormat, widthPx, heightPx, frameRates }) => `${pixelFormat} ${widthPx}x${heightPx} ${frameRates}`);

describe('v4l2-ctl', () => {
  test('a webcam: three formats, each size once, rates highest first', () => {
    const { name, isCamera, modes } = parseV4l2Ctl(lines(texts.webcam));
    expect({ name, isCamera }).toEqual({ name: 'HD Pro Webcam C920', isCamera: true });
    expect(short(modes)).toEqual([
      'yuyv422 640x480 30,24,15',
      'yuyv422 640x360 30,15',
      'yuyv422 1280x720 10,5',
      'h264 1280x720 30,15',
      'mjpeg 640x480 30',
      'mjpeg 1280x720 30,15',
      'mjpeg 1920x1080 30',
    ]);
  });

  test('vivid: formats that ffmpeg does not read are left out', () => {
    const { isCamera, modes } = parseV4l2Ctl(lines(texts.vivid));
    expect(isCamera).toBe(true);
    expect(short(modes)).toEqual(['yuyv422 320x180 60,30,25,1', 'yuyv422 1280x720 30', 'uyvy422 320x180 25']);
  });

  test('ranges of sizes and rates', () => {
    const { modes } = parseV4l2Ctl(lines(texts.stepwise));
    const range = { minWidthPx: 32, minHeightPx: 32, stepWidthPx: 2, stepHeightPx: 2 };
    const largest = { widthPx: 2592, heightPx: 1944, sizes: range, frameRates: [90, 1], isAnyRate: true };
    expect(modes).toEqual([
      { pixelFormat: 'yuv420p', ...largest },
      { pixelFormat: 'h264', ...largest },
    ]);
  });

  test('sizes of a format that is not read do not fall to the one before', () => {
    const other = texts.webcam.replace("'H264' (H.264, compressed)", "'Y16 -BE' (16-bit Greyscale BE)");
    const { modes } = parseV4l2Ctl(lines(other));
    expect(short(modes).slice(2, 4)).toEqual(['yuyv422 1280x720 10,5', 'mjpeg 640x480 30']);
  });

  test('the form of older versions', () => {
    const { name, isCamera, modes } = parseV4l2Ctl(lines(texts.oldForm));
    expect({ name, isCamera }).toEqual({ name: 'USB 2.0 Camera', isCamera: true });
    expect(short(modes)).toEqual(['mjpeg 640x480 30']);
  });

  test.each(Object.entries({ ...texts.piNodes, metadata: texts.webcamMetadata, nothing: '' }))(
    'no camera: %s',
    (_, text) => {
      expect(parseV4l2Ctl(lines(text)).isCamera).toBe(false);
    },
  );
});

describe('ffmpeg', () => {
  test('sizes and ranges without rates', () => {
    const modes = parseFfmpegFormats(lines(texts.ffmpegFormats));
    expect(short(modes)).toEqual([
      'yuyv422 640x480 undefined',
      'yuyv422 640x360 undefined',
      'yuyv422 1280x720 undefined',
      'mjpeg 640x480 undefined',
      'mjpeg 1280x720 undefined',
      'mjpeg 1920x1080 undefined',
      'h264 1920x1080 undefined',
    ]);
    expect(modes.at(-1)?.sizes).toEqual({ minWidthPx: 32, minHeightPx: 32, stepWidthPx: 2, stepHeightPx: 2 });
  });

  test('lines with tags of their level', () => {
    const tagged = '[video4linux2,v4l2 @ 0x1] [info] Raw       :        nv12 :         Y/UV 4:2:0 : 640x480';
    expect(short(parseFfmpegFormats([tagged]))).toEqual(['nv12 640x480 undefined']);
  });
});

describe('rpicam-vid', () => {
  test('each sensor mode becomes H.264 and raw, raw in whole lines of 128', () => {
    const [wide, second] = parseLibcameraList(lines(texts.libcameraList), true);
    expect(wide).toMatchObject({ index: 0, name: 'imx708_wide' });
    expect(short(wide?.modes ?? [])).toEqual([
      'h264 1536x864 120.13,1',
      'yuv420p 1536x864 120.13,1',
      'h264 1920x1080 56.03,14.35,1',
      'yuv420p 2304x1296 56.03,1',
      'yuv420p 4608x2592 14.35,1',
    ]);
    expect(second).toMatchObject({ index: 1, name: 'imx477' });
    expect(short(second?.modes ?? [])).toContain('yuv420p 1920x1080 50,1');
  });

  test('without an encoder in the board (Raspberry Pi 5) raw pictures only', () => {
    const [wide] = parseLibcameraList(lines(texts.libcameraList), false);
    expect(new Set(wide?.modes.map(({ pixelFormat }) => pixelFormat))).toEqual(new Set(['yuv420p']));
  });

  test('older lists without rates', () => {
    const [only] = parseLibcameraList(lines(texts.oldLibcameraList), true);
    expect(short(only?.modes ?? [])).toContain('yuv420p 1920x1520 undefined');
  });

  test.each(['No cameras available!', '', '0 :'])('no camera in %j', (text) => {
    expect(parseLibcameraList([text], true)).toEqual([]);
  });
});

describe('whatever the programs print', () => {
  const known = [
    ...Object.values(texts.piNodes),
    texts.webcam,
    texts.stepwise,
    texts.ffmpegFormats,
    texts.libcameraList,
  ];
  const mangled = fc
    .tuple(fc.constantFrom(...known), fc.array(fc.tuple(fc.nat(), fc.string({ maxLength: 12 })), { maxLength: 30 }))
    .map(([text, cuts]) =>
      cuts.reduce(
        (rest, [at, put]) => rest.slice(0, at % rest.length) + put + rest.slice((at % rest.length) + 3),
        text,
      ),
    );
  test.each([
    ['v4l2-ctl', (text: string[]) => parseV4l2Ctl(text).modes],
    ['ffmpeg', parseFfmpegFormats],
    ['rpicam-vid', (text: string[]) => parseLibcameraList(text, true).flatMap(({ modes }) => modes)],
  ] as const)('%s: modes are whole or absent', (_, parse) => {
    fc.assert(
      fc.property(fc.oneof(mangled, fc.string({ maxLength: 300 })), (text) => {
        for (const { widthPx, heightPx, sizes, frameRates } of parse(lines(text))) {
          for (const px of [widthPx, heightPx]) expect(Number.isInteger(px) && px > 0 && px <= 16_384).toBe(true);
          if (sizes) for (const px of Object.values(sizes)) expect(Number.isInteger(px) && px > 0).toBe(true);
          for (const rate of frameRates ?? []) expect(rate > 0 && rate <= 1000).toBe(true);
        }
      }),
      { numRuns: 400 },
    );
  });
});
