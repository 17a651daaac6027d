/** The tap passes every byte and reads both directions, however they are cut; dropped, it behaves like a killed server. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { createRtmpTap } from '../../scripts/bench/rtmp-tap.ts';
import { createChunkWriter, messageTypes } from '../../shared/rtmp/chunk-stream.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function ingest(onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address ? address.port : 0;
}

const handshake = Buffer.alloc(3073, 7);
const body = Buffer.concat([Buffer.from([0x17, 1, 0, 0, 0]), Buffer.alloc(5000, 9)]);

it('tells of tags and acknowledgements and changes nothing', async () => {
  const video = createChunkWriter().message(6, {
    type: messageTypes.video,
    streamId: 1,
    timestampMs: 40,
    payload: body,
  });
  const sent = Buffer.concat([handshake, ...video]);
  const acknowledgement = Buffer.alloc(4);
  acknowledgement.writeUInt32BE(5100);
  const answer = createChunkWriter().message(2, {
    type: messageTypes.acknowledgement,
    streamId: 0,
    timestampMs: 0,
    payload: acknowledgement,
  });
  const received: Buffer[] = [];
  const port = await ingest((socket) => {
    socket.write(Buffer.concat([handshake, ...answer]));
    socket.on('data', (bytes) => received.push(bytes));
    socket.on('end', () => socket.end());
  });
  const told: unknown[] = [];
  const tap = createRtmpTap({
    target: () => ({ host: '127.0.0.1', port }),
    onTag: (tag, connection, bytes) => told.push({ ...tag, connection, bytes }),
    onAcknowledged: (bytes, connection) => told.push({ acknowledged: bytes, connection }),
  });
  closers.push(tap.drop);
  const publisher = connect(await tap.listen(), '127.0.0.1');
  publisher.resume();
  for (const part of [sent.subarray(0, 3000), sent.subarray(3000, 3100), sent.subarray(3100)]) publisher.write(part);
  publisher.end();
  await once(publisher, 'close');

  expect(Buffer.concat(received).equals(sent)).toBe(true);
  expect(told).toContainEqual({ kind: 'video', timestampMs: 40, body, connection: 0, bytes: sent.length - 3073 });
  expect(told).toContainEqual({ acknowledged: 5100, connection: 0 });
});

it('when dropped resets its connections and refuses new ones until it listens again', async () => {
  const port = await ingest((socket) => socket.resume());
  const tap = createRtmpTap({ target: () => ({ host: '127.0.0.1', port }) });
  closers.push(tap.drop);
  const tapPort = await tap.listen();
  const publisher = connect(tapPort, '127.0.0.1');
  publisher.on('error', () => {});
  await once(publisher, 'connect');
  publisher.write(handshake);
  // Not `once`, which takes the reset's own error event for a failure.
  const closed = new Promise((resolve) => publisher.on('close', resolve));
  await tap.drop();
  await closed;
  const [refusal] = await once(connect(tapPort, '127.0.0.1'), 'error');
  expect(refusal.code).toBe('ECONNREFUSED');
  expect(await tap.listen(tapPort)).toBe(tapPort);
});

/** A connection whose loss is no news. */
function guest(port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  return socket;
}

it('reset, it breaks every connection and serves the next one', async () => {
  const port = await ingest((socket) => socket.write('hello'));
  const tap = createRtmpTap({ target: () => ({ host: '127.0.0.1', port }) });
  closers.push(tap.drop);
  const door = await tap.listen();
  const first = guest(door);
  await once(first, 'data');
  const broken = once(first, 'error');
  tap.reset();
  expect(await broken).toMatchObject([{ code: 'ECONNRESET' }]);
  expect(String(await once(guest(door), 'data'))).toBe('hello');
});

it('silent, it accepts and says nothing, to those who came meanwhile also afterwards', async () => {
  const port = await ingest((socket) => socket.write('hello'));
  let onConnected: (connection: number) => void = () => {};
  const cameIn = new Promise<number>((resolve) => {
    onConnected = resolve;
  });
  const tap = createRtmpTap({ target: () => ({ host: '127.0.0.1', port }), onConnected });
  closers.push(tap.drop);
  const door = await tap.listen();
  tap.silence(true);
  const heard: string[] = [];
  guest(door).on('data', (words) => heard.push(String(words)));
  await cameIn;
  tap.silence(false);
  expect(String(await once(guest(door), 'data'))).toBe('hello');
  expect(heard).toEqual([]);
});
