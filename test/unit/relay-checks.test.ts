import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { diagnose } from '../../device/runtime/doctor.ts';
import { relayChecks } from '../../device/runtime/relay-checks.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { Secret } from '../../shared/secrets.ts';
import { testCertificate as cert, testCertificateKey as key } from '../support/test-certificate.ts';
import { createTestClock } from '../support/test-clock.ts';

const clock = createSystemClock();
let servers: Server[] = [];
afterEach(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  servers = [];
  expect(clock.pending()).toEqual([]);
});

/** Answers upgrades as the relay does: the token first, then what is wrong with the request. */
async function startRelay(
  { date, answers = { good: 400, other: 401 } }: { date?: string; answers?: { good: number; other: number } } = {},
  server: Server = createServer(),
) {
  const upgrades: (string | undefined)[] = [];
  server.on('request', (request, response) => {
    if (date !== undefined) response.setHeader('date', date);
    request.resume().on('end', () => response.end('{"bytes":8000000,"ms":1000}'));
  });
  server.on('upgrade', ({ headers }, raw) => {
    upgrades.push(headers['sec-websocket-version']);
    const status = headers.authorization === 'Bearer good-token' ? answers.good : answers.other;
    raw.end(`HTTP/1.1 ${status} Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  return { port: (server.address() as AddressInfo).port, upgrades };
}
async function findings(relayUrl: string, token: string | undefined = 'good-token') {
  const coreToken = async () => (token === '' ? undefined : new Secret(token));
  const all = await diagnose(relayChecks({ relayUrl, coreToken, clock }), () => {});
  return Object.fromEntries(all.map(({ name, ...rest }) => [name.replace('Relay: ', ''), rest]));
}

describe('the way to the relay', () => {
  it('is well, and no connection of a running agent is taken over', async () => {
    const { port, upgrades } = await startRelay();
    const found = await findings(`ws://localhost:${port}/glasses-ws`);
    expect(found).toMatchObject({
      name: { state: 'ok', text: expect.stringContaining('127.0.0.1') },
      port: { state: 'ok' },
      TLS: { state: 'unknown', text: expect.stringContaining('ws://') },
      token: { state: 'ok' },
      Clock: { state: 'ok' },
      Uplink: { state: 'ok', text: expect.stringContaining('Mbit/s in a burst of') },
    });
    expect(upgrades).toEqual(['1', '1']);
  });

  it.each([
    ['refused', { good: 401, other: 401 }, /refuses it/],
    ['taken by anything', { good: 400, other: 400 }, /no relay at this path/],
    ['not known there', { good: 404, other: 404 }, /no relay at this path/],
  ])('tells a token that is %s', async (_name, answers, text) => {
    const { port } = await startRelay({ answers });
    const { token } = await findings(`ws://127.0.0.1:${port}/glasses-ws`);
    expect(token).toMatchObject({ state: 'bad', text: expect.stringMatching(text), next: expect.any(String) });
    expect(JSON.stringify(token)).not.toContain('good-token');
  });

  it('is looked at without a token too', async () => {
    const { port } = await startRelay();
    expect(await findings(`ws://127.0.0.1:${port}/glasses-ws`, '')).toMatchObject({
      token: { state: 'unknown' },
      Uplink: { state: 'unknown' },
    });
  });

  it.each([
    [20_000, 'behind'],
    [-20_000, 'ahead of'],
  ])('tells a clock that is %i ms off', async (offMs, word) => {
    const { port } = await startRelay({ date: new Date(Date.now() + offMs).toUTCString() });
    expect(await findings(`ws://127.0.0.1:${port}/glasses-ws`)).toMatchObject({
      Clock: { state: 'bad', text: expect.stringMatching(new RegExp(`^(19|20)\\.\\d s ${word} the relay`)) },
    });
  });

  it('ends where it is broken: no name, nobody there', async () => {
    expect(await findings('ws://no-such-relay.invalid/glasses-ws')).toMatchObject({
      name: { state: 'bad', next: expect.stringContaining('--relay-url') },
      port: { state: 'unknown' },
      token: { state: 'unknown' },
    });
    const { port } = await startRelay();
    await new Promise((resolve) => servers.pop()?.close(resolve));
    expect(await findings(`ws://127.0.0.1:${port}/glasses-ws`)).toMatchObject({
      port: { state: 'bad', text: expect.stringContaining('nobody listens there') },
      token: { state: 'unknown' },
      Clock: { state: 'unknown' },
      Uplink: { state: 'unknown', text: expect.stringContaining('not reached') },
    });
  });

  it('ends at a certificate that nobody vouches for', async () => {
    const { port } = await startRelay({}, createTlsServer({ key, cert }) as unknown as Server);
    expect(await findings(`wss://localhost:${port}/glasses-ws`)).toMatchObject({
      TLS: { state: 'bad', text: expect.stringMatching(/certificate|self/) },
      token: { state: 'unknown' },
    });
  });

  it('is not waited for when nobody answers', async () => {
    const { port } = await startRelay();
    const server = servers.at(-1);
    server?.removeAllListeners('upgrade').on('upgrade', (_request, raw) => raw.resume().on('end', () => raw.end()));
    server?.removeAllListeners('request');
    const testClock = createTestClock();
    const checks = relayChecks({
      ...{ relayUrl: `ws://127.0.0.1:${port}/glasses-ws`, clock: testClock },
      coreToken: async () => new Secret('good-token'),
    });
    const done = diagnose(checks, () => {});
    let isDone = false;
    void done.then(() => {
      isDone = true;
    });
    // Real sockets need a little real time between.
    while (!isDone) await testClock.advance(10);
    expect((await done).map(({ state }) => state)).toEqual(['ok', 'ok', 'unknown', 'bad', 'bad', 'unknown']);
  });
});
