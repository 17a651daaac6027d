/** Several relays on one Redis are one relay to glasses, apps and operators, whatever becomes of one of them or of Redis. */
import { afterEach, describe, expect, inject, it } from 'vitest';
import { Secret } from '../../shared/secrets.ts';
import { createRelayClusterWorld, type RelayClusterWorld, type RelayNode } from '../support/relay-cluster-world.ts';
import type { Frame } from '../support/relay-world.ts';

const USER = 'ada@example.com';

let world: RelayClusterWorld;
afterEach(async () => {
  expect(await world.close()).toEqual([]);
});

/** Glasses at one relay and their app at another, with a live stream. */
async function live(glassesAt: RelayNode, appAt: RelayNode) {
  const glasses = await world.glasses(USER, glassesAt);
  const app = await world.app('com.example.cam', appAt);
  await expect
    .poll(() => appAt.rest('POST', '/api/apps/com.example.cam/start', { userId: USER }))
    .toMatchObject({
      httpStatus: 200,
    });
  const { sessionId } = await app.inbox.take('the ack', ({ type }) => type === 'tpa_connection_ack');
  const status = (word: string, timeoutMs?: number) =>
    app.inbox.take(word, (frame) => isStatus(frame) && frame.status === word, timeoutMs);
  app.send({ type: 'managed_stream_request', packageName: 'com.example.cam' });
  const { streamId } = await status('active');
  /** As the SDK does after a loss, at whatever relay it finds. */
  async function appComesBack(...relays: RelayNode[]): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      const at = relays[tries % relays.length];
      const peer = await app.connect(`${at?.wsUrl}/app-ws`, String(sessionId)).catch(() => undefined);
      const wasLetIn = peer && (await Promise.race([ackOf(app), peer.closed.then(() => false)]));
      if (wasLetIn) return;
      await world.clock.sleep(100);
    }
  }
  return { glasses, app, status, streamId: String(streamId), appComesBack };
}
const isStatus = ({ type }: Frame) => type === 'managed_stream_status';
const ackOf = (app: { inbox: { take: RelayInbox } }) =>
  app.inbox.take('the ack', ({ type }) => type === 'tpa_connection_ack').then(() => true);
type RelayInbox = (what: string, fits: (frame: Frame) => boolean) => Promise<Frame>;

const streamsAt = async (relay: RelayNode) =>
  (await relay.rest<{ streams: { streamId: string; state: string }[] }>('GET', '/api/streams')).streams;
const starts = (frames: readonly Frame[]) => frames.filter(({ type }) => type === 'start_rtmp_stream').length;
const stops = (frames: readonly Frame[]) => frames.filter(({ type }) => type === 'stop_rtmp_stream').length;

describe.runIf(inject('hasRedis'))('two relays on one Redis', { timeout: 60_000 }, () => {
  it('glasses go from one to the other under a live stream: no stop, no second start, and statuses go on', async () => {
    world = await createRelayClusterWorld();
    const [a, b] = [await world.relay(), await world.relay()];
    const { glasses, status, streamId, appComesBack, app } = await live(a, b);
    const old = glasses.closed();
    await glasses.connect(`${b.wsUrl}/glasses-ws`);
    expect(await old).toBe(4001);
    await appComesBack(a, b);
    await expect.poll(() => streamsAt(a), { timeout: 10_000 }).toMatchObject([{ streamId, state: 'active' }]);
    expect(await streamsAt(b)).toMatchObject([{ streamId, state: 'active' }]);
    glasses.status({ status: 'streaming', streamId, stats: { bitrate: 555_000, fps: 15, droppedFrames: 0 } });
    await app.inbox.take('the figures', (frame) => isStatus(frame) && JSON.stringify(frame).includes('555000'));
    expect([starts(glasses.inbox.frames), stops(glasses.inbox.frames)]).toEqual([1, 0]);
    app.send({ type: 'managed_stream_stop', packageName: 'com.example.cam' });
    await status('stopped');
    await expect.poll(() => world.liveInputs(), { timeout: 10_000 }).toEqual([]);
  });

  it('one is killed: the other takes over within seconds, and the stream is the same', async () => {
    world = await createRelayClusterWorld();
    const [a, b] = [await world.program(), await world.relay()];
    const { glasses, app, status, streamId, appComesBack } = await live(a, b);
    const died = glasses.closed();
    process.kill(a.program.child.pid ?? 0, 'SIGKILL');
    await died;
    await glasses.connect(`${b.wsUrl}/glasses-ws`);
    await appComesBack(b);
    await expect.poll(() => streamsAt(b), { timeout: 10_000 }).toMatchObject([{ streamId, state: 'active' }]);
    expect([starts(glasses.inbox.frames), stops(glasses.inbox.frames)]).toEqual([1, 0]);
    app.send({ type: 'managed_stream_stop', packageName: 'com.example.cam' });
    await status('stopped');
    await expect.poll(() => world.liveInputs(), { timeout: 10_000 }).toEqual([]);
  });

  it('Redis is away for some seconds: what runs is untouched, a new start says why not, and it heals by itself', async () => {
    world = await createRelayClusterWorld();
    const [a, b] = [await world.relay(), await world.relay()];
    const { glasses, app, status, streamId } = await live(a, b);
    const others = await world.glasses('bob@example.com', a);
    await world.redis.kill();
    await expect
      .poll(() => a.rest('POST', '/api/users/bob@example.com/managed-stream', {}))
      .toMatchObject({ httpStatus: 503, error: 'STORE_UNAVAILABLE' });
    glasses.status({ status: 'streaming', streamId, stats: { bitrate: 444_000, fps: 15, droppedFrames: 0 } });
    await app.inbox.take('the figures', (frame) => isStatus(frame) && JSON.stringify(frame).includes('444000'));
    await world.clock.sleep(3_000);
    expect(await streamsAt(b)).toMatchObject([{ streamId, state: 'active' }]);
    await world.redis.restart();
    await expect
      .poll(() => b.rest('POST', '/api/users/bob@example.com/managed-stream', {}), { timeout: 10_000 })
      .toMatchObject({ httpStatus: 202 });
    await others.inbox.take('the start', ({ type }) => type === 'start_rtmp_stream');
    expect([starts(glasses.inbox.frames), stops(glasses.inbox.frames)]).toEqual([1, 0]);
    app.send({ type: 'managed_stream_stop', packageName: 'com.example.cam' });
    await status('stopped');
    await b.rest('DELETE', '/api/users/bob@example.com/managed-stream');
    await expect.poll(() => world.liveInputs(), { timeout: 10_000 }).toEqual([]);
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('one ends by %s: it hands over, and nobody’s stream ends', async (how) => {
    world = await createRelayClusterWorld();
    const [a, b] = [await world.relay(), await world.relay()];
    const { glasses, streamId, appComesBack } = await live(a, a);
    const closed = glasses.closed();
    await a.end(how);
    expect(await closed).toBe(1012);
    await glasses.connect(`${b.wsUrl}/glasses-ws`);
    await appComesBack(b);
    await expect.poll(() => streamsAt(b), { timeout: 10_000 }).toMatchObject([{ streamId, state: 'active' }]);
    expect([starts(glasses.inbox.frames), stops(glasses.inbox.frames)]).toEqual([1, 0]);
    // The last one ends what is left.
    await b.end('SIGINT');
    await expect.poll(() => world.liveInputs(), { timeout: 10_000 }).toEqual([]);
  });

  it('a stream that is ending when its glasses go to the other one ends all the same, and its live input is gone', async () => {
    world = await createRelayClusterWorld({ timings: { stopTimeoutMs: 30_000 } });
    const [a, b] = [await world.relay(), await world.relay()];
    const { glasses, app, status, streamId } = await live(a, a);
    glasses.state.obeysStop = false;
    app.send({ type: 'managed_stream_stop', packageName: 'com.example.cam' });
    await status('stopped');
    await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
    expect(await streamsAt(a)).toMatchObject([{ streamId, state: 'stopping' }]);
    await glasses.connect(`${b.wsUrl}/glasses-ws`);
    await expect.poll(() => world.liveInputs(), { timeout: 15_000 }).toEqual([]);
    expect([await streamsAt(a), await streamsAt(b)]).toEqual([[], []]);
    // Glasses that push on are told once more that nobody wants it.
    glasses.status({ status: 'streaming', streamId });
    await glasses.inbox.take('another stop', ({ type }) => type === 'stop_rtmp_stream');
  });

  it('one that cannot start says why, and leaves nothing in the cluster', async () => {
    world = await createRelayClusterWorld();
    const a = await world.relay();
    const port = Number(new URL(a.url).port);
    await expect(world.relay({ port })).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    expect((await world.redis.ask('HLEN', 'glasscast:nodes')).trim()).toMatch(/^:1\b/);
    await expect(world.relay({ redisUrl: new Secret('redis://127.0.0.1:1') })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
    });
  });

  it('both start in the same moment on an empty Redis: one admin token, and one secret for all tokens', async () => {
    world = await createRelayClusterWorld({ adminToken: undefined });
    const both = await Promise.all([world.relay(), world.relay()]);
    const made = both.flatMap(({ madeAdminToken }) => madeAdminToken ?? []);
    expect(made.length).toBe(1);
    const ask = (relay: RelayNode, path: string, body?: object) =>
      fetch(relay.url + path, {
        method: body ? 'POST' : 'GET',
        headers: { authorization: `Bearer ${made[0]?.reveal()}`, 'content-type': 'application/json' },
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
    const [a, b] = both;
    const { coreToken } = (await (await ask(a, '/api/tokens', { email: USER })).json()) as { coreToken: string };
    expect((await ask(b, '/api/sessions')).status).toBe(200);
    const measured = await fetch(`${b.url}/api/uplink-probe`, {
      method: 'POST',
      headers: { authorization: `Bearer ${coreToken}` },
      body: 'x',
    });
    expect(measured.status).not.toBe(401);
  });
});
