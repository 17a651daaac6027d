/**
 * The barcode that carries the wall clock through the picture: 64 blocks of 40x40 pixels in the top 80 lines of a 1280 wide frame.
 * Upper row: 32 bit millisecond clock. Lower row: 24 bit frame number, 8 bit checksum. Pure; knows no stream and no decoder.
 */

export interface Barcode {
  /** Low 32 bits of the milliseconds since 1970 at exposure. */
  clockMs: number;
  /** Frame number, 24 bit, counting from the source's start. */
  frame: number;
}

export const barcodeSize = { columns: 32, rows: 2, blockPx: 40, widthPx: 1280, heightPx: 80 } as const;

// Studio range, so that a limited-range conversion leaves both levels apart.
const WHITE = 235;
const BLACK = 16;
const THRESHOLD = 126;

/** CRC-8 (polynomial 7) seeded with 255: an all-black or all-white strip is never valid. */
function checksum(bytes: readonly number[]): number {
  let crc = 0xff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : (crc << 1) & 0xff;
  }
  return crc;
}

const byteAt = (value: number, shift: number) => (value >>> shift) & 0xff;

function bytesOf({ clockMs, frame }: Barcode): number[] {
  const bytes = [
    ...[24, 16, 8, 0].map((shift) => byteAt(clockMs, shift)),
    ...[16, 8, 0].map((shift) => byteAt(frame, shift)),
  ];
  return [...bytes, checksum(bytes)];
}

/** The 64 bits in reading order, left to right, upper row first. */
export function barcodeBits(code: Barcode): boolean[] {
  return bytesOf(code).flatMap((byte) => Array.from({ length: 8 }, (_, bit) => ((byte >> (7 - bit)) & 1) === 1));
}

/**
 * Draws the strip into the luma plane of a frame that is 32 blocks wide; touches the top two rows of blocks only.
 * @param blockPx Default: that of a frame `barcodeSize.widthPx` wide. A smaller one is the same picture, scaled.
 */
export function stampBarcode(luma: Buffer, code: Barcode, blockPx: number = barcodeSize.blockPx): void {
  const { columns, rows } = barcodeSize;
  const widthPx = columns * blockPx;
  const bits = barcodeBits(code);
  for (let row = 0; row < rows; row += 1) {
    const first = row * blockPx * widthPx;
    for (let column = 0; column < columns; column += 1) {
      const from = first + column * blockPx;
      luma.fill(bits[row * columns + column] ? WHITE : BLACK, from, from + blockPx);
    }
    for (let line = 1; line < blockPx; line += 1) {
      luma.copyWithin(first + line * widthPx, first, first + widthPx);
    }
  }
}

/** Reads 64 gray levels (32x2, one per block); undefined when the checksum does not fit. */
export function readBarcode(levels: ArrayLike<number>): Barcode | undefined {
  const bytes = Array.from({ length: 8 }, (_, index) => {
    let byte = 0;
    for (let bit = 0; bit < 8; bit += 1) byte = (byte << 1) | ((levels[index * 8 + bit] ?? 0) > THRESHOLD ? 1 : 0);
    return byte;
  });
  const [b0 = 0, b1 = 0, b2 = 0, b3 = 0, f0 = 0, f1 = 0, f2 = 0, sum] = bytes;
  if (sum !== checksum(bytes.slice(0, 7))) return undefined;
  return { clockMs: ((b0 << 24) | (b1 << 16) | (b2 << 8) | b3) >>> 0, frame: (f0 << 16) | (f1 << 8) | f2 };
}

/** Milliseconds from the stamp to `nowMs`, right across the wrap of the 32 bit clock (each 49.7 days). */
export function ageMs(code: Barcode, nowMs: number): number {
  const now = nowMs % 2 ** 32;
  const age = now - code.clockMs;
  if (age > 2 ** 31) return age - 2 ** 32;
  return age < -(2 ** 31) ? age + 2 ** 32 : age;
}
