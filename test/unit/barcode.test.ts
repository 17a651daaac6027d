/** The barcode survives its own strip, says no to anything else, and counts across the wrap of its clock. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ageMs, barcodeBits, barcodeSize, readBarcode, stampBarcode } from '../../scripts/bench/barcode.ts';

const anyCode = fc.record({
  clockMs: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  frame: fc.integer({ min: 0, max: 2 ** 24 - 1 }),
});
const levelsOf = (bits: boolean[]) => bits.map((bit) => (bit ? 235 : 16));

/** What area scaling to 32x2 does: the mean of each block. */
function blockMeans(luma: Buffer): number[] {
  const { columns, rows, blockPx, widthPx } = barcodeSize;
  return Array.from({ length: columns * rows }, (_, index) => {
    const top = Math.floor(index / columns) * blockPx;
    const left = (index % columns) * blockPx;
    let sum = 0;
    for (let y = top; y < top + blockPx; y += 1) {
      for (let x = left; x < left + blockPx; x += 1) sum += luma[y * widthPx + x] ?? 0;
    }
    return sum / blockPx ** 2;
  });
}

describe('barcode', () => {
  it('reads back what was written, for every clock and frame', () => {
    fc.assert(
      fc.property(anyCode, (code) => {
        expect(readBarcode(levelsOf(barcodeBits(code)))).toEqual(code);
      }),
    );
  });
  it('is drawn into the top 80 lines and nowhere else', () => {
    const luma = Buffer.alloc(1280 * 100, 77);
    const code = { clockMs: 0xdeadbeef, frame: 0x123456 };
    stampBarcode(luma, code);
    expect(readBarcode(blockMeans(luma))).toEqual(code);
    expect(luma.subarray(1280 * 80).every((value) => value === 77)).toBe(true);
  });
  it('survives coding noise', () => {
    fc.assert(
      fc.property(
        anyCode,
        fc.array(fc.integer({ min: -60, max: 60 }), { minLength: 64, maxLength: 64 }),
        (code, noise) => {
          const levels = levelsOf(barcodeBits(code)).map((level, index) => level + (noise[index] ?? 0));
          expect(readBarcode(levels)).toEqual(code);
        },
      ),
    );
  });
  it('refuses black, white and every single flipped block', () => {
    expect(readBarcode(new Uint8Array(64))).toBeUndefined();
    expect(readBarcode(new Uint8Array(64).fill(235))).toBeUndefined();
    expect(readBarcode([])).toBeUndefined();
    fc.assert(
      fc.property(anyCode, fc.integer({ min: 0, max: 63 }), (code, flipped) => {
        const bits = barcodeBits(code).map((bit, index) => (index === flipped ? !bit : bit));
        expect(readBarcode(levelsOf(bits))).toBeUndefined();
      }),
    );
  });
  it('measures its age, also across the wrap', () => {
    const nowMs = 1_795_356_550_054;
    expect(ageMs({ clockMs: (nowMs - 40) % 2 ** 32, frame: 0 }, nowMs)).toBe(40);
    expect(ageMs({ clockMs: 2 ** 32 - 10, frame: 0 }, 2 ** 32 * 400 + 20)).toBe(30);
    expect(ageMs({ clockMs: 5, frame: 0 }, 2 ** 32 * 400 - 5)).toBe(-10);
  });
});
