/**
 * An RTMP client of few lines for tests of the ingest: says exactly what a test wants said, also nonsense, and shows
 * what comes back. Shares no code with the product's client, so that both cannot be wrong in the same way.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { decodeAmf0, encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { tags } from './media-tags.ts';

export interface RtmpMessage {
  type: number;
  timestampMs: number;
  body: Buffer;
}

export interface RtmpTestPeer {
  readonly socket: Socket;
  readonly received: readonly RtmpMessage[];
  /** Settles when the socket is closed, however. */
  readonly closed: Promise<void>;
  handshake(): Promise<void>;
  raw(bytes: Buffer): void;
  message(type: number, body: Buffer, options?: { timestampMs?: number; chunkStream?: number; stream?: number }): void;
  command(name: string, ...values: Parameters<typeof encodeAmf0>): void;
  /** Handshake, connect and createStream. */
  open(app?: string): Promise<void>;
  /** The code of the answer, e.g. NetStream.Publish.Start. */
  publish(key: string): Promise<string>;
  play(key: string): Promise<string>;
  tag(tag: FlvTag): void;
  /** The first message, past or future, that fits; rejects when the connection closes without one. */
  wait(fits: (message: RtmpMessage) => boolean): Promise<RtmpMessage>;
  /** The code of the first onStatus that begins so. */
  status(prefix: string): Promise<string>;
  close(): Promise<void>;
}

const TYPES = { audio: 8, video: 9, script: 18 } as const;
const COMMAND = 20;

/** One message in chunks; by default of RTMP's first chunk size. */
export function chunked(
  type: number,
  body: Buffer,
  {
    timestampMs = 0,
    chunkStream = 3,
    stream = 0,
    chunkBytes = 128,
  }: { timestampMs?: number; chunkStream?: number; stream?: number; chunkBytes?: number } = {},
): Buffer {
  const header = Buffer.alloc(12);
  header[0] = chunkStream;
  header.writeUIntBE(Math.min(timestampMs, 0xffffff), 1, 3);
  header.writeUIntBE(body.length, 4, 3);
  header[7] = type;
  header.writeUInt32LE(stream, 8);
  const extended = Buffer.alloc(timestampMs >= 0xffffff ? 4 : 0);
  if (extended.length > 0) extended.writeUInt32BE(timestampMs);
  const parts: Buffer[] = [header, extended, body.subarray(0, chunkBytes)];
  for (let at = chunkBytes; at < body.length; at += chunkBytes) {
    parts.push(Buffer.from([0xc0 | chunkStream]), extended, body.subarray(at, at + chunkBytes));
  }
  return Buffer.concat(parts);
}

/** @param ca trusted for TLS, which is spoken only with it; `over` a connected socket instead of one of its own. */
export async function connectRtmp(
  port: number,
  { ca, over }: { ca?: string; over?: Socket } = {},
): Promise<RtmpTestPeer> {
  const target = { port, host: '127.0.0.1', noDelay: true };
  const socket = ca === undefined ? connect(target) : connectTls({ ...target, ca, ...(over ? { socket: over } : {}) });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => undefined);
  await once(socket, ca === undefined ? 'connect' : 'secureConnect');
  const received: RtmpMessage[] = [];
  const waiting = new Set<() => void>();
  let isClosed = false;
  const read = createReader((message) => {
    received.push(message);
    for (const check of [...waiting]) check();
  });
  socket.on('data', read);
  socket.on('close', () => {
    isClosed = true;
    for (const check of [...waiting]) check();
  });

  function wait(fits: (message: RtmpMessage) => boolean): Promise<RtmpMessage> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = received.find(fits);
        if (!found && !isClosed) return;
        waiting.delete(check);
        if (found) resolve(found);
        else reject(new Error('the connection closed before the message came'));
      };
      waiting.add(check);
      check();
    });
  }
  const peer: RtmpTestPeer = {
    socket,
    received,
    closed,
    raw: (bytes) => void socket.write(bytes),
    async handshake() {
      socket.write(Buffer.concat([Buffer.from([3]), Buffer.alloc(1536, 1)]));
      await read.handshaken;
      socket.write(Buffer.alloc(1536, 2));
    },
    message: (type, body, options) => void socket.write(chunked(type, body, options)),
    command: (name, ...values) => peer.message(COMMAND, encodeAmf0(name, ...values), { stream: 1 }),
    async open(app = 'live') {
      await peer.handshake();
      peer.command('connect', 1, { app, tcUrl: `rtmp://127.0.0.1/${app}` });
      await wait((message) => commandName(message) === '_result');
      peer.command('createStream', 2, null);
      await wait((message) => commandName(message) === '_result' && decodeAmf0(message.body)[1] === 2);
    },
    publish(key) {
      peer.command('publish', 3, null, key, 'live');
      return peer.status('NetStream.');
    },
    async play(key) {
      peer.command('play', 4, null, key);
      const code = await peer.status('NetStream.Play.');
      return code === 'NetStream.Play.Reset' ? peer.status('NetStream.Play.Start') : code;
    },
    tag: ({ kind, timestampMs, body }) =>
      peer.message(TYPES[kind], body, { timestampMs, chunkStream: kind === 'audio' ? 4 : 5, stream: 1 }),
    wait,
    status: async (prefix) => statusCode(await wait((message) => statusCode(message).startsWith(prefix))),
    async close() {
      socket.destroy();
      await closed;
    },
  };
  return peer;
}

function commandName({ type, body }: RtmpMessage): unknown {
  return type === COMMAND ? decodeAmf0(body)[0] : undefined;
}

function statusCode(message: RtmpMessage): string {
  const name = commandName(message);
  if (name !== 'onStatus' && name !== '_error') return '';
  const info = decodeAmf0(message.body)[3];
  return typeof info === 'object' && info && 'code' in info ? String(info.code) : '';
}

/** Reads what the ingest writes: full headers, continued in chunks of 65535 bytes. */
function createReader(onMessage: (message: RtmpMessage) => void) {
  let held = Buffer.alloc(0);
  let done: () => void = () => undefined;
  let isHandshaken = false;
  const handshaken = new Promise<void>((resolve) => {
    done = resolve;
  });
  const CHUNK = 65_535;

  function next(): boolean {
    if (held.length < 12) return false;
    const shortMs = held.readUIntBE(1, 3);
    const extended = shortMs === 0xffffff ? 4 : 0;
    const length = held.readUIntBE(4, 3);
    const breaks = Math.max(0, Math.ceil(length / CHUNK) - 1);
    const total = 12 + extended + length + breaks * (1 + extended);
    if (held.length < total) return false;
    const parts: Buffer[] = [];
    for (let at = 12 + extended, left = length; left > 0; at += CHUNK + 1 + extended, left -= CHUNK) {
      parts.push(held.subarray(at, at + Math.min(CHUNK, left)));
    }
    const timestampMs = extended ? held.readUInt32BE(12) : shortMs;
    const message = { type: held.readUInt8(7), timestampMs, body: Buffer.concat(parts) };
    held = held.subarray(total);
    onMessage(message);
    return true;
  }
  const read = (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    if (!isHandshaken) {
      if (held.length < 3073) return;
      held = held.subarray(3073);
      isHandshaken = true;
      done();
    }
    while (next());
  };
  return Object.assign(read, { handshaken });
}

/** Synthetic media with valid H.264 and AAC framing; `fill` makes bodies tell apart. */
export const media = {
  videoHeader: (): FlvTag => tags.videoConfig(),
  audioHeader: (): FlvTag => ({ kind: 'audio', timestampMs: 0, body: Buffer.from([0xaf, 0, 0x12, 0x10]) }),
  metadata: (): FlvTag => ({
    kind: 'script',
    timestampMs: 0,
    body: encodeAmf0('@setDataFrame', 'onMetaData', { width: 1280, height: 720 }),
  }),
  key: (timestampMs: number, fill = 1, bytes = 200): FlvTag => video(0x17, timestampMs, fill, bytes),
  frame: (timestampMs: number, fill = 1, bytes = 90): FlvTag => video(0x27, timestampMs, fill, bytes),
  audio: (timestampMs: number, fill = 1): FlvTag => ({
    kind: 'audio',
    timestampMs,
    body: Buffer.concat([Buffer.from([0xaf, 1]), Buffer.alloc(20, fill)]),
  }),
};

function video(first: number, timestampMs: number, fill: number, bytes: number): FlvTag {
  const stamp = Buffer.alloc(4);
  stamp.writeUInt32BE(timestampMs);
  return {
    kind: 'video',
    timestampMs,
    body: Buffer.concat([Buffer.from([first, 1, 0, 0, 0]), stamp, Buffer.alloc(bytes, fill)]),
  };
}
