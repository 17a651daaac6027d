/**
 * What all apps of the benchmarks share: the webhook by which the relay calls one, and its socket on /app-ws, which comes back
 * after a loss as its manner says. Understands an invitation, and nothing of streams.
 */
import { createServer, type Server } from 'node:http';
import { WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';

/** The relay asks the app to come for this user. */
export interface Invitation {
  websocketUrl: string;
  sessionId: string;
  userId: string;
}

export interface Webhook {
  /** Gives its base address for the registration. After `close` it listens there again. */
  listen(): Promise<string>;
  close(): Promise<void>;
}

export function createWebhook(onInvitation: (invitation: Invitation) => void): Webhook {
  let server: Server | undefined;
  let port = 0;
  function answer(body: string): number {
    try {
      const { type, websocketUrl, sessionId, userId } = JSON.parse(body) as Partial<Invitation> & { type?: string };
      if (type === 'session_request' && websocketUrl && sessionId && userId)
        onInvitation({ websocketUrl, sessionId, userId });
      return 200;
    } catch {
      return 400;
    }
  }
  return {
    async listen() {
      const listening = createServer((request, response) => {
        const chunks: Buffer[] = [];
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        request.on('end', () => {
          const status = answer(Buffer.concat(chunks).toString());
          const text = status === 200 ? '{"status":"success"}' : '{"status":"error"}';
          response.writeHead(status, { 'content-type': 'application/json' }).end(text);
        });
      });
      server = listening;
      await new Promise<void>((resolve, reject) => {
        listening.once('error', reject);
        listening.listen(port, '127.0.0.1', resolve);
      });
      const address = listening.address();
      if (typeof address === 'object' && address) port = address.port;
      return `http://127.0.0.1:${port}`;
    },
    async close() {
      const closing = server;
      server = undefined;
      closing?.closeAllConnections();
      if (closing) await new Promise<void>((resolve) => closing.close(() => resolve()));
    },
  };
}

export interface AppSocketOptions {
  clock: Clock;
  packageName: string;
  apiKey: string;
  /** The wait before attempt n (from 1) to come back after a loss; undefined: no further attempt. */
  retryMs: (attempt: number) => number | undefined;
  onMessage: (message: { type?: string }) => void;
  /** One that had been open is lost; not told of one that an invitation or `close` replaces. */
  onLost?: () => void;
}

export interface AppSocket {
  /** Goes there, instead of where it was. */
  invite(invitation: Invitation): void;
  /** With the time of sending; lost while no socket is open. */
  send(message: object): void;
  close(): void;
}

export function createAppSocket(options: AppSocketOptions): AppSocket {
  const { clock, packageName, apiKey, retryMs, onMessage, onLost } = options;
  let socket: WebSocket | undefined;
  let isOver = false;

  function open(invitation: Invitation, attempt: number): void {
    if (isOver) return;
    const opening = new WebSocket(invitation.websocketUrl, { perMessageDeflate: false });
    let wasOpen = false;
    socket = opening;
    opening.on('error', () => {});
    opening.on('open', () => {
      wasOpen = true;
      send({ type: 'tpa_connection_init', sessionId: invitation.sessionId, packageName, apiKey });
    });
    opening.on('message', (data) => onMessage(JSON.parse(String(data))));
    opening.on('close', () => {
      if (socket !== opening) return;
      if (wasOpen) onLost?.();
      const next = wasOpen ? 1 : attempt + 1;
      const waitMs = retryMs(next);
      if (waitMs === undefined) return;
      clock.after('app-retry', waitMs, () => {
        if (socket === opening) open(invitation, next);
      });
    });
  }
  function send(message: object): void {
    if (socket?.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify({ ...message, timestamp: new Date(clock.now()).toISOString() }));
  }
  function drop(): void {
    const old = socket;
    socket = undefined;
    old?.terminate();
  }
  return {
    invite(invitation) {
      drop();
      open(invitation, 0);
    },
    send,
    close() {
      isOver = true;
      drop();
    },
  };
}
