import { createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CALM_NETWORK, openSimulatedUplink, type SimulatedUplink } from '../../device/simulator/simulated-uplink.ts';
import type { TcpEnds } from '../../shared/rtmp/send-queue.ts';
import { type RtmpSink, startRtmpSink } from '../support/rtmp-sink.ts';
import { testCertificate } from '../support/test-certificate.ts';
import { createTestClock, type TestClock } from '../support/test-clock.ts';

let clock: TestClock;
let uplink: SimulatedUplink;
let ingest: Server;
let received: number;
let peers: Socket[];
const port = () => (ingest.address() as { port: number }).port;

beforeEach(async () => {
  clock = createTestClock();
  uplink = await openSimulatedUplink({ clock });
  received = 0;
  peers = [];
  ingest = createServer({ allowHalfOpen: true }, (socket) => {
    peers.push(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      received += chunk.length;
    });
    socket.on('end', () => socket.end('bye'));
  });
  await new Promise<void>((resolve) => ingest.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  await uplink.close();
  for (const peer of peers) peer.destroy();
  await new Promise<void>((resolve) => ingest.close(() => resolve()));
  expect(clock.pending()).toEqual([]);
});

/** Real sockets move between the turns; time only as said. */
async function untilTrue(holds: () => boolean | Promise<boolean>, stepMs = 0): Promise<void> {
  while (!(await holds())) await clock.advance(stepMs);
}
function dial(): Socket & { heard: string; causes: string[] } {
  const socket = Object.assign(uplink.dial({ host: '127.0.0.1', port: port() }), { heard: '', causes: [] as string[] });
  socket.on('error', (error) => socket.causes.push('code' in error ? String(error.code) : error.message));
  socket.on('data', (chunk) => {
    socket.heard += String(chunk);
  });
  return socket;
}
async function dialled() {
  const socket = dial();
  await untilTrue(() => !socket.connecting && peers.length > 0);
  return socket;
}
const queued = (socket: Socket) => uplink.sendQueue.queuedBytes(socket as unknown as TcpEnds);

test('a calm network carries everything at once, both ways, and a farewell', async () => {
  const socket = await dialled();
  socket.write(Buffer.alloc(300_000));
  await untilTrue(() => received === 300_000);
  expect(await queued(socket)).toBe(0);
  socket.end();
  await untilTrue(() => socket.destroyed);
  expect(socket.heard).toBe('bye');
  expect(socket.causes).toEqual([]);
});

test('a narrow one takes so much in a second, and tells what waits', async () => {
  uplink.set({ ...CALM_NETWORK, uplinkKbps: 800 });
  const socket = await dialled();
  socket.write(Buffer.alloc(150_000));
  await untilTrue(async () => ((await queued(socket)) ?? 0) > 149_000);
  await clock.advance(1_000);
  expect(150_000 - ((await queued(socket)) ?? 0)).toBeGreaterThan(99_000);
  expect(150_000 - ((await queued(socket)) ?? 0)).toBeLessThan(101_000);
  await clock.advance(1_000);
  expect(await queued(socket)).toBe(0);
  await untilTrue(() => received === 150_000);
});

test('a long way delays the connection and what is sent', async () => {
  uplink.set({ ...CALM_NETWORK, delayMs: 200 });
  const socket = dial();
  await untilTrue(() => clock.pending().includes('simulated-connect'));
  await clock.advance(150);
  expect(socket.connecting).toBe(true);
  await clock.advance(50);
  await untilTrue(() => !socket.connecting);
  socket.write('x'.repeat(1_000));
  await untilTrue(() => clock.pending().length > 0);
  await clock.advance(190);
  expect(await queued(socket)).toBe(1_000);
  await clock.advance(20);
  expect(await queued(socket)).toBe(0);
});

test('while it is down nothing moves and nobody connects; then all goes on', async () => {
  const socket = await dialled();
  uplink.set({ ...CALM_NETWORK, down: true });
  socket.write('x'.repeat(1_000));
  const late = dial();
  const givenUp = dial();
  for (let turn = 0; turn < 20; turn += 1) await clock.advance(500);
  expect([received, await queued(socket), late.connecting]).toEqual([0, 1_000, true]);
  givenUp.destroy();
  await clock.advance(0);
  uplink.set(CALM_NETWORK);
  await untilTrue(() => received === 1_000 && !late.connecting);
  expect(peers).toHaveLength(2);
});

test('a reset is one for the push', async () => {
  const socket = await dialled();
  uplink.reset();
  await untilTrue(() => socket.destroyed);
  expect(socket.causes).toEqual(['ECONNRESET']);
});

test('an ingest that refuses is refused as it is', async () => {
  const socket = uplink.dial({ host: '127.0.0.1', port: 1 });
  const causes: unknown[] = [];
  socket.on('error', (error) => causes.push('code' in error && error.code));
  await untilTrue(() => socket.destroyed);
  expect(causes).toEqual(['ECONNREFUSED']);
});

test.runIf(process.platform === 'linux')(
  'another address: the old connection is dead, and its address gone',
  async () => {
    const socket = await dialled();
    const isListed = (address?: string) =>
      Object.values(uplink.networkInterfaces()).some((all) => all?.some((one) => one.address === address));
    expect(isListed(socket.localAddress)).toBe(true);
    uplink.changeAddress();
    expect(isListed(socket.localAddress)).toBe(false);
    socket.write('x'.repeat(1_000));
    for (let turn = 0; turn < 20; turn += 1) await clock.advance(500);
    expect([received, socket.destroyed]).toEqual([0, false]);
    const next = dial();
    await untilTrue(() => !next.connecting);
    expect(isListed(next.localAddress)).toBe(true);
    expect(next.localAddress).not.toBe(socket.localAddress);
  },
);

test('TLS goes through untouched, and what waits of it is told', async () => {
  const sink: RtmpSink = await startRtmpSink({ secure: true });
  const tcp = uplink.dial({ host: '127.0.0.1', port: sink.port });
  const socket = connectTls({
    socket: tcp,
    ca: testCertificate,
    servername: 'localhost',
    checkServerIdentity: () => undefined,
  });
  let isSecure = false;
  socket.once('secureConnect', () => {
    isSecure = true;
  });
  await untilTrue(() => isSecure);
  uplink.set({ ...CALM_NETWORK, down: true });
  socket.write(Buffer.alloc(5_000));
  await untilTrue(async () => ((await queued(socket)) ?? 0) >= 5_000);
  socket.on('error', () => {});
  socket.destroy();
  uplink.set(CALM_NETWORK);
  await sink.close();
});
