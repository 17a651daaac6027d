/**
 * The parts of node-media-server 4.4.3 that the ingest uses; the package brings no types.
 * Written from its sources: only what `guard.ts` touches is named.
 */

declare module 'node-media-server/src/protocol/rtmp.js' {
  import type { AvPacket } from 'node-media-server/src/protocol/flv.js';

  /** One chunk stream's message in the making. `payload` is reused for the next message. */
  export interface RtmpPacket {
    header: { fmt: number; cid: number; timestamp: number; length: number; type: number; stream_id: number };
    clock: number;
    payload: Buffer;
    capacity: number;
    bytes: number;
  }
  /** A decoded AMF0 command of a stranger: nothing about it is certain. */
  export interface InvokeMessage {
    cmd?: unknown;
    transId?: unknown;
    cmdObj?: unknown;
    streamName?: unknown;
    streamId?: unknown;
  }
  export default class Rtmp {
    static createMessage(packet: AvPacket): Buffer;
    /** 0: nothing received yet; 3: done. */
    handshakeState: number;
    parserBuffer: Buffer;
    parserBasicBytes: number;
    parserPacket: RtmpPacket;
    inPackets: Map<number, RtmpPacket>;
    inChunkSize: number;
    outChunkSize: number;
    /** What the peer asked for by Window Acknowledgement Size. */
    ackSize?: number;
    streamApp: string;
    streamName: string;
    streamId: number;
    objectEncoding: number;
    flv: unknown;
    onOutputCallback: (bytes: Buffer) => void;
    parserData(bytes: Buffer): string | null;
    packetParse(): void;
    chunkMessageHeaderRead(): number;
    packetAlloc(): void;
    packetHandler(): void;
    controlHandler(): void;
    dataHandler(): void;
    onConnect(message: InvokeMessage): void;
    onPublish(message: InvokeMessage): void;
    onPlay(message: InvokeMessage): void;
    onDeleteStream(message: InvokeMessage): void;
    sendACK(bytes: number): void;
    sendWindowACK(bytes: number): void;
    setPeerBandwidth(bytes: number, type: number): void;
    setChunkSize(bytes: number): void;
    sendInvokeMessage(messageStreamId: number, message: Record<string, unknown>): void;
    sendStatusMessage(messageStreamId: number, level: string, code: string, description: string): void;
    respondConnect(transactionId: unknown): void;
    respondPublish(): void;
    respondPlay(): void;
  }
}

declare module 'node-media-server/src/protocol/flv.js' {
  export interface AvPacket {
    codec_type: number;
    /** 0 audio header, 1 audio, 2 video header, 3 key frame, 4 other frame, 5 script, 6 video metadata. */
    flags: number;
    dts: number;
    pts: number;
    size: number;
    data: Buffer;
  }
  const Flv: { parserTag(type: number, timestampMs: number, bytes: number, body: Buffer): AvPacket };
  export default Flv;
}

declare module 'node-media-server/src/server/broadcast_server.js' {
  import type { AvPacket } from 'node-media-server/src/protocol/flv.js';

  export interface Subscriber {
    id: string;
    /** Empty: an internal player, for which no global event is emitted. */
    ip: string;
    protocol: 'rtmp';
    sendBuffer(bytes: Buffer): void;
  }
  export default class BroadcastServer {
    constructor(streamPath: string);
    rtmpMetaData: Buffer | null;
    rtmpAudioHeader: Buffer | null;
    rtmpVideoHeader: Buffer | null;
    rtmpGopCache: Set<Buffer> | null;
    flvMetaData: Buffer | null;
    flvAudioHeader: Buffer | null;
    flvVideoHeader: Buffer | null;
    flvGopCache: Set<Buffer> | null;
    postPlay(subscriber: Subscriber): string | null;
    donePlay(subscriber: Subscriber): void;
    broadcastMessage(packet: AvPacket): void;
  }
}

declare module 'node-media-server/src/core/logger.js' {
  const logger: { log(message: string, level?: string): void };
  export default logger;
}
