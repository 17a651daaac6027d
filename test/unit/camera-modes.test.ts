import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type CameraMode,
  parseFfmpegFormats,
  parseLibcameraList,
  parseV4l2Ctl,
} from '../../device/capture/camera-listings.ts';
import { type RankedMode, rankModes, rawFrameBytes } from '../../device/capture/camera-modes.ts';
import * as texts from '../support/camera-listings.ts';

const webcam = parseV4l2Ctl(texts.webcam.split('\n'));
const wantedOf = (widthPx: number, heightPx: number, frameRate: number) => ({
  ...{ widthPx, heightPx, frameRate },
  keyFrameIntervalMs: 1000,
  videoBitrateBps: 2_000_000,
});
const wanted720 = wantedOf(1280, 720, 30);
const short = ({ pixelFormat, widthPx, heightPx, frameRate }: RankedMode) =>
  `${pixelFormat} ${widthPx}x${heightPx} ${frameRate}`;
const without = (pixelFormat: string) => ({ modes: webcam.modes.filter((mode) => mode.pixelFormat !== pixelFormat) });

describe('rankModes', () => {
  test('H.264 that fits exactly is sent on', () => {
    const [best, second] = rankModes(webcam, wanted720);
    expect(best).toMatchObject({ pixelFormat: 'h264', isPassthrough: true });
    expect(best?.why).toBe(
      'H.264 of exactly the size and rate, sent on as the camera made it, nothing to encode; the size asked for; the rate asked for',
    );
    expect(second && short(second)).toBe('mjpeg 1280x720 30');
  });

  test('H.264 that does not fit comes last', () => {
    const order = rankModes(webcam, wantedOf(1280, 720, 25));
    expect(order[0]?.why).toBe(
      'MJPEG, as raw pictures of this size come at 10/s only; the size asked for; pictures beyond 25/s are left out',
    );
    expect(order.at(-1)?.pixelFormat).toBe('h264');
    expect(order.filter(({ isPassthrough }) => isPassthrough)).toHaveLength(1);
  });

  test('a V4L2 camera’s H.264 has its own key frames; libcamera’s has ours', () => {
    const own = 'key frames and bitrate are its own';
    expect(rankModes({ ...webcam, driver: 'v4l2' }, wanted720)[0]?.why).toContain(own);
    expect(rankModes({ ...webcam, driver: 'libcamera' }, wanted720)[0]?.why).not.toContain(own);
    expect(rankModes(webcam, wantedOf(640, 360, 15)).at(-1)?.why).toContain('larger than the 640x360 asked for');
  });

  test('raw before MJPEG where it reaches the rate', () => {
    expect(short(rankModes(webcam, wantedOf(640, 480, 30))[0] as RankedMode)).toBe('yuyv422 640x480 30');
    expect(short(rankModes(webcam, wantedOf(640, 480, 24))[0] as RankedMode)).toBe('yuyv422 640x480 24');
    expect(short(rankModes(webcam, wantedOf(640, 360, 20))[0] as RankedMode)).toBe('yuyv422 640x360 30');
  });

  test('the smallest size that has what is asked for', () => {
    const [best] = rankModes(webcam, wantedOf(800, 600, 30));
    expect(best && short(best)).toBe('mjpeg 1280x720 30');
    expect(best?.why).toContain('scaled down to 800x600');
  });

  test('nothing reaches: motion before sharpness', () => {
    const raw = { modes: without('mjpeg').modes.filter(({ pixelFormat }) => pixelFormat === 'yuyv422') };
    const [best] = rankModes(raw, wanted720);
    expect(best && short(best)).toBe('yuyv422 640x480 30');
    expect(best?.why).toContain('smaller than the 1280x720 asked for');
  });

  test('29.97 is the 30 that was asked for', () => {
    const mode = { pixelFormat: 'h264', widthPx: 1280, heightPx: 720, frameRates: [60, 29.97] };
    expect(rankModes({ modes: [mode] }, wanted720)[0]).toMatchObject({
      frameRate: 29.97,
      why: expect.stringContaining('exactly'),
    });
  });

  test('raw that is too much to carry comes after MJPEG', () => {
    const at = { widthPx: 1920, heightPx: 1080, frameRates: [30] };
    const modes = [
      { pixelFormat: 'yuyv422', ...at },
      { pixelFormat: 'mjpeg', ...at },
    ];
    expect(rankModes({ modes }, wantedOf(1920, 1080, 30)).map(({ pixelFormat }) => pixelFormat)).toEqual([
      'mjpeg',
      'yuyv422',
    ]);
  });

  test('without colour only when nothing else is left', () => {
    const at = (pixelFormat: string, widthPx: number, rate: number) => ({
      ...{ pixelFormat, widthPx, heightPx: (widthPx * 9) / 16, frameRates: [rate] },
    });
    const modes = [at('gray', 1280, 30), at('yuyv422', 320, 5), at('mjpeg', 640, 15), at('h264', 1920, 30)];
    const order = rankModes({ modes }, wanted720);
    expect(order.map(({ pixelFormat }) => pixelFormat)).toEqual(['mjpeg', 'yuyv422', 'h264', 'gray']);
    expect(order[0]?.why).toContain('MJPEG, as nothing raw has this size');
    expect(order[3]?.why).toContain('without colour');
  });

  test('a range gives the size asked for', () => {
    const [passed, raw] = rankModes(parseV4l2Ctl(texts.stepwise.split('\n')), wantedOf(854, 480, 30));
    expect([passed, raw].map((mode) => mode && short(mode))).toEqual(['h264 854x480 30', 'yuv420p 854x480 30']);
  });

  test('libcamera: H.264 as asked, raw in whole lines of 128 pixels', () => {
    const [camera] = parseLibcameraList(texts.libcameraList.split('\n'), true);
    const order = rankModes({ modes: camera?.modes ?? [] }, wantedOf(854, 480, 30)).map(short);
    expect(order.slice(0, 2)).toEqual(['h264 854x480 30', 'yuv420p 896x480 30']);
  });

  test('rates that are not known: taken for what is asked, H.264 is not', () => {
    const order = rankModes({ modes: parseFfmpegFormats(texts.ffmpegFormats.split('\n')) }, wanted720);
    expect(order[0]).toMatchObject({ pixelFormat: 'yuyv422', frameRate: 30 });
    expect(order[0]?.why).toContain('its rate is not known before it runs');
    expect(order.at(-1)?.pixelFormat).toBe('h264');
  });

  test('no modes, nothing ranked; unknown formats are not used', () => {
    expect(rankModes({ modes: [] }, wanted720)).toEqual([]);
    const odd = { pixelFormat: 'vp9', widthPx: 640, heightPx: 480, frameRates: [30] };
    expect(rankModes({ modes: [odd] }, wanted720)).toEqual([]);
  });
});

describe('properties', () => {
  const sides = fc.constantFrom(160, 240, 320, 360, 480, 640, 720, 960, 1080, 1280, 1920);
  const rates = fc.constantFrom(5, 10, 15, 24, 25, 29.97, 30, 60);
  const mode: fc.Arbitrary<CameraMode> = fc.record({
    pixelFormat: fc.constantFrom('h264', 'mjpeg', 'yuyv422', 'nv12'),
    widthPx: sides,
    heightPx: sides,
    frameRates: fc.uniqueArray(rates, { minLength: 1, maxLength: 3 }),
  });
  const wanted = fc.tuple(sides, sides, rates).map(([width, height, rate]) => wantedOf(width, height, rate));
  type Wanted = ReturnType<typeof wantedOf>;

  const fits = (value: number, asked: number) => Math.min(1, value / asked);
  const reached = (mode: RankedMode, asked: Wanted) => [
    fits(mode.widthPx, asked.widthPx),
    fits(mode.heightPx, asked.heightPx),
    mode.frameRate >= 0.98 * asked.frameRate ? 1 : mode.frameRate / asked.frameRate,
  ];
  /** Better in one of: what it reaches of what is asked; or equal there, and cheaper in every way. */
  function dominates(a: RankedMode, b: RankedMode, asked: Wanted): boolean {
    if (a.isPassthrough || b.isPassthrough) return false;
    const [ofA, ofB] = [reached(a, asked), reached(b, asked)];
    if (!ofA.every((share, index) => share >= (ofB[index] ?? 0))) return false;
    if (ofA.some((share, index) => share > (ofB[index] ?? 0))) return true;
    const costs = ({ widthPx, heightPx, frameRate, pixelFormat }: RankedMode) => [
      widthPx * heightPx,
      pixelFormat === 'mjpeg'
        ? 1
        : (rawFrameBytes({ pixelFormat, widthPx, heightPx }) ?? 0) * frameRate <= 64e6
          ? 0
          : 2,
      frameRate,
    ];
    const [costA, costB] = [costs(a), costs(b)];
    return (
      costA.every((cost, index) => cost <= (costB[index] ?? 0)) &&
      costA.some((cost, index) => cost < (costB[index] ?? 0))
    );
  }

  test('no mode stands below one that it dominates', () => {
    fc.assert(
      fc.property(fc.array(mode, { maxLength: 12 }), wanted, (modes, asked) => {
        const order = rankModes({ modes }, asked);
        for (const [index, lower] of order.entries()) {
          for (const higher of order.slice(0, index)) expect(dominates(lower, higher, asked)).toBe(false);
        }
      }),
    );
  });

  test('the order does not depend on the listing’s, and H.264 is first only when it fits', () => {
    fc.assert(
      fc.property(fc.array(mode, { minLength: 1, maxLength: 12 }), wanted, (modes, asked) => {
        const order = rankModes({ modes }, asked);
        expect(rankModes({ modes: [...modes].reverse() }, asked)).toEqual(order);
        const [first] = order;
        if (first?.isPassthrough && order.some(({ isPassthrough }) => !isPassthrough)) {
          expect([first.widthPx, first.heightPx]).toEqual([asked.widthPx, asked.heightPx]);
          expect(Math.abs(first.frameRate - asked.frameRate)).toBeLessThan(0.03 * asked.frameRate);
        }
      }),
    );
  });
});
