/** Apps' sockets on another node than their session: order, ends, loss of lines and nodes, and what is left of them. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { AppClaim } from '../../cloud/apps/app-lifecycle.ts';
import type { AppSession } from '../../cloud/apps/app-session.ts';
import { createSessionIds } from '../../cloud/apps/session-ids.ts';
import { createRelayedSockets, type RelayedSockets } from '../../cloud/cluster/relayed-sockets.ts';
import { type AppHandshakeOptions, type AppIdentity, welcomeApp } from '../../cloud/http/app-handshake.ts';
import type { FrameSocket, Socket } from '../../cloud/http/socket.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { ToApp } from '../../shared/protocol/app-messages.ts';
import { Secret } from '../../shared/secrets.ts';
import { createFakeCluster } from '../support/fake-cluster.ts';
import { fakeWebSocket } from '../support/fake-web-socket.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const ids = createSessionIds(new Secret('of the cluster'));
const ADA = 'ada@example.com';
const SESSION = ids.of(ADA, 'com.a');
const INIT = { type: 'tpa_connection_init', sessionId: SESSION, packageName: 'com.a', apiKey: 'right' };
const NOBODY: AppIdentity = { packageName: undefined, apiKey: undefined, sessionId: undefined, userId: undefined };

/** What a test sees of one node. */
interface Node {
  relayed: RelayedSockets;
  claims: AppClaim[];
  /** Streams that an app asked to stop: a field that a test numbers. */
  heard: string[];
  lost: number[];
  sockets: Socket<ToApp>[];
  addresses: (string | undefined)[];
  state: { admit: () => Promise<void> };
  welcome(ws: FrameSocket, identity?: AppIdentity): void;
  proven: string[];
}

function world({ maxSockets = 100 } = {}) {
  const clock = createTestClock();
  const cluster = createFakeCluster(['a', 'b', 'c']);
  cluster.owners.set(ADA, 'b');
  function node(nodeId: string): Node {
    const { mesh, ownership } = cluster.node(nodeId);
    const seen = { claims: [] as AppClaim[], heard: [] as string[], lost: [] as number[], proven: [] as string[] };
    const sockets: Socket<ToApp>[] = [];
    const addresses: (string | undefined)[] = [];
    const state = { admit: async () => {} };
    const session = {
      receive: (message: { type: string; streamId?: string }) => void seen.heard.push(message.streamId ?? message.type),
    } as unknown as AppSession;
    const options: AppHandshakeOptions = {
      attempts: {
        guard(address, check) {
          addresses.push(address);
          return check();
        },
      },
      callers: { addressOf: () => 'unused' },
      catalog: { verify: async () => ({}) as never },
      apps: {
        async admit(claim, socket) {
          seen.claims.push(claim);
          await state.admit();
          sockets.push(socket);
          return session;
        },
        lost: (_session, _socket, code) => void seen.lost.push(code),
      },
      clock,
      log: silentLog(),
    };
    const relayed = createRelayedSockets({
      ...{ mesh, ownership, sessionIds: ids, clock, log: silentLog(), maxSockets },
      welcome: (ws, arrival) => welcomeApp(ws, arrival, { ...options, elsewhere: relayed }),
    });
    const welcome = (ws: FrameSocket, identity = NOBODY) =>
      welcomeApp(
        ws,
        { address: '192.0.2.1', identity, admitted: () => void seen.proven.push('in') },
        { ...options, elsewhere: relayed },
      );
    return { ...seen, relayed, sockets, addresses, state, welcome };
  }
  const [a, b, c] = [node('a'), node('b'), node('c')];
  async function arrived(): Promise<void> {
    await settle();
    await cluster.arrived();
    await settle();
  }
  /** An app at `a`, let in by the owner. */
  async function enter(identity?: AppIdentity) {
    const socket = fakeWebSocket();
    a.welcome(socket.ws, identity);
    socket.receive(INIT);
    await arrived();
    return socket;
  }
  return { clock, cluster, a, b, c, arrived, enter };
}
const stop = (streamId: string) => ({ type: 'rtmp_stream_stop', streamId });
const said = (socket: { frames(): { type: string }[] }) => socket.frames().map(({ type }) => type);

describe('an app on a node that does not own its session', () => {
  it('is served by the owner: what it says goes there in order, and what it is told comes here', async () => {
    const { a, b, arrived, enter } = world();
    const socket = fakeWebSocket();
    a.welcome(socket.ws);
    for (const frame of [{ type: 'ping' }, INIT, stop('1'), stop('2')]) socket.receive(frame);
    await arrived();
    socket.receive(stop('3'));
    await arrived();
    expect([b.claims, b.heard, b.addresses]).toEqual([
      [{ sessionId: SESSION, packageName: 'com.a', apiKey: 'right', userId: undefined }],
      ['1', '2', '3'],
      ['192.0.2.1'],
    ]);
    expect([a.claims, a.proven, a.relayed.counts(), b.relayed.counts()]).toEqual([
      [],
      ['in'],
      { edge: 1, owner: 0 },
      { edge: 0, owner: 1 },
    ]);
    b.sockets[0]?.send({ type: 'app_stopped' });
    await arrived();
    expect(said(socket)).toEqual(['pong', 'app_stopped']);
    expect(said(await enter())).toEqual([]);
  });

  it('is known by its headers there too, and by a session that it named before', async () => {
    const { a, b, arrived } = world();
    const named = { packageName: 'com.a', apiKey: 'right', sessionId: SESSION, userId: ADA };
    const returning = fakeWebSocket();
    a.welcome(returning.ws, named);
    returning.receive({ type: 'reconnect' });
    await arrived();
    // No key in the headers: refused here, and an init follows without its session.
    const proxied = fakeWebSocket();
    a.welcome(proxied.ws);
    proxied.receive({ type: 'reconnect', sessionId: SESSION });
    proxied.receive({ ...INIT, sessionId: undefined });
    await arrived();
    expect(said(proxied)).toEqual(['reconnect_rejected']);
    const claim = { sessionId: SESSION, packageName: 'com.a', apiKey: 'right' };
    expect(b.claims).toEqual([
      { ...claim, userId: ADA, isReturn: true },
      { ...claim, userId: undefined },
    ]);
  });

  it('with an id that nobody made is refused here, and no other node hears of it', async () => {
    const { a, b, cluster, arrived } = world();
    a.state.admit = () => Promise.reject(new GlasscastError('SESSION_NOT_FOUND'));
    const socket = fakeWebSocket();
    a.welcome(socket.ws);
    socket.receive({ ...INIT, sessionId: SESSION.replace('ada', 'eve') });
    await arrived();
    expect([said(socket), socket.ended?.slice(0, 4), b.claims]).toEqual([['tpa_connection_error'], '1008', []]);
    expect(cluster.node('a').mesh.sent).toEqual([]);
  });

  it('is here when nobody has its session, and elsewhere no more once it has moved here', async () => {
    const { a, b, cluster, arrived } = world();
    cluster.owners.clear();
    const socket = fakeWebSocket();
    a.welcome(socket.ws);
    socket.receive(INIT);
    await arrived();
    expect([a.claims.length, b.claims.length, cluster.owners.get(ADA)]).toEqual([1, 0, 'a']);
  });

  it('is told to try again when the store does not answer', async () => {
    const { a, cluster, arrived } = world();
    cluster.outage.isOn = true;
    const socket = fakeWebSocket();
    a.welcome(socket.ws);
    socket.receive(INIT);
    await arrived();
    expect([said(socket), socket.ended?.slice(0, 4)]).toEqual([['tpa_connection_error'], '1013']);
  });

  it('comes back (1012) when the line to the owner is lost, and the owner sees it vanish', async () => {
    const { a, b, cluster, arrived, enter } = world();
    const socket = await enter();
    cluster.cut('a', 'b');
    await arrived();
    expect([socket.ended, b.lost]).toEqual(['1012 Session moved', [1006]]);
    expect([a.relayed.counts().edge, b.relayed.counts().owner]).toEqual([0, 0]);
  });

  it.each(['a', 'b'])('does so too when %s has not noticed the loss, once the line is there again', async (blind) => {
    const { a, b, cluster, arrived, enter } = world();
    const socket = await enter();
    cluster.cut('a', 'b', { unnoticedBy: blind });
    await arrived();
    cluster.mend('a', 'b');
    await arrived();
    expect([socket.ended, b.lost]).toEqual(['1012 Session moved', [1006]]);
    expect([a.relayed.counts().edge, b.relayed.counts().owner]).toEqual([0, 0]);
  });

  it('comes back when the session has moved on before it arrived there', async () => {
    const { a, b, c, cluster, arrived } = world();
    const socket = fakeWebSocket();
    a.welcome(socket.ws);
    socket.receive(INIT);
    // The owner is asked for, and hands over before the socket arrives.
    await Promise.resolve();
    cluster.owners.set(ADA, 'c');
    await arrived();
    expect([socket.ended, b.claims, c.claims]).toEqual(['1012 Session moved', [], []]);
  });

  it('waits for a session that is on its way to its new owner, and loses no frame meanwhile', async () => {
    const { a, b, cluster, arrived } = world();
    const { ownership } = cluster.node('b');
    let adopted = () => {};
    ownership.isHere = () => false;
    ownership.place = () =>
      new Promise((resolve) => {
        adopted = () => resolve('here');
      });
    const socket = fakeWebSocket();
    a.welcome(socket.ws);
    socket.receive(INIT);
    await arrived();
    for (const n of ['1', '2']) socket.receive(stop(n));
    await arrived();
    expect(b.claims).toEqual([]);
    adopted();
    ownership.isHere = () => true;
    await arrived();
    socket.receive(stop('3'));
    await arrived();
    expect([b.claims.length, b.heard, socket.ended]).toEqual([1, ['1', '2', '3'], undefined]);
  });

  it('comes back (1013) when the session moves while its claim is checked: it is not told that it does not run', async () => {
    const { b, cluster, enter } = world();
    b.state.admit = async () => {
      cluster.owners.set(ADA, 'c');
      throw new GlasscastError('APP_NOT_STARTED');
    };
    const socket = await enter();
    expect([said(socket), socket.ended?.slice(0, 4)]).toEqual([['tpa_connection_error'], '1013']);
  });

  it('hears the close of the owner as it was said, and is cut when it does not answer', async () => {
    const { b, clock, arrived, enter } = world();
    const socket = await enter();
    b.sockets[0]?.close(1000, 'App stopped');
    await arrived();
    expect(socket.ended).toBe('1000 App stopped');
    await clock.advance(2_000);
    await arrived();
    expect([socket.ended, b.lost, b.relayed.counts().owner]).toEqual(['terminated', [1006], 0]);
  });

  it('loses statistics and no state when it reads slowly, and is cut when it does not read at all', async () => {
    const { b, arrived, enter } = world();
    const socket = await enter();
    const [owner] = b.sockets;
    const state = (n: number): ToApp => ({ type: 'message_error', code: 'INTERNAL', message: String(n) });
    socket.bufferedAmount = 100_000;
    owner?.send(state(1));
    await arrived();
    expect([owner?.send(state(2), 'stats'), owner?.send(state(3))]).toEqual([false, true]);
    await arrived();
    expect(socket.frames().map(({ message }) => message)).toEqual(['1', '3']);
    socket.bufferedAmount = 0;
    socket.flush();
    await arrived();
    expect(owner?.send(state(4), 'stats')).toBe(true);
    await arrived();
    socket.bufferedAmount = 2_000_000;
    owner?.send(state(5));
    await arrived();
    expect([socket.ended, b.lost]).toEqual(['terminated', [1006]]);
  });

  it('is watched over by its own node: nothing goes over the line while it is silent, and its end is told', async () => {
    const { b, cluster, clock, arrived, enter } = world();
    const socket = await enter();
    const before = cluster.node('a').mesh.sent.length + cluster.node('b').mesh.sent.length;
    for (let second = 0; second < 25; second += 1) {
      await clock.advance(1_000);
      socket.emit('pong');
    }
    expect(cluster.node('a').mesh.sent.length + cluster.node('b').mesh.sent.length).toBe(before);
    await clock.advance(45_000);
    await arrived();
    expect([socket.ended, b.lost]).toEqual(['terminated', [1006]]);
  });

  it('keeps the bounds of its socket: what comes too fast goes no further', async () => {
    const { b, arrived, enter } = world();
    const socket = await enter();
    for (let n = 0; n < 300; n += 1) socket.receive(stop(String(n)));
    await arrived();
    expect(b.heard.length).toBeLessThanOrEqual(200);
    expect(said(socket)).toContain('message_error');
  });

  it('finds no place when there are too many of them', async () => {
    const { a, b, enter } = world({ maxSockets: 2 });
    const ends = [];
    for (let n = 0; n < 3; n += 1) ends.push((await enter()).ended?.slice(0, 4));
    expect([ends, a.relayed.counts().edge, b.relayed.counts().owner]).toEqual([[undefined, undefined, '1013'], 2, 2]);
  });

  it('comes back when its node ends, and the owner knows at once', async () => {
    const { a, b, arrived, enter } = world();
    const socket = await enter();
    a.relayed.close();
    await arrived();
    expect([socket.ended, b.lost]).toEqual(['1012 Relay restarting', [1006]]);
  });
});

it('garbage of another node harms nothing', async () => {
  const { a, b, cluster, arrived, enter } = world();
  const socket = await enter();
  const field = fc.oneof(fc.constantFrom('1', '2', 'frame', 'open', 'closed', 'close', 'only'), fc.jsonValue());
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.jsonValue(), fc.record({ kind: field, socketId: field, text: field })),
      async (body) => {
        for (const subject of ['app-to-owner', 'app-to-edge']) {
          for (const to of ['a', 'b']) cluster.node('c').mesh.tell(to, subject, body);
        }
        await arrived();
      },
    ),
    { numRuns: 50 },
  );
  socket.receive(stop('still there'));
  await arrived();
  expect([b.heard, socket.ended, a.relayed.counts().edge]).toEqual([['still there'], undefined, 1]);
});

type Step = { kind: 'app' | 'owner' | 'app closes' | 'owner closes' | 'vanishes' | 'cut' | 'wait' };
const step = fc.record<Step>({
  kind: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom<Step['kind']>('app', 'owner', 'wait') },
    { weight: 1, arbitrary: fc.constantFrom<Step['kind']>('app closes', 'owner closes', 'vanishes', 'cut') },
  ),
});

it('in whatever order frames, ends and losses come: each side hears the beginning of what was said, one end, and nothing is left', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { a, b, cluster, arrived, enter } = world();
      const socket = await enter();
      const told = { app: [] as string[], owner: [] as string[] };
      let hasEnded = false;
      const act: Record<Step['kind'], () => unknown> = {
        app() {
          if (socket.readyState !== 1) return;
          told.app.push(`a${told.app.length}`);
          socket.receive(stop(told.app.at(-1) ?? ''));
        },
        owner() {
          const message = `o${told.owner.length}`;
          if (b.sockets[0]?.send({ type: 'message_error', code: 'INTERNAL', message })) told.owner.push(message);
        },
        'app closes': () => socket.readyState < 3 && socket.closeByPeer(1000),
        'owner closes': () => b.sockets[0]?.close(1012, 'moved'),
        vanishes: () => socket.readyState < 3 && socket.terminate(),
        cut: () => cluster.cut('a', 'b'),
        wait: arrived,
      };
      for (const { kind } of steps) {
        hasEnded ||= !['app', 'owner', 'wait'].includes(kind);
        await act[kind]();
      }
      await arrived();
      const heard = socket.frames().map(({ message }) => message);
      expect(told.app.slice(0, b.heard.length)).toEqual(b.heard);
      expect(told.owner.slice(0, heard.length)).toEqual(heard);
      if (!hasEnded) {
        expect([b.heard, heard]).toEqual([told.app, told.owner]);
        return;
      }
      if (socket.readyState < 3) socket.closeByPeer(1000);
      await arrived();
      expect([b.lost.length, a.relayed.counts().edge, b.relayed.counts().owner]).toEqual([1, 0, 0]);
    }),
    { numRuns: 150 },
  );
});

it('works on real sockets, with closes that say what was said', async () => {
  const { a, b, cluster } = world();
  const http = createServer();
  const server = new WebSocketServer({ server: http });
  server.on('connection', (ws) => a.welcome(ws));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  try {
    const client = new WebSocket(`ws://127.0.0.1:${(http.address() as AddressInfo).port}`);
    const frames: string[] = [];
    client.on('message', (data) => void frames.push(String(JSON.parse(String(data)).message)));
    const closed = new Promise<string>((resolve) => client.on('close', (code, why) => resolve(`${code} ${why}`)));
    await new Promise((resolve) => client.once('open', resolve));
    client.send(JSON.stringify(INIT));
    // Before it is in, so many frames would not be kept.
    while (b.sockets.length === 0) await cluster.arrived();
    for (let n = 0; n < 100; n += 1) client.send(JSON.stringify(stop(String(n))));
    while (b.heard.length < 100) await cluster.arrived();
    expect(b.heard).toEqual(Array.from({ length: 100 }, (_, n) => String(n)));
    for (let n = 0; n < 100; n += 1) b.sockets[0]?.send({ type: 'message_error', code: 'INTERNAL', message: `${n}` });
    b.sockets[0]?.close(1000, 'App stopped');
    expect(await closed).toBe('1000 App stopped');
    expect(frames).toEqual(Array.from({ length: 100 }, (_, n) => String(n)));
    while (b.lost.length === 0) await cluster.arrived();
    expect(b.lost).toEqual([1000]);
  } finally {
    server.close();
    http.close();
  }
});
