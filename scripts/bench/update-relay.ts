/**
 * A relay that knows of one pair of glasses what their updates need: the line, a stream, orders to update, and the releases
 * by ranges, as slowly and with as many cuts as is asked for. Policy is the caller's.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';
import type { AgentFacts, AgentUpdateStatus } from '../../shared/protocol/releases.ts';

export interface GlassesWord {
  type: string;
  status?: string;
  streamId?: string;
  agent?: AgentFacts;
  /** Of `agent_update_status`. */
  version?: string;
  state?: AgentUpdateStatus['state'];
  reason?: string;
  percent?: number;
  [field: string]: unknown;
}

export interface ReleaseRequest {
  version: string;
  range: string | undefined;
  authorization: string | undefined;
}

export interface UpdateRelay {
  /** For the agent. */
  url: string;
  /** Whole files by version. */
  releases: Map<string, Buffer>;
  readonly words: readonly GlassesWord[];
  readonly requests: readonly ReleaseRequest[];
  /** Changed at will. */
  behaviour: {
    /** False: neither line nor releases. */
    isThere: boolean;
    /** Pause before each part of a release. Default 0. */
    pauseMs: number;
    /** The next answer with a release is cut after so many bytes; then it is forgotten. */
    cutAfterBytes: number | undefined;
    /** Told after each part, with what has gone of how much. */
    onServed: (bytes: number, wholeBytes: number) => void;
  };
  readonly connections: number;
  send(frame: object): void;
  /** First word from index `from` on that fits. Rejects when it closes. */
  until(fits: (word: GlassesWord) => boolean, from?: number): Promise<GlassesWord>;
  close(): Promise<void>;
}

const PART_BYTES = 16_384;

export async function startUpdateRelay(): Promise<UpdateRelay> {
  const words: GlassesWord[] = [];
  const requests: ReleaseRequest[] = [];
  const waiting = new Set<(isClosed: boolean) => void>();
  const http = createServer((request, response) => void answer(request, response).catch(() => response.destroy()));
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  let socket: WebSocket | undefined;
  let connections = 0;

  http.on('upgrade', (request, raw, head) => {
    if (!relay.behaviour.isThere) return void raw.destroy();
    sockets.handleUpgrade(request, raw, head, (opened) => {
      socket = opened;
      connections += 1;
      opened.on('error', () => opened.terminate());
      opened.on('message', (data) => {
        words.push(JSON.parse(String(data)) as GlassesWord);
        for (const look of [...waiting]) look(false);
      });
      opened.send(JSON.stringify({ type: 'connection_ack', sessionId: 'ada@example.com' }));
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { behaviour, releases } = relay;
    if (!behaviour.isThere) return void request.socket.destroy();
    const version = request.url?.split('/').at(-1) ?? '';
    const { range, authorization } = request.headers;
    requests.push({ version, range, authorization });
    const file = releases.get(version);
    if (!file) return void response.writeHead(404).end();
    const etag = `"${createHash('sha256').update(file).digest('hex')}"`;
    const isWanted = request.headers['if-range'] === etag;
    const start = isWanted ? Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0) : 0;
    if (start > file.length) return void response.writeHead(416, { etag }).end();
    const partial = start > 0 ? { 'content-range': `bytes ${start}-${file.length - 1}/${file.length}` } : {};
    response.writeHead(start > 0 ? 206 : 200, { etag, 'content-length': file.length - start, ...partial });
    const cutAt = behaviour.cutAfterBytes === undefined ? undefined : start + behaviour.cutAfterBytes;
    behaviour.cutAfterBytes = undefined;
    for (let at = start; at < file.length && !response.destroyed; at += PART_BYTES) {
      if (behaviour.pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, behaviour.pauseMs));
      const end = Math.min(file.length, at + PART_BYTES, cutAt ?? file.length);
      if (!response.write(file.subarray(at, end))) await drained(response);
      behaviour.onServed(end, file.length);
      if (end === cutAt) return void response.destroy();
    }
    response.end();
  }

  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = http.address();
  const relay: UpdateRelay = {
    url: `ws://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}/glasses-ws`,
    releases: new Map(),
    words,
    requests,
    behaviour: { isThere: true, pauseMs: 0, cutAfterBytes: undefined, onServed: () => {} },
    get connections() {
      return connections;
    },
    send: (frame) => socket?.send(JSON.stringify(frame)),
    until: (fits, from = 0) =>
      new Promise((resolve, reject) => {
        const look = (isClosed: boolean) => {
          const found = words.slice(from).find(fits);
          if (!found && !isClosed) return;
          waiting.delete(look);
          if (found) resolve(found);
          else reject(new Error('the relay was closed'));
        };
        waiting.add(look);
        look(false);
      }),
    async close() {
      for (const look of [...waiting]) look(true);
      for (const client of sockets.clients) client.terminate();
      http.closeAllConnections();
      await new Promise<void>((resolve) => http.close(() => resolve()));
    },
  };
  return relay;
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      response.off('drain', go).off('close', go);
      resolve();
    };
    response.on('drain', go).on('close', go);
  });
}
