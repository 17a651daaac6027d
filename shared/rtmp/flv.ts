/**
 * FLV: the unit that travels from the encoder's pipe to the ingest and on to every egress.
 * Knows the container (Adobe FLV specification v10.1, Annex E), nothing of sockets.
 */
import { GlasscastError } from '../errors.ts';

export interface FlvTag {
  readonly kind: 'audio' | 'video' | 'script';
  /** Milliseconds on the publisher's timeline; 32 bit, never negative. */
  readonly timestampMs: number;
  /** The tag's data: what an RTMP message of the same kind carries as its payload. */
  readonly body: Buffer;
}

/** AVC or AAC decoder configuration: has to be sent again before media on each new connection. */
export function isSequenceHeader({ kind, body }: FlvTag): boolean {
  if (kind === 'video') return body.length > 1 && ((body[0] ?? 0) & 0x0f) === 7 && body[1] === 0;
  if (kind === 'audio') return body.length > 1 && (body[0] ?? 0) >> 4 === 10 && body[1] === 0;
  return false;
}

/** What describes the media and is none itself: the stream's description, or a sequence header. */
export function isConfiguration(tag: FlvTag): boolean {
  return tag.kind === 'script' || isSequenceHeader(tag);
}

/** A coded picture a decoder can start at. */
export function isKeyFrame(tag: FlvTag): boolean {
  return tag.kind === 'video' && (tag.body[0] ?? 0) >> 4 === 1 && !isSequenceHeader(tag);
}

/** The stream's description, `onMetaData`, with or without RTMP's `@setDataFrame` before it. */
export function isMetadata({ kind, body }: FlvTag): boolean {
  return kind === 'script' && (startsWithAmfString(body, 'onMetaData') || startsWithAmfString(body, '@setDataFrame'));
}

/** Whether the data begin with this AMF0 string (marker 2, length, text). */
export function startsWithAmfString(body: Buffer, text: string): boolean {
  return body.length >= 3 + text.length && body[0] === 2 && body.toString('latin1', 3, 3 + text.length) === text;
}

/** The FLV tag types, which are RTMP's message types as well. */
export const tagTypes = { audio: 8, video: 9, script: 18 } as const;

/** Difference of two 32 bit time stamps in ms, right across the wrap after 49.7 days. */
export function timestampDiffMs(later: number, earlier: number): number {
  return (later - earlier) | 0;
}

const HEADER_BYTES = 9;
const TAG_HEADER_BYTES = 11;
const TRAILER_BYTES = 4;
const MAX_HEADER_BYTES = 1024;

export interface FlvParser {
  /**
   * Takes the next bytes, cut anywhere.
   * @throws GlasscastError MALFORMED_FLV with the byte position; from then on each push throws the same error.
   */
  push(chunk: Buffer): void;
  /** All bytes taken so far. */
  readonly bytes: number;
}

export interface FlvParserOptions {
  /** Called for each whole tag, in order; its body is a copy of its own. */
  onTag: (tag: FlvTag) => void;
  /** A larger tag is an error, not memory. Default 8 MB: far above any key frame that glasses send. */
  maxTagBytes?: number;
}

/** What is being collected now: so many bytes, then `take` says what comes next. */
interface Piece {
  bytes: number;
  take: (data: Buffer) => Piece;
}

export function createFlvParser({ onTag, maxTagBytes = 8 * 1024 * 1024 }: FlvParserOptions): FlvParser {
  let position = 0;
  let failure: GlasscastError | undefined;
  let piece: Piece = { bytes: HEADER_BYTES, take: takeHeader };
  let held: Buffer[] = [];
  let heldBytes = 0;

  function fail(reason: string): never {
    failure = new GlasscastError('MALFORMED_FLV', { reason: `${reason}, at byte ${position}`, details: { position } });
    throw failure;
  }
  function takeHeader(data: Buffer): Piece {
    if (data.toString('latin1', 0, 3) !== 'FLV') fail('the data do not begin with "FLV"');
    if (data[3] !== 1) fail(`FLV version ${data[3]} is not known`);
    const headerBytes = data.readUInt32BE(5);
    if (headerBytes < HEADER_BYTES || headerBytes > MAX_HEADER_BYTES) fail(`a header of ${headerBytes} bytes`);
    return { bytes: headerBytes - HEADER_BYTES + TRAILER_BYTES, take: () => tagHeader };
  }
  function takeTagHeader(data: Buffer): Piece {
    const kind = kindOf(data[0] ?? 0);
    if (!kind) fail(`tag type ${data[0]} is not known`);
    const bodyBytes = data.readUIntBE(1, 3);
    if (bodyBytes > maxTagBytes) fail(`a tag of ${bodyBytes} bytes`);
    // 24 low bits, then the 8 high ones.
    const timestampMs = data.readUIntBE(4, 3) + (data[7] ?? 0) * 0x1000000;
    return { bytes: bodyBytes + TRAILER_BYTES, take: (body) => takeBody(kind, timestampMs, body) };
  }
  function takeBody(kind: FlvTag['kind'], timestampMs: number, data: Buffer): Piece {
    const bodyBytes = data.length - TRAILER_BYTES;
    const trailer = data.readUInt32BE(bodyBytes);
    if (trailer !== bodyBytes + TAG_HEADER_BYTES) fail(`a tag of ${bodyBytes} bytes is followed by size ${trailer}`);
    // Copied: a slice would keep the pipe's whole chunk alive as long as the backlog keeps this tag.
    onTag({ kind, timestampMs, body: Buffer.from(data.subarray(0, bodyBytes)) });
    return tagHeader;
  }
  const tagHeader: Piece = { bytes: TAG_HEADER_BYTES, take: takeTagHeader };

  return {
    push(chunk) {
      if (failure) throw failure;
      let offset = 0;
      while (heldBytes + chunk.length - offset >= piece.bytes) {
        const need = piece.bytes - heldBytes;
        const part = chunk.subarray(offset, offset + need);
        const data = held.length > 0 ? Buffer.concat([...held, part]) : part;
        held = [];
        heldBytes = 0;
        offset += need;
        piece = piece.take(data);
        position += data.length;
      }
      if (offset < chunk.length) {
        held.push(chunk.subarray(offset));
        heldBytes += chunk.length - offset;
      }
    },
    get bytes() {
      return position + heldBytes;
    },
  };
}

function kindOf(tagType: number): FlvTag['kind'] | undefined {
  // Bits above the type say "encrypted": nothing here could use such a tag.
  if (tagType === tagTypes.audio) return 'audio';
  if (tagType === tagTypes.video) return 'video';
  return tagType === tagTypes.script ? 'script' : undefined;
}

/** The start of an FLV stream. What it announces must be true: some players wait for ever for an announced track. */
export function flvHeader({ audio, video }: { audio: boolean; video: boolean }): Buffer {
  return Buffer.from([0x46, 0x4c, 0x56, 1, (audio ? 4 : 0) | (video ? 1 : 0), 0, 0, 0, HEADER_BYTES, 0, 0, 0, 0]);
}

/** One tag with its trailing size, ready to append. */
export function flvTagBytes({ kind, timestampMs, body }: FlvTag): Buffer {
  const bytes = Buffer.allocUnsafe(TAG_HEADER_BYTES + body.length + TRAILER_BYTES);
  bytes[0] = tagTypes[kind];
  bytes.writeUIntBE(body.length, 1, 3);
  bytes.writeUIntBE(timestampMs % 0x1000000, 4, 3);
  bytes[7] = Math.floor(timestampMs / 0x1000000) & 0xff;
  bytes.writeUIntBE(0, 8, 3);
  body.copy(bytes, TAG_HEADER_BYTES);
  bytes.writeUInt32BE(TAG_HEADER_BYTES + body.length, TAG_HEADER_BYTES + body.length);
  return bytes;
}
