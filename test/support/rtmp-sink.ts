/**
 * A small RTMP server with a script: records what is published, and misbehaves on demand.
 * Not a media server: one connection at a time matters to a test, and it plays nothing.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { type AmfValue, decodeAmf0, encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import {
  type ChunkWriter,
  createChunkReader,
  createChunkWriter,
  messageTypes,
  type RtmpMessage,
} from '../../shared/rtmp/chunk-stream.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { testCertificate, testCertificateKey } from './test-certificate.ts';

export interface RtmpSinkBehaviour {
  /** Accepts the connection and never says a word. */
  silentAt?: 'handshake' | 'connect' | 'publish';
  /** Ends the connection at this step. */
  dropAt?: 'accept' | 'connect' | 'publish' | 'started';
  /** Answers publish with this code at level error. */
  refuseCode?: string;
  /** Answers connect with a redirect to this address. */
  redirectTo?: string;
  /** Acknowledges after each so many bytes. */
  acknowledgeEachBytes?: number;
  /** Ends the connection when commands arrive before the answer to connect was sent and read: no pipelining. */
  stepwiseOnly?: boolean;
  /** What createStream gives. Default 1. */
  streamId?: number;
  /** Announces this chunk size with the answer to connect, and uses it. */
  chunkBytes?: number;
  /** Answers the handshake with these bytes instead. */
  handshakeBytes?: Buffer;
}

export interface SinkTag extends FlvTag {
  /** Which connection brought it, from 1. */
  connection: number;
  streamId: number;
}

export interface RtmpSink {
  readonly port: number;
  /** All media and data that arrived. */
  readonly tags: SinkTag[];
  /** Names of all commands, in order, with their values. */
  readonly commands: { name: string; values: AmfValue[] }[];
  /** User control and protocol messages from the client. */
  readonly controls: RtmpMessage[];
  readonly connections: number;
  behaviour: RtmpSinkBehaviour;
  /** Resolves when the predicate holds; looked at after each message and each connection's end. */
  until(predicate: () => boolean): Promise<void>;
  /** Sends a message to the connected publisher. */
  send(message: Omit<RtmpMessage, 'timestampMs'>): void;
  status(code: string, level?: string): void;
  /** Sends bytes as they are to every publisher. */
  raw(bytes: Buffer): void;
  /** Stops reading: the publisher's queue fills. */
  wedge(): void;
  /** Cuts all connections without a farewell. */
  reset(): void;
  /** Refuses connections from now on; `listen` takes the same port again. */
  stopListening(): Promise<void>;
  listen(): Promise<void>;
  close(): Promise<void>;
}

export async function startRtmpSink(
  options: RtmpSinkBehaviour & { secure?: boolean; host?: string } = {},
): Promise<RtmpSink> {
  const { secure, host = '127.0.0.1', ...behaviour } = options;
  const waiting = new Set<() => void>();
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let port = 0;
  let publisher: ((message: Omit<RtmpMessage, 'timestampMs'>) => void) | undefined;
  const changed = () => {
    for (const look of [...waiting]) look();
  };
  const sink: RtmpSink & { connections: number } = {
    get port() {
      return port;
    },
    tags: [],
    commands: [],
    controls: [],
    connections: 0,
    behaviour,
    until(predicate) {
      return new Promise((resolve) => {
        const look = () => {
          if (!predicate()) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      });
    },
    send: (message) => publisher?.(message),
    status: (code, level = 'status') => publisher?.(statusMessage(code, level)),
    raw(bytes) {
      for (const socket of sockets) socket.write(bytes);
    },
    wedge() {
      for (const socket of sockets) socket.pause();
    },
    reset() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async stopListening() {
      const closing = server;
      server = undefined;
      await new Promise<void>((resolve) => (closing ? closing.close(() => resolve()) : resolve()));
    },
    async listen() {
      const next = secure
        ? createTlsServer({ cert: testCertificate, key: testCertificateKey }, accept)
        : createServer(accept);
      server = next;
      await new Promise<void>((resolve, reject) => {
        next.once('error', reject);
        next.listen(port, host, resolve);
      });
      const address = next.address();
      port = typeof address === 'object' && address ? address.port : port;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await sink.stopListening();
    },
  };

  function accept(socket: Socket): void {
    sink.connections += 1;
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      changed();
    });
    publisher = serve(socket, sink, changed);
    changed();
  }
  await sink.listen();
  return sink;
}

function serve(
  socket: Socket,
  sink: RtmpSink,
  changed: () => void,
): (message: Omit<RtmpMessage, 'timestampMs'>) => void {
  const connection = sink.connections;
  const writer = createChunkWriter();
  const reader = createChunkReader({ onMessage, maxMessageBytes: 16 * 1024 * 1024 });
  let handshake: Buffer | undefined = Buffer.alloc(0);
  let received = 0;
  let acknowledged = 0;
  let connectAnswered = false;

  const send = (message: Omit<RtmpMessage, 'timestampMs'>) => writeMessage(socket, writer, message);
  const answer = (...values: AmfValue[]) =>
    send({ type: messageTypes.command, streamId: 0, payload: encodeAmf0(...values) });

  function onMessage(message: RtmpMessage): void {
    const kind =
      message.type === 8 ? 'audio' : message.type === 9 ? 'video' : message.type === 18 ? 'script' : undefined;
    if (kind) {
      const { streamId, timestampMs, payload } = message;
      sink.tags.push({ kind, timestampMs, body: payload, connection, streamId });
    } else if (message.type === messageTypes.command) onCommand(decodeAmf0(message.payload));
    else sink.controls.push(message);
    changed();
  }
  function onCommand([name, transaction, ...values]: AmfValue[]): void {
    const { behaviour } = sink;
    sink.commands.push({ name: String(name), values });
    if (name === 'connect') {
      if (behaviour.silentAt === 'connect') return;
      if (behaviour.dropAt === 'connect') socket.end();
      else if (behaviour.redirectTo) {
        const ex = { code: 302, redirect: behaviour.redirectTo };
        answer('_error', 1, null, { level: 'error', code: 'NetConnection.Connect.Rejected', description: 'moved', ex });
      } else {
        if (behaviour.chunkBytes) for (const part of writer.setChunkSize(behaviour.chunkBytes)) socket.write(part);
        send({ type: messageTypes.windowAckSize, streamId: 0, payload: Buffer.from([0, 0, 0, 100]) });
        send({ type: messageTypes.setPeerBandwidth, streamId: 0, payload: Buffer.from([0, 0x26, 0x25, 0xa0, 2]) });
        // Later than this turn, so that commands sent ahead are seen as such.
        setImmediate(() => {
          connectAnswered = true;
          answer('_result', 1, { fmsVer: 'sink' }, { level: 'status', code: 'NetConnection.Connect.Success' });
        });
      }
    } else if (behaviour.stepwiseOnly && !connectAnswered) socket.destroy();
    else if (name === 'createStream') setImmediate(() => answer('_result', transaction, null, behaviour.streamId ?? 1));
    else if (name === 'publish') setImmediate(onPublish);
  }
  function onPublish(): void {
    const { silentAt, dropAt, refuseCode } = sink.behaviour;
    if (silentAt === 'publish') return;
    if (dropAt === 'publish') socket.end();
    else if (refuseCode) send(statusMessage(refuseCode, 'error'));
    else send(statusMessage('NetStream.Publish.Start', 'status'));
    if (dropAt === 'started') socket.end();
  }

  socket.on('data', (chunk: Buffer) => {
    const { silentAt, acknowledgeEachBytes, handshakeBytes } = sink.behaviour;
    received += chunk.length;
    let rest = chunk;
    if (handshake) {
      const isFirst = handshake.length === 0;
      handshake = Buffer.concat([handshake, chunk]);
      if (silentAt === 'handshake') return;
      if (isFirst) socket.write(handshakeBytes ?? Buffer.concat([Buffer.from([3]), Buffer.alloc(3072, 7)]));
      if (handshake.length < 3073) return;
      rest = handshake.subarray(3073);
      handshake = undefined;
    }
    reader.push(rest);
    if (acknowledgeEachBytes && received - acknowledged >= acknowledgeEachBytes) {
      acknowledged = received;
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(received);
      send({ type: messageTypes.acknowledgement, streamId: 0, payload });
    }
  });
  if (sink.behaviour.dropAt === 'accept') socket.destroy();
  return send;
}

function writeMessage(socket: Socket, writer: ChunkWriter, message: Omit<RtmpMessage, 'timestampMs'>): void {
  if (socket.destroyed) return;
  for (const part of writer.message(3, { ...message, timestampMs: 0 })) socket.write(part);
}

function statusMessage(code: string, level: string): Omit<RtmpMessage, 'timestampMs'> {
  const info = { level, code, description: `said about the-stream-key: ${code}` };
  return { type: messageTypes.command, streamId: 1, payload: encodeAmf0('onStatus', 0, null, info) };
}
