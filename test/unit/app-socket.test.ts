/** The benchmarks' app: its webhook and its socket, against a real HTTP client and a real WebSocket server. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { createAppSocket, createWebhook, type Invitation } from '../../scripts/bench/app-socket.ts';
import { createSystemClock } from '../../shared/clock.ts';

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

const call = async (url: string, body: string) => (await fetch(url, { method: 'POST', body })).status;

it('takes invitations, refuses what is no JSON, and listens again where it was', async () => {
  const seen: Invitation[] = [];
  const webhook = createWebhook((invitation) => void seen.push(invitation));
  opened.push(webhook);
  const url = await webhook.listen();
  const invitation = { websocketUrl: 'ws://relay', sessionId: 'session', userId: 'user' };
  expect(await call(url, JSON.stringify({ type: 'session_request', ...invitation }))).toBe(200);
  expect(await call(url, JSON.stringify({ type: 'stop_request', ...invitation }))).toBe(200);
  expect(await call(url, '{ "type": "session_')).toBe(400);
  await webhook.close();
  await expect(call(url, '{}')).rejects.toThrow();
  expect(await webhook.listen()).toBe(url);
  expect(await call(url, '{}')).toBe(200);
  expect(seen).toEqual([invitation]);
});

it('comes back after a loss, and tells none of a socket that another invitation replaces', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  opened.push(server);
  await once(server, 'listening');
  const websocketUrl = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const attempts: number[] = [];
  let lost = 0;
  const app = createAppSocket({
    ...{ clock: createSystemClock(), packageName: 'com.example', apiKey: 'key' },
    retryMs: (attempt) => attempts.push(attempt) && 1,
    onMessage: () => {},
    onLost: () => {
      lost += 1;
    },
  });
  opened.push(app);
  async function arrival(): Promise<[WebSocket, { sessionId?: string }]> {
    const [socket] = (await once(server, 'connection')) as [WebSocket];
    const [first] = (await once(socket, 'message')) as [Buffer];
    return [socket, JSON.parse(String(first))];
  }
  const at = (sessionId: string) => ({ websocketUrl, sessionId, userId: 'user' });

  const arriving = arrival();
  app.invite(at('one'));
  const [one, init] = await arriving;
  expect(init).toMatchObject({
    type: 'tpa_connection_init',
    sessionId: 'one',
    packageName: 'com.example',
    apiKey: 'key',
  });
  const back = arrival();
  one.terminate();
  const [again, initAgain] = await back;
  expect(initAgain.sessionId).toBe('one');
  expect([lost, attempts]).toEqual([1, [1]]);

  const replaced = once(again, 'close');
  const next = arrival();
  app.invite(at('two'));
  await replaced;
  expect((await next)[1].sessionId).toBe('two');
  expect([lost, attempts]).toEqual([1, [1]]);
});
