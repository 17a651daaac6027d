/**
 * Stands at the ingest's door and reads what a publisher sends: tells when it connected, its first byte, and each media
 * message when its last byte has passed; and what the ingest acknowledges. Reads only; changes nothing that passes.
 */
import { createChunkReader, messageTypes, type RtmpMessage } from '../../shared/rtmp/chunk-stream.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { createTcpTap, type TcpTap } from './tcp-tap.ts';

export interface RtmpTapOptions {
  /** Where the ingest listens, asked at each connection. */
  target: () => { host: string; port: number };
  /** Where it listens. Default 127.0.0.1. */
  host?: string;
  onConnected?: (connection: number) => void;
  onFirstByte?: (connection: number) => void;
  /** @param bytes passed so far after the handshake, this message's included and maybe a little more. */
  onTag?: (tag: FlvTag, connection: number, bytes: number) => void;
  /** The ingest's program has read so many bytes after the handshake. */
  onAcknowledged?: (bytes: number, connection: number) => void;
  onClosed?: (connection: number) => void;
}

/** C0, C1 and C2, or their answers: 1 + 1536 + 1536 bytes before the first chunk. */
const HANDSHAKE_BYTES = 3073;

export function createRtmpTap(options: RtmpTapOptions): TcpTap {
  return createTcpTap({
    target: options.target,
    ...(options.host === undefined ? {} : { host: options.host }),
    observe(connection) {
      options.onConnected?.(connection);
      const up = createReader((message, bytes) => {
        const kind = kindOf(message);
        const tag = kind && { kind, timestampMs: message.timestampMs, body: message.payload };
        if (tag) options.onTag?.(tag, connection, bytes);
      });
      const down = createReader(({ type, payload }) => {
        if (type !== messageTypes.acknowledgement || payload.length < 4) return;
        options.onAcknowledged?.(payload.readUInt32BE(0), connection);
      });
      let isFirst = true;
      return {
        up(bytes) {
          if (isFirst) options.onFirstByte?.(connection);
          isFirst = false;
          up(bytes);
        },
        down,
        closed: () => options.onClosed?.(connection),
      };
    },
  });
}

/** Reads one direction, handshake first; gives up silently on what is no RTMP. */
function createReader(onMessage: (message: RtmpMessage, bytes: number) => void): (bytes: Buffer) => void {
  const chunks = createChunkReader({ onMessage: (message) => onMessage(message, passed) });
  let skip = HANDSHAKE_BYTES;
  let passed = 0;
  let isReadable = true;
  return (bytes) => {
    if (!isReadable) return;
    const from = Math.min(skip, bytes.length);
    skip -= from;
    passed += bytes.length - from;
    try {
      if (from < bytes.length) chunks.push(bytes.subarray(from));
    } catch {
      isReadable = false;
    }
  };
}

function kindOf({ type }: RtmpMessage): FlvTag['kind'] | undefined {
  if (type === messageTypes.audio) return 'audio';
  if (type === messageTypes.video) return 'video';
  return type === messageTypes.data ? 'script' : undefined;
}
