/**
 * Stands at the ingest's door and reads what a publisher sends: tells when it connected, its first byte, and each media
 * message when its last byte has passed. Knows RTMP one way only; the answers pass unread.
 */
import { createChunkReader, messageTypes, type RtmpMessage } from '../../shared/rtmp/chunk-stream.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { createTcpTap, type TcpTap } from './tcp-tap.ts';

export interface RtmpTapOptions {
  /** Where the ingest listens, asked at each connection. */
  target: () => { host: string; port: number };
  onConnected?: (connection: number) => void;
  onFirstByte?: (connection: number) => void;
  onTag?: (tag: FlvTag, connection: number) => void;
  onClosed?: (connection: number) => void;
}

/** C0, C1 and C2: 1 + 1536 + 1536 bytes before the first chunk. */
const HANDSHAKE_BYTES = 3073;

export function createRtmpTap(options: RtmpTapOptions): TcpTap {
  return createTcpTap({
    target: options.target,
    observe(connection) {
      options.onConnected?.(connection);
      const read = createReader((tag) => options.onTag?.(tag, connection));
      let isFirst = true;
      return {
        up(bytes) {
          if (isFirst) options.onFirstByte?.(connection);
          isFirst = false;
          read(bytes);
        },
        closed: () => options.onClosed?.(connection),
      };
    },
  });
}

/** Reads one publisher's bytes, handshake first; gives up silently on what is no RTMP. */
function createReader(onTag: (tag: FlvTag) => void): (bytes: Buffer) => void {
  const chunks = createChunkReader({
    onMessage: (message) => {
      const kind = kindOf(message);
      if (kind) onTag({ kind, timestampMs: message.timestampMs, body: message.payload });
    },
  });
  let skip = HANDSHAKE_BYTES;
  let isReadable = true;
  return (bytes) => {
    if (!isReadable) return;
    const from = Math.min(skip, bytes.length);
    skip -= from;
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
