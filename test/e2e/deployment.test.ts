/** The files of deploy/ with the programs that read them: HAProxy, systemd, Redis. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { freePort } from '../../scripts/bench/free-port.ts';
import { haproxyConfig, haproxyEnv, haproxyFile, startHaproxy } from '../../scripts/bench/haproxy-process.ts';
import { untilListening } from '../../scripts/bench/listening.ts';
import { type ChildSpawner, createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { redisServer } from '../support/redis.ts';

const clock = createSystemClock();
const deployFile = (file: string) => join(import.meta.dirname, '../../deploy', file);

let children: ChildSpawner;
let folder: string;
let closers: (() => unknown)[];
beforeEach(async () => {
  children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  folder = await mkdtemp(join(tmpdir(), 'glasscast-deploy-'));
  closers = [];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
  await children.close();
  await rm(folder, { recursive: true, force: true });
});

async function run(file: string, args: string[], env: NodeJS.ProcessEnv = {}) {
  const lines: string[] = [];
  const child = children.spawn({
    name: file,
    file,
    args,
    env: { ...process.env, ...env },
    onStderrLine: (line) => lines.push(line),
  });
  return { ...(await child.exited), lines };
}

/** What stands in for a relay: health as told, requests answered with its name, sockets welcomed with it. */
async function scriptedNode(name: string, port: number) {
  const node = { health: { code: 200, body: '{"status":"ready"}' }, seen: [] as IncomingHttpHeaders[], checks: 0 };
  const server: Server = createServer((request, response) => {
    if (request.url === '/readyz') {
      node.checks += 1;
      response.writeHead(node.health.code).end(node.health.body);
      return;
    }
    node.seen.push(request.headers);
    response.end(name);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.send(name));
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
  /** As a process that was killed: no port, and every connection reset. */
  function die(): void {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  }
  closers.push(die);
  return Object.assign(node, { die });
}

async function behindHaproxy() {
  const nodePorts = [await freePort(), await freePort()] as const;
  const nodes = [await scriptedNode('first', nodePorts[0]), await scriptedNode('second', nodePorts[1])] as const;
  const port = await freePort();
  await startHaproxy({ spawn: children.spawn, clock, port, nodePorts });
  const url = `http://127.0.0.1:${port}`;
  const get = (path = '/', headers: Record<string, string> = {}) => fetch(url + path, { headers });
  await expect.poll(async () => (await get()).status, { timeout: 5_000 }).toBe(200);
  return { nodes, url, get };
}

const answersOf = async (get: () => Promise<Response>, times: number) =>
  Promise.all(Array.from({ length: times }, async () => (await get()).text()));

describe.skipIf(!inject('hasHaproxy'))('HAProxy with the configuration of deploy/', () => {
  it('takes it without a warning', async () => {
    const env = haproxyEnv({ port: 1, nodePorts: [2, 3] });
    const { code, lines } = await run(haproxyFile() ?? '', ['-c', '-f', haproxyConfig], env);
    expect({ code, lines: lines.filter((line) => /WARNING|ALERT/.test(line)) }).toEqual({ code: 0, lines: [] });
  });

  it('sends everybody to the other node at once when one has died', async () => {
    const { nodes, get } = await behindHaproxy();
    expect(new Set(await answersOf(get, 40))).toEqual(new Set(['first', 'second']));
    nodes[0].die();
    expect(new Set(await answersOf(get, 40))).toEqual(new Set(['second']));
  });

  it('sends nobody to a node that is ending, and goes on with nodes that lack their store', async () => {
    const { nodes, get } = await behindHaproxy();
    const ending = {
      code: 503,
      body: '{"status":"not ready","failed":["ending"],"checks":{"ending":"the relay is ending and takes nothing new"}}',
    };
    const storeless = {
      code: 503,
      body: '{"status":"not ready","failed":["store"],"checks":{"store":"STORE_UNAVAILABLE","ending":"ok"}}',
    };
    nodes[0].health = ending;
    nodes[1].health = storeless;
    await expect.poll(async () => new Set(await answersOf(get, 20)), { timeout: 8_000 }).toEqual(new Set(['second']));
    nodes[0].health = storeless;
    await expect
      .poll(async () => new Set(await answersOf(get, 20)), { timeout: 8_000 })
      .toEqual(new Set(['first', 'second']));
  });

  it('passes WebSockets, and closes those of a node that does not answer any more', async () => {
    const { nodes, url } = await behindHaproxy();
    const open = Array.from({ length: 20 }, () => new WebSocket(url.replace('http', 'ws')));
    const welcomed = await Promise.all(
      open.map((socket) => new Promise<string>((resolve) => socket.once('message', (text) => resolve(String(text))))),
    );
    expect(new Set(welcomed)).toEqual(new Set(['first', 'second']));
    const ofFirst = open.filter((_, index) => welcomed[index] === 'first');
    const closed = ofFirst.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    // Its sockets stay open, as those of a machine that lost power do: nobody tells anybody.
    nodes[0].health = { code: 503, body: 'the relay is ending' };
    await Promise.all(closed);
    expect(
      open.filter((socket, index) => welcomed[index] === 'second' && socket.readyState !== WebSocket.OPEN),
    ).toEqual([]);
    for (const socket of open) socket.terminate();
  });

  it('lets nobody outside into the lines between nodes, to metrics or to readiness', async () => {
    const { get } = await behindHaproxy();
    for (const path of ['/node-ws', '/metrics', '/readyz', '/%6detrics', '/node%2Dws?a=b'])
      expect((await get(path)).status, path).toBe(404);
  });

  it('tells a node the address of the caller, whatever the caller says', async () => {
    const { nodes, get } = await behindHaproxy();
    await get('/', { 'x-forwarded-for': '203.0.113.9' });
    const forwarded = nodes.flatMap(({ seen }) => seen.map((headers) => headers['x-forwarded-for']));
    expect(new Set(forwarded)).toEqual(new Set(['127.0.0.1']));
  });
});

describe('units', () => {
  const analyze = findOnPath('systemd-analyze');
  it.skipIf(!analyze).each(['glasscast-relay@.service', 'glasscast-local-stream.service'])(
    'systemd finds nothing wrong with %s',
    async (unit) => {
      const { lines } = await run(analyze ?? '', ['verify', deployFile(`systemd/${unit}`)]);
      // On a machine without our programs and users that alone is missed.
      expect(lines.filter((line) => !/not executable|No such file/.test(line))).toEqual([]);
    },
  );
});

describe.skipIf(!inject('hasRedis'))('redis.conf', () => {
  it('is taken by redis-server', async () => {
    const port = await freePort();
    const text = await readFile(deployFile('redis/redis.conf'), 'utf8');
    const file = join(folder, 'redis.conf');
    await writeFile(file, text.replace(/^bind .*$/m, 'bind 127.0.0.1'));
    const args = [file, '--port', String(port), '--dir', folder];
    const child = children.spawn({ name: 'redis-server', file: redisServer() ?? '', args, stopSignal: 'SIGKILL' });
    await untilListening(clock, child, 'redis-server', port);
  });
});
