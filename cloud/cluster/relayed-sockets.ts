/**
 * Apps' sockets on a node that does not own their user's session. This node (the edge) keeps the real socket and its
 * bounds; the owner runs the session on a virtual one; frames go between them over the mesh, in order. Knows no message.
 */
import * as z from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { SessionIds } from '../apps/session-ids.ts';
import type { AppArrival, AppAtTheEdge, AppsElsewhere, RelayedLine } from '../http/app-handshake.ts';
import { closeCodes, defaultSocketLimits, type FrameSocket } from '../http/socket.ts';
import type { Mesh, Ownership } from './cluster.ts';
import { createVirtualSocket, type VirtualSocket } from './virtual-socket.ts';

export interface RelayedSocketsOptions {
  mesh: Mesh;
  ownership: Pick<Ownership, 'place' | 'isHere'>;
  sessionIds: Pick<SessionIds, 'userOf'>;
  /** An app whose session is here comes in by another node: what is done with any app's socket. */
  welcome: (ws: FrameSocket, arrival: AppArrival) => void;
  clock: Clock;
  log: Log;
  /** Above so many bytes that wait for an app the owner leaves out statistics. Default 64 KiB. */
  statsBufferBytes?: number;
  /** Above this the app does not read at all, and is cut. Default 1 MiB. */
  maxBufferBytes?: number;
  /** Of each kind. Default 20000. */
  maxSockets?: number;
}

export interface RelayedSockets extends AppsElsewhere {
  /** Apps that are here and whose sessions are elsewhere, and the other way round. */
  counts(): { edge: number; owner: number };
  /** All are told to come back that have not been told anything else. */
  close(): void;
}

const TO_OWNER = 'app-to-owner';
const TO_EDGE = 'app-to-edge';
const MOVED = 'Session moved';
/** As many as the edge sends with the claim, and as many again. */
const MAX_EARLY_FRAMES = 200;

const text = z.string().max(300_000);
const name = z.string().max(700).optional();
const socketId = z.string().min(1).max(50);
const only = z.object({ kind: z.literal('only'), socketIds: z.array(socketId).max(1_000_000) });
const toOwner = z.discriminatedUnion('kind', [
  z.object({
    ...{ kind: z.literal('open'), socketId, sessionId: z.string().max(700), packageName: z.string().max(700) },
    address: z.string().max(100),
    identity: z.object({ packageName: name, apiKey: name, sessionId: name, userId: name }),
    frames: z.array(text).max(100),
  }),
  z.object({ kind: z.literal('frame'), socketId, text }),
  z.object({ kind: z.literal('buffered'), socketId, bytes: z.number().min(0) }),
  z.object({ kind: z.literal('closed'), socketId, code: z.number() }),
  only,
]);
const toEdge = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('admitted'), socketId }),
  z.object({ kind: z.literal('frame'), socketId, text: z.string() }),
  z.object({ kind: z.literal('close'), socketId, code: z.number(), reason: z.string().max(500) }),
  z.object({ kind: z.literal('terminate'), socketId }),
  only,
]);
type ToOwner = z.input<typeof toOwner>;
type ToEdge = z.input<typeof toEdge>;

export function createRelayedSockets(options: RelayedSocketsOptions): RelayedSockets {
  const edge = createEdge(options);
  const owner = createOwner(options);
  const { mesh, ownership, sessionIds } = options;
  const unlisten = [
    mesh.onLost((nodeId) => {
      edge.lost(nodeId);
      owner.lost(nodeId);
    }),
    // One of the two may have missed that the line was down.
    mesh.onFound((nodeId) => {
      edge.found(nodeId);
      owner.found(nodeId);
    }),
  ];
  const userOf = (sessionId: string | undefined, packageName: string) =>
    sessionId === undefined ? undefined : sessionIds.userOf(sessionId, packageName);
  return {
    async place(sessionId, packageName) {
      const userId = userOf(sessionId, packageName);
      return userId === undefined ? 'here' : ownership.place(userId);
    },
    hasLeft(sessionId, packageName) {
      const userId = userOf(sessionId, packageName);
      return userId !== undefined && !ownership.isHere(userId);
    },
    relay: edge.relay,
    counts: () => ({ edge: edge.count(), owner: owner.count() }),
    close() {
      for (const stop of unlisten) stop();
      edge.close();
      owner.close();
    },
  };
}

interface EdgeLine {
  nodeId: string;
  app: AppAtTheEdge;
  /** What the owner was told last. */
  toldBytes: number;
}

function createEdge(options: RelayedSocketsOptions) {
  const { mesh, log, maxSockets = 20_000 } = options;
  const { statsBufferBytes, maxBufferBytes } = { ...defaultSocketLimits, ...options };
  const lines = new Map<string, EdgeLine>();
  const numbers = numbering();

  const tell = (nodeId: string, message: ToOwner) => mesh.tell(nodeId, TO_OWNER, message);
  function end(id: string, code: number, reason: string): void {
    const line = lines.get(id);
    lines.delete(id);
    line?.app.close(isSendable(code) ? code : closeCodes.restart, reason);
  }
  /** What waits for the app, told when it is much, and when it is little again. */
  function tellBacklog(id: string, line: EdgeLine): void {
    const bytes = line.app.ws.bufferedAmount;
    if (bytes > statsBufferBytes === line.toldBytes > statsBufferBytes || lines.get(id) !== line) return;
    line.toldBytes = bytes;
    tell(line.nodeId, { kind: 'buffered', socketId: id, bytes });
  }
  function deliver(id: string, line: EdgeLine, frame: string): void {
    const { ws } = line.app;
    if (ws.readyState !== 1) return;
    if (ws.bufferedAmount > maxBufferBytes) {
      log.warn({ bufferedBytes: ws.bufferedAmount }, 'socket-peer-does-not-read');
      ws.terminate();
      return;
    }
    ws.send(frame, () => tellBacklog(id, line));
    tellBacklog(id, line);
  }
  mesh.answer(TO_EDGE, (body, from) => {
    const message = checked(toEdge, body, log);
    if (!message) return;
    if (message.kind === 'only') {
      const known = new Set(message.socketIds);
      for (const [id, { nodeId }] of lines) if (nodeId === from && !known.has(id)) end(id, closeCodes.restart, MOVED);
      return;
    }
    const line = lines.get(message.socketId);
    if (line?.nodeId !== from) return;
    if (message.kind === 'frame') deliver(message.socketId, line, message.text);
    else if (message.kind === 'admitted') line.app.admitted();
    else if (message.kind === 'terminate') line.app.ws.terminate();
    // It stays known until it has ended: the owner waits for that.
    else line.app.close(isSendable(message.code) ? message.code : closeCodes.restart, message.reason);
  });

  return {
    relay(nodeId: string, app: AppAtTheEdge): RelayedLine {
      if (lines.size >= maxSockets) throw new GlasscastError('RATE_LIMITED');
      const id = numbers.next();
      const { address, identity, frames, sessionId, packageName } = app;
      const session = { sessionId, packageName, address, identity };
      const isOut = tell(nodeId, { kind: 'open', socketId: id, ...session, frames: [...frames] });
      if (!isOut) throw new GlasscastError('NODE_UNREACHABLE');
      lines.set(id, { nodeId, app, toldBytes: 0 });
      return {
        frame(frame) {
          if (!tell(nodeId, { kind: 'frame', socketId: id, text: frame })) end(id, closeCodes.restart, MOVED);
        },
        closed(code) {
          if (lines.delete(id)) tell(nodeId, { kind: 'closed', socketId: id, code });
        },
      };
    },
    count: () => lines.size,
    lost(lostId: string): void {
      for (const [id, { nodeId }] of lines) if (nodeId === lostId) end(id, closeCodes.restart, MOVED);
    },
    found(nodeId: string): void {
      const ids = [...lines].flatMap(([id, line]) => (line.nodeId === nodeId ? [id] : []));
      tell(nodeId, { kind: 'only', socketIds: ids });
    },
    close(): void {
      for (const [id, { nodeId, app }] of lines) {
        tell(nodeId, { kind: 'closed', socketId: id, code: 1006 });
        app.close(closeCodes.restart, 'Relay restarting');
      }
      lines.clear();
    },
  };
}

interface OwnerSocket {
  edgeId: string;
  socketId: string;
  virtual: VirtualSocket;
  /** What it says while its session is still on its way here. */
  early: string[] | undefined;
}

function createOwner(options: RelayedSocketsOptions) {
  const { mesh, ownership, sessionIds, welcome, log, maxSockets = 20_000 } = options;
  /** By the edge, and its number of the socket. */
  const sockets = new Map<string, OwnerSocket>();
  const keyOf = (edgeId: string, id: string) => `${edgeId} ${id}`;
  const tell = (edgeId: string, message: ToEdge) => mesh.tell(edgeId, TO_EDGE, message);
  const of = (nodeId: string) => [...sockets.values()].filter(({ edgeId }) => edgeId === nodeId);

  function open(edgeId: string, asked: Extract<ToOwner, { kind: 'open' }>): void {
    const { socketId: id, sessionId, packageName, frames } = asked;
    const key = keyOf(edgeId, id);
    const userId = sessionIds.userOf(sessionId, packageName);
    if (sockets.has(key)) return;
    if (userId === undefined || sockets.size >= maxSockets) {
      tell(edgeId, { kind: 'close', socketId: id, code: closeCodes.tryAgain, reason: 'Try again' });
      return;
    }
    const virtual = createVirtualSocket(
      {
        frame: (frame) => tell(edgeId, { kind: 'frame', socketId: id, text: frame }),
        close: (code, reason) => tell(edgeId, { kind: 'close', socketId: id, code, reason }),
        terminate: () => tell(edgeId, { kind: 'terminate', socketId: id }),
      },
      () => void sockets.delete(key),
    );
    const socket: OwnerSocket = { edgeId, socketId: id, virtual, early: [...frames] };
    sockets.set(key, socket);
    if (ownership.isHere(userId)) letIn(socket, asked);
    else void awaitSession(socket, asked, userId);
  }
  /** It may be on its way here at this moment, as when many come to a node after another one died. */
  async function awaitSession(
    socket: OwnerSocket,
    asked: Extract<ToOwner, { kind: 'open' }>,
    userId: string,
  ): Promise<void> {
    const place = await ownership.place(userId).catch(() => undefined);
    if (socket.virtual.ws.readyState !== 1) return;
    if (place === 'here') return letIn(socket, asked);
    if (place) socket.virtual.ws.close(closeCodes.restart, MOVED);
    else socket.virtual.ws.close(closeCodes.tryAgain, 'Try again');
  }
  function letIn(socket: OwnerSocket, { address, identity }: Extract<ToOwner, { kind: 'open' }>): void {
    const { edgeId, socketId: id, virtual, early = [] } = socket;
    const { packageName, apiKey, sessionId, userId } = identity;
    const admitted = () => void tell(edgeId, { kind: 'admitted', socketId: id });
    socket.early = undefined;
    welcome(virtual.ws, { address, identity: { packageName, apiKey, sessionId, userId }, admitted, isRelayed: true });
    for (const frame of early) virtual.receive(frame);
  }
  function hear({ early, virtual }: OwnerSocket, frame: string): void {
    if (!early) virtual.receive(frame);
    else if (early.length < MAX_EARLY_FRAMES) early.push(frame);
  }
  mesh.answer(TO_OWNER, (body, edgeId) => {
    const message = checked(toOwner, body, log);
    if (!message) return;
    if (message.kind === 'open') return open(edgeId, message);
    if (message.kind === 'only') {
      const known = new Set(message.socketIds);
      for (const { socketId: id, virtual } of of(edgeId)) if (!known.has(id)) virtual.ended(1006);
      return;
    }
    const socket = sockets.get(keyOf(edgeId, message.socketId));
    if (message.kind === 'closed') socket?.virtual.ended(message.code);
    else if (message.kind === 'buffered') socket?.virtual.buffered(message.bytes);
    else if (socket) hear(socket, message.text);
    // What it says would be lost: it comes back and begins anew.
    else tell(edgeId, { kind: 'close', socketId: message.socketId, code: closeCodes.restart, reason: MOVED });
  });

  return {
    count: () => sockets.size,
    close(): void {
      for (const { virtual } of sockets.values()) {
        virtual.ws.close(closeCodes.restart, 'Relay restarting');
        virtual.ended(1006);
      }
    },
    lost(edgeId: string): void {
      for (const { virtual } of of(edgeId)) virtual.ended(1006);
    },
    found(edgeId: string): void {
      tell(edgeId, { kind: 'only', socketIds: of(edgeId).map((socket) => socket.socketId) });
    },
  };
}

/** Undefined, and a word in the log, when a node sends what is none of our messages. */
function checked<Schema extends z.ZodType>(schema: Schema, body: unknown, log: Log): z.output<Schema> | undefined {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  log.warn({ reason: errorText(parsed.error.issues[0]?.message) }, 'mesh-message-malformed');
  return undefined;
}

/** What a close frame may carry (RFC 6455 §7.4). */
function isSendable(code: number): boolean {
  return (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);
}

function numbering(): { next(): string } {
  let last = 0;
  return {
    next() {
      last += 1;
      return String(last);
    },
  };
}
