/** Who may come in, over the wire: tokens, enrolment, pages of others, and how much one address may ask. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRelay } from '../../cloud/relay.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { startProgram } from '../support/program.ts';
import { createRelayWorld, type Frame, openPeer, type RelayWorld } from '../support/relay-world.ts';

const ofType = (type: string) => (frame: Frame) => frame.type === type;

let world: RelayWorld;
beforeAll(async () => {
  world = await createRelayWorld({
    trustedProxies: ['127.0.0.1'],
    publicUrl: 'wss://relay.example',
    doorLimits: {
      maxStrangersPerAddress: 5,
      requests: { perSecond: 1, burst: 20 },
      handshakes: { perSecond: 1, burst: 10 },
    },
  });
});
afterAll(async () => {
  expect(await world.close()).toEqual([]);
});

interface Answer {
  status: number | undefined;
  headers: IncomingHttpHeaders;
  body: string;
}
/** As any program may ask, with headers that fetch does not let us write. */
function ask(path: string, headers: Record<string, string> = {}, body?: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request(`${world.url}${path}`, { method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() }),
      );
    });
    call.once('error', reject);
    call.end(body);
  });
}
const from = (address: string) => ({ 'x-forwarded-for': address });
const asOperator = () => ({ authorization: `Bearer ${world.adminToken.reveal()}` });
const newToken = (email: string) =>
  world.rest<{ coreToken: string; tokenId: string; expiresAt: string }>('POST', '/api/tokens', { email });
const glasses = (coreToken: string, headers = {}) =>
  openPeer(`${world.wsUrl}/glasses-ws`, { authorization: `Bearer ${coreToken}`, ...headers });

describe('core tokens', () => {
  it('that are revoked cut the open socket at once and open none again (defect 48)', async () => {
    const [bad, good] = [await newToken('Ada@example.com'), await newToken('bob@example.com')];
    const [ada, bob] = [await glasses(bad.coreToken), await glasses(good.coreToken)];
    await ada.inbox.take('ack', ofType('connection_ack'));
    expect(await world.rest('DELETE', `/api/tokens/${bad.tokenId}`)).toMatchObject({ status: 204 });
    expect(await ada.closed).toBe(1008);
    await expect(glasses(bad.coreToken)).rejects.toThrow(/^401 .*Invalid core token/);
    await expect(openPeer(`${world.wsUrl}/glasses-ws?token=${bad.coreToken}`)).rejects.toThrow(/^401 /);
    bob.send({ type: 'ping' });
    await bob.inbox.take('pong', ofType('pong'));
    bob.socket.terminate();
  });

  it('are listed without themselves, and end after a year', async () => {
    const token = await world.rest<Frame>('POST', '/api/tokens', { email: 'Eve@example.com', label: 'left eye' });
    const { tokens } = await world.rest<{ tokens: Frame[] }>('GET', '/api/tokens');
    const listed = tokens.find(({ tokenId }) => tokenId === token.tokenId);
    expect(listed).toMatchObject({ userId: 'eve@example.com', label: 'left eye', expiresAt: token.expiresAt });
    expect(JSON.stringify(tokens)).not.toContain(token.coreToken as string);
    const days = (Date.parse(token.expiresAt as string) - Date.now()) / 86_400_000;
    expect(Math.round(days)).toBe(365);
    expect(await world.rest('DELETE', '/api/tokens/none')).toMatchObject({ status: 404, error: 'TOKEN_NOT_FOUND' });
    expect(await world.rest('POST', '/api/tokens', { email: 'a@b.c', lifetimeSeconds: null })).toMatchObject({
      expiresAt: null,
    });
  });
});

describe('enrolment', () => {
  const enrol = (code: string, address = '198.51.100.1') =>
    ask('/api/enrol', { 'content-type': 'application/json', ...from(address) }, JSON.stringify({ code }), 'POST');

  it('turns a code into a core token, once', async () => {
    const { code, enrolmentId } = await world.rest<{ code: string; enrolmentId: string }>('POST', '/api/enrolments', {
      email: 'new@example.com',
      label: 'helmet 7',
      tokenLifetimeSeconds: 3600,
    });
    const open = await world.rest<{ enrolments: Frame[] }>('GET', '/api/enrolments');
    expect(open.enrolments).toMatchObject([{ enrolmentId, userId: 'new@example.com', label: 'helmet 7' }]);
    expect(JSON.stringify(open)).not.toContain(code);
    const answers = await Promise.all([enrol(code.toLowerCase()), enrol(code)]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401]);
    const { coreToken, userId } = JSON.parse(answers.find(({ status }) => status === 200)?.body ?? '{}') as Frame;
    expect(userId).toBe('new@example.com');
    const peer = await glasses(coreToken as string);
    await peer.inbox.take('ack', ofType('connection_ack'));
    peer.socket.terminate();
    for (const secret of [code, code.replace('-', ''), coreToken as string]) {
      expect(world.logLines.join('')).not.toContain(secret);
    }
  });

  it('is all that an agent needs, at its first start and never again (defect 48)', async () => {
    const spawner = createChildSpawner({ clock: world.clock, log: silentLog(), redactor: createRedactor() });
    const tokenFile = join(world.folder, 'agent', 'token.json');
    const { code } = await world.rest<{ code: string }>('POST', '/api/enrolments', { email: 'agent@example.com' });
    const isThere = async () => {
      const { sessions } = await world.rest<{ sessions: Frame[] }>('GET', '/api/sessions');
      return sessions.some(({ userId, connected }) => userId === 'agent@example.com' && connected);
    };
    // The code stays in the environment, as in a unit file.
    for (let start = 0; start < 2; start += 1) {
      const { child, line, logged } = startProgram(spawner, {
        file: 'device/main.ts',
        args: ['--relay-url', `${world.wsUrl}/glasses-ws`, '--token-file', tokenFile],
        env: { GLASSCAST_AGENT_ENROLMENT_CODE: code },
      });
      await line(/^(Agent ready)/);
      while (!(await isThere())) await world.clock.sleep(50);
      expect((await child.stop()).code).toBe(0);
      expect(logged.filter(({ msg }) => msg === 'enrolled')).toHaveLength(start === 0 ? 1 : 0);
      const { coreToken } = JSON.parse(await readFile(tokenFile, 'utf8')) as { coreToken: string };
      for (const secret of [code, coreToken]) expect(JSON.stringify(logged)).not.toContain(secret);
      while (await isThere()) await world.clock.sleep(50);
    }
    const { tokens } = await world.rest<{ tokens: Frame[] }>('GET', '/api/tokens');
    expect(tokens.filter(({ userId }) => userId === 'agent@example.com')).toHaveLength(1);
    await spawner.close();
  });

  it('can be cancelled', async () => {
    const made = await world.rest<{ code: string; enrolmentId: string }>('POST', '/api/enrolments', { email: 'a@b.c' });
    expect(await world.rest('DELETE', `/api/enrolments/${made.enrolmentId}`)).toMatchObject({ status: 204 });
    expect(JSON.parse((await enrol(made.code)).body)).toMatchObject({ error: 'ENROLMENT_REFUSED' });
    expect(await world.rest('DELETE', `/api/enrolments/${made.enrolmentId}`)).toMatchObject({ status: 404 });
  });

  it('is refused to who guesses', async () => {
    const statuses: (number | undefined)[] = [];
    for (let guess = 0; guess < 40; guess += 1) {
      // One line has many IPv6 addresses; the requests come by many such lines, or the limit of requests would be first.
      statuses.push((await enrol('2222-2222', `2001:db8::${guess}`)).status);
    }
    expect([statuses[0], statuses.at(-1)]).toEqual([401, 429]);
  });
});

describe('pages of others', () => {
  it('may call nothing, and open no socket', async () => {
    const { coreToken } = await newToken('page@example.com');
    const evil = { origin: 'https://evil.example', ...asOperator() };
    const answer = await ask('/api/sessions', evil);
    expect([answer.status, JSON.parse(answer.body)]).toMatchObject([403, { error: 'ORIGIN_REFUSED' }]);
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    await expect(glasses(coreToken, { origin: 'https://evil.example' })).rejects.toThrow(/^403 .*ORIGIN_REFUSED/);
    await expect(openPeer(`${world.wsUrl}/app-ws`, { origin: 'null' })).rejects.toThrow(/^403 /);
  });

  it('of ours and views of phones may', async () => {
    const { coreToken } = await newToken('own@example.com');
    expect((await ask('/api/sessions', { origin: world.url, ...asOperator() })).status).toBe(200);
    for (const origin of [world.url, 'https://relay.example']) {
      (await glasses(coreToken, { origin })).socket.terminate();
    }
  });

  it('cannot reach the operator routes by a name of their own (DNS rebinding)', async () => {
    const rebound = await ask('/api/sessions', { host: 'evil.example:8787', ...asOperator() });
    expect([rebound.status, JSON.parse(rebound.body)]).toMatchObject([421, { error: 'HOST_REFUSED' }]);
    // A page writes what headers it likes to its own name, and a proxy on this machine is believed.
    const lie = { host: 'evil.example:8787', 'x-forwarded-host': 'localhost', ...asOperator() };
    expect((await ask('/api/sessions', lie)).status).toBe(421);
    const start = { ...lie, 'content-type': 'application/json' };
    expect((await ask('/api/apps/com.none/start', start, '{"userId":"a@b.c"}', 'POST')).status).toBe(421);
    expect((await ask('/api/sessions', { host: 'relay.example', ...asOperator() })).status).toBe(200);
    expect((await ask('/healthz', { host: 'relay:8787' })).status).toBe(200);
  });

  it('may not frame, sniff or keep any answer', async () => {
    for (const path of ['/healthz', '/nowhere', '/api/sessions', '/api/public/permissions/com.none']) {
      expect((await ask(path)).headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'content-security-policy': expect.stringContaining("frame-ancestors 'none'"),
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'strict-transport-security': expect.stringContaining('max-age='),
      });
    }
    const events = await fetch(`${world.url}/api/events`, { headers: asOperator() });
    expect(events.headers.get('x-content-type-options')).toBe('nosniff');
    await events.body?.cancel();
  });
});

describe('the webhook of an app', () => {
  it('is not followed to where it leads (SSRF)', async () => {
    const reached: string[] = [];
    const inside = createServer((call, answer) => {
      reached.push(String(call.url));
      answer.writeHead(200).end('{}');
    });
    const outside = createServer((_call, answer) => {
      const { port } = inside.address() as AddressInfo;
      answer.writeHead(307, { location: `http://127.0.0.1:${port}/latest/meta-data` }).end();
    });
    for (const server of [inside, outside]) {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    }
    const publicUrl = `http://127.0.0.1:${(outside.address() as AddressInfo).port}`;
    await world.rest('PUT', '/api/apps/com.example.leads', { publicUrl, apiKey: 'the-key-of-the-app' });
    expect(await world.rest('POST', '/api/apps/com.example.leads/start', { userId: 'a@b.c' })).toMatchObject({
      status: 502,
      error: 'APP_UNREACHABLE',
    });
    expect(reached).toEqual([]);
    for (const server of [inside, outside]) server.close();
  });
});

describe('the storage of the SDK', () => {
  it('is behind the key of the app, and for its own users only', async () => {
    await world.rest('PUT', '/api/apps/com.example.keeps', { publicUrl: 'http://127.0.0.1:9', apiKey: 'right-key' });
    const read = async (bearer: string) => {
      const { status } = await ask('/api/sdk/simple-storage/ada@example.com', { authorization: `Bearer ${bearer}` });
      return status;
    };
    expect(await Promise.all(['com.example.keeps:wrong-key', 'right-key', ''].map(read))).toEqual([401, 401, 401]);
    expect(await read('com.example.keeps:right-key')).toBe(404);
  });

  it('reads nothing of what a stranger writes', async () => {
    const call = request(`${world.url}/api/sdk/simple-storage/ada@example.com`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json', 'content-length': 2_000_000, authorization: 'Bearer com.none:x' },
    });
    const answered = once(call, 'response') as Promise<[IncomingMessage]>;
    // Of two million bytes none is ever sent: the answer does not wait for them.
    call.on('error', () => {}).flushHeaders();
    const waited = world.clock.sleep(5_000).then(() => [{ statusCode: 'none' }]);
    expect((await Promise.race([answered, waited]))[0]).toMatchObject({ statusCode: 404 });
    call.destroy();
  });
});

describe('one address', () => {
  it('behind a trusted proxy gets so many answers each second, and others theirs', async () => {
    const statuses: (number | undefined)[] = [];
    for (let count = 0; count < 30; count += 1) statuses.push((await ask('/healthz', from('203.0.113.1'))).status);
    expect(new Set(statuses)).toEqual(new Set([200, 429]));
    const refused = await ask('/healthz', from('203.0.113.1'));
    expect([refused.status, refused.headers['retry-after']]).toEqual([429, '1']);
    expect((await ask('/healthz', from('203.0.113.2'))).status).toBe(200);
    // The proxy itself stands for everybody.
    expect((await ask('/healthz')).status).toBe(200);
  });

  it('holds so many sockets that have not shown a key', async () => {
    const open = () => openPeer(`${world.wsUrl}/app-ws`, from('203.0.113.3'));
    const held = await Promise.all(Array.from({ length: 5 }, open));
    await expect(open()).rejects.toThrow(/^429 .*Too many requests/);
    (await openPeer(`${world.wsUrl}/app-ws`, from('203.0.113.4'))).socket.terminate();
    const [first] = held;
    first?.socket.terminate();
    await first?.closed;
    for (;;) {
      const peer = await open().catch(() => undefined);
      if (peer) {
        held.push(peer);
        break;
      }
      await world.clock.sleep(1_000);
    }
    for (const { socket } of held) socket.terminate();
  });

  it('makes so many handshakes each second, with right tokens too', async () => {
    const { coreToken } = await newToken('often@example.com');
    const tries = await Promise.allSettled(Array.from({ length: 15 }, () => glasses(coreToken, from('203.0.113.5'))));
    const refusals = tries.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []));
    expect(refusals.length).toBeGreaterThan(0);
    expect(refusals.filter((text) => !text.includes('429'))).toEqual([]);
    for (const result of tries) if (result.status === 'fulfilled') result.value.socket.terminate();
  });

  it('and all others together hold so many connections, and no more', async () => {
    const clock = createSystemClock();
    const relay = createRelay({
      ...{ clock, log: silentLog(), redactor: createRedactor(), dataDir: ':memory:' },
      provider: { kind: 'local', apiBaseUrl: 'http://127.0.0.1:9', accountId: 'a', apiToken: new Secret('token-x') },
      doorLimits: { maxConnections: 3 },
    });
    const { port, madeAdminToken } = await relay.start();
    expect(madeAdminToken?.reveal()).toHaveLength(43);
    const sockets = Array.from({ length: 4 }, () => connect(port, '127.0.0.1'));
    const ended = sockets.map(
      (socket) => new Promise<Socket>((resolve) => socket.once('close', () => resolve(socket))),
    );
    for (const socket of sockets) socket.on('error', () => {}).resume();
    const first = await Promise.race(ended);
    expect(sockets.filter(({ destroyed }) => destroyed)).toEqual([first]);
    for (const socket of sockets) socket.destroy();
    await relay.close();
    expect(clock.pending()).toEqual([]);
  });

  it('cannot hold a connection by sending its request a byte at a time', async () => {
    const socket = connect(Number(new URL(world.url).port), '127.0.0.1');
    const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => {});
    socket.resume().write('GET /healthz HTTP/1.1\r\nhost: x\r\n');
    await ended;
  }, 30_000);
});
