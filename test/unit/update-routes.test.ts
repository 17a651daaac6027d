/** Releases over HTTP, on real connections: who may, how much is read, and how long a download may last. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify from 'fastify';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createFailedAttempts } from '../../cloud/access/failed-attempts.ts';
import { answerError } from '../../cloud/http/http.ts';
import { releaseDownload, updateRoutes } from '../../cloud/http/update-routes.ts';
import { createReleaseFolder } from '../../cloud/updates/release-folder.ts';
import type { Rollouts } from '../../cloud/updates/rollouts.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { sealRelease } from '../../shared/release.ts';
import { createTestClock } from '../support/test-clock.ts';

const { privateKey } = generateKeyPairSync('ed25519');
/** Of what cannot be packed, so that a download is as long as it says. */
const sealed = (version: string, bytes = 1_000) =>
  sealRelease({ version, minNode: 20, code: randomBytes(bytes), privateKey });

async function world() {
  const clock = createTestClock();
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-routes-'));
  const releases = createReleaseFolder({ folder });
  const asked: unknown[] = [];
  const server = fastify();
  server.setErrorHandler((thrown, call, reply) => answerError(thrown, call, reply, silentLog()));
  releaseDownload({
    ...{ releases, clock },
    adminToken: { matches: (token) => token === 'admin' },
    browserGuard: { checkHost() {} },
    attempts: createFailedAttempts({ clock, callers: { standsForMany: () => false } }),
    tokens: {
      async verify(token) {
        if (!token) throw new GlasscastError('MISSING_TOKEN');
        if (!token.startsWith('of-')) throw new GlasscastError('INVALID_TOKEN');
        return { userId: token.slice(3), tokenId: 't', expiresAtMs: undefined };
      },
    },
  })(server);
  const rollouts = {
    begin: async (body: object) => void asked.push(body),
    list: () => [],
    usesRelease: (version: string) => version === '1.9.0',
  } as unknown as Rollouts;
  updateRoutes({ releases, rollouts })(server);
  await server.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    server.server.closeAllConnections();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
    expect(clock.pending()).toEqual([]);
  });
  const { port } = server.server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/api/agent-releases`;

  async function put(version: string, body: Uint8Array) {
    const response = await fetch(`${url}/${version}`, { method: 'PUT', body: new Blob([new Uint8Array(body)]) });
    return { status: response.status, ...((await response.json()) as { error?: string; sha256?: string }) };
  }
  /** A download that is not read on. */
  async function open(token: string, version = '1.4.0') {
    const call = request({
      port,
      path: `/api/agent-releases/${version}`,
      agent: false,
      headers: { authorization: `Bearer ${token}` },
    });
    const arrived = once(call, 'response') as Promise<[IncomingMessage]>;
    call.on('error', () => {}).end();
    const [response] = await arrived;
    response.pause();
    const ended = new Promise<string>((resolve) => {
      response.once('error', () => resolve('cut'));
      response.once('end', () => resolve('whole'));
    });
    return { status: response.statusCode, response, ended };
  }
  const post = (body: object) =>
    fetch(`http://127.0.0.1:${port}/api/rollouts`, {
      ...{ method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } },
    });
  return { asked, clock, folder, open, port, post, put, releases, url };
}

describe('publishing', () => {
  it('answers 201, the same bytes again 200, and refusals in words', async () => {
    const { folder, put, url } = await world();
    const file = sealed('1.4.0');
    const first = await put('1.4.0', file);
    expect(first).toMatchObject({ status: 201, version: '1.4.0', bytes: file.length, publishedAt: expect.any(String) });
    expect(await put('1.4.0', file)).toMatchObject({ status: 200, sha256: first.sha256 });
    expect(await put('1.4.0', sealed('1.4.0', 2_000))).toMatchObject({ status: 409, error: 'RELEASE_EXISTS' });
    expect(await put('1.5.0', file)).toMatchObject({ status: 400, error: 'RELEASE_REFUSED' });
    await put('1.9.0', sealed('1.9.0'));
    const removed = async (version: string) => (await fetch(`${url}/${version}`, { method: 'DELETE' })).status;
    expect([await removed('1.9.0'), await removed('1.4.0'), await removed('1.4.0')]).toEqual([409, 204, 404]);
    expect(readdirSync(folder)).toHaveLength(1);
  });

  it('refuses what is announced too large before it comes, and what goes on without end', async () => {
    const { folder, port } = await world();
    const call = request({
      port,
      method: 'PUT',
      path: '/api/agent-releases/1.4.0',
      headers: { 'content-length': 64_000_001 },
    });
    call.on('error', () => {}).flushHeaders();
    const [announced] = (await once(call, 'response')) as [IncomingMessage];
    expect([announced.statusCode, announced.headers.connection]).toEqual([400, 'close']);
    announced.resume();
    call.destroy();

    const endless = request({ port, method: 'PUT', path: '/api/agent-releases/1.4.0' });
    // Of what never ends the answer may be lost: it is cut.
    const over = new Promise<void>((resolve) =>
      endless.once('response', () => resolve()).once('close', () => resolve()),
    );
    let sent = 0;
    const piece = Buffer.alloc(1_000_000, 'x');
    const pump = () => {
      while (!endless.destroyed && endless.write(piece)) sent += piece.length;
    };
    endless.on('drain', pump).on('error', () => {});
    pump();
    await over;
    endless.destroy();
    expect(sent).toBeLessThan(80_000_000);
    await expect.poll(() => readdirSync(folder)).toEqual([]);
  });
});

describe('a download', () => {
  it('is for glasses and operators; nothing is told to others, not even what is here', async () => {
    const { put, url } = await world();
    await put('1.4.0', sealed('1.4.0'));
    const ask = async (version: string, token?: string) =>
      (await fetch(`${url}/${version}`, token ? { headers: { authorization: `Bearer ${token}` } } : {})).status;
    expect([await ask('1.4.0', 'of-ada'), await ask('1.4.0', 'admin')]).toEqual([200, 200]);
    expect([await ask('1.4.0'), await ask('1.4.1'), await ask('1.4.0', 'guess')]).toEqual([401, 401, 401]);
    for (let count = 0; count < 40; count += 1) await ask('1.4.0', 'guess');
    expect(await ask('1.4.0', 'of-ada')).toBe(429);
  });

  it('may last ten minutes; of one caller there are two, and a third cuts the first', async () => {
    const { clock, open, put } = await world();
    await put('1.4.0', sealed('1.4.0', 16_000_000));
    const ada = [await open('of-ada'), await open('of-ada')];
    const bob = await open('of-bob');
    const third = await open('of-ada');
    expect(third.status).toBe(200);
    ada[0]?.response.resume();
    expect(await ada[0]?.ended).toBe('cut');
    bob.response.resume();
    expect(await bob.ended).toBe('whole');
    await clock.advance(10 * 60_000);
    for (const late of [ada[1], third]) {
      late?.response.resume();
      expect(await late?.ended).toBe('cut');
    }
  });
});

describe('a roll-out by REST', () => {
  it.each([
    ['no version', {}, /^version/],
    ['a version that is none', { version: '1.4' }, /^version/],
    ['stages that go back', { version: '1.4.0', stages: [25, 5] }, /^stages: each has to be larger/],
    ['stages beyond all', { version: '1.4.0', stages: [5, 101] }, /^stages\.1/],
    [
      'stages and users',
      { version: '1.4.0', stages: [5], users: ['ada@example.com'] },
      /^stages: not together with users/,
    ],
    ['no failure at all', { version: '1.4.0', maxFailures: 0 }, /^maxFailures/],
    ['more than there is', { version: '1.4.0', force: true }, /force/],
  ])('with %s is refused, and the field named', async (_name, body, reason) => {
    const { asked, post } = await world();
    const response = await post(body);
    const { error, message } = (await response.json()) as { error: string; message: string };
    expect([response.status, error, asked]).toEqual([400, 'MALFORMED_MESSAGE', []]);
    expect(message.replace('The message is not valid; see the named field: ', '')).toMatch(reason);
  });

  it('names users in any case', async () => {
    const { asked, post } = await world();
    expect((await post({ version: '1.4.0', users: [' Ada@Example.com '], soakSeconds: 0 })).status).toBe(201);
    expect(asked).toEqual([{ version: '1.4.0', users: ['ada@example.com'], soakSeconds: 0 }]);
  });
});
