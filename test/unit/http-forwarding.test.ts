/** Requests that another node serves: who does, what is passed on, and what a node that does not answer costs. */
import { afterEach, describe, expect, it } from 'vitest';
import { createHttpForwarding } from '../../cloud/cluster/http-forwarding.ts';
import { acceptEmptyBodies, createHttp, type Http, type HttpOptions, type Routes } from '../../cloud/http/http.ts';
import { requestMetrics } from '../../cloud/http/metrics-routes.ts';
import { byOwnerOfNamed, servedBy } from '../../cloud/http/served-by.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createFakeCluster } from '../support/fake-cluster.ts';
import { createTestClock } from '../support/test-clock.ts';

const open: Http[] = [];
afterEach(async () => {
  for (const http of open.splice(0)) await http.close();
});

async function world() {
  const cluster = createFakeCluster(['a', 'b', 'c']);
  const clock = createTestClock();
  const log = silentLog();
  /** Of all nodes, in the order in which they served. */
  const served: string[] = [];
  const doors: string[] = [];
  const counted: string[] = [];
  const records = new Map<string, string>();
  async function node(nodeId: string) {
    const { mesh, ownership, leadership } = cluster.node(nodeId);
    const streams = { here: new Set<string>(), past: new Set<string>() };
    const state = { sessions: [] as object[], proof: async () => {}, fails: false };
    const forwarding = createHttpForwarding({
      ...{ mesh, ownership, leadership, log },
      streams: {
        isHere: (streamId) => streams.here.has(streamId),
        isRemembered: (streamId) => streams.past.has(streamId),
        userOf: async (streamId) => records.get(streamId),
      },
    });
    const guards = {
      adminToken: { matches: (token: string) => token === 'admin' },
      attempts: { guard: (_address: unknown, work: () => unknown) => work() },
      callers: { isTrusted: () => true },
      door: { maxConnections: 10, connected: () => true, asked() {}, request: () => void doors.push(nodeId) },
      browserGuard: { headers: { 'x-node': nodeId }, checkOrigin() {}, checkHost() {} },
    } as unknown as Pick<HttpOptions, 'adminToken' | 'attempts' | 'callers' | 'door' | 'browserGuard'>;
    const routes: Routes = (server) => {
      acceptEmptyBodies(server);
      const path = '/api/users/:userId/thing';
      server.post(path, byOwnerOfNamed, async (request, reply) => {
        served.push(nodeId);
        const { body, headers, ip, query } = request;
        return reply.code(201).header('x-kept', 'yes').send({ nodeId, body, query, ip, marks: headers['x-mark'] });
      });
      server.delete(path, byOwnerOfNamed, async (_request, reply) => {
        served.push(nodeId);
        return reply.code(204).send();
      });
      server.get('/api/users/:userId/bytes', byOwnerOfNamed, async (_request, reply) =>
        reply.type('application/octet-stream').send(Buffer.from([0, 255, 128, 10])),
      );
      server.get('/api/users/:userId/broken', byOwnerOfNamed, async () => {
        throw new GlasscastError('GLASSES_NOT_CONNECTED');
      });
      const lasting = servedBy({ by: 'owner', userOf: () => 'ada@example.com', isLasting: true });
      server.get('/lasting', lasting, async () => ({ nodeId }));
      const proof = () => state.proof();
      server.get('/api/streams/:streamId', servedBy({ by: 'stream', proof }), async ({ params }) => {
        const { streamId } = params as { streamId: string };
        if (!streams.here.has(streamId) && !streams.past.has(streamId)) throw new GlasscastError('STREAM_NOT_FOUND');
        return { nodeId };
      });
      const all = servedBy({ by: 'all', list: 'sessions', key: 'userId', newestFirst: 'at' });
      server.get('/api/sessions', all, async () => {
        if (state.fails) throw new Error('broken');
        return { sessions: state.sessions };
      });
      server.get('/api/rollouts', servedBy({ by: 'leader' }), async () => ({ nodeId }));
      server.post('/hook', servedBy({ by: 'each' }), async ({ body }) => {
        if ((body as { proof?: string }).proof !== 'right') throw new GlasscastError('INVALID_WEBHOOK_SIGNATURE');
        served.push(nodeId);
        return { nodeId };
      });
      server.get('/api/apps', async () => ({ nodeId }));
    };
    const http = createHttp({
      ...{ host: '127.0.0.1', port: 0, clock, log, ...guards, forwarding },
      publicRoutes: [
        requestMetrics(
          { request: ({ method, route }) => void counted.push(`${nodeId} ${method} ${route}`) },
          forwarding,
        ),
      ],
      operatorRoutes: [routes],
      onUpgrade: () => {},
    });
    open.push(http);
    const { port } = await http.start();
    async function ask(
      method: string,
      path: string,
      { body, token = 'admin' }: { body?: unknown; token?: string } = {},
    ) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          'x-mark': 'mine',
          'x-glasscast-forwarded': 'guessed',
          'x-forwarded-for': '192.0.2.7',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const bytes = Buffer.from(await response.arrayBuffer());
      const answer = bytes.length > 0 && bytes[0] === 123 ? (JSON.parse(bytes.toString()) as object) : {};
      return { status: response.status, headers: response.headers, bytes, answer };
    }
    return { ask, streams, state };
  }
  const [a, b, c] = [await node('a'), await node('b'), await node('c')];
  const sent = () => cluster.node('a').mesh.sent.filter(({ subject }) => subject === 'http');
  return { cluster, a, b, c, served, doors, counted, records, sent };
}

describe('a request about a user', () => {
  it('is served by the owner of the session, as it came, and answered as it was answered there', async () => {
    const { cluster, a, served, doors } = await world();
    cluster.owners.set('ada@example.com', 'b');
    const { status, headers, answer } = await a.ask('POST', '/api/users/Ada@example.com/thing?x=1', { body: { y: 2 } });
    expect([status, headers.get('x-kept'), headers.get('x-node')]).toEqual([201, 'yes', 'b']);
    expect(answer).toEqual({ nodeId: 'b', body: { y: 2 }, query: { x: '1' }, ip: '192.0.2.7', marks: 'mine' });
    // The caller has passed one door.
    expect([served, doors]).toEqual([['b'], ['a']]);
    expect((await a.ask('DELETE', '/api/users/ada@example.com/thing')).status).toBe(204);
    const { bytes } = await a.ask('GET', '/api/users/ada@example.com/bytes');
    expect([...bytes]).toEqual([0, 255, 128, 10]);
    const broken = await a.ask('GET', '/api/users/ada@example.com/broken');
    expect([broken.status, broken.answer]).toMatchObject([409, { error: 'GLASSES_NOT_CONNECTED' }]);
  });

  it('is counted once in the cluster, where it came', async () => {
    const { cluster, a, counted } = await world();
    cluster.owners.set('ada@example.com', 'b');
    await a.ask('POST', '/api/users/ada@example.com/thing', { body: {} });
    await a.ask('GET', '/api/sessions');
    expect(counted).toEqual(['a POST /api/users/:userId/thing', 'a GET /api/sessions']);
  });

  it('of whom nobody has the session, is served here', async () => {
    const { cluster, a, sent } = await world();
    expect((await a.ask('POST', '/api/users/eve@example.com/thing', { body: {} })).answer).toMatchObject({
      nodeId: 'a',
    });
    expect([sent(), cluster.owners.get('eve@example.com')]).toEqual([[], 'a']);
  });

  it('of a stranger goes to no other node', async () => {
    const { cluster, a, sent } = await world();
    cluster.owners.set('ada@example.com', 'b');
    const { status } = await a.ask('POST', '/api/users/ada@example.com/thing', { body: {}, token: 'guessed' });
    expect([status, sent()]).toEqual([401, []]);
  });

  it('whose session moves at this moment is looked for once more', async () => {
    const { cluster, a, served } = await world();
    cluster.owners.set('ada@example.com', 'b');
    const asked = a.ask('POST', '/api/users/ada@example.com/thing', { body: {} });
    const { whereIs } = cluster.node('b').ownership;
    expect(await whereIs('ada@example.com')).toBe('here');
    const owned = cluster.node('b').ownership.isHere;
    cluster.node('b').ownership.isHere = (userId) => {
      cluster.owners.set('ada@example.com', 'c');
      return owned(userId);
    };
    expect([(await asked).answer, served]).toMatchObject([{ nodeId: 'c' }, ['c']]);
  });

  it('fails clearly when the owner cannot be reached or the store does not answer; what is bound to no node does not', async () => {
    const { cluster, a } = await world();
    cluster.owners.set('ada@example.com', 'b');
    cluster.cut('a', 'b');
    const lost = await a.ask('POST', '/api/users/ada@example.com/thing', { body: {} });
    expect([lost.status, lost.answer]).toMatchObject([503, { error: 'NODE_UNREACHABLE' }]);
    expect((await a.ask('GET', '/lasting')).answer).toEqual({ nodeId: 'a' });
    cluster.outage.isOn = true;
    const out = await a.ask('POST', '/api/users/ada@example.com/thing', { body: {} });
    expect([out.status, out.answer]).toMatchObject([503, { error: 'STORE_UNAVAILABLE' }]);
  });
});

describe('a request about a stream', () => {
  it('is served where it runs, by the record of its user', async () => {
    const { cluster, a, b, records } = await world();
    cluster.owners.set('ada@example.com', 'b');
    records.set('s1', 'ada@example.com');
    b.streams.here.add('s1');
    expect((await a.ask('GET', '/api/streams/s1')).answer).toEqual({ nodeId: 'b' });
    expect((await b.ask('GET', '/api/streams/s1')).answer).toEqual({ nodeId: 'b' });
  });

  it('that has ended is found where it is remembered', async () => {
    const { a, c, sent } = await world();
    c.streams.past.add('s2');
    expect((await a.ask('GET', '/api/streams/s2')).answer).toEqual({ nodeId: 'c' });
    expect((await a.ask('GET', '/api/streams/none')).status).toBe(404);
    const before = sent().length;
    a.streams.past.add('s2');
    expect((await a.ask('GET', '/api/streams/s2')).answer).toEqual({ nodeId: 'a' });
    expect(sent().length).toBe(before);
  });

  it('of a caller without the right key goes to no other node', async () => {
    const { a, c, sent } = await world();
    c.streams.here.add('s3');
    a.state.proof = () => Promise.reject(new GlasscastError('INVALID_API_KEY'));
    expect([(await a.ask('GET', '/api/streams/s3')).status, sent()]).toEqual([401, []]);
  });
});

describe('a list', () => {
  it('is that of all nodes, each entry once; a node that does not answer well is named', async () => {
    const { a, b, c } = await world();
    a.state.sessions = [{ userId: 'u1', at: '2' }];
    b.state.sessions = [
      { userId: 'u2', at: '3' },
      { userId: 'u1', at: '1' },
    ];
    c.state.sessions = [{ userId: 'u3', at: '1' }];
    const sessions = [
      { userId: 'u2', at: '3' },
      { userId: 'u1', at: '2' },
      { userId: 'u3', at: '1' },
    ];
    expect((await a.ask('GET', '/api/sessions')).answer).toEqual({ sessions });
    c.state.fails = true;
    const { status, answer } = await a.ask('GET', '/api/sessions');
    expect([status, answer]).toEqual([200, { sessions: sessions.slice(0, 2), missingNodes: ['c'] }]);
  });

  it('that does not fit into a frame between nodes is packed on its way', async () => {
    const { a, b, sent } = await world();
    b.state.sessions = Array.from({ length: 5_000 }, (_, n) => ({ userId: `user-${n}`, at: 'some time '.repeat(10) }));
    const { answer } = await a.ask('GET', '/api/sessions');
    expect((answer as { sessions: object[] }).sessions.length).toBe(5_000);
    expect(sent().length).toBe(2);
    const head = await a.ask('HEAD', '/api/sessions');
    expect([head.status, sent().length]).toEqual([200, 2]);
  });

  it('of a node alone is its own', async () => {
    const { cluster, a, sent } = await world();
    cluster.kill('b');
    cluster.kill('c');
    expect([(await a.ask('GET', '/api/sessions')).answer, sent()]).toEqual([{ sessions: [] }, []]);
  });
});

it('an address that is none is so here', async () => {
  const { a, sent } = await world();
  const { status, answer } = await a.ask('GET', '/nothing/here');
  expect([status, answer, sent()]).toMatchObject([404, { error: 'ROUTE_NOT_FOUND' }, []]);
});

it('what one node does for all is served by the leader', async () => {
  const { a, b } = await world();
  expect([(await a.ask('GET', '/api/rollouts')).answer, (await b.ask('GET', '/api/rollouts')).answer]).toEqual([
    { nodeId: 'a' },
    { nodeId: 'a' },
  ]);
});

it('what each node does its part of goes to all, once it was found right', async () => {
  const { a, cluster, served } = await world();
  expect((await a.ask('POST', '/hook', { body: { proof: 'wrong' } })).status).toBe(401);
  await cluster.arrived();
  expect(served).toEqual([]);
  expect((await a.ask('POST', '/hook', { body: { proof: 'right' } })).answer).toEqual({ nodeId: 'a' });
  while (served.length < 3) await cluster.arrived();
  expect([...served].sort()).toEqual(['a', 'b', 'c']);
});

it('a node that sends what is no request is told so', async () => {
  const { cluster } = await world();
  const { mesh } = cluster.node('c');
  for (const body of [null, 'x', {}, { method: 'GET', url: 5 }, { method: 'GET', url: '/', headers: { a: {} } }]) {
    await expect(mesh.call('a', 'http', body)).rejects.toMatchObject({ code: 'MALFORMED_MESSAGE' });
  }
});
