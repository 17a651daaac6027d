/**
 * The floor of the benchmarks of many sockets: `ws` with nothing behind it. Acknowledges, gives START at once, asks by
 * keep-alives at the relay's rhythm, passes statuses on to the user's app. Checks no token, keeps no record, knows no state.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { createSystemClock } from '../../shared/clock.ts';

export interface BareWsReady {
  type: 'ready';
  port: number;
}

const KEEP_ALIVE_MS = 15_000;
const PING_MS = 10_000;

const clock = createSystemClock();
const server = createServer();
const glasses = new WebSocketServer({ noServer: true, perMessageDeflate: false });
const apps = new Map<string, WebSocket>();

server.on('upgrade', (request, raw, head) => {
  const url = new URL(request.url ?? '/', 'ws://bare');
  const userId = request.headers.authorization?.slice('Bearer '.length) ?? '';
  glasses.handleUpgrade(request, raw, head, (ws) => {
    ws.on('error', () => {});
    if (url.pathname === '/app-ws') welcomeApp(ws);
    else welcomeGlasses(ws, userId);
  });
});

function welcomeGlasses(ws: WebSocket, userId: string): void {
  const streamId = `s${userId}`;
  const say = (frame: object) => ws.send(JSON.stringify(frame));
  let asked = 0;
  say({ type: 'connection_ack', sessionId: userId });
  say({ type: 'start_stream', streamId, streamUrl: 'rtmp://127.0.0.1:9/fleet', video: {}, audio: {}, stream: {} });
  const keepAlive = clock.every('keep-alive', KEEP_ALIVE_MS, () => {
    asked += 1;
    say({ type: 'keep_stream_alive', streamId, ackId: `a${asked}` });
  });
  const ping = clock.every('ping', PING_MS, () => ws.ping());
  ws.on('message', (data) => {
    const frame = JSON.parse(String(data)) as { type: string };
    if (frame.type === 'stream_status') apps.get(userId)?.send(JSON.stringify(frame));
  });
  ws.on('close', () => {
    keepAlive.cancel();
    ping.cancel();
  });
}

function welcomeApp(ws: WebSocket): void {
  ws.once('message', (data) => {
    const { sessionId } = JSON.parse(String(data)) as { sessionId: string };
    apps.set(sessionId, ws);
    ws.send(JSON.stringify({ type: 'tpa_connection_ack', sessionId }));
    ws.send(JSON.stringify({ type: 'stream_status', status: 'active', streamId: `s${sessionId}` }));
  });
}

process.once('SIGINT', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const ready: BareWsReady = { type: 'ready', port: (server.address() as AddressInfo).port };
  process.send?.(ready);
});
