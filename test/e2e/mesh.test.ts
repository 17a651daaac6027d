/** Nodes that talk over real sockets: calls, order, loss, strangers and nodes that hang. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createSystemClock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';
import { createMeshWorld, type MeshNode, type MeshWorld } from '../support/mesh-world.ts';

const clock = createSystemClock();
let world: MeshWorld;
let a: MeshNode;
let b: MeshNode;

beforeEach(async () => {
  world = createMeshWorld(clock);
  [a, b] = [await world.add('a'), await world.add('b')];
});
afterEach(async () => {
  await world.close();
  expect(clock.pending()).toEqual([]);
});
const met = async () => {
  world.list();
  await world.until(() => a.mesh.isReachable('b') && b.mesh.isReachable('a'));
};

describe('nodes of a cluster', () => {
  it('whose leases go on are not gone, however wrong their addresses are, and the log says it once', async () => {
    const told: unknown[] = [];
    const log = { ...silentLog(), error: (...line: unknown[]) => void told.push(line) };
    const c = await world.add('c', { log, leaseMs: 100 });
    // A process of another machine, by the address that it has there.
    const wrong = { nodeId: 'd', address: a.address.address };
    c.mesh.setPeers([wrong]);
    await world.until(() => c.mesh.isGone('d'));
    c.mesh.setPeers([wrong]);
    expect(c.mesh.isGone('d')).toBe(true);
    await clock.sleep(650);
    for (let beat = 0; beat < 3; beat += 1) c.mesh.setPeers([wrong]);
    expect([c.mesh.isGone('d'), told]).toEqual([
      false,
      [[expect.objectContaining({ peerId: 'd' }), expect.any(String)]],
    ]);
    c.mesh.setPeers([]);
  });

  it('find each other, whoever knows of the other first, and ask in both directions', async () => {
    a.mesh.answer('sum', (body) => (body as number[]).reduce((sum, each) => sum + each, 0));
    b.mesh.answer('who', (_, from) => `you are ${from}`);
    // The greater id alone knows: it knocks, and is dialled.
    b.mesh.setPeers([a.address]);
    await world.until(() => b.mesh.isReachable('a'));
    expect([await b.mesh.call('a', 'sum', [1, 2, 3]), await a.mesh.call('b', 'who', {})]).toEqual([6, 'you are a']);
    expect([a.mesh.others(), b.mesh.others(), a.events, b.events]).toEqual([['b'], ['a'], ['found b'], ['found a']]);
    expect(await a.mesh.call('a', 'sum', [4])).toBe(4);
    a.mesh.answer('nothing', () => {});
    expect([await b.mesh.call('a', 'nothing', undefined), a.mesh.others()]).toEqual([undefined, ['b']]);
  });

  it('hear of a failure there by its code, its words and its details', async () => {
    b.mesh.answer('fail', (body) => {
      if (body === 1) throw new GlasscastError('RATE_LIMITED', { reason: 'calm down', details: { waitMs: 5 } });
      throw body === 2 ? new GlasscastError('STREAM_NOT_FOUND') : new Error('a defect');
    });
    await met();
    const error = await a.mesh.call('b', 'fail', 1).catch((thrown: unknown) => thrown);
    const { message } = new GlasscastError('RATE_LIMITED', { reason: 'calm down' });
    expect(error).toMatchObject({ code: 'RATE_LIMITED', message, details: { waitMs: 5 } });
    const { message: plain } = new GlasscastError('STREAM_NOT_FOUND');
    await expect(a.mesh.call('b', 'fail', 2)).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND', message: plain });
    await expect(a.mesh.call('b', 'fail', 3)).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(a.mesh.call('b', 'nothing', 3)).rejects.toMatchObject({ code: 'NOT_OFFERED' });
    await expect(a.mesh.call('c', 'fail', 3)).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
  });

  it('get what they are told in order, calls among it, and broadcasts reach all', async () => {
    const c = await world.add('c');
    const heard: unknown[] = [];
    for (const { mesh } of [b, c]) mesh.answer('news', (body) => void heard.push([mesh.nodeId, body]));
    b.mesh.answer('so-far', () => heard.length);
    await met();
    await world.until(() => a.mesh.others().length === 2);
    for (let number = 0; number < 500; number += 1) expect(a.mesh.tell('b', 'news', number)).toBe(true);
    expect(await a.mesh.call('b', 'so-far', {})).toBe(500);
    expect(heard).toEqual(Array.from({ length: 500 }, (_, number) => ['b', number]));
    heard.length = 0;
    a.mesh.broadcast('news', 'all');
    await world.until(() => heard.length === 2);
    expect(heard.sort()).toEqual([
      ['b', 'all'],
      ['c', 'all'],
    ]);
    expect(a.mesh.tell('d', 'news', 1)).toBe(false);
  });

  it('know at once of one that is killed, and that it is dead when its port refuses', async () => {
    b.mesh.answer('never', () => new Promise(() => {}));
    await met();
    const asked = a.mesh.call('b', 'never', {}, { timeoutMs: 60_000 });
    const refused = expect(asked).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
    await b.kill();
    await refused;
    await world.until(() => a.mesh.isGone('b'));
    expect([a.events, a.mesh.tell('b', 'x', 1)]).toEqual([['found b', 'lost b', 'gone b'], false]);
    // Another process at the same address is not the one that was there.
    const port = Number(new URL(b.address.address).port);
    const c = await world.add('c', { port });
    a.mesh.setPeers([b.address, c.address]);
    await world.until(() => a.mesh.isReachable('c'));
    expect([a.mesh.isGone('b'), a.mesh.isReachable('b')]).toEqual([true, false]);
  });

  it('the greater id knows of the smaller one’s death, too', async () => {
    await met();
    await a.kill();
    await world.until(() => b.mesh.isGone('a'));
    expect(b.events).toEqual(['found a', 'lost a', 'gone a']);
  });

  it('that are refused: a wrong secret, no secret, and frames that are none', async () => {
    const errors: string[] = [];
    const stranger = await world.add('0', { secret: new Secret('another secret, of somebody else') });
    stranger.mesh.setPeers([a.address]);
    const dial = (headers: Record<string, string>) =>
      new Promise<WebSocket | undefined>((resolve) => {
        const ws = new WebSocket(`${a.address.address.replace('http', 'ws')}/node-ws`, { headers });
        ws.once('open', () => resolve(ws));
        ws.once('error', (error) => {
          errors.push(error.message);
          resolve(undefined);
        });
      });
    const named = { 'x-glasscast-node': 'x', 'x-glasscast-to': 'a', 'x-glasscast-address': 'http://127.0.0.1:1' };
    const authorization = 'Bearer the secret of the cluster';
    await dial(named);
    await dial({ authorization, ...named, 'x-glasscast-address': 'nowhere' });
    await dial({ authorization, ...named, 'x-glasscast-to': 'z' });
    expect(errors).toEqual([401, 400, 410].map((status) => `Unexpected server response: ${status}`));
    const ws = await dial({ authorization, ...named });
    expect(a.mesh.others()).toEqual(['x']);
    ws?.send('no JSON');
    await world.until(() => a.mesh.others().length === 0);
    expect(stranger.mesh.others()).toEqual([]);
  });

  it('that take too long, ask too much or say too much get an error, and the line stays', async () => {
    const c = await world.add('c', { limits: { maxFrameBytes: 10_000 } });
    b.mesh.answer('slow', () => new Promise(() => {}));
    c.mesh.answer('long', () => 'x'.repeat(20_000));
    c.mesh.answer('echo', (body) => body);
    await met();
    await world.until(() => a.mesh.isReachable('c') && c.mesh.isReachable('a'));
    const late = a.mesh.call('b', 'slow', {}, { timeoutMs: 20 });
    await expect(late).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
    await expect(a.mesh.call('c', 'long', {})).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(c.mesh.call('a', 'x', 'x'.repeat(20_000))).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(await a.mesh.call('c', 'echo', 1)).toBe(1);
  });
});

describe('a node that hangs', () => {
  it('is lost when it says nothing, or reads nothing, and found again when it is back', async () => {
    const limits = { silenceMs: 1_000, pingIntervalMs: 500, maxBacklogBytes: 1_000_000 };
    const c = await world.add('0', { limits });
    // It comes in, reads nothing and answers no ping.
    const ws = new WebSocket(`${c.address.address.replace('http', 'ws')}/node-ws`, {
      autoPong: false,
      headers: {
        authorization: 'Bearer the secret of the cluster',
        ...{ 'x-glasscast-node': 'deaf', 'x-glasscast-to': '0', 'x-glasscast-address': a.address.address },
      },
    });
    await world.until(() => c.mesh.isReachable('deaf'));
    await world.until(() => !c.mesh.isReachable('deaf'));
    expect(c.events.slice(0, 2)).toEqual(['found deaf', 'lost deaf']);
    ws.terminate();
    const other = new WebSocket(`${c.address.address.replace('http', 'ws')}/node-ws`, {
      headers: {
        authorization: 'Bearer the secret of the cluster',
        ...{ 'x-glasscast-node': 'deaf', 'x-glasscast-to': '0', 'x-glasscast-address': a.address.address },
      },
    });
    await world.until(() => c.mesh.isReachable('deaf') && other.readyState === WebSocket.OPEN);
    other.pause();
    const text = 'x'.repeat(500_000);
    await world.until(() => !c.mesh.tell('deaf', 'x', text));
    expect(c.mesh.isReachable('deaf')).toBe(false);
    other.terminate();
  });
});
