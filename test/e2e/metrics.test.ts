/** The relay seen by machines, over a real stream's life: its metrics, its health, and what they say when things break. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Secret } from '../../shared/secrets.ts';
import { seriesOf, sumOf } from '../support/metrics-text.ts';
import { createRelayWorld, type Frame, openPeer, type RelayWorld } from '../support/relay-world.ts';

const METRICS_TOKEN = 'a-token-for-prometheus';
const status = (word: string) => (frame: Frame) => frame.type === 'managed_stream_status' && frame.status === word;

let world: RelayWorld;

beforeAll(async () => {
  world = await createRelayWorld({ metricsToken: new Secret(METRICS_TOKEN) }, { adminPort: 0 });
});
afterAll(async () => {
  expect(await world.close()).toEqual([]);
});

async function scrape() {
  const response = await fetch(`${world.url}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
  const text = await response.text();
  const series = seriesOf(text);
  return { text, sum: (name: string, labels?: Record<string, string>) => sumOf(series, name, labels) };
}
const statusOf = async (path: string, authorization?: string) =>
  (await fetch(world.url + path, { headers: authorization ? { authorization } : {} })).status;

it('metrics are shown to the admin token and to a token of their own, which opens nothing else', async () => {
  expect(await statusOf('/metrics')).toBe(401);
  expect(await statusOf('/metrics', 'Bearer of-somebody-else')).toBe(401);
  expect(await statusOf('/metrics', `Bearer ${world.adminToken.reveal()}`)).toBe(200);
  expect(await statusOf('/metrics', `Bearer ${METRICS_TOKEN}`)).toBe(200);
  for (const path of ['/api/sessions', '/api/streams', '/api/tokens']) {
    expect(await statusOf(path, `Bearer ${METRICS_TOKEN}`)).toBe(401);
  }
});

it('a stream from its start over an interruption to its end moves what it should, and names nobody', async () => {
  const before = await scrape();
  const glasses = await world.glasses('ada@example.com');
  const app = await world.app('com.example.cam');
  await world.rest('POST', '/api/apps/com.example.cam/start', { userId: 'ada@example.com' });
  app.send({ type: 'managed_stream_request', video: { width: 320, height: 240, frameRate: 15 } });
  const start = await glasses.inbox.take('START', ({ type }) => type === 'start_rtmp_stream');
  await app.inbox.take('active', status('active'));

  const live = await scrape();
  expect(live.sum('glasscast_streams', { state: 'active' })).toBe(1);
  expect(live.sum('glasscast_sessions', { state: 'connected' })).toBe(1);
  expect(live.sum('glasscast_apps', { state: 'connected' })).toBe(1);
  expect(live.sum('glasscast_ready')).toBe(1);
  expect(live.sum('glasscast_provider_state', { state: 'ok' })).toBe(1);
  for (const step of ['live_input', 'start_sent', 'publishing', 'first_picture']) {
    expect(live.sum('glasscast_stream_start_step_seconds_count', { step }), step).toBe(1);
  }
  const whole = live.sum('glasscast_stream_start_seconds_sum');
  expect(live.sum('glasscast_stream_start_step_seconds_sum')).toBeCloseTo(whole, 6);
  expect(whole).toBeGreaterThan(0);
  expect(live.sum('glasscast_playback_proofs_total', { outcome: 'proven' })).toBe(1);
  expect(live.sum('glasscast_provider_calls_total', { operation: 'live_input_create', code: 'none' })).toBe(1);
  expect(live.sum('glasscast_webhooks_total', { operation: 'start', outcome: 'accepted' })).toBe(1);
  expect(live.sum('glasscast_glasses_connects_total', { again: 'no' })).toBe(1);

  // The local Stream tells of the same on its own port.
  const { adminPort, apiToken } = world.provider;
  const carried = await fetch(`http://127.0.0.1:${adminPort}/metrics`, {
    headers: { authorization: `Bearer ${apiToken.reveal()}` },
  });
  const carriedNow = seriesOf(await carried.text());
  expect(sumOf(carriedNow, 'glasscast_local_stream_publications')).toBe(1);
  expect(sumOf(carriedNow, 'glasscast_local_stream_received_bytes_total')).toBeGreaterThan(1000);

  // The glasses say that they reconnect, and then that they publish.
  glasses.status({ status: 'reconnecting', streamId: start.streamId });
  await app.inbox.take('preparing', status('preparing'));
  glasses.status({ status: 'streaming', streamId: start.streamId });
  await app.inbox.take('active again', status('active'));
  glasses.send('no JSON');
  await glasses.inbox.take('the complaint', ({ type }) => type === 'connection_error');
  app.send({ type: 'managed_stream_stop' });
  await app.inbox.take('stopped', status('stopped'));
  while ((await scrape()).sum('glasscast_streams_ended_total') === 0) await world.clock.sleep(20);

  const after = await scrape();
  expect(after.sum('glasscast_stream_interruptions_total', { cause: 'reconnect' })).toBe(1);
  expect(after.sum('glasscast_stream_outage_seconds_count')).toBe(1);
  expect(after.sum('glasscast_streams_ended_total', { outcome: 'served', code: 'none', kind: 'managed' })).toBe(1);
  expect(after.sum('glasscast_streams')).toBe(0);
  expect(after.sum('glasscast_ws_frames_refused_total', { peer: 'glasses', code: 'MALFORMED_MESSAGE' })).toBe(1);
  expect(after.sum('glasscast_keep_alives_total', { event: 'sent' })).toBeGreaterThan(0);
  expect(after.sum('glasscast_keep_alives_total', { event: 'acked' })).toBeGreaterThan(0);
  expect(after.sum('glasscast_status_fan_out_seconds_count')).toBeGreaterThan(0);
  expect(after.sum('glasscast_ws_messages_total', { peer: 'app', direction: 'out' })).toBeGreaterThan(3);
  expect(after.sum('glasscast_store_call_seconds_count', { kind: 'streams', operation: 'put' })).toBeGreaterThan(0);
  expect(after.sum('glasscast_store_failures_total')).toBe(0);
  const started = { route: '/api/apps/:packageName/start', method: 'POST', status: '2xx' };
  expect(after.sum('glasscast_http_request_seconds_count', started)).toBe(1);
  expect(after.sum('glasscast_process_cpu_seconds')).toBeGreaterThan(before.sum('glasscast_process_cpu_seconds'));
  for (const name of ['ada', 'example', 'stream_', String(start.streamId)]) {
    expect(after.text.match(new RegExp(`"[^"\n]*${name}[^"\n]*"`, 'g')) ?? [], name).toEqual([]);
  }
});

it('a request that leads to no stream is counted by its code, and so is a start that fails', async () => {
  const glasses = await world.glasses('bob@example.com');
  const app = await world.app('com.example.other');
  await world.rest('POST', '/api/apps/com.example.other/start', { userId: 'bob@example.com' });
  glasses.state.onStart = 'the camera is broken';
  app.send({ type: 'managed_stream_request' });
  await app.inbox.take('error', status('error'));
  await glasses.inbox.take('START', ({ type }) => type === 'start_rtmp_stream');
  app.send({ type: 'stream_request', rtmpUrl: 'rtmp://127.0.0.1:9/live/nobody' });
  app.send({ type: 'managed_stream_request' });
  await app.inbox.take('the refusal', ({ errorCode }) => errorCode === 'UNMANAGED_STREAM_ACTIVE');
  const { sum } = await scrape();
  expect(
    sum('glasscast_streams_ended_total', { outcome: 'failed_before_live', code: 'DEVICE_REPORTED' }),
  ).toBeGreaterThan(0);
  expect(sum('glasscast_starts_refused_total', { kind: 'managed', code: 'UNMANAGED_STREAM_ACTIVE' })).toBe(1);
  await expect(openPeer(`${world.wsUrl}/glasses-ws?token=wrong`)).rejects.toThrow('401');
});
