/** What glasses measure their uplink by, over real connections: bounds on bytes, time, number and memory. */
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fastify from 'fastify';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createFailedAttempts } from '../../cloud/access/failed-attempts.ts';
import { answerError } from '../../cloud/http/http.ts';
import { uplinkRoutes } from '../../cloud/http/uplink-routes.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock } from '../support/test-clock.ts';

const PIECE = Buffer.alloc(64 * 1024, 'x');
const MAX_BYTES = 8_000_000;

async function world(maxAtOnce?: number) {
  const clock = createTestClock();
  const server = fastify();
  const sockets: Socket[] = [];
  server.server.on('connection', (socket) => sockets.push(socket));
  server.setErrorHandler((thrown, asked, reply) => answerError(thrown, asked, reply, silentLog()));
  uplinkRoutes({
    clock,
    attempts: createFailedAttempts({ clock, callers: { standsForMany: () => false } }),
    tokens: {
      async verify(token) {
        if (!token) throw new GlasscastError('MISSING_TOKEN');
        if (!token.startsWith('of-')) throw new GlasscastError('INVALID_TOKEN');
        return { userId: token.slice(3), tokenId: 't', expiresAtMs: undefined };
      },
    },
    ...(maxAtOnce === undefined ? {} : { maxAtOnce }),
  })(server);
  await server.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    server.server.closeAllConnections();
    await server.close();
    expect(clock.pending()).toEqual([]);
  });

  /** Headers go at once, the body as the test says. */
  function open(token: string, headers: Record<string, string | number> = {}) {
    const call: ClientRequest = request({
      ...{ host: '127.0.0.1', port: (server.server.address() as AddressInfo).port, path: '/api/uplink-probe' },
      ...{
        method: 'POST',
        agent: false,
        headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
      },
    });
    const answer = once(call, 'response').then(async ([response]: IncomingMessage[]) => {
      let text = '';
      for await (const piece of response?.setEncoding('utf8') ?? []) text += piece;
      return { status: response?.statusCode, ...(JSON.parse(text) as Record<string, unknown>) };
    });
    answer.catch(() => {});
    call.on('error', () => {}).flushHeaders();
    const gone = new Promise<void>((resolve) => call.once('socket', (socket) => socket.once('close', () => resolve())));
    return { call, answer, gone };
  }
  /** Of all connections so far, heads included. */
  const readBytes = () => sockets.reduce((sum, socket) => sum + socket.bytesRead, 0);
  const ask = (token: string, body = '') => {
    const { call, answer } = open(token, { 'content-length': body.length });
    call.end(body);
    return answer;
  };
  return { ask, clock, open, readBytes };
}

describe('an uplink probe', () => {
  it('is told how much was read, in which time', async () => {
    const { ask, clock, open, readBytes } = await world();
    expect(await ask('of-ada')).toEqual({ status: 200, bytes: 0, ms: 0 });
    const { call, answer } = open('of-ada', { 'content-type': 'application/json' });
    call.write(PIECE);
    await expect.poll(readBytes).toBeGreaterThan(PIECE.length);
    await clock.advance(1_500);
    call.end(PIECE);
    expect(await answer).toEqual({ status: 200, bytes: 2 * PIECE.length, ms: 1_500 });
  });

  it.each([
    ['no token', '', 'MISSING_TOKEN'],
    ['a wrong token', 'none', 'INVALID_TOKEN'],
  ])('with %s is refused, and nothing of it is read', async (_name, token, error) => {
    const { open, readBytes } = await world();
    const { answer, gone } = open(token, { 'content-length': 2_000_000 });
    expect(await answer).toMatchObject({ status: 401, error });
    await gone;
    expect(readBytes()).toBeLessThan(1_000);
  });

  it('has 8 MB at most, announced or not', async () => {
    const { ask, open, readBytes } = await world();
    const announced = open('of-ada', { 'content-length': MAX_BYTES + 1 });
    expect(await announced.answer).toMatchObject({ status: 413, error: 'UPLINK_PROBE_TOO_LARGE' });
    await announced.gone;
    expect(readBytes()).toBeLessThan(1_000);
    const { call, gone } = open('of-ada');
    const send = () => void call.write(PIECE, (error) => error || send());
    send();
    await gone;
    expect(readBytes()).toBeGreaterThan(MAX_BYTES);
    expect(readBytes()).toBeLessThan(MAX_BYTES * 2);
    expect(await ask('of-ada')).toMatchObject({ status: 200 });
  });

  it('is answered after 5 s with what has come, and cut a second later', async () => {
    const { clock, open, readBytes } = await world();
    // Otherwise Node's client ends the connection by itself.
    const { call, answer, gone } = open('of-ada', { connection: 'keep-alive' });
    call.write(PIECE);
    await expect.poll(readBytes).toBeGreaterThan(PIECE.length);
    await clock.advance(5_000);
    expect(await answer).toEqual({ status: 200, bytes: PIECE.length, ms: 5_000 });
    call.write(PIECE);
    expect(await open('of-ada').answer).toMatchObject({ status: 429, error: 'RATE_LIMITED' });
    await clock.advance(1_000);
    await gone;
  });

  it('of which nothing comes is 408', async () => {
    const { clock, open, readBytes } = await world();
    const { answer, gone } = open('of-ada');
    await expect.poll(() => clock.pending().length).toBe(2);
    await clock.advance(5_000);
    expect(await answer).toMatchObject({ status: 408, error: 'UPLINK_PROBE_SILENT' });
    await gone;
    expect(readBytes()).toBeLessThan(1_000);
  });

  it('that breaks off leaves nothing behind', async () => {
    const { ask, clock, open, readBytes } = await world();
    const { call } = open('of-ada');
    call.write(PIECE);
    await expect.poll(readBytes).toBeGreaterThan(PIECE.length);
    call.destroy();
    await expect.poll(() => clock.pending()).toEqual([]);
    expect(await ask('of-ada', 'x')).toEqual({ status: 200, bytes: 1, ms: 0 });
  });

  it('runs once for each user, and so many times for all', async () => {
    const { clock, open } = await world(2);
    const held = [open('of-ada')];
    await expect.poll(() => clock.pending().length).toBe(2);
    expect(await open('of-ada').answer).toMatchObject({ status: 429 });
    held.push(open('of-bob'));
    await expect.poll(() => clock.pending().length).toBe(4);
    expect(await open('of-eve').answer).toMatchObject({ status: 429 });
    for (const { call } of held) call.end();
    for (const { answer } of held) expect(await answer).toMatchObject({ status: 200 });
    const last = open('of-eve');
    last.call.end();
    expect(await last.answer).toMatchObject({ status: 200 });
  });

  it('may be made ten times, then six times a minute', async () => {
    const { ask, clock } = await world();
    const statuses: unknown[] = [];
    for (let count = 0; count < 11; count += 1) statuses.push((await ask('of-ada')).status);
    expect(statuses).toEqual([...Array.from({ length: 10 }, () => 200), 429]);
    expect((await ask('of-bob')).status).toBe(200);
    await clock.advance(10_000);
    expect([(await ask('of-ada')).status, (await ask('of-ada')).status]).toEqual([200, 429]);
  });

  it('is kept nowhere', async () => {
    const { open, readBytes } = await world();
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const heldBytes = () => {
      collect();
      return process.memoryUsage().arrayBuffers;
    };
    const beforeBytes = heldBytes();
    const pieces = 110;
    const probes = ['ada', 'bob', 'eve', 'joe'].map((name) => open(`of-${name}`));
    for (const { call } of probes) for (let count = 0; count < pieces; count += 1) call.write(PIECE);
    const allBytes = probes.length * pieces * PIECE.length;
    await expect.poll(readBytes, { timeout: 5_000 }).toBeGreaterThan(allBytes);
    // V8 frees in the background.
    await expect.poll(() => heldBytes() - beforeBytes, { timeout: 5_000 }).toBeLessThan(allBytes / 4);
    for (const { call } of probes) call.end();
    for (const { answer } of probes) expect(await answer).toMatchObject({ bytes: pieces * PIECE.length });
  });
});
