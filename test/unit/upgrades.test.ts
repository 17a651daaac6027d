/** The door for WebSockets: glasses come in once their session is here, and are told to come back when it cannot be. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { expect, it } from 'vitest';
import { createUpgrades, type UpgradesOptions } from '../../cloud/http/upgrades.ts';
import { createCloudConnection } from '../../device/runtime/cloud-connection.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';
import { openPeer } from '../support/relay-world.ts';

async function world() {
  const clock = createSystemClock();
  const order: string[] = [];
  const state = { take: async () => {}, isHere: true };
  const upgrades = createUpgrades({
    attempts: { guard: (_address: unknown, work: () => unknown) => work() },
    callers: { addressOf: () => '192.0.2.1' },
    browserGuard: { checkOrigin() {} },
    door: { handshake: () => () => void order.push('proven') },
    tokens: {
      async verify(token: string) {
        if (token !== 'right') throw new GlasscastError('INVALID_TOKEN');
        return { userId: 'ada@example.com' };
      },
      watch: () => () => {},
    },
    async take(userId: string) {
      order.push(`take ${userId}`);
      await state.take();
    },
    isHere: () => state.isHere,
    glassesSession(userId: string) {
      order.push(`session ${userId}`);
      return { attach() {}, detach() {}, receive() {} };
    },
    glassesBack: () => void order.push('back'),
    ...{ clock, log: silentLog() },
  } as unknown as UpgradesOptions);
  const server = createServer();
  server.on('upgrade', upgrades.accept);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/glasses-ws`;
  async function close() {
    await upgrades.close();
    server.close();
  }
  return { clock, order, state, url, close };
}

it('glasses come in when their session is here, and not before', async () => {
  const { order, state, url, close } = await world();
  let arrived = () => {};
  state.take = () =>
    new Promise((resolve) => {
      arrived = resolve;
    });
  const opening = openPeer(url, { authorization: 'Bearer right' });
  while (order.length < 2) await new Promise((resolve) => setImmediate(resolve));
  expect(order).toEqual(['proven', 'take ada@example.com']);
  arrived();
  await opening;
  while (order.length < 4) await new Promise((resolve) => setImmediate(resolve));
  expect(order.slice(2)).toEqual(['session ada@example.com', 'back']);
  await close();
});

it('glasses whose session was asked for elsewhere the moment it came are told to come back, and have none here', async () => {
  const { order, state, url, close } = await world();
  state.isHere = false;
  await expect(openPeer(url, { authorization: 'Bearer right' })).rejects.toThrow('503');
  expect(order).toEqual(['proven', 'take ada@example.com']);
  await close();
});

it('glasses that have given up meanwhile are not taken in', async () => {
  const { order, state, url, close } = await world();
  let arrived = () => {};
  state.take = () =>
    new Promise((resolve) => {
      arrived = resolve;
    });
  const { port } = new URL(url);
  const head = ['GET /glasses-ws HTTP/1.1', 'host: relay', 'connection: upgrade', 'upgrade: websocket'];
  const proof = [
    'authorization: Bearer right',
    'sec-websocket-version: 13',
    `sec-websocket-key: ${btoa('x'.repeat(16))}`,
  ];
  const impatient = connect(Number(port), '127.0.0.1');
  impatient.write(`${[...head, ...proof].join('\r\n')}\r\n\r\n`);
  while (order.length < 2) await new Promise((resolve) => setImmediate(resolve));
  impatient.destroy();
  await once(impatient, 'close');
  arrived();
  // Who comes after them is.
  state.take = async () => {};
  await openPeer(url, { authorization: 'Bearer right' });
  while (order.length < 6) await new Promise((resolve) => setImmediate(resolve));
  expect(order.filter((step) => step.startsWith('session'))).toHaveLength(1);
  await close();
});

it('many that come at once all come in', async () => {
  const { order, url, close } = await world();
  await Promise.all(Array.from({ length: 200 }, () => openPeer(url, { authorization: 'Bearer right' })));
  while (order.length < 800) await new Promise((resolve) => setImmediate(resolve));
  expect(order.filter((step) => step === 'back')).toHaveLength(200);
  await close();
});

it('glasses without a right token take no session', async () => {
  const { order, url, close } = await world();
  await expect(openPeer(url, { authorization: 'Bearer wrong' })).rejects.toThrow('401');
  expect(order).toEqual([]);
  await close();
});

it('glasses hear 503 while the store does not answer, and the agent comes back by itself', async () => {
  const { clock, order, state, url, close } = await world();
  let refusals = 2;
  state.take = async () => {
    refusals -= 1;
    if (refusals >= 0) throw new GlasscastError('STORE_UNAVAILABLE');
  };
  await expect(openPeer(url, { authorization: 'Bearer right' })).rejects.toThrow(/503 .*STORE_UNAVAILABLE/);
  const agent = createCloudConnection({
    ...{ clock, log: silentLog(), url, coreToken: new Secret('right'), random: () => 1 },
    ...{ hello: () => [], present: () => [], onMessage() {} },
  });
  agent.start();
  while (!agent.connected) await clock.sleep(10);
  expect(order.filter((step) => step.startsWith('take')).length).toBe(3);
  await agent.close();
  await close();
  expect(clock.pending()).toEqual([]);
});
