/**
 * Fragmented MP4 (ISO/IEC 14496-12; CMAF's subset, ISO/IEC 23000-19): an init segment per codec configuration and one
 * moof+mdat per chunk of a media segment, one track each. Writes boxes only; where to cut is the packager's business.
 */
import type { AudioConfig, VideoConfig } from '../../../shared/codec-config.ts';

export interface Sample {
  /** Coded frame: length-prefixed NAL units, or one raw AAC frame. */
  readonly data: Buffer;
  /** In the track's timescale. */
  durationTicks: number;
  /** Presentation minus decode time; may be negative. */
  readonly offsetTicks: number;
  readonly isKey: boolean;
}

export type TrackKind = 'video' | 'audio';

export const VIDEO_TIMESCALE = 90_000;

const TRACK_ID = 1;
const UNITY_MATRIX = Buffer.from('000100000000000000000000000000000001000000000000000000000000000040000000', 'hex');
/** sample_depends_on: 2 = none (a key frame), 1 = others; the last bit marks a frame nobody may start at. */
const KEY_FLAGS = 0x02000000;
const DELTA_FLAGS = 0x01010000;

export function videoInit(config: VideoConfig): Buffer {
  const avc1 = box(
    'avc1',
    bytes(6),
    u16(1),
    bytes(16),
    u16(config.width),
    u16(config.height),
    u32(0x00480000),
    u32(0x00480000),
    u32(0),
    u16(1),
    bytes(32),
    u16(0x0018),
    u16(0xffff),
    box('avcC', config.record),
  );
  const media = fullBox('vmhd', 0, 1, bytes(8));
  return initSegment({ kind: 'video', timescale: VIDEO_TIMESCALE, entry: avc1, media, ...config });
}

export function audioInit(config: AudioConfig): Buffer {
  const mp4a = box(
    'mp4a',
    bytes(6),
    u16(1),
    bytes(8),
    u16(config.channels),
    u16(16),
    u32(0),
    // 16.16 fixed point: higher rates do not fit and are read from the esds anyway
    u32(config.sampleRate > 0xffff ? 0 : config.sampleRate * 65_536),
    elementaryStream(config.record),
  );
  const media = fullBox('smhd', 0, 0, bytes(4));
  return initSegment({ kind: 'audio', timescale: config.sampleRate, entry: mp4a, media, width: 0, height: 0 });
}

/**
 * moof + mdat (a CMAF chunk), and styp before the first of a segment.
 * `startTicks` is the decode time of the first sample on the track's timeline.
 */
export function chunk(options: {
  sequence: number;
  startTicks: number;
  samples: readonly Sample[];
  isFirst: boolean;
}): Buffer {
  const { sequence, startTicks, samples, isFirst } = options;
  const entries = Buffer.alloc(samples.length * 16);
  samples.forEach((sample, index) => {
    entries.writeUInt32BE(sample.durationTicks, index * 16);
    entries.writeUInt32BE(sample.data.length, index * 16 + 4);
    entries.writeUInt32BE(sample.isKey ? KEY_FLAGS : DELTA_FLAGS, index * 16 + 8);
    entries.writeInt32BE(sample.offsetTicks, index * 16 + 12);
  });
  const moof = (dataOffset: number) =>
    box(
      'moof',
      fullBox('mfhd', 0, 0, u32(sequence)),
      box(
        'traf',
        fullBox('tfhd', 0, 0x020000, u32(TRACK_ID)), // default-base-is-moof
        fullBox('tfdt', 1, 0, u64(startTicks)),
        // version 1: signed composition offsets; per sample: duration, size, flags, offset
        fullBox('trun', 1, 0x000f01, u32(samples.length), u32(dataOffset), entries),
      ),
    );
  const moofBytes = moof(0).length;
  const styp = isFirst ? [box('styp', text('msdh'), u32(0), text('msdh'), text('msix'))] : [];
  return Buffer.concat([...styp, moof(moofBytes + 8), box('mdat', ...samples.map(({ data }) => data))]);
}

interface InitFields {
  kind: TrackKind;
  timescale: number;
  entry: Buffer;
  media: Buffer;
  width: number;
  height: number;
}

function initSegment({ kind, timescale, entry, media, width, height }: InitFields): Buffer {
  const isVideo = kind === 'video';
  const handlerName = isVideo ? 'VideoHandler\0' : 'SoundHandler\0';
  const tables = [
    fullBox('stsd', 0, 0, u32(1), entry),
    ...['stts', 'stsc', 'stco'].map((name) => fullBox(name, 0, 0, u32(0))),
    fullBox('stsz', 0, 0, u32(0), u32(0)),
  ];
  const dataReference = box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1)));
  const trak = box(
    'trak',
    fullBox(
      'tkhd',
      0,
      7,
      u32(0),
      u32(0),
      u32(TRACK_ID),
      u32(0),
      u32(0),
      bytes(8),
      u16(0),
      u16(0),
      u16(isVideo ? 0 : 0x0100),
      u16(0),
      UNITY_MATRIX,
      u32(width * 65_536),
      u32(height * 65_536),
    ),
    box(
      'mdia',
      fullBox('mdhd', 0, 0, u32(0), u32(0), u32(timescale), u32(0), u16(0x55c4), u16(0)), // language: und
      fullBox('hdlr', 0, 0, u32(0), text(isVideo ? 'vide' : 'soun'), bytes(12), text(handlerName)),
      box('minf', media, dataReference, box('stbl', ...tables)),
    ),
  );
  const mvhd = fullBox(
    'mvhd',
    0,
    0,
    u32(0),
    u32(0),
    u32(1000),
    u32(0),
    u32(0x00010000),
    u16(0x0100),
    bytes(10),
    UNITY_MATRIX,
    bytes(24),
    u32(TRACK_ID + 1),
  );
  const mvex = box('mvex', fullBox('trex', 0, 0, u32(TRACK_ID), u32(1), u32(0), u32(0), u32(0)));
  return Buffer.concat([
    box('ftyp', text('iso5'), u32(512), text('iso5'), text('iso6'), text('mp41'), text('cmfc')),
    box('moov', mvhd, trak, mvex),
  ]);
}

/** MPEG-4 descriptors (ISO/IEC 14496-1 §7.2.6) around an AudioSpecificConfig. */
function elementaryStream(record: Buffer): Buffer {
  const specific = descriptor(0x05, record);
  const decoder = descriptor(0x04, Buffer.from([0x40, 0x15, 0, 0, 0]), u32(0), u32(0), specific);
  return fullBox('esds', 0, 0, descriptor(0x03, u16(TRACK_ID), bytes(1), decoder, descriptor(0x06, Buffer.from([2]))));
}

function descriptor(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag, 0x80, 0x80, 0x80 | (content.length >> 7), content.length & 0x7f]), content]);
}

function box(name: string, ...parts: Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 8);
  return Buffer.concat([u32(length), text(name), ...parts], length);
}
function fullBox(name: string, version: number, flags: number, ...parts: Buffer[]): Buffer {
  return box(name, u32(version * 0x01000000 + flags), ...parts);
}
function text(value: string): Buffer {
  return Buffer.from(value, 'latin1');
}
function bytes(count: number): Buffer {
  return Buffer.alloc(count);
}
function u16(value: number): Buffer {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16BE(value & 0xffff);
  return buffer;
}
function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value >>> 0);
  return buffer;
}
function u64(value: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(BigInt(Math.max(0, value)));
  return buffer;
}
