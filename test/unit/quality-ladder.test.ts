import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { floorOf, isSameQuality, type PictureQuality, qualityWithin } from '../../device/publishing/quality-ladder.ts';

const hd: PictureQuality = { widthPx: 1280, heightPx: 720, frameRate: 30, videoBitrateBps: 2_000_000 };
const printed = ({ widthPx, heightPx, frameRate, videoBitrateBps }: PictureQuality) =>
  `${widthPx}x${heightPx} ${frameRate} ${videoBitrateBps}`;

const anyAsked: fc.Arbitrary<PictureQuality> = fc.record({
  widthPx: fc.integer({ min: 80, max: 960 }).map((half) => 2 * half),
  heightPx: fc.integer({ min: 60, max: 960 }).map((half) => 2 * half),
  frameRate: fc.integer({ min: 1, max: 60 }),
  videoBitrateBps: fc.integer({ min: 100_000, max: 10_000_000 }),
});
const anyBitrate = fc.oneof(fc.integer({ min: 0, max: 11_000_000 }), fc.integer({ min: 0, max: 500_000 }));
const anyShare = fc.double({ min: 0.01, max: 1, noNaN: true });
const numbers = ['widthPx', 'heightPx', 'frameRate', 'videoBitrateBps'] as const;

describe('the quality ladder', () => {
  it.each([
    [9_000_000, '1280x720 30 2000000'],
    [2_000_000, '1280x720 30 2000000'],
    [520_000, '1280x720 30 520000'],
    [400_000, '1280x720 30 400000'],
    [390_000, '1280x720 20 390000'],
    [260_000, '1280x720 15 260000'],
    [190_000, '960x540 15 190000'],
    [1, '960x540 15 150000'],
  ])('with %d bit/s for 1280x720 at 30 gives %s', (videoBitrateBps, quality) => {
    expect(printed(qualityWithin(hd, { videoBitrateBps }))).toBe(quality);
  });

  it.each([
    [1, '1280x720 30 2000000'],
    [0.5, '1280x720 15 1000000'],
    [0.25, '854x480 15 500000'],
    [0.01, '320x180 10 150000'],
  ])('with a share of %d of the effort gives %s', (effortShare, quality) => {
    expect(printed(qualityWithin(hd, { videoBitrateBps: 9_000_000, effortShare }))).toBe(quality);
  });

  it('keeps even rates and sizes of larger pictures, and an upright shape', () => {
    const full = { widthPx: 1920, heightPx: 1080, frameRate: 60, videoBitrateBps: 6_000_000 };
    expect(printed(qualityWithin(full, { videoBitrateBps: 1_500_000 }))).toBe('1920x1080 40 1500000');
    expect(printed(qualityWithin(full, { videoBitrateBps: 200_000 }))).toBe('1280x720 15 200000');
    const upright = { ...hd, widthPx: 720, heightPx: 1280 };
    expect(printed(qualityWithin(upright, { videoBitrateBps: 150_000 }))).toBe('540x960 15 150000');
  });

  it('takes what was asked with few bits as it is', () => {
    const thin = { widthPx: 1920, heightPx: 1080, frameRate: 30, videoBitrateBps: 500_000 };
    expect(qualityWithin(thin, { videoBitrateBps: 600_000 })).toEqual(thin);
    expect(printed(qualityWithin(thin, { videoBitrateBps: 450_000 }))).toBe('1920x1080 20 450000');
  });

  it('gives exactly what was asked when nothing is limited', () => {
    fc.assert(
      fc.property(anyAsked, (asked) => {
        expect(qualityWithin(asked, { videoBitrateBps: asked.videoBitrateBps })).toEqual(asked);
        expect(isSameQuality(asked, { ...asked })).toBe(true);
      }),
    );
  });

  it('is never above what was asked nor below the floor, even, and of the same shape', () => {
    fc.assert(
      fc.property(anyAsked, anyBitrate, anyShare, (asked, videoBitrateBps, effortShare) => {
        const quality = qualityWithin(asked, { videoBitrateBps, effortShare });
        const floor = floorOf(asked);
        for (const number of numbers) {
          expect(quality[number]).toBeLessThanOrEqual(asked[number]);
          expect(quality[number]).toBeGreaterThanOrEqual(floor[number]);
        }
        expect(floor.widthPx).toBe(Math.min(320, asked.widthPx));
        expect([quality.widthPx % 2, quality.heightPx % 2]).toEqual([0, 0]);
        const heightPx = (quality.widthPx * asked.heightPx) / asked.widthPx;
        expect(Math.abs(quality.heightPx - heightPx)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('grows with each limit, in each number', () => {
    fc.assert(
      fc.property(anyAsked, anyBitrate, anyBitrate, anyShare, anyShare, (asked, rate, otherRate, share, otherShare) => {
        const less = { videoBitrateBps: Math.min(rate, otherRate), effortShare: Math.min(share, otherShare) };
        const more = { videoBitrateBps: Math.max(rate, otherRate), effortShare: Math.max(share, otherShare) };
        const low = qualityWithin(asked, less);
        const high = qualityWithin(asked, more);
        for (const number of numbers) expect(low[number]).toBeLessThanOrEqual(high[number]);
      }),
    );
  });

  it('stays when asked for again with the same bitrate', () => {
    fc.assert(
      fc.property(anyAsked, anyBitrate, (asked, videoBitrateBps) => {
        const once = qualityWithin(asked, { videoBitrateBps });
        expect(qualityWithin(once, { videoBitrateBps })).toEqual(once);
      }),
    );
  });
});
