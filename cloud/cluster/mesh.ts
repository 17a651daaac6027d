/**
 * The lines between all nodes. Of two nodes the one with the smaller id dials, and the other one knocks when it wants to be
 * dialled at once; a line that is lost is dialled again until the node's lease is gone. Who comes in shows the secret of the
 * cluster. Redis is needed to learn of nodes, never to talk to them.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Secret } from '../../shared/secrets.ts';
import { hashMatches, hashSecret } from '../access/credentials.ts';
import type { Mesh } from './cluster.ts';
import { createMeshLine, defaultMeshLimits, type MeshLimits, type MeshLine } from './mesh-line.ts';

/** Where nodes come in, on the port of everything else. */
export const NODE_PATH = '/node-ws';

/** A node as its lease names it. */
export interface NodeAddress {
  nodeId: string;
  /** `http://HOST:PORT`. */
  address: string;
}

export interface ClusterMesh extends Mesh {
  /** Once this node can be reached. */
  start(address: string): void;
  /** The other nodes that hold leases now; those that are new or not reached are dialled. */
  setPeers(peers: readonly NodeAddress[]): void;
  /** For the HTTP server's `upgrade` event on `NODE_PATH`. Refuses by itself. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  isReachable(nodeId: string): boolean;
  /** Its address refuses connections, or another process answers there: it has ended, unless its lease goes on for long. */
  isGone(nodeId: string): boolean;
  onGone(take: (nodeId: string) => void): () => void;
  close(): Promise<void>;
}

export interface MeshOptions {
  nodeId: string;
  /** The same for all nodes of a cluster. */
  secret: Secret;
  clock: Clock;
  log: Log;
  limits?: Partial<MeshLimits>;
  /** How long a lease outlives its node. Default 2000. */
  leaseMs?: number;
}

const TICK_MS = 250;
const DIAL_TIMEOUT_MS = 2_000;
/** What a list of leases may be behind. */
const RENEWAL_MS = 500;
/** More are no cluster but a mistake. */
const MAX_PEERS = 1_000;
const headers = {
  from: 'x-glasscast-node',
  address: 'x-glasscast-address',
  to: 'x-glasscast-to',
  knock: 'x-glasscast-knock',
};

interface Peer extends NodeAddress {
  line: MeshLine | undefined;
  dial: WebSocket | undefined;
  /** By the monotonic clock; undefined: it is not gone. */
  goneSinceMs: number | undefined;
  /** It renews its lease, and cannot be reached all the same. */
  isAstray: boolean;
  /** By a lease; one that only came in is forgotten with its line. */
  isListed: boolean;
}

export function createMesh(options: MeshOptions): ClusterMesh {
  return new Nodes(options);
}

class Nodes implements ClusterMesh {
  readonly nodeId: string;
  readonly #options: MeshOptions;
  readonly #limits: MeshLimits;
  readonly #hashedSecret: string;
  readonly #server: WebSocketServer;
  readonly #peers = new Map<string, Peer>();
  readonly #subjects = new Map<string, (body: unknown, fromNodeId: string) => unknown>();
  readonly #listeners = { lost: new Set<Listener>(), found: new Set<Listener>(), gone: new Set<Listener>() };
  #address = '';
  #ticks: Timer | undefined;
  #pingedMs = 0;
  #isClosed = false;

  constructor(options: MeshOptions) {
    this.nodeId = options.nodeId;
    this.#options = options;
    this.#limits = { ...defaultMeshLimits, ...options.limits };
    this.#hashedSecret = hashSecret(options.secret.reveal());
    const maxPayload = this.#limits.maxFrameBytes;
    this.#server = new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: false, clientTracking: false });
  }

  start(address: string): void {
    const { clock } = this.#options;
    this.#address = address;
    this.#pingedMs = clock.monotonicMs();
    this.#ticks ??= clock.every('mesh', TICK_MS, () => this.#tick());
  }

  others(): string[] {
    return [...this.#peers.values()].filter(({ line }) => line?.isOpen).map(({ nodeId }) => nodeId);
  }

  isReachable(nodeId: string): boolean {
    return this.#peers.get(nodeId)?.line?.isOpen ?? false;
  }

  isGone(nodeId: string): boolean {
    const { goneSinceMs, isAstray = false } = this.#peers.get(nodeId) ?? {};
    return goneSinceMs !== undefined && !isAstray;
  }

  async call(nodeId: string, subject: string, body: unknown, { timeoutMs }: { timeoutMs?: number } = {}) {
    if (nodeId === this.nodeId) return await this.#answer(subject, body, nodeId);
    const line = this.#peers.get(nodeId)?.line;
    if (!line) throw new GlasscastError('NODE_UNREACHABLE');
    return await line.call(subject, body, timeoutMs);
  }

  tell(nodeId: string, subject: string, body: unknown): boolean {
    return this.#peers.get(nodeId)?.line?.tell(subject, body) ?? false;
  }

  broadcast(subject: string, body: unknown): void {
    for (const { line } of [...this.#peers.values()]) line?.tell(subject, body);
  }

  answer(subject: string, take: (body: unknown, fromNodeId: string) => unknown): void {
    if (this.#subjects.has(subject)) throw new GlasscastError('INTERNAL', { reason: `two answer ${subject}` });
    this.#subjects.set(subject, take);
  }

  onLost(take: Listener): () => void {
    return listen(this.#listeners.lost, take);
  }

  onFound(take: Listener): () => void {
    return listen(this.#listeners.found, take);
  }

  onGone(take: Listener): () => void {
    return listen(this.#listeners.gone, take);
  }

  setPeers(listed: readonly NodeAddress[]): void {
    const ids = new Set(listed.map(({ nodeId }) => nodeId));
    for (const peer of [...this.#peers.values()]) {
      peer.isListed = ids.has(peer.nodeId);
      this.#forget(peer);
    }
    for (const { nodeId, address } of listed) {
      const peer = nodeId === this.nodeId ? undefined : this.#peer(nodeId, address);
      if (!peer) continue;
      Object.assign(peer, { address, isListed: true });
      this.#lookAstray(peer);
      this.#dial(peer);
    }
  }

  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => {});
    const named = (name: string) => String(request.headers[name] ?? '').slice(0, 300);
    const token = /^Bearer (.+)$/.exec(named('authorization'))?.[1] ?? '';
    const [nodeId, address] = [named(headers.from), named(headers.address)];
    const isRight = hashMatches(token, this.#hashedSecret);
    const peer = isRight && nodeId && URL.canParse(address) ? this.#peer(nodeId, address) : undefined;
    if (!isRight) refuse(socket, 401);
    else if (this.#isClosed) refuse(socket, 503);
    // The address was somebody else's, who has ended: we are no answer for what it owned.
    else if (named(headers.to) !== this.nodeId) refuse(socket, 410);
    else if (!peer) refuse(socket, 400);
    else if (named(headers.knock)) {
      refuse(socket, 204);
      this.#dial(peer);
    } else this.#server.handleUpgrade(request, socket, head, (ws) => this.#join(peer, ws));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#ticks?.cancel();
    const lines = [...this.#peers.values()].map(({ line, dial }) => {
      dial?.terminate();
      return line?.close();
    });
    this.#peers.clear();
    this.#server.close();
    await Promise.all(lines);
  }

  #peer(nodeId: string, address: string): Peer | undefined {
    const known = this.#peers.get(nodeId);
    if (known || this.#peers.size >= MAX_PEERS || nodeId === this.nodeId) return known;
    const nothing = { line: undefined, dial: undefined, goneSinceMs: undefined };
    const peer: Peer = { nodeId, address, ...nothing, isAstray: false, isListed: false };
    this.#peers.set(nodeId, peer);
    return peer;
  }

  /** A lease that is there so long after is renewed. Nodes that took each other for dead would take each other's users, for as long as both live. */
  #lookAstray(peer: Peer): void {
    const { clock, log, leaseMs = 2_000 } = this.#options;
    const { address, goneSinceMs, nodeId: peerId } = peer;
    if (goneSinceMs === undefined || peer.isAstray || clock.monotonicMs() - goneSinceMs < leaseMs + RENEWAL_MS) return;
    peer.isAstray = true;
    log.error({ peerId, address }, 'node-address-wrong');
  }

  /** When neither a lease nor a line speaks for it. */
  #forget(peer: Peer): void {
    if (!peer.isListed && !peer.line && !peer.dial) this.#peers.delete(peer.nodeId);
  }

  #tick(): void {
    const { clock } = this.#options;
    for (const peer of [...this.#peers.values()]) this.#dial(peer);
    const sinceMs = clock.monotonicMs() - this.#pingedMs;
    if (sinceMs < this.#limits.pingIntervalMs) return;
    this.#pingedMs = clock.monotonicMs();
    const isLate = sinceMs > this.#limits.pingIntervalMs + this.#limits.silenceMs / 3;
    for (const { line } of [...this.#peers.values()]) line?.ping(isLate);
  }

  #dial(peer: Peer): void {
    if (peer.line || peer.dial || this.#isClosed || !this.#address) return;
    const isKnock = this.nodeId > peer.nodeId;
    const dial = new WebSocket(new URL(NODE_PATH, peer.address.replace(/^http/, 'ws')), {
      headers: {
        authorization: `Bearer ${this.#options.secret.reveal()}`,
        ...{ [headers.from]: this.nodeId, [headers.address]: this.#address, [headers.to]: peer.nodeId },
        ...(isKnock ? { [headers.knock]: '1' } : {}),
      },
      ...{ handshakeTimeout: DIAL_TIMEOUT_MS, maxPayload: this.#limits.maxFrameBytes, perMessageDeflate: false },
    });
    peer.dial = dial;
    const ended = (refusal: string, isGone: boolean) => {
      if (peer.dial !== dial) return;
      peer.dial = undefined;
      if (refusal) this.#options.log.debug({ peerId: peer.nodeId, reason: refusal }, 'mesh-not-reached');
      if (isGone && !peer.line && peer.goneSinceMs === undefined) {
        peer.goneSinceMs = this.#options.clock.monotonicMs();
        tellAll(this.#listeners.gone, peer.nodeId);
      }
      this.#forget(peer);
    };
    dial.on('open', () => {
      if (peer.dial !== dial || this.#isClosed) {
        dial.terminate();
        return;
      }
      peer.dial = undefined;
      this.#join(peer, dial);
    });
    dial.on('unexpected-response', (_, { statusCode = 0 }) => {
      // 204: the other one has heard our knock, and dials.
      ended(statusCode === 204 ? '' : `status ${statusCode}`, statusCode === 410);
      dial.terminate();
    });
    dial.on('error', (error: NodeJS.ErrnoException) => ended(errorText(error), error.code === 'ECONNREFUSED'));
    dial.on('close', () => ended('', false));
  }

  #join(peer: Peer, ws: WebSocket): void {
    // The other node knew of the loss before we did.
    void peer.line?.close();
    this.#peers.set(peer.nodeId, peer);
    const { clock, log } = this.#options;
    const { nodeId } = peer;
    const line = createMeshLine({
      ...{ ws, peerId: nodeId, clock, log, limits: this.#limits },
      answer: (subject, body) => this.#answer(subject, body, nodeId),
      onClose: () => this.#onLost(peer, line),
    });
    peer.line = line;
    Object.assign(peer, { goneSinceMs: undefined, isAstray: false });
    log.info({ peerId: nodeId }, 'node-found');
    tellAll(this.#listeners.found, nodeId);
  }

  #onLost(peer: Peer, line: MeshLine): void {
    if (peer.line !== line) return;
    peer.line = undefined;
    if (this.#isClosed) return;
    this.#options.log.info({ peerId: peer.nodeId }, 'node-lost');
    tellAll(this.#listeners.lost, peer.nodeId);
    // At once: when it has died its address says so.
    this.#dial(peer);
  }

  #answer(subject: string, body: unknown, fromNodeId: string): unknown {
    const take = this.#subjects.get(subject);
    if (!take) throw new GlasscastError('NOT_OFFERED', { reason: `this node knows nothing of ${subject}` });
    return take(body, fromNodeId);
  }
}

type Listener = (nodeId: string) => void;

function listen(listeners: Set<Listener>, take: Listener): () => void {
  listeners.add(take);
  return () => void listeners.delete(take);
}

function tellAll(listeners: ReadonlySet<Listener>, nodeId: string): void {
  for (const take of [...listeners]) take(nodeId);
}

const WORDS: Record<number, string> = { 204: 'No Content', 400: 'Bad Request', 401: 'Unauthorized', 410: 'Gone' };

function refuse(socket: Duplex, status: number): void {
  const head = `HTTP/1.1 ${status} ${WORDS[status] ?? 'Refused'}\r\nconnection: close\r\n`;
  socket.end(`${head}${status === 204 ? '' : 'content-length: 0\r\n'}\r\n`, () => socket.destroy());
}
