/**
 * The live picture as FLV on one address, `/<id>/live.flv`: a GET that never ends (HTTP-FLV), or a WebSocket of binary
 * messages (WS-FLV). Owns the viewers' connections and how many there may be; what each is sent stands in viewer.ts.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Clock, Timer } from '../../../shared/clock.ts';
import type { Log } from '../../../shared/log.ts';
import type { LiveFeed } from '../live-feed.ts';
import type { Broadcasts } from '../packaging/broadcasts.ts';
import { NOT_STARTED, plain } from '../playback/delivery-answers.ts';
import { type PlaybackAccess, playbackRequest } from '../playback/playback-access.ts';
import type { Viewers } from '../playback/viewers.ts';
import type { Video } from '../recordings/video.ts';
import { createFlvViewer, createSharedEncoding, type FlvConnection, type FlvEnd, type FlvViewer } from './viewer.ts';

export interface FlvLimits {
  /** Of all inputs, on both transports. More are answered 503, or closed with 1013. Default 1000. */
  maxViewers: number;
  /** What may wait for one viewer in this process; what is more is left out up to a key frame. Default 4 MB. */
  maxQueuedBytes: number;
  /** A viewer that takes nothing for so long is ended. Default 30000. */
  stuckTimeoutMs: number;
}

export interface FlvEgressOptions {
  access: Pick<PlaybackAccess, 'admit'>;
  video: (uid: string) => Video | undefined;
  feed: Pick<LiveFeed, 'join' | 'describe'>;
  broadcasts: Pick<Broadcasts, 'onAir'>;
  viewers: Pick<Viewers, 'seen'>;
  clock: Clock;
  log: Log;
  /** How many there are now. */
  onViewers?: (count: number) => void;
  /** Of an upgrade, for tests: the delivery host turns this program away. */
  isForbidden?: (userAgent: string | undefined) => boolean;
  limits?: Partial<FlvLimits>;
}

/**
 * Close codes of WS-FLV. 1012: come back at once, the stream goes on with other tracks. 1013: come back later.
 * 4404 as HTTP's 204: the input exists and nothing is on air.
 */
const flvCloseCodes = {
  ended: 1000,
  closing: 1001,
  policy: 1008,
  comeBack: 1012,
  full: 1013,
  idle: 4404,
} as const;

const defaultLimits: FlvLimits = { maxViewers: 1000, maxQueuedBytes: 4 * 1024 * 1024, stuckTimeoutMs: 30_000 };
const TICK_MS = 1000;
/** For the peer to take the end; then it is cut. */
const FAREWELL_MS = 1000;
/** Viewers send nothing. */
const MAX_PAYLOAD_BYTES = 64;
const FLV_PATH = /^\/([^/?]{1,4096})\/live\.flv(?:\?|$)/;

const closings: Record<FlvEnd, { code: number; reason: string }> = {
  ended: { code: flvCloseCodes.ended, reason: 'The broadcast has ended' },
  'tracks-changed': { code: flvCloseCodes.comeBack, reason: 'The tracks have changed, come back' },
  'too-slow': { code: flvCloseCodes.policy, reason: 'Nothing was read for too long' },
  closing: { code: flvCloseCodes.closing, reason: 'The server is going away' },
};

type Verdict = { inputUid: string } | { http: 204 | 401 | 403 | 404 | 503; sentence: string };

interface Entry {
  viewer: FlvViewer;
  inputUid: string;
  name: string;
}

export function createFlvEgress(options: FlvEgressOptions): FastifyPluginCallback {
  const { access, feed, clock, log } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const encode = createSharedEncoding();
  const entries = new Set<Entry>();
  /** One for each connection that is open, also of those that were only told to go. */
  const open = new Set<Promise<void>>();
  let timer: Timer | undefined;
  let isClosed = false;

  function judge(id: string, request: IncomingMessage): Verdict {
    const { headers } = request;
    const admitted = access.admit(playbackRequest(id, { ip: request.socket.remoteAddress ?? '', headers }));
    if ('refused' in admitted) return admitted.refused;
    const { uid, kind } = admitted;
    const inputUid = kind === 'input' ? uid : inputOnAir(uid);
    if (!inputUid || !feed.describe(inputUid)) return { http: 204, sentence: NOT_STARTED };
    if (entries.size >= limits.maxViewers || isClosed) return { http: 503, sentence: 'Too many viewers' };
    return { inputUid };
  }
  /** A video's address plays live as long as its broadcast lasts. */
  function inputOnAir(videoUid: string): string | undefined {
    const inputUid = options.video(videoUid)?.liveInputUid;
    return inputUid && options.broadcasts.onAir(inputUid)?.videoUid === videoUid ? inputUid : undefined;
  }

  /** Returns what to call when the connection is gone. */
  function watch(inputUid: string, request: IncomingMessage, connection: FlvConnection): () => void {
    const viewer = createFlvViewer({ feed, inputUid, connection, encode, clock, ...limits });
    if (!viewer) {
      connection.end('ended');
      return () => undefined;
    }
    const name = `${request.socket.remoteAddress} ${request.headers['user-agent'] ?? ''}`;
    const entry = { viewer, inputUid, name };
    entries.add(entry);
    options.onViewers?.(entries.size);
    seen(entry);
    timer ??= clock.every('flv-viewers', TICK_MS, tick);
    log.debug({ inputUid, viewers: entries.size }, 'flv-viewer-joined');
    return () => {
      viewer.leave();
      entries.delete(entry);
      options.onViewers?.(entries.size);
      if (entries.size > 0) return;
      timer?.cancel();
      timer = undefined;
    };
  }
  function tick(): void {
    for (const entry of entries) {
      entry.viewer.tick();
      seen(entry);
    }
  }
  function seen({ inputUid, name }: Entry): void {
    const videoUid = options.broadcasts.onAir(inputUid)?.videoUid;
    if (videoUid) options.viewers.seen(videoUid, name);
  }

  /** @param leave called when the connection is gone, whoever ended it. */
  function onceGone(connection: NodeJS.EventEmitter, leave: () => void): void {
    const gone = new Promise<void>((resolve) => connection.once('close', resolve)).then(() => {
      leave();
      open.delete(gone);
    });
    open.add(gone);
  }

  function byHttp(request: FastifyRequest<{ Params: { id: string } }>, reply: FastifyReply): FastifyReply {
    const verdict = judge(request.params.id, request.raw);
    void reply.headers({ 'access-control-allow-origin': '*', 'cache-control': 'no-store' });
    if ('http' in verdict)
      return verdict.http === 204 ? reply.code(204).send() : plain(reply, verdict.http, verdict.sentence);
    const { raw } = reply.hijack();
    raw.writeHead(200, { ...(reply.getHeaders() as Record<string, string>), 'content-type': 'video/x-flv' });
    raw.flushHeaders();
    raw.on('error', () => undefined);
    let farewell: Timer | undefined;
    const leave = watch(verdict.inputUid, request.raw, {
      knowsUs: false,
      write: (bytes, flushed) => void raw.write(bytes, () => flushed()),
      end(why) {
        raw.end();
        farewell = clock.after('flv-farewell', why === 'too-slow' ? 0 : FAREWELL_MS, () => raw.destroy());
      },
    });
    onceGone(raw, () => {
      farewell?.cancel();
      leave();
    });
    return reply;
  }

  function byWebSocket(ws: WebSocket, verdict: Verdict, request: IncomingMessage): void {
    let farewell: Timer | undefined;
    let leave: () => void = () => undefined;
    function close({ code, reason }: { code: number; reason: string }): void {
      ws.close(code, reason);
      farewell ??= clock.after('flv-farewell', FAREWELL_MS, () => ws.terminate());
    }
    // 'close' follows.
    ws.on('error', () => undefined);
    ws.on('message', () => close({ code: flvCloseCodes.policy, reason: 'A viewer sends nothing' }));
    onceGone(ws, () => {
      farewell?.cancel();
      leave();
    });
    if ('http' in verdict) {
      const { http, sentence: reason } = verdict;
      close({ code: http === 204 ? flvCloseCodes.idle : flvCloseCodes.full, reason });
      return;
    }
    leave = watch(verdict.inputUid, request, {
      knowsUs: true,
      write: (bytes, flushed) => ws.send(bytes, { binary: true }, () => flushed()),
      end: (why) => close(closings[why]),
    });
  }

  function upgrade(server: WebSocketServer, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => undefined);
    const [, id] = FLV_PATH.exec(request.url ?? '') ?? [];
    const isForbidden = options.isForbidden?.(request.headers['user-agent']) ?? false;
    const refused: Verdict = { http: isForbidden ? 403 : 404, sentence: 'NotFound' };
    const verdict = id && !isForbidden ? judge(id, request) : refused;
    const http = isClosed ? 503 : 'http' in verdict ? verdict.http : 200;
    // Idle and full are told by close codes, which a page can read; it is not told why an upgrade was refused.
    if (isClosed || (http > 400 && http < 500)) {
      socket.end(`HTTP/1.1 ${http} ${STATUS_CODES[http]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    server.handleUpgrade(request, socket, head, (ws) => byWebSocket(ws, verdict, request));
  }

  return (app: FastifyInstance, _, done) => {
    const server = new WebSocketServer({ noServer: true, maxPayload: MAX_PAYLOAD_BYTES, perMessageDeflate: false });
    app.get('/:id/live.flv', { exposeHeadRoute: false }, byHttp);
    app.server.on('upgrade', (request, socket, head) => upgrade(server, request, socket, head));
    // Before the server waits for its connections: it does not know of those that are WebSockets now.
    app.addHook('preClose', async () => {
      isClosed = true;
      for (const { viewer } of entries) viewer.end('closing');
      await Promise.all(open);
    });
    done();
  };
}
