/**
 * Stands between the agent and the relay: a WebSocket proxy that passes every message on at once and tells of each START.
 * Changes one thing: the publish address in a START leads through the RTMP tap. So nothing in the product is instrumented.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type RawData, WebSocket, WebSocketServer } from 'ws';

export interface GlassesTapOptions {
  /** `ws://127.0.0.1:PORT`: the relay. */
  relayUrl: () => string;
  /** Where the publisher is sent instead: the port of the RTMP tap on 127.0.0.1. */
  publishPort: () => number;
  /** A START has been handed to the agent's socket. */
  onStart?: () => void;
  /** The word of a status that the agent sent. */
  onDeviceStatus?: (status: string) => void;
}

export interface GlassesTap {
  /** Gives the port for the agent. */
  listen(): Promise<number>;
  close(): Promise<void>;
}

export function createGlassesTap(options: GlassesTapOptions): GlassesTap {
  const sockets = new Set<WebSocket>();
  let server: Server | undefined;

  function join(agent: WebSocket, request: IncomingMessage): void {
    const authorization = request.headers.authorization;
    const relay = new WebSocket(`${options.relayUrl()}${request.url ?? ''}`, {
      perMessageDeflate: false,
      headers: authorization ? { authorization } : {},
    });
    const early: RawData[] = [];
    for (const socket of [agent, relay]) {
      sockets.add(socket);
      socket.on('error', () => socket.terminate());
      socket.on('close', () => sockets.delete(socket));
    }
    agent.on('message', (data) => {
      if (relay.readyState === WebSocket.OPEN) relay.send(String(data));
      else early.push(data);
      noteStatus(String(data));
    });
    relay.on('open', () => {
      for (const data of early) relay.send(String(data));
    });
    relay.on('message', (data) => passDown(agent, String(data)));
    relay.on('ping', (data) => agent.ping(data));
    relay.on('unexpected-response', () => agent.terminate());
    agent.on('close', () => relay.terminate());
    relay.on('close', () => agent.terminate());
  }
  function passDown(agent: WebSocket, text: string): void {
    const { type } = parsed(text);
    if (type !== 'start_rtmp_stream' && type !== 'start_stream') {
      agent.send(text);
      return;
    }
    const here = `rtmp://127.0.0.1:${options.publishPort()}/`;
    agent.send(text.replace(/("(?:rtmpUrl|streamUrl)":")rtmp:\/\/[^"/]+\//, (_all, field) => `${field}${here}`));
    options.onStart?.();
  }
  function noteStatus(text: string): void {
    const { type, status } = parsed(text);
    if ((type === 'rtmp_stream_status' || type === 'stream_status') && typeof status === 'string') {
      options.onDeviceStatus?.(status);
    }
  }

  return {
    async listen() {
      const listening = createServer();
      server = listening;
      new WebSocketServer({ server: listening, perMessageDeflate: false }).on('connection', join);
      await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
      const address = listening.address();
      return typeof address === 'object' && address ? address.port : 0;
    },
    async close() {
      for (const socket of sockets) socket.terminate();
      const closing = server;
      server = undefined;
      if (closing) await new Promise<void>((resolve) => closing.close(() => resolve()));
    },
  };
}

function parsed(text: string): { type?: unknown; status?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}
