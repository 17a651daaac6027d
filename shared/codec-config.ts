/**
 * What a player must know about a track before its first frame: reads AVC decoder configurations (ISO/IEC 14496-15 §5.3.3,
 * picture size from the SPS of H.264 §7.3.2.1) and AAC AudioSpecificConfigs (ISO/IEC 14496-3 §1.6.2.1). Pure; never throws.
 */

export interface VideoConfig {
  /** AVCDecoderConfigurationRecord, as it goes into `avcC`. */
  readonly record: Buffer;
  /** RFC 6381, e.g. `avc1.64001f`. */
  readonly codec: string;
  readonly width: number;
  readonly height: number;
}

export interface AudioConfig {
  /** AudioSpecificConfig, as it goes into `esds`. */
  readonly record: Buffer;
  /** RFC 6381, e.g. `mp4a.40.2`. */
  readonly codec: string;
  readonly sampleRate: number;
  readonly channels: number;
  /** PCM samples per coded frame: 1024, rarely 960. */
  readonly samplesPerFrame: number;
}

const HIGH_PROFILES = new Set([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135]);
const SAMPLE_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
const MAX_PIXELS_PER_SIDE = 16_384;

/** Undefined when the record is cut short or its SPS cannot be read. */
export function readVideoConfig(record: Buffer): VideoConfig | undefined {
  if (record.length < 8 || record[0] !== 1 || ((record[5] ?? 0) & 0x1f) === 0) return undefined;
  const spsBytes = record.readUInt16BE(6);
  const sps = record.subarray(8, 8 + spsBytes);
  if (spsBytes < 4 || sps.length < spsBytes) return undefined;
  const size = readPictureSize(sps);
  if (!size) return undefined;
  const codec = `avc1.${record.subarray(1, 4).toString('hex')}`;
  return { record: Buffer.from(record), codec, ...size };
}

/** Undefined when the record is cut short or names no usable sample rate. */
export function readAudioConfig(record: Buffer): AudioConfig | undefined {
  const bits = bitReader(record);
  let objectType = bits.take(5);
  if (objectType === 31) objectType = 32 + bits.take(6);
  const rateIndex = bits.take(4);
  // For HE-AAC this is the core's rate, which is the one that frames are counted in.
  const sampleRate = rateIndex === 15 ? bits.take(24) : (SAMPLE_RATES[rateIndex] ?? 0);
  const channelIndex = bits.take(4);
  const isShortFrame = objectType === 5 || objectType === 29 ? 0 : bits.take(1);
  if (bits.isOverrun() || objectType === 0 || sampleRate < 7000 || sampleRate > 192_000) return undefined;
  return {
    record: Buffer.from(record),
    codec: `mp4a.40.${objectType}`,
    sampleRate,
    channels: channelIndex === 7 ? 8 : channelIndex || 2,
    samplesPerFrame: isShortFrame ? 960 : 1024,
  };
}

/** The configuration's SPS and PPS as NAL units, with length prefixes of the size that its samples use. */
export function parameterSets({ record }: VideoConfig): Buffer {
  const prefixBytes = ((record[4] ?? 3) & 3) + 1;
  const units: Buffer[] = [];
  let position = 5;
  for (const countMask of [0x1f, 0xff]) {
    let count = (record[position] ?? 0) & countMask;
    position += 1;
    for (; count > 0 && position + 2 <= record.length; count -= 1) {
      const unit = record.subarray(position + 2, position + 2 + record.readUInt16BE(position));
      position += 2 + unit.length;
      const prefix = Buffer.alloc(prefixBytes);
      prefix.writeUIntBE(unit.length % 256 ** prefixBytes, 0, prefixBytes);
      units.push(prefix, unit);
    }
  }
  return Buffer.concat(units);
}

function readPictureSize(nal: Buffer): { width: number; height: number } | undefined {
  const bits = bitReader(withoutEmulationPrevention(nal.subarray(1)));
  const profile = bits.take(8);
  bits.take(16); // constraint flags, level
  bits.unsigned(); // sps id
  let chromaFormat = 1;
  if (HIGH_PROFILES.has(profile)) {
    chromaFormat = bits.unsigned();
    if (chromaFormat === 3) bits.take(1);
    bits.unsigned(); // luma depth
    bits.unsigned(); // chroma depth
    bits.take(1);
    if (bits.take(1)) skipScalingLists(bits, chromaFormat === 3 ? 12 : 8);
  }
  bits.unsigned(); // log2_max_frame_num
  skipPictureOrder(bits);
  bits.unsigned(); // reference frames
  bits.take(1);
  const widthInBlocks = bits.unsigned() + 1;
  const heightInUnits = bits.unsigned() + 1;
  const isFrameOnly = bits.take(1);
  if (!isFrameOnly) bits.take(1);
  bits.take(1);
  const crop = bits.take(1) ? [bits.unsigned(), bits.unsigned(), bits.unsigned(), bits.unsigned()] : [0, 0, 0, 0];
  const cropX = chromaFormat === 1 || chromaFormat === 2 ? 2 : 1;
  const cropY = (chromaFormat === 1 ? 2 : 1) * (2 - isFrameOnly);
  const width = widthInBlocks * 16 - cropX * ((crop[0] ?? 0) + (crop[1] ?? 0));
  const height = heightInUnits * 16 * (2 - isFrameOnly) - cropY * ((crop[2] ?? 0) + (crop[3] ?? 0));
  const isSane = width > 0 && height > 0 && width <= MAX_PIXELS_PER_SIDE && height <= MAX_PIXELS_PER_SIDE;
  return isSane && !bits.isOverrun() ? { width, height } : undefined;
}

function skipPictureOrder(bits: BitReader): void {
  const kind = bits.unsigned();
  if (kind === 0) bits.unsigned();
  if (kind !== 1) return;
  bits.take(1);
  bits.signed();
  bits.signed();
  const cycle = bits.unsigned();
  for (let i = 0; i < cycle && !bits.isOverrun(); i += 1) bits.signed();
}

function skipScalingLists(bits: BitReader, lists: number): void {
  for (let list = 0; list < lists; list += 1) {
    if (!bits.take(1)) continue;
    let last = 8;
    let next = 8;
    for (let i = 0; i < (list < 6 ? 16 : 64) && !bits.isOverrun(); i += 1) {
      if (next !== 0) next = (last + bits.signed() + 256) % 256;
      last = next === 0 ? last : next;
    }
  }
}

/** 00 00 03 stands for 00 00 inside a NAL unit. */
function withoutEmulationPrevention(nal: Buffer): Buffer {
  const bytes: number[] = [];
  let zeros = 0;
  for (const byte of nal) {
    if (zeros >= 2 && byte === 3) {
      zeros = 0;
      continue;
    }
    zeros = byte === 0 ? zeros + 1 : 0;
    bytes.push(byte);
  }
  return Buffer.from(bytes);
}

interface BitReader {
  take(count: number): number;
  /** Exp-Golomb. */
  unsigned(): number;
  signed(): number;
  /** Something was read past the end; everything read is then worthless. */
  isOverrun(): boolean;
}

function bitReader(bytes: Buffer): BitReader {
  let position = 0;
  function take(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i += 1, position += 1) {
      value = value * 2 + (((bytes[position >> 3] ?? 0) >> (7 - (position & 7))) & 1);
    }
    return value;
  }
  function unsigned(): number {
    let zeros = 0;
    while (zeros < 32 && position < bytes.length * 8 && take(1) === 0) zeros += 1;
    return 2 ** zeros - 1 + take(zeros);
  }
  return {
    take,
    unsigned,
    signed() {
      const value = unsigned();
      return value % 2 ? (value + 1) / 2 : -value / 2;
    },
    isOverrun: () => position > bytes.length * 8,
  };
}
