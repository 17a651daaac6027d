/**
 * node-media-server made fit for strangers: its RTMP protocol and its fan-out, hardened by overriding, never by editing.
 * The only importer. Neither its server nor its sessions are used, so no HTTP port, no store folder, no process.exit and
 * no 30 s grace (N7, N10-N13, N15, N16). The N-numbers name the measured defects that each override cures.
 */
import logger from 'node-media-server/src/core/logger.js';
import Flv, { type AvPacket } from 'node-media-server/src/protocol/flv.js';
import Rtmp, { type InvokeMessage } from 'node-media-server/src/protocol/rtmp.js';
import BroadcastServer, { type Subscriber } from 'node-media-server/src/server/broadcast_server.js';
import { type FlvTag, startsWithAmfString, tagTypes } from '../../../shared/rtmp/flv.ts';

// N13: it logs to the console, and would print what peers send.
logger.log = () => undefined;

/** A peer broke the protocol. The text is ours and holds nothing that the peer sent. */
class RtmpFault extends Error {}

export interface RtmpPeerEvents {
  output(bytes: Buffer): void;
  /** Asks to publish; answer with `accept` or `status`. */
  publish(streamKey: string): void;
  play(playbackKey: string): void;
  /** The peer deleted the stream that was accepted. */
  stopped(): void;
  media(tag: FlvTag): void;
  /** Cannot be served; the sentence is for the peer. Its status has been sent. */
  refused(sentence: string): void;
}

export interface RtmpPeer {
  /** Takes what arrived. Returns what was wrong, after which the peer must be given up. */
  receive(bytes: Buffer): string | undefined;
  readonly hasHandshaken: boolean;
  /** Sends success and, for a publisher, lifts the limits from those of a stranger. */
  accept(role: 'publisher' | 'player'): void;
  status(level: 'status' | 'error', code: string, sentence: string): void;
  /** From now on everything received is ignored. */
  mute(): void;
}

export const APP_NAME = 'live';

const MAX_STRANGER_MESSAGE_BYTES = 64 * 1024;
const MAX_STRANGER_CHUNK_STREAMS = 16;
const MAX_CHUNK_STREAMS = 64;
const MAX_DATA_BYTES = 64 * 1024;
const MAX_CHUNK_BYTES = 0xffffff;
const MAX_NAME_CHARS = 512;
const MIN_ACK_WINDOW_BYTES = 16 * 1024;
/** Unless the peer wants them more often: four a second at 2 Mbit/s. What is not acknowledged is sent again. */
const ACK_WINDOW_BYTES = 64 * 1024;
const OFFERED_WINDOW_BYTES = 5_000_000;

const ABORT = 2;
const SET_CHUNK_SIZE = 1;
const SIZED_CONTROLS = new Set([SET_CHUNK_SIZE, ABORT, 3, 5, 6]);
const SET_DATA_FRAME = '@setDataFrame';
const SET_DATA_FRAME_BYTES = 3 + SET_DATA_FRAME.length;

class GuardedRtmp extends Rtmp implements RtmpPeer {
  readonly #events: RtmpPeerEvents;
  readonly #maxMessageBytes: number;
  #connected = false;
  /** Of encoders whose only field was filled with address and key together. */
  #keyInApp: string | undefined;
  #role: 'stranger' | 'asking' | 'publisher' | 'player' = 'stranger';
  #muted = false;
  #chunkBytes = 0;
  #acknowledgedBytes = 0;
  #ackWindowBytes = ACK_WINDOW_BYTES;

  constructor(events: RtmpPeerEvents, maxMessageBytes: number) {
    super();
    this.#events = events;
    this.#maxMessageBytes = maxMessageBytes;
    this.onOutputCallback = (bytes) => events.output(bytes);
    // An FLV parser with a buffer of 1 MB that RTMP never uses.
    this.flv = undefined;
  }

  get hasHandshaken(): boolean {
    return this.handshakeState === 3;
  }
  mute(): void {
    this.#muted = true;
  }

  /** N1: whatever a message throws is this peer's end, not the process's. */
  receive(bytes: Buffer): string | undefined {
    if (this.#muted || bytes.length === 0) return undefined;
    if (this.handshakeState === 0 && bytes[0] !== 3) return 'not RTMP';
    const counts = this.hasHandshaken;
    try {
      this.parserData(bytes);
    } catch (error) {
      // What follows a refusal is not read: it may be anything, and must not cost the peer our answer.
      if (this.#muted) return undefined;
      return error instanceof RtmpFault ? error.message : 'unreadable message';
    }
    if (counts) this.#acknowledge(bytes.length);
    return undefined;
  }

  /** N15. Counts bytes after the handshake's last packet: never more than a publisher counts itself. */
  #acknowledge(bytes: number): void {
    this.#chunkBytes += bytes;
    const wish = Math.max(MIN_ACK_WINDOW_BYTES, this.ackSize || ACK_WINDOW_BYTES);
    this.#ackWindowBytes = Math.min(this.#ackWindowBytes, wish);
    if (this.#chunkBytes - this.#acknowledgedBytes < this.#ackWindowBytes) return;
    this.#acknowledgedBytes = this.#chunkBytes;
    if (this.#role === 'publisher' && !this.#muted) this.sendACK(this.#chunkBytes % 2 ** 32);
  }

  accept(role: 'publisher' | 'player'): void {
    this.#role = role;
    // The name is part of NMS's success sentence; the key has no business there.
    this.streamName = '';
    if (role === 'publisher') this.sendStatusMessage(this.streamId, 'status', 'NetStream.Publish.Start', 'Publishing.');
    else this.respondPlay();
  }
  status(level: 'status' | 'error', code: string, sentence: string): void {
    this.sendStatusMessage(this.streamId ?? 0, level, code, sentence);
  }
  #refuse(code: string, sentence: string): void {
    this.status('error', code, sentence);
    this.#events.refused(sentence);
  }

  /** Three-byte chunk stream ids are read rightly, are few, and a message may not begin inside another. */
  override packetParse(): void {
    const fmt = this.parserBuffer.readUInt8(0) >> 6;
    const [id = 0, low = 0, high = 0] = this.parserBuffer;
    const cid = this.parserBasicBytes === 1 ? id & 0x3f : 64 + low + (this.parserBasicBytes === 3 ? high * 256 : 0);
    let packet = this.inPackets.get(cid);
    if (!packet) {
      const max = this.#role === 'publisher' ? MAX_CHUNK_STREAMS : MAX_STRANGER_CHUNK_STREAMS;
      if (this.inPackets.size >= max) throw new RtmpFault('too many chunk streams');
      const header = { fmt, cid, timestamp: 0, length: 0, type: 0, stream_id: 0 };
      packet = { header, clock: 0, payload: Buffer.alloc(0), capacity: 0, bytes: 0 };
      this.inPackets.set(cid, packet);
    }
    if (packet.bytes > 0 && fmt !== 3) throw new RtmpFault('a message begins inside another');
    packet.header.fmt = fmt;
    this.parserPacket = packet;
    this.chunkMessageHeaderRead();
  }

  /** N8: a header of 12 bytes claims no more than the limit of one message, nor many of them together. */
  override packetAlloc(): void {
    const packet = this.parserPacket;
    const isPublisher = this.#role === 'publisher';
    const max = isPublisher ? this.#maxMessageBytes : Math.min(MAX_STRANGER_MESSAGE_BYTES, this.#maxMessageBytes);
    if (packet.header.length > max) throw new RtmpFault('message too large');
    // The sum of deltas passes 32 bits after 49.7 days; NMS would drop everything from then on.
    packet.clock %= 2 ** 32;
    if (packet.capacity >= packet.header.length) return;
    let claimed = packet.header.length;
    for (const other of this.inPackets.values()) if (other !== packet) claimed += other.capacity;
    if (claimed > 4 * max) throw new RtmpFault('messages claim too much memory');
    super.packetAlloc();
  }

  override packetHandler(): void {
    if (!this.#muted) super.packetHandler();
  }

  override controlHandler(): void {
    const { header, payload } = this.parserPacket;
    // N1: an empty control message.
    if (SIZED_CONTROLS.has(header.type) && header.length < 4) throw new RtmpFault('control message cut short');
    if (header.type === ABORT) {
      const aborted = this.inPackets.get(payload.readUInt32BE(0));
      if (aborted) aborted.bytes = 0;
      return;
    }
    super.controlHandler();
    if (header.type !== SET_CHUNK_SIZE) return;
    if (this.inChunkSize < 1 || this.inChunkSize > 0x7fffffff) throw new RtmpFault('chunk size not valid');
    this.inChunkSize = Math.min(this.inChunkSize, MAX_CHUNK_BYTES);
  }

  /** N1: NMS parses tcUrl, which may be missing or nonsense; nothing here needs it. */
  override onConnect({ cmdObj, transId }: InvokeMessage): void {
    if (this.#connected) throw new RtmpFault('connected twice');
    const { app, objectEncoding } = isRecord(cmdObj) ? cmdObj : {};
    const [name, ...rest] = typeof app === 'string' ? pathOf(app).split('/') : [];
    if (name !== APP_NAME || rest.length > 1) {
      const sentence = `No such application; use /${APP_NAME}/ and the key`;
      const info = { level: 'error', code: 'NetConnection.Connect.InvalidApp', description: sentence };
      // The answer is longer than a chunk of a peer that was not told of longer ones.
      this.setChunkSize(this.outChunkSize);
      this.sendInvokeMessage(0, { cmd: '_error', transId: numberOr(transId, 1), cmdObj: null, info });
      this.#events.refused(sentence);
      return;
    }
    this.#connected = true;
    this.#keyInApp = rest[0];
    this.streamApp = APP_NAME;
    this.objectEncoding = numberOr(objectEncoding, 0);
    this.sendWindowACK(OFFERED_WINDOW_BYTES);
    this.setPeerBandwidth(OFFERED_WINDOW_BYTES, 2);
    this.setChunkSize(this.outChunkSize);
    this.respondConnect(numberOr(transId, 1));
  }

  /** N2, N4: nothing is said before the owner has decided. */
  override onPublish({ streamName }: InvokeMessage): void {
    const key = this.#ask('publish', streamName);
    if (key === undefined) this.#refuse('NetStream.Publish.BadName', 'The stream key is missing');
    else this.#events.publish(key);
  }
  override onPlay({ streamName }: InvokeMessage): void {
    const key = this.#ask('play', streamName);
    if (key === undefined) this.#refuse('NetStream.Play.StreamNotFound', 'The playback key is missing');
    else this.#events.play(key);
  }
  /** The key a command names, without query. One connection has one purpose, else it could change streams unseen. */
  #ask(command: string, streamName: unknown): string | undefined {
    if (!this.#connected) throw new RtmpFault(`${command} before connect`);
    if (this.#role !== 'stranger') throw new RtmpFault(`${command} on a connection that is in use`);
    this.#role = 'asking';
    this.streamId = this.parserPacket.header.stream_id;
    const name = (typeof streamName === 'string' && pathOf(streamName)) || this.#keyInApp;
    return name && name.length <= MAX_NAME_CHARS ? name : undefined;
  }

  override onDeleteStream({ streamId }: InvokeMessage): void {
    const isActive = this.#role === 'publisher' || this.#role === 'player';
    if (isActive && streamId === this.streamId) this.#events.stopped();
  }

  /** N2, N3: media counts only from a publisher that was let in; each tag is a copy, since NMS reuses the buffer. */
  override dataHandler(): void {
    if (this.#role !== 'publisher') return;
    const { header, payload, clock } = this.parserPacket;
    const kind = kindOf(header.type);
    // N1: an empty video message. Shorter ones than a codec's header hold no media either.
    if (!kind || header.length < MIN_BODY_BYTES[kind]) return;
    if (kind === 'script' && header.length > MAX_DATA_BYTES) throw new RtmpFault('data message too large');
    let body = payload.subarray(0, header.length);
    // `@setDataFrame` is addressed to us; what players and files hold begins with onMetaData.
    if (kind === 'script' && startsWithAmfString(body, SET_DATA_FRAME)) body = body.subarray(SET_DATA_FRAME_BYTES);
    if (body.length > 0) this.#events.media({ kind, timestampMs: clock, body: Buffer.from(body) });
  }
}

const MIN_BODY_BYTES = { audio: 2, video: 5, script: 1 } as const;

function kindOf(messageType: number): FlvTag['kind'] | undefined {
  if (messageType === tagTypes.audio) return 'audio';
  if (messageType === tagTypes.video) return 'video';
  return messageType === tagTypes.script ? 'script' : undefined;
}

/** Without query, and without slashes at its ends: `/live/` and `live` are one, `/KEY` and `KEY?x=y` too. */
function pathOf(text: string): string {
  const path = text.split('?', 1)[0] ?? '';
  let [from, to] = [0, path.length];
  while (path[from] === '/') from += 1;
  while (to > from && path[to - 1] === '/') to -= 1;
  return path.slice(from, to);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function numberOr(value: unknown, otherwise: number): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : otherwise;
}

/** One RTMP connection's protocol. `maxMessageBytes` holds for a publisher; a stranger may claim 64 kB. */
export function createRtmpPeer(events: RtmpPeerEvents, { maxMessageBytes }: { maxMessageBytes: number }): RtmpPeer {
  return new GuardedRtmp(events, maxMessageBytes);
}

export interface RtmpFanOut {
  send(tag: FlvTag): void;
  /** Sends what a decoder needs and the pictures since the last key frame. Returns the way to leave. */
  join(id: string, write: (bytes: Buffer) => void): () => void;
  /** Players wait for the next key frame: what follows does not continue what they have. */
  breakPictures(): void;
  /** Forgets headers and pictures: another connection publishes, or none. */
  reset(): void;
}

/** By NMS's flags, which know enhanced RTMP's codecs as well: 3 key frame, 4 other. */
function isPicture({ codec_type, flags }: AvPacket): boolean {
  return codec_type === tagTypes.video && (flags === 3 || flags === 4);
}
function isKeyPicture({ flags, data }: AvPacket): boolean {
  return flags === 3 || ((data[0] ?? 0) >> 4) % 8 === 1;
}

/** One input's RTMP players. Its path holds no key and is in no global map (N3, N10). */
export function createRtmpFanOut(inputUid: string, { maxCacheBytes }: { maxCacheBytes: number }): RtmpFanOut {
  const broadcast = new BroadcastServer(`/${APP_NAME}/${inputUid}`);
  const players = new Set<{ isWaiting: boolean }>();
  let cachedBytes = 0;
  let current: AvPacket | undefined;

  function dropPictures(): void {
    broadcast.rtmpGopCache = null;
    cachedBytes = 0;
  }
  return {
    send(tag) {
      const packet = Flv.parserTag(tagTypes[tag.kind], tag.timestampMs, tag.body.length, tag.body);
      // NMS leaves 0, "audio header", on video of a codec it does not know, and would hand it to players as such.
      if (tag.kind === 'video' && packet.flags === 0) packet.flags = 6;
      cachedBytes = packet.flags === 3 ? tag.body.length : cachedBytes + tag.body.length;
      // N9: a publisher without key frames must not fill our memory. The cache begins again at the next one.
      if (cachedBytes > maxCacheBytes) dropPictures();
      current = packet;
      broadcast.broadcastMessage(packet);
      current = undefined;
      // Emptied by NMS after 4096 messages: from then on it would collect pictures that need the lost key frame.
      if (broadcast.rtmpGopCache?.size === 0) dropPictures();
      // NMS keeps all of it twice, once as FLV, which nobody here reads.
      broadcast.flvGopCache = null;
    },
    join(id, write) {
      const player = { isWaiting: !broadcast.rtmpGopCache?.size };
      const subscriber: Subscriber = {
        id,
        ip: '',
        protocol: 'rtmp',
        sendBuffer(bytes) {
          if (current && player.isWaiting && isPicture(current)) {
            if (!isKeyPicture(current)) return;
            player.isWaiting = false;
          }
          write(bytes);
        },
      };
      players.add(player);
      broadcast.postPlay(subscriber);
      return () => {
        players.delete(player);
        broadcast.donePlay(subscriber);
      };
    },
    breakPictures() {
      dropPictures();
      for (const player of players) player.isWaiting = true;
    },
    reset() {
      dropPictures();
      broadcast.rtmpMetaData = broadcast.rtmpAudioHeader = broadcast.rtmpVideoHeader = null;
      broadcast.flvMetaData = broadcast.flvAudioHeader = broadcast.flvVideoHeader = null;
    },
  };
}
