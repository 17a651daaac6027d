/**
 * Stands at the ingest's door: a TCP proxy that passes every byte on at once and reads what a publisher sends on the way.
 * Tells when a publisher connected, its first byte, and each media message; changes nothing that passes.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createChunkReader, messageTypes, type RtmpMessage } from '../../shared/rtmp/chunk-stream.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';

export interface RtmpTapOptions {
  /** Where the ingest listens, asked at each connection. */
  target: () => { host: string; port: number };
  onConnected?: (connection: number) => void;
  onFirstByte?: (connection: number) => void;
  /** The last byte of this message has passed; the body is the message's own copy. */
  onTag?: (tag: FlvTag, connection: number) => void;
  onClosed?: (connection: number) => void;
}

export interface RtmpTap {
  /** @param port default: a free one. */
  listen(port?: number): Promise<number>;
  /** What the kernel does when the server behind is killed: no listener, every connection reset. `listen` opens again. */
  drop(): Promise<void>;
  close(): Promise<void>;
}

/** C0, C1 and C2, or their answers: 1 + 1536 + 1536 bytes before the first chunk. */
const HANDSHAKE_BYTES = 3073;

export function createRtmpTap(options: RtmpTapOptions): RtmpTap {
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let connections = 0;

  function keep(socket: Socket): void {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  }
  function accept(publisher: Socket): void {
    const connection = connections;
    connections += 1;
    options.onConnected?.(connection);
    const ingest = connect(options.target());
    keep(publisher);
    keep(ingest);
    const read = createReader((tag) => options.onTag?.(tag, connection));
    let seen = false;
    publisher.on('data', (bytes) => {
      ingest.write(bytes);
      if (!seen) options.onFirstByte?.(connection);
      seen = true;
      read(bytes);
    });
    publisher.on('end', () => ingest.end());
    publisher.on('close', () => {
      ingest.destroy();
      options.onClosed?.(connection);
    });
    ingest.on('data', (bytes) => publisher.write(bytes));
    ingest.on('end', () => publisher.end());
    ingest.on('close', () => publisher.destroy());
  }
  async function drop(): Promise<void> {
    const closing = server;
    server = undefined;
    for (const socket of sockets) socket.resetAndDestroy();
    if (closing) await new Promise<void>((resolve) => closing.close(() => resolve()));
  }

  return {
    listen(port = 0) {
      return new Promise((resolve, reject) => {
        const opening = createServer(accept);
        server = opening;
        opening.once('error', reject);
        opening.listen(port, '127.0.0.1', () => {
          const address = opening.address();
          resolve(typeof address === 'object' && address ? address.port : port);
        });
      });
    },
    drop,
    close: drop,
  };
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
