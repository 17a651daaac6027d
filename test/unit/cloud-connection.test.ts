import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CloudConnection, createCloudConnection } from '../../device/runtime/cloud-connection.ts';
import { silentLog } from '../../shared/log.ts';
import type { FromGlasses, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { Secret } from '../../shared/secrets.ts';
import { type FakeRelay, startFakeRelay } from '../support/fake-relay.ts';
import { createTestClock, type TestClock } from '../support/test-clock.ts';

let relay: FakeRelay;
let clock: TestClock;
let connection: CloudConnection;
let heard: ToGlasses[];
let onHeard: () => void;

beforeEach(async () => {
  relay = await startFakeRelay();
  clock = createTestClock();
  heard = [];
  onHeard = () => {};
  connection = createCloudConnection({
    clock,
    log: silentLog(),
    url: relay.url,
    coreToken: new Secret('token-of-ada'),
    hello: () => [{ type: 'glasses_connection_state', status: 'CONNECTED', modelName: 'Test' }],
    present: () => [{ type: 'stream_status', status: 'streaming', kind: 'lifecycle', streamId: 'now' }],
    onMessage(message) {
      heard.push(message);
      onHeard();
    },
    random: () => 0,
  });
});
afterEach(async () => {
  await connection.close();
  await relay.close();
  expect(clock.pending()).toEqual([]);
});

const untilHeard = (type: ToGlasses['type']) =>
  new Promise<void>((resolve) => {
    onHeard = () => heard.some((message) => message.type === type) && resolve();
    onHeard();
  });
/** Time passes until the line has done what it was waiting to do; each step lets real sockets move. */
async function untilTrue(holds: () => boolean): Promise<void> {
  while (!holds()) await clock.advance(0);
}
async function goOn(): Promise<void> {
  await untilTrue(() => clock.pending().includes('relay-retry'));
  await clock.advance(20_000);
}
const status = (streamId: string, kind: 'lifecycle' | 'snapshot'): FromGlasses => ({
  type: 'stream_status',
  status: 'streaming',
  kind,
  streamId,
});

test('brings the token in the header, and says hello, then what is true now', async () => {
  connection.start();
  await relay.until(({ streamId }) => streamId === 'now');
  expect(relay.authorizations).toEqual(['Bearer token-of-ada']);
  expect(relay.frames.map(({ type }) => type)).toEqual(['glasses_connection_state', 'rtmp_stream_status']);
  expect(typeof relay.frames[0]?.timestamp).toBe('number');
});

test('answers in the dialect it was last spoken to', async () => {
  connection.start();
  await relay.untilConnected();
  relay.send({ type: 'stop_stream', streamId: 'x' });
  await untilHeard('stop_stream');
  connection.send(status('a', 'lifecycle'));
  expect((await relay.until(({ streamId }) => streamId === 'a')).type).toBe('stream_status');
  relay.send({ type: 'keep_rtmp_stream_alive', streamId: 'x', ackId: 'y' });
  await untilHeard('keep_stream_alive');
  connection.send(status('b', 'lifecycle'));
  expect((await relay.until(({ streamId }) => streamId === 'b')).type).toBe('rtmp_stream_status');
});

test('offline: states wait in order and bounded, of stats only the newest, acks not at all', async () => {
  connection.send(status('stats-old', 'snapshot'));
  for (let index = 0; index < 205; index += 1) connection.send(status(`s${index}`, 'lifecycle'));
  connection.send({ type: 'keep_alive_ack', streamId: 'x', ackId: 'y' });
  connection.send(status('stats-1', 'snapshot'));
  connection.send(status('stats-2', 'snapshot'));
  connection.start();
  await relay.until(({ streamId }) => streamId === 'now');
  const ids = relay.frames.slice(1).map(({ streamId }) => streamId);
  expect(ids).toEqual([...Array.from({ length: 200 }, (_, index) => `s${index + 5}`), 'stats-2', 'now']);
});

test('comes back after a cut, for ever', async () => {
  connection.start();
  for (let round = 1; round <= 3; round += 1) {
    await relay.untilConnected(round);
    await untilTrue(() => connection.connected);
    relay.drop();
    await goOn();
  }
  await relay.untilConnected(4);
});

test('a refused token is named, tried again slowly, and healed by a relay that takes it', async () => {
  relay.refuseWith = 401;
  connection.start();
  await untilTrue(() => clock.pending().includes('relay-retry'));
  expect(connection.cause).toMatchObject({ code: 'INVALID_TOKEN' });
  expect(connection.cause?.message).not.toContain('token-of-ada');
  await clock.advance(14_000);
  expect(relay.authorizations).toHaveLength(1);
  relay.refuseWith = undefined;
  await clock.advance(1000);
  await relay.untilConnected();
  await untilTrue(() => connection.connected);
  expect(connection.cause).toBeUndefined();
});

test('a relay that says nothing is left', async () => {
  connection.start();
  await relay.untilConnected();
  await untilTrue(() => connection.connected);
  relay.freeze();
  await clock.advance(45_000);
  await goOn();
  await relay.untilConnected(2);
});

test('pings are answered, garbage is passed over', async () => {
  connection.start();
  await relay.untilConnected();
  for (const frame of ['{', '[]', '{"type":"start_stream","streamId":1}', Buffer.from([0, 1])]) relay.send(frame);
  await relay.ping();
  relay.send({ type: 'ping' });
  await untilHeard('ping');
  expect(heard.map(({ type }) => type)).toEqual(['connection_ack', 'ping']);
});

test('closing while connecting or waiting leaves nothing', async () => {
  connection.start();
  await connection.close();
  connection.send(status('late', 'lifecycle'));
  expect(relay.frames).toEqual([]);
});

test('a line from an address that this machine has lost is given up at once, one that only blinks is kept', async () => {
  const here = { lo: [{ address: '127.0.0.1' }] } as never;
  const held: { interfaces: never } = { interfaces: here };
  await connection.close();
  connection = createCloudConnection({
    ...{ clock, log: silentLog(), url: relay.url, coreToken: new Secret('token-of-ada'), random: () => 0 },
    ...{ hello: () => [], present: () => [], onMessage: () => {}, networkInterfaces: () => held.interfaces },
  });
  connection.start();
  await untilTrue(() => connection.connected);
  held.interfaces = {} as never;
  await clock.advance(500);
  held.interfaces = here;
  await clock.advance(2_000);
  expect(connection.connected).toBe(true);
  held.interfaces = {} as never;
  await clock.advance(1_000);
  await untilTrue(() => !connection.connected);
  held.interfaces = here;
  await goOn();
  await untilTrue(() => connection.connected);
  expect(relay.connections).toBe(2);
});

test('while an outage is simulated the line is cut and none comes about', async () => {
  const cuts = new Set<() => void>();
  const outage = {
    isDown: false,
    onBegin(cut: () => void) {
      cuts.add(cut);
      return () => void cuts.delete(cut);
    },
  };
  await connection.close();
  connection = createCloudConnection({
    ...{ clock, log: silentLog(), url: relay.url, coreToken: new Secret('token-of-ada'), outage },
    ...{ hello: () => [], present: () => [], onMessage: () => {}, random: () => 0 },
  });
  connection.start();
  await untilTrue(() => connection.connected);
  outage.isDown = true;
  for (const cut of cuts) cut();
  await untilTrue(() => !connection.connected);
  await goOn();
  await goOn();
  expect(connection.cause?.message).toContain('an outage is simulated');
  expect(relay.connections).toBe(1);
  outage.isDown = false;
  await goOn();
  await untilTrue(() => connection.connected);
  await connection.close();
  expect(cuts.size).toBe(0);
});
