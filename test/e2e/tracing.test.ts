/** Traces of a real stream, as a collector receives them by OTLP over HTTP; and collectors that hang or are away. */
import { afterEach, expect, it } from 'vitest';
import { Secret } from '../../shared/secrets.ts';
import { createOtlpReceiver } from '../support/otlp-receiver.ts';
import { createRelayWorld, type Frame, type RelayWorld } from '../support/relay-world.ts';

const USER = 'ada@example.com';
const KEY_OF_COLLECTOR = 'a-key-of-the-collector';
const status = (word: string) => (frame: Frame) => frame.type === 'managed_stream_status' && frame.status === word;
type Receiver = Awaited<ReturnType<typeof createOtlpReceiver>>;

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function receiverOf(options?: { hangs: boolean }): Promise<Receiver> {
  const receiver = await createOtlpReceiver(options);
  closers.push(receiver.close);
  return receiver;
}
async function worldWith(overrides: Parameters<typeof createRelayWorld>[0]): Promise<RelayWorld> {
  const world = await createRelayWorld(overrides);
  closers.push(async () => expect(await world.close()).toEqual([]));
  return world;
}
/** One stream from its request to its end, interrupted once. */
async function runStream(world: RelayWorld): Promise<string> {
  const glasses = await world.glasses(USER);
  const app = await world.app('com.example.cam');
  await world.rest('POST', '/api/apps/com.example.cam/start', { userId: USER });
  app.send({ type: 'managed_stream_request', video: { width: 320, height: 240, frameRate: 15 } });
  const { streamId } = await glasses.inbox.take('START', ({ type }) => type === 'start_rtmp_stream');
  await app.inbox.take('active', status('active'));
  glasses.status({ status: 'reconnecting', streamId });
  await app.inbox.take('preparing', status('preparing'));
  glasses.status({ status: 'streaming', streamId });
  await app.inbox.take('active again', status('active'));
  app.send({ type: 'managed_stream_stop' });
  await app.inbox.take('stopped', status('stopped'));
  return String(streamId);
}

it('a stream is one trace: each step a child, the call that makes its input among them, interruptions as events', async () => {
  const receiver = await receiverOf();
  const asked: { path: string; traceparent: string | null }[] = [];
  const watching: typeof fetch = (url, init) => {
    const { pathname: path } = new URL(String(url));
    asked.push({ path, traceparent: new Headers(init?.headers).get('traceparent') });
    return fetch(url, init);
  };
  const world = await worldWith({
    fetch: watching,
    otlpEndpoint: receiver.url,
    otlpHeaders: new Secret(`x-collector-key=${KEY_OF_COLLECTOR}`),
  });
  const streamId = await runStream(world);
  await world.relay.close();

  const { spans } = receiver;
  const start = spans.find(({ name }) => name === 'stream.start');
  expect(start?.parentSpanId ?? '').toBe('');
  expect(start?.attributes).toMatchObject({ 'glasscast.stream_id': streamId, 'glasscast.kind': 'managed' });
  const trace = spans.filter(({ traceId }) => traceId === start?.traceId);
  const children = trace
    .filter(({ parentSpanId }) => parentSpanId === start?.spanId)
    .sort((a, b) => a.startMs - b.startMs);
  expect(children.map(({ name }) => name)).toEqual([
    ...['live_input', 'start_order', 'device.publish', 'playback.proof', 'stream.live'],
  ]);
  for (const [number, child] of children.entries()) {
    expect(child.endMs).toBeGreaterThanOrEqual(child.startMs);
    const before = children[number - 1];
    if (before) expect(child.startMs).toBe(before.endMs);
  }
  expect(children[0]?.startMs).toBe(start?.startMs);
  expect(children[3]?.endMs).toBe(start?.endMs);
  expect(children[4]?.events.map(({ name, attributes }) => [name, attributes.cause])).toEqual([
    ['interrupted', 'reconnect'],
    ['restored', undefined],
  ]);
  const made = trace.find(({ name }) => name === 'provider POST');
  expect(made?.parentSpanId).toBe(children[0]?.spanId);
  const posted = asked.find(({ path, traceparent }) => path.endsWith('/live_inputs') && traceparent);
  expect(posted?.traceparent).toBe(`00-${made?.traceId}-${made?.spanId}-01`);
  expect(trace.every(({ error }) => error === undefined)).toBe(true);

  // What asked for it, and what that led to, is a trace of its own.
  const request = spans.find(({ name }) => name === 'POST /api/apps/:packageName/start');
  const webhook = spans.find(({ name }) => name === 'webhook POST');
  expect(webhook).toMatchObject({ traceId: request?.traceId, parentSpanId: request?.spanId });
  expect(receiver.resources[0]).toMatchObject({ 'service.name': 'glasscast-relay' });
  expect(receiver.requests[0]).toMatchObject({ url: '/v1/traces', headers: { 'x-collector-key': KEY_OF_COLLECTOR } });

  // Nobody's name, key or address is in any of it, and no key in the log; the log knows the trace.
  const sent = receiver.requests.map(({ body }) => body).join('\n');
  const secrets = [world.adminToken.reveal(), world.provider.apiToken.reveal(), 'key-of-com.example.cam', 'rtmp://'];
  for (const secret of [USER, ...secrets]) expect(sent).not.toContain(secret);
  expect(world.logLines.filter((line) => line.includes(KEY_OF_COLLECTOR))).toEqual([]);
  const lines = world.logLines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.find(({ msg }) => msg === 'stream-live')).toMatchObject({ streamId, traceId: start?.traceId });
});

it('a request that names its trace goes on with it, and one with a bad name begins its own', async () => {
  const receiver = await receiverOf();
  const world = await worldWith({ otlpEndpoint: receiver.url });
  const traceId = 'a'.repeat(32);
  const ask = (traceparent: string) =>
    fetch(`${world.url}/api/streams`, {
      headers: { authorization: `Bearer ${world.adminToken.reveal()}`, traceparent },
    });
  await ask(`00-${traceId}-${'b'.repeat(16)}-01`);
  await ask('00-nonsense');
  await fetch(`${world.url}/healthz`);
  await world.relay.close();
  const requests = receiver.spans.filter(({ name }) => name === 'GET /api/streams');
  expect(requests.map((span) => span.traceId === traceId)).toEqual([true, false]);
  expect(requests[0]?.parentSpanId).toBe('b'.repeat(16));
  expect(receiver.spans.some(({ name }) => name.includes('healthz'))).toBe(false);
});

it.each([
  ['hangs', { hangs: true }],
  ['is away', undefined],
])('a collector that %s costs its spans and nothing else', async (_what, options) => {
  const receiver = await receiverOf({ hangs: true });
  if (!options) await receiver.close();
  const world = await worldWith({ otlpEndpoint: receiver.url });
  await runStream(world);
  const sinceMs = performance.now();
  await world.relay.close();
  // The bound of the flush, and what a close takes without one.
  expect(performance.now() - sinceMs).toBeLessThan(15_000);
});

it('without a collector nothing is traced, sent or added', async () => {
  const headers: (string | null)[] = [];
  const watching: typeof fetch = (url, init) => {
    headers.push(new Headers(init?.headers).get('traceparent'));
    return fetch(url, init);
  };
  const world = await worldWith({ fetch: watching });
  await runStream(world);
  expect(headers.length).toBeGreaterThan(0);
  expect(headers.filter(Boolean)).toEqual([]);
  expect(world.logLines.filter((line) => line.includes('traceId'))).toEqual([]);
});
