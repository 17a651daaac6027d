/**
 * Makes one MP4 of two: our segments hold one track each, a file to download holds both. Rewrites the few numbers that differ (track,
 * sequence, decode time) in boxes of our own writing (ISO/IEC 14496-12); copies everything else. Pure.
 */
import type { TrackKind } from '../packaging/fmp4.ts';

const TRACK_IDS: Record<TrackKind, number> = { video: 1, audio: 2 };
/** A segment of a low-latency broadcast has one fragment per part; there are never as many as this. */
const FRAGMENTS_PER_SEGMENT = 1000;

interface Box {
  type: string;
  /** Of the whole box, in the buffer it was found in. */
  start: number;
  end: number;
}

/** Stops at what is no whole box. */
export function boxesIn(data: Buffer, start = 0, end = data.length): Box[] {
  const boxes: Box[] = [];
  let at = start;
  while (at + 8 <= end) {
    const size = data.readUInt32BE(at);
    if (size < 8 || at + size > end) break;
    boxes.push({ type: data.toString('latin1', at + 4, at + 8), start: at, end: at + size });
    at += size;
  }
  return boxes;
}

/** ftyp and moov of both tracks, from an init segment of each. */
export function clipInit(options: { video: Buffer; audio: Buffer | undefined; durationMs: number }): Buffer {
  const { video, audio, durationMs } = options;
  const ftyp = boxesIn(video).find(({ type }) => type === 'ftyp');
  const header = child(video, ['moov', 'mvhd']);
  const mvhd = Buffer.from(header);
  mvhd.writeUInt32BE(TRACK_IDS.audio + 1, mvhd.length - 4);
  const mehd = box('mehd', Buffer.from([0, 0, 0, 0]), u32(durationMs));
  const traks = [child(video, ['moov', 'trak'])];
  const defaults = [child(video, ['moov', 'mvex', 'trex'])];
  if (audio) {
    const trak = Buffer.from(child(audio, ['moov', 'trak']));
    const [tkhd] = boxesIn(trak, 8).filter(({ type }) => type === 'tkhd');
    // Version 1 has longer times before it.
    if (tkhd) trak.writeUInt32BE(TRACK_IDS.audio, tkhd.start + (trak[tkhd.start + 8] === 1 ? 28 : 20));
    const trex = Buffer.from(child(audio, ['moov', 'mvex', 'trex']));
    trex.writeUInt32BE(TRACK_IDS.audio, 12);
    traks.push(trak);
    defaults.push(trex);
  }
  return Buffer.concat([
    ftyp ? video.subarray(ftyp.start, ftyp.end) : Buffer.alloc(0),
    box('moov', mvhd, ...traks, box('mvex', mehd, ...defaults)),
  ]);
}

/**
 * The same segment as a part of the file; of the same length.
 * @param sequence place of the segment in the file, counted over both tracks.
 * @param shiftTicks taken off its decode time.
 */
export function clipFragment(
  segment: Buffer,
  { track, sequence, shiftTicks }: { track: TrackKind; sequence: number; shiftTicks: number },
): Buffer {
  const data = Buffer.from(segment);
  let fragment = 0;
  for (const moof of boxesIn(data).filter(({ type }) => type === 'moof')) {
    fragment += 1;
    for (const part of boxesIn(data, moof.start + 8, moof.end)) {
      if (part.type === 'mfhd') data.writeUInt32BE(sequence * FRAGMENTS_PER_SEGMENT + fragment, part.start + 12);
      if (part.type !== 'traf') continue;
      for (const { type, start } of boxesIn(data, part.start + 8, part.end)) {
        if (type === 'tfhd') data.writeUInt32BE(TRACK_IDS[track], start + 12);
        if (type === 'tfdt') shiftDecodeTime(data, start, shiftTicks);
      }
    }
  }
  return data;
}

function shiftDecodeTime(data: Buffer, start: number, shiftTicks: number): void {
  const isLong = data[start + 8] === 1;
  const ticks = isLong ? Number(data.readBigUInt64BE(start + 12)) : data.readUInt32BE(start + 12);
  const shifted = Math.max(0, ticks - shiftTicks);
  if (isLong) data.writeBigUInt64BE(BigInt(shifted), start + 12);
  else data.writeUInt32BE(shifted, start + 12);
}

/** The first box at the end of a path; empty when there is none. */
function child(data: Buffer, path: readonly string[]): Buffer {
  let within = data;
  for (const [depth, name] of path.entries()) {
    const found = boxesIn(within, depth === 0 ? 0 : 8).find(({ type }) => type === name);
    if (!found) return Buffer.alloc(0);
    within = within.subarray(found.start, found.end);
  }
  return within;
}

function box(type: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([u32(body.length + 8), Buffer.from(type, 'latin1'), body]);
}

function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(Math.min(value, 0xffffffff));
  return buffer;
}
