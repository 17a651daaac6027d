/**
 * RTMP on one connected socket, as the publishing side: handshake, commands with their answers, acknowledgements, pings.
 * Owns the socket and its end; knows nothing of media or of retries.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { asGlasscastError, GlasscastError } from '../errors.ts';
import { type AmfValue, decodeAmf0, encodeAmf0 } from './amf0.ts';
import { createChunkReader, createChunkWriter, messageTypes, type RtmpMessage } from './chunk-stream.ts';
import { dropError } from './connection-causes.ts';
import type { PublishUrl } from './publish-url.ts';

/** An `_error` answer to a command, or an `onStatus`: the fields that servers agree on. */
export interface RtmpStatus {
  level: string;
  code: string;
  /** For people, without our stream key. */
  description: string;
  /** Where to go instead (Connect.Rejected with code 302); holds no key. */
  redirect: string | undefined;
}

export interface RtmpSessionOptions {
  socket: Socket;
  url: PublishUrl;
  onStatus: (status: RtmpStatus) => void;
  /** RTMP acknowledgement: the ingest has read so many of our bytes. */
  onAcknowledged: (bytes: number) => void;
}

export interface RtmpSession {
  /** C0, C1; resolves with S0, S1, S2 received and C2 sent. */
  handshake(): Promise<void>;
  setChunkSize(bytes: number): void;
  /** Asks the server to acknowledge after each so many bytes. */
  askForAcknowledgements(windowBytes: number): void;
  /** Sends a command whose answer nobody needs. */
  tell(name: string, streamId: number, ...values: AmfValue[]): void;
  /** Sends a command; resolves with the values of its `_result`, rejects with its `_error` as RefusedCommand. */
  ask(name: string, ...values: AmfValue[]): Promise<AmfValue[]>;
  send(chunkStreamId: number, message: RtmpMessage): void;
  /** Everything given to the socket, with the handshake. */
  readonly bytesSent: number;
  readonly handshakeDone: boolean;
  /** Settles when the socket is gone: with the cause, or undefined when `end` was ours. Never rejects. */
  readonly ended: Promise<GlasscastError | undefined>;
  /** Cuts the connection. Only the first cause counts. */
  end(cause: GlasscastError | undefined): void;
}

/** The server's `_error` to a command. */
export class RefusedCommand extends Error {
  override readonly name = 'RefusedCommand';
  readonly status: RtmpStatus;

  constructor(status: RtmpStatus) {
    super(`${status.code} ${status.description}`.trim());
    this.status = status;
  }
}

const VERSION = 3;
const PART_BYTES = 1536;
const CONTROL_CHUNK_STREAM = 2;
const COMMAND_CHUNK_STREAM = 3;
const PING_REQUEST = 6;
const PING_RESPONSE = 7;
/** More than media ever leaves unwritten here: a server that asks and does not read gets no more answers. */
const MAX_UNREAD_BYTES = 1_000_000;

interface Waiting {
  resolve: (values: AmfValue[]) => void;
  reject: (error: unknown) => void;
}

export function createRtmpSession({ socket, url, onStatus, onAcknowledged }: RtmpSessionOptions): RtmpSession {
  const writer = createChunkWriter();
  const reader = createChunkReader({ onMessage });
  const answers = new Map<number, Waiting>();
  let lastTransaction = 0;
  let bytesSent = 0;
  let bytesReceived = 0;
  let acknowledgedToServer = 0;
  let serverWindowBytes: number | undefined;
  let handshakeLeft: Buffer[] | undefined = [];
  let onHandshake: Waiting | undefined;
  let hasStatus = false;
  let isEnded = false;
  /** What whoever waits is told. */
  let endReason: GlasscastError = dropError(url);
  let settleEnded: (cause: GlasscastError | undefined) => void = () => {};
  const ended = new Promise<GlasscastError | undefined>((resolve) => {
    settleEnded = resolve;
  });

  function end(cause: GlasscastError | undefined): void {
    if (isEnded) return;
    isEnded = true;
    endReason = cause ?? endReason;
    for (const waiting of [...answers.values(), ...(onHandshake ? [onHandshake] : [])]) waiting.reject(endReason);
    answers.clear();
    socket.destroy();
    settleEnded(cause);
  }
  function write(parts: Buffer[]): void {
    if (isEnded || socket.writableEnded) return;
    // In one piece: one system call, with noDelay as few packets as possible, and for Node half the work of several.
    const bytes = Buffer.concat(parts);
    bytesSent += bytes.length;
    socket.write(bytes);
  }
  function send(chunkStreamId: number, message: RtmpMessage): void {
    write(writer.message(chunkStreamId, message));
  }
  function control(type: number, payload: Buffer): void {
    if (socket.writableLength > MAX_UNREAD_BYTES) return;
    send(CONTROL_CHUNK_STREAM, { type, streamId: 0, timestampMs: 0, payload });
  }
  function command(streamId: number, values: AmfValue[]): void {
    const payload = encodeAmf0(...values);
    send(COMMAND_CHUNK_STREAM, { type: messageTypes.command, streamId, timestampMs: 0, payload });
  }

  function takeHandshake(chunk: Buffer): Buffer {
    handshakeLeft?.push(chunk);
    const got = Buffer.concat(handshakeLeft ?? []);
    if (got.length > 0 && got[0] !== VERSION) {
      throw new GlasscastError('INGEST_PROTOCOL', { reason: `handshake version ${got[0]}: is this an RTMP server?` });
    }
    if (got.length < 1 + 2 * PART_BYTES) {
      handshakeLeft = [got];
      return got.subarray(got.length);
    }
    handshakeLeft = undefined;
    // C2 repeats S1. S2 is not compared: servers with the digest handshake do not repeat C1.
    write([got.subarray(1, 1 + PART_BYTES)]);
    onHandshake?.resolve([]);
    onHandshake = undefined;
    return got.subarray(1 + 2 * PART_BYTES);
  }
  function takeBytes(chunk: Buffer): void {
    bytesReceived += chunk.length;
    const rest = handshakeLeft ? takeHandshake(chunk) : chunk;
    if (rest.length > 0) reader.push(rest);
    if (serverWindowBytes === undefined) return;
    // While commands go back and forth each piece is acknowledged: a server with Nagle on (node-media-server) holds the
    // rest of its answer back until our TCP says something, which by itself takes 40 ms a time.
    if (!hasStatus || bytesReceived - acknowledgedToServer >= serverWindowBytes) {
      acknowledgedToServer = bytesReceived;
      control(messageTypes.acknowledgement, uint32(bytesReceived % 0x1_0000_0000));
    }
  }
  function onMessage({ type, payload }: RtmpMessage): void {
    if (type === messageTypes.command) onCommand(decodeAmf0(payload));
    else if (type === messageTypes.commandAmf3) onCommand(decodeAmf0(payload.subarray(1)));
    else if (payload.length < 4) return;
    else if (type === messageTypes.windowAckSize) serverWindowBytes = Math.max(1, payload.readUInt32BE(0));
    else if (type === messageTypes.setPeerBandwidth) control(messageTypes.windowAckSize, payload.subarray(0, 4));
    else if (type === messageTypes.acknowledgement) onAcknowledged(fullCount(payload.readUInt32BE(0), bytesSent));
    else if (type === messageTypes.userControl && payload.length >= 6 && payload.readUInt16BE(0) === PING_REQUEST) {
      control(messageTypes.userControl, Buffer.concat([Buffer.from([0, PING_RESPONSE]), payload.subarray(2, 6)]));
    }
  }
  function onCommand([name, transaction, first, info]: AmfValue[]): void {
    if (name === 'onStatus') {
      hasStatus = true;
      onStatus(statusOf(info, url));
      return;
    }
    const waiting = typeof transaction === 'number' ? answers.get(transaction) : undefined;
    if (!waiting || typeof transaction !== 'number') return;
    answers.delete(transaction);
    if (name === '_result') waiting.resolve([first, info]);
    else waiting.reject(new RefusedCommand(statusOf(info, url)));
  }

  socket.on('data', (chunk: Buffer) => {
    if (isEnded) return;
    try {
      takeBytes(chunk);
    } catch (error) {
      end(asGlasscastError(error));
    }
  });
  socket.on('error', (error) => end(dropError(url, error)));
  socket.on('end', () => end(dropError(url)));
  socket.on('close', () => end(dropError(url)));
  if (socket.destroyed) end(dropError(url));

  return {
    handshake() {
      if (isEnded) return Promise.reject(endReason);
      const done = new Promise<AmfValue[]>((resolve, reject) => {
        onHandshake = { resolve, reject };
      });
      write([Buffer.from([VERSION]), Buffer.alloc(8), randomBytes(PART_BYTES - 8)]);
      return done.then(() => {});
    },
    setChunkSize: (bytes) => write(writer.setChunkSize(bytes)),
    askForAcknowledgements: (windowBytes) => control(messageTypes.windowAckSize, uint32(windowBytes)),
    tell(name, streamId, ...values) {
      lastTransaction += 1;
      command(streamId, [name, lastTransaction, ...values]);
    },
    ask(name, ...values) {
      lastTransaction += 1;
      const transaction = lastTransaction;
      const answer = new Promise<AmfValue[]>((resolve, reject) => {
        if (isEnded) reject(endReason);
        else answers.set(transaction, { resolve, reject });
      });
      // Asked ahead, awaited later: until then a refusal must not count as unhandled.
      answer.catch(() => {});
      command(0, [name, transaction, ...values]);
      return answer;
    },
    send,
    get bytesSent() {
      return bytesSent;
    },
    get handshakeDone() {
      return handshakeLeft === undefined;
    },
    ended,
    end,
  };
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
}

/** Acknowledgements carry 32 bits, which 2 Mbit/s use up in five hours: the largest count not above `sent` that fits. */
export function fullCount(low32: number, sent: number): number {
  const behind = (((sent - low32) % 0x1_0000_0000) + 0x1_0000_0000) % 0x1_0000_0000;
  return Math.max(0, sent - behind);
}

function statusOf(info: AmfValue, url: PublishUrl): RtmpStatus {
  const text = (from: AmfValue, key: string): string => {
    const value = isObject(from) ? from[key] : undefined;
    return typeof value === 'string' ? clean(value, url) : '';
  };
  const ex = isObject(info) ? info.ex : undefined;
  const redirect = isObject(ex) && ex.code === 302 ? text(ex, 'redirect') : '';
  return {
    level: text(info, 'level'),
    code: text(info, 'code'),
    description: text(info, 'description'),
    redirect: redirect || undefined,
  };
}

function isObject(value: AmfValue): value is { [key: string]: AmfValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** Servers repeat the stream's name in their texts; the key must not get into our errors that way. */
function clean(text: string, url: PublishUrl): string {
  const key = url.streamKey.reveal();
  const name = key.split('?')[0] ?? '';
  let shown = text.replaceAll(key, '***');
  if (name) shown = shown.replaceAll(name, '***');
  return shown.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 300);
}
