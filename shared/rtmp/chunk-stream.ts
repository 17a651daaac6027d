/**
 * RTMP's chunk stream: messages cut into chunks and put together again (Adobe RTMP 1.0, §5.3 and §5.4).
 * Owns chunk sizes and time stamps; knows nothing of commands. Whatever arrives, memory stays bounded by what arrived.
 */
import { GlasscastError } from '../errors.ts';

/** Protocol and user control, media, AMF0 data and AMF0 commands (§5.4, §7.1). */
export const messageTypes = {
  setChunkSize: 1,
  abort: 2,
  acknowledgement: 3,
  userControl: 4,
  windowAckSize: 5,
  setPeerBandwidth: 6,
  audio: 8,
  video: 9,
  data: 18,
  commandAmf3: 17,
  command: 20,
} as const;

export interface RtmpMessage {
  type: number;
  /** 0 = the connection itself. */
  streamId: number;
  /** 32 bit, absolute. */
  timestampMs: number;
  payload: Buffer;
}

const INITIAL_CHUNK_BYTES = 128;
const MAX_CHUNK_BYTES = 0xffffff;
/** From here on the 24 bit field says "see the extended field". */
const EXTENDED = 0xffffff;
const NOTHING = Buffer.alloc(0);
const MESSAGE_HEADER_BYTES = [11, 7, 3, 0] as const;

export interface ChunkReader {
  /** Takes bytes cut anywhere. @throws GlasscastError INGEST_PROTOCOL; the reader is of no use afterwards. */
  push(bytes: Buffer): void;
}

export interface ChunkReaderOptions {
  /** Each whole message, except Set Chunk Size and Abort, which end here. */
  onMessage: (message: RtmpMessage) => void;
  /** Default 4 MB. */
  maxMessageBytes?: number;
  /** Chunk streams that may be open at once. Default 64. */
  maxChunkStreams?: number;
}

interface ChunkStream {
  type: number;
  streamId: number;
  messageBytes: number;
  timestampMs: number;
  /** What a header of type 3 adds for a new message. */
  deltaMs: number;
  hasExtended: boolean;
  /** The extended field of this message's header, which continuations repeat. */
  extended: number;
  /** Grows with what arrives, so that a claimed length never becomes memory. */
  payload: Buffer;
  received: number;
}

interface ChunkHeader {
  stream: ChunkStream;
  bytes: number;
}

export function createChunkReader(options: ChunkReaderOptions): ChunkReader {
  const { onMessage, maxMessageBytes = 4 * 1024 * 1024, maxChunkStreams = 64 } = options;
  const streams = new Map<number, ChunkStream>();
  let chunkBytes = INITIAL_CHUNK_BYTES;
  /** At most one cut header (18 bytes) waits here. */
  let rest = NOTHING;
  let current: { stream: ChunkStream; left: number } | undefined;

  /** The header at `at`, or undefined when its end has not arrived. Changes nothing before all of it is there. */
  function readHeader(bytes: Buffer, at: number): ChunkHeader | undefined {
    const first = bytes[at] ?? 0;
    const format = first >> 6;
    const basicBytes = (first & 0x3f) === 0 ? 2 : (first & 0x3f) === 1 ? 3 : 1;
    const fieldBytes = MESSAGE_HEADER_BYTES[format as 0 | 1 | 2 | 3];
    if (bytes.length - at < basicBytes + fieldBytes) return undefined;
    const id = chunkStreamId(bytes, at, basicBytes);
    const fields = at + basicBytes;
    const known = streams.get(id);
    if (!known && format !== 0) throw broken(`chunk stream ${id} begins with header type ${format}`);
    const short = format < 3 ? bytes.readUIntBE(fields, 3) : 0;
    const hasExtended = format < 3 ? short === EXTENDED : (known?.hasExtended ?? false);
    const total = basicBytes + fieldBytes + (hasExtended ? 4 : 0);
    if (bytes.length - at < total) return undefined;

    const stream = known ?? openStream(id);
    const time = hasExtended ? bytes.readUInt32BE(fields + fieldBytes) : short;
    if (stream.received > 0) {
      if (format !== 3) throw broken(`a new message cuts into another on chunk stream ${id}`);
      // Some servers do not repeat it in continuations (the text is vague): then these bytes are payload already.
      return { stream, bytes: hasExtended && time !== stream.extended ? total - 4 : total };
    }
    applyTime(stream, format, time);
    stream.hasExtended = hasExtended;
    stream.extended = time;
    if (format <= 1) {
      stream.messageBytes = bytes.readUIntBE(fields + 3, 3);
      stream.type = bytes[fields + 6] ?? 0;
      if (stream.messageBytes > maxMessageBytes) throw broken(`a message of ${stream.messageBytes} bytes`);
    }
    if (format === 0) stream.streamId = bytes.readUInt32LE(fields + 7);
    return { stream, bytes: total };
  }
  function openStream(id: number): ChunkStream {
    if (streams.size >= maxChunkStreams) throw broken(`more than ${maxChunkStreams} chunk streams`);
    const stream: ChunkStream = {
      type: 0,
      streamId: 0,
      messageBytes: 0,
      timestampMs: 0,
      deltaMs: 0,
      hasExtended: false,
      extended: 0,
      payload: NOTHING,
      received: 0,
    };
    streams.set(id, stream);
    return stream;
  }
  function takePayload(bytes: Buffer, at: number): number {
    if (!current) return 0;
    const { stream } = current;
    const take = Math.min(current.left, bytes.length - at);
    append(stream, bytes.subarray(at, at + take));
    current.left -= take;
    if (current.left > 0) return take;
    current = undefined;
    if (stream.received >= stream.messageBytes) finish(stream);
    return take;
  }
  function finish(stream: ChunkStream): void {
    const payload = stream.payload.subarray(0, stream.received);
    stream.payload = NOTHING;
    stream.received = 0;
    if (stream.type === messageTypes.setChunkSize) {
      chunkBytes = asChunkSize(payload);
    } else if (stream.type === messageTypes.abort) {
      const aborted = payload.length >= 4 ? streams.get(payload.readUInt32BE(0)) : undefined;
      if (aborted) Object.assign(aborted, { payload: NOTHING, received: 0 });
    } else {
      onMessage({ type: stream.type, streamId: stream.streamId, timestampMs: stream.timestampMs, payload });
    }
  }

  return {
    push(chunk) {
      const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
      rest = NOTHING;
      let at = 0;
      while (at < bytes.length || current?.left === 0) {
        if (current) {
          at += takePayload(bytes, at);
          continue;
        }
        const header = readHeader(bytes, at);
        if (!header) {
          rest = Buffer.from(bytes.subarray(at));
          return;
        }
        at += header.bytes;
        const { stream } = header;
        current = { stream, left: Math.min(chunkBytes, stream.messageBytes - stream.received) };
      }
    },
  };
}

function append(stream: ChunkStream, bytes: Buffer): void {
  const needed = stream.received + bytes.length;
  if (needed > stream.payload.length) {
    const grown = Buffer.allocUnsafe(Math.min(stream.messageBytes, Math.max(needed, 2 * stream.payload.length)));
    stream.payload.copy(grown, 0, 0, stream.received);
    stream.payload = grown;
  }
  bytes.copy(stream.payload, stream.received);
  stream.received = needed;
}

function applyTime(stream: ChunkStream, format: number, time: number): void {
  if (format === 0) {
    stream.timestampMs = time;
    // A message opened by type 3 right after type 0 repeats the absolute time as its delta (§5.3.1.2.4).
    stream.deltaMs = time;
    return;
  }
  if (format < 3) stream.deltaMs = time;
  stream.timestampMs = (stream.timestampMs + stream.deltaMs) % 0x1_0000_0000;
}

function chunkStreamId(bytes: Buffer, at: number, basicBytes: number): number {
  if (basicBytes === 1) return (bytes[at] ?? 0) & 0x3f;
  const second = bytes[at + 1] ?? 0;
  return basicBytes === 2 ? second + 64 : (bytes[at + 2] ?? 0) * 256 + second + 64;
}

function asChunkSize(payload: Buffer): number {
  const bytes = payload.length >= 4 ? payload.readUInt32BE(0) : 0;
  if (bytes < 1 || bytes > 0x7fffffff) throw broken(`chunk size ${bytes}`);
  // No message is longer than 24 bits can say, so a larger chunk is the same (§5.4.1).
  return Math.min(bytes, MAX_CHUNK_BYTES);
}

function broken(reason: string): GlasscastError {
  return new GlasscastError('INGEST_PROTOCOL', { reason });
}

export interface ChunkWriter {
  /**
   * The chunks of one message, as buffers to write one after the other. Always a full header (type 0): it costs 4 to
   * 8 bytes per message and no receiver can misread it after a drop.
   * @param chunkStreamId 2…63
   */
  message(chunkStreamId: number, message: RtmpMessage): Buffer[];
  /** Announces and from then on uses this chunk size. */
  setChunkSize(bytes: number): Buffer[];
}

export function createChunkWriter(): ChunkWriter {
  let chunkBytes = INITIAL_CHUNK_BYTES;

  function message(chunkStreamId: number, { type, streamId, timestampMs, payload }: RtmpMessage): Buffer[] {
    const isExtended = timestampMs >= EXTENDED;
    const header = Buffer.alloc(12 + (isExtended ? 4 : 0));
    header[0] = chunkStreamId;
    header.writeUIntBE(isExtended ? EXTENDED : timestampMs, 1, 3);
    header.writeUIntBE(payload.length, 4, 3);
    header[7] = type;
    header.writeUInt32LE(streamId, 8);
    if (isExtended) header.writeUInt32BE(timestampMs, 12);

    const parts = [header, payload.subarray(0, chunkBytes)];
    for (let offset = chunkBytes; offset < payload.length; offset += chunkBytes) {
      // The extended time is repeated in each continuation: the specification's text is vague, all receivers agree.
      const next = Buffer.alloc(isExtended ? 5 : 1);
      next[0] = 0xc0 | chunkStreamId;
      if (isExtended) next.writeUInt32BE(timestampMs, 1);
      parts.push(next, payload.subarray(offset, offset + chunkBytes));
    }
    return parts;
  }

  return {
    message,
    setChunkSize(bytes) {
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(bytes, 0);
      const parts = message(2, { type: messageTypes.setChunkSize, streamId: 0, timestampMs: 0, payload });
      chunkBytes = bytes;
      return parts;
    },
  };
}
