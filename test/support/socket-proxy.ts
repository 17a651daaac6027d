/** A reverse proxy for WebSockets that can end a line with any close code: what stands between apps and a relay. */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';

interface Line {
  /** The first frame of the client: it names the session. */
  firstFrame: string;
  client: WebSocket;
  relay: WebSocket;
}

export interface SocketProxy {
  readonly url: string;
  /** `ws://HOST:PORT` of the relay. */
  target: string;
  /** Refuses whoever comes: the relay is away. */
  isShut: boolean;
  /**
   * Ends the lines whose first frame has this text: to the client with the code (1006: cut without a word), to the
   * relay by a cut. @returns how many there were.
   */
  drop(text: string, code: number, reason?: string): number;
  /** Lines whose first frame has this text. */
  count(text: string): number;
  close(): Promise<void>;
}

export async function startSocketProxy(): Promise<SocketProxy> {
  const sockets = new WebSocketServer({ noServer: true });
  const lines = new Set<Line>();
  const server = createServer((_request, response) => response.writeHead(404).end());
  const proxy: SocketProxy = {
    get url() {
      return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    target: '',
    isShut: false,
    count: (text) => linesOf(text).length,
    drop(text, code, reason = '') {
      const meant = linesOf(text);
      for (const { client, relay } of meant) {
        if (code === 1006) client.terminate();
        else client.close(code, reason);
        relay.terminate();
      }
      return meant.length;
    },
    async close() {
      for (const { client, relay } of lines) {
        client.terminate();
        relay.terminate();
      }
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };

  function linesOf(text: string): Line[] {
    return [...lines].filter(({ firstFrame }) => firstFrame.includes(text));
  }
  function join(request: IncomingMessage, client: WebSocket): void {
    const relay = new WebSocket(`${proxy.target}${request.url}`);
    const line: Line = { firstFrame: '', client, relay };
    const waiting: string[] = [];
    lines.add(line);
    client.on('message', (data) => {
      const text = data.toString();
      line.firstFrame ||= text;
      if (relay.readyState === WebSocket.OPEN) relay.send(text);
      else waiting.push(text);
    });
    relay.on('open', () => {
      for (const text of waiting.splice(0)) relay.send(text);
    });
    relay.on('message', (data) => client.send(data.toString()));
    relay.on('error', () => client.terminate());
    client.on('error', () => relay.terminate());
    relay.on('close', (code, reason) => end(line, client, code, reason));
    client.on('close', (code, reason) => end(line, relay, code, reason));
  }
  function end(line: Line, other: WebSocket, code: number, reason: Buffer): void {
    lines.delete(line);
    if (other.readyState !== WebSocket.OPEN) return;
    if (code === 1005) other.close();
    else if (code === 1006) other.terminate();
    else other.close(code, reason);
  }
  server.on('upgrade', (request, socket, head) => {
    if (proxy.isShut) socket.destroy();
    else sockets.handleUpgrade(request, socket, head, (client) => join(request, client));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return proxy;
}
