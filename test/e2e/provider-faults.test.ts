/** The real relay against a provider that misbehaves as the real one was seen to: over HTTP, RTMP and WebSockets. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { FaultName } from '../../cloud/local-stream/faults.ts';
import type { LocalStreamAddress } from '../../cloud/local-stream/server.ts';
import { freePort } from '../../scripts/bench/free-port.ts';
import { Secret } from '../../shared/secrets.ts';
import { createRelayWorld, type Frame, type RelayWorld } from '../support/relay-world.ts';

const USER = 'faults@example.com';
const LIVE_SECRET = 'secret-of-live-events';
const status = (word: string) => (frame: Frame) => frame.type === 'managed_stream_status' && frame.status === word;
const isOver = (frame: Frame) => status('stopped')(frame) || status('error')(frame);

function adminOf({ adminPort, apiToken }: LocalStreamAddress) {
  return async (method: string, path: string, body?: object): Promise<Record<string, { hits: number }>> => {
    const sent = method === 'PUT' ? { body: JSON.stringify(body ?? {}) } : {};
    const type: Record<string, string> = method === 'PUT' ? { 'content-type': 'application/json' } : {};
    const response = await fetch(`http://127.0.0.1:${adminPort}${path}`, {
      ...{ method, headers: { authorization: `Bearer ${apiToken.reveal()}`, ...type }, ...sent },
    });
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return ((await response.json()) as { result: Record<string, { hits: number }> }).result;
  };
}

/** Where the provider's webhooks go has to be known before the relay is made. */
async function withWebhooks(provider: LocalStreamAddress) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/webhooks/cloudflare`;
  await adminOf(provider)('PUT', '/live-webhook', { url: `${url}/live`, secret: LIVE_SECRET });
  const answer = await fetch(`${provider.apiBaseUrl}/accounts/${provider.accountId}/stream/webhook`, {
    ...{ method: 'PUT', body: JSON.stringify({ notificationUrl: `${url}/recording` }) },
    headers: { authorization: `Bearer ${provider.apiToken.reveal()}`, 'content-type': 'application/json' },
  });
  const { result } = (await answer.json()) as { result: { secret: string } };
  return { port, webhookSecrets: { live: new Secret(LIVE_SECRET), recording: new Secret(result.secret) } };
}

let world: RelayWorld;
let apps = 0;
let app: Awaited<ReturnType<RelayWorld['app']>>;
let glasses: Awaited<ReturnType<RelayWorld['glasses']>>;
let admin: ReturnType<typeof adminOf>;

beforeAll(async () => {
  const options = { restreamPrivateTargets: true };
  world = await createRelayWorld(async (provider) => ({ ...options, ...(await withWebhooks(provider)) }), {
    adminPort: 0,
  });
  admin = adminOf(world.provider);
  glasses = await world.glasses(USER);
});
beforeEach(async () => {
  // A new one each time: the relay spares an app a start that would run into the timer of its last one.
  apps += 1;
  app = await world.app(`com.example.faults${apps}`);
  await world.rest('POST', `/api/apps/${app.packageName}/start`, { userId: USER });
});
afterAll(async () => {
  expect(await world.close()).toEqual([]);
});
afterEach(async () => {
  await admin('DELETE', '/faults');
  await glasses.stopPush();
  await allGone();
});

const fault = (name: FaultName, settings: object = {}) => admin('PUT', `/faults/${name}`, settings);
const hits = async (name: FaultName) => (await admin('GET', '/faults'))[name]?.hits ?? 0;
const request = (more: object = {}) => app.send({ type: 'managed_stream_request', ...more });
const hears = (what: string, fits: (frame: Frame) => boolean) => app.inbox.take(what, fits);
const active = () => hears('active', status('active'));
const later = (ms: number) => world.clock.sleep(ms);

async function stop(): Promise<void> {
  app.send({ type: 'managed_stream_stop' });
  await hears('stopped', status('stopped'));
}
/** Resolves when nothing is left at the provider and in the relay. */
async function allGone(): Promise<void> {
  for (;;) {
    const { streams } = await world.rest<{ streams: unknown[] }>('GET', '/api/streams');
    if ((await world.leftovers()).length === 0 && streams.length === 0) return;
    await later(50);
  }
}
async function tell(event: object): Promise<number> {
  const data = { notification_name: 'Stream Live Input', updated_at: new Date().toISOString(), ...event };
  const response = await fetch(`${world.url}/webhooks/cloudflare/live`, {
    ...{ method: 'POST', headers: { 'cf-webhook-auth': LIVE_SECRET }, body: JSON.stringify({ data }) },
  });
  return response.status;
}
async function onlyInput(): Promise<string> {
  const [input] = (await world.providerCall('/live_inputs')) as { uid: string }[];
  return input?.uid ?? '';
}

/** Resolves once it is taken; the answer to its call is what the relay's check came to. */
async function tellOfError(code: string): Promise<() => Promise<unknown>> {
  world.logLines.length = 0;
  const told = { live_input_errored: { error: { code } } };
  expect(await tell({ input_id: await onlyInput(), event_type: 'live_input.errored', ...told })).toBe(200);
  return async () => {
    for (;;) {
      const line = world.logLines.find((one) => one.includes('provider-error-told'));
      if (line) return JSON.parse(line);
      await later(50);
    }
  };
}

describe('the API', () => {
  it.each([false, true])('is limiting requests for a second (as a date: %s): the start waits', async (asDate) => {
    await fault('rate-limited', { retryAfterSeconds: 1, asDate, times: 1 });
    request();
    await active();
    expect(await hits('rate-limited')).toBe(1);
    await stop();
  });

  it('makes an input and answers 500: asked again by its key, there is one input', async () => {
    await fault('lost-creation', { times: 1 });
    request();
    await active();
    expect([await hits('lost-creation'), await world.leftovers()]).toMatchObject([1, [{}, {}]]);
    await stop();
  });

  it('never says that it made one, and lists in the documented shape: found by its mark and removed', async () => {
    await fault('lost-creation');
    await fault('wrapped-list');
    request();
    expect(await hears('error', status('error'))).toMatchObject({ message: expect.stringMatching(/failed/) });
    await admin('DELETE', '/faults/lost-creation');
    for (;;) {
      if ((await hits('wrapped-list')) > 0) break;
      await later(50);
    }
    await admin('DELETE', '/faults');
  });

  it('fails twice and then works', async () => {
    await fault('failing', { times: 2 });
    request();
    await active();
    await stop();
  });

  it('is slow: a stop in the middle of the creation leaves nothing', async () => {
    await fault('slow-replies', { delayMs: 400 });
    request();
    await later(150);
    await stop();
    await allGone();
    expect(await hits('slow-replies')).toBeGreaterThan(3);
  });

  it('answers deletions with nothing at all: done, and not asked again', async () => {
    request();
    await active();
    await fault('empty-deletion');
    world.logLines.length = 0;
    await stop();
    await allGone();
    expect(await hits('empty-deletion')).toBe(2);
    expect(world.logLines.join('')).not.toContain('cleanup-postponed');
  });
});

describe('the picture', () => {
  it('is dark though the publisher is connected: not active before there is one', async () => {
    await fault('dark');
    request();
    await hears('initializing', status('initializing'));
    // A look asks for both manifests, ten times a second once the glasses publish.
    while ((await hits('dark')) < 40) await later(50);
    expect(app.inbox.frames.at(-1)).not.toMatchObject({ status: 'active' });
    await admin('DELETE', '/faults/dark');
    await active();
    await stop();
  });

  it('is dark, and the provider tells why: an error in words, once the API shows it (status as one word)', async () => {
    await fault('dark');
    await fault('status-word');
    request();
    await hears('initializing', status('initializing'));
    await later(1_500);
    await tellOfError('ERR_GOP_OUT_OF_RANGE');
    const ended = await hears('error', status('error'));
    expect(ended.message).toMatch(/key frames must be 2 to 10 s apart/);
    expect(await hits('status-word')).toBeGreaterThan(0);
  });

  it('is well, and somebody tells of an error: the stream goes on', async () => {
    request();
    await active();
    const before = app.inbox.frames.length;
    const checked = await tellOfError('ERR_GOP_OUT_OF_RANGE');
    expect(await checked()).toMatchObject({ code: 'KEY_FRAME_INTERVAL_REFUSED', confirmed: false });
    expect(app.inbox.frames.slice(before).filter(isOver)).toEqual([]);
    await stop();
  });

  it('is not shown to whoever is no browser; the relay looks like one', async () => {
    await fault('delivery-forbidden', { onlyStrangers: true });
    request();
    const { hlsUrl } = await active();
    const refused = await fetch(hlsUrl as string, { headers: { 'user-agent': 'curl/8' } });
    expect([refused.status, await refused.text()]).toEqual([403, 'error code: 1010']);
    await stop();
  });

  it('is shown to nobody for a while, storage is said to be full: the stream stays as it is', async () => {
    request();
    await active();
    const before = app.inbox.frames.length;
    const checked = await tellOfError('ERR_STORAGE_QUOTA_EXHAUSTED');
    await fault('delivery-forbidden');
    // Two looks; a stall is none before 8 s.
    while ((await hits('delivery-forbidden')) < 2) await later(50);
    await admin('DELETE', '/faults');
    expect(await checked()).toMatchObject({ code: 'PROVIDER_STORAGE_FULL', confirmed: false });
    const words = app.inbox.frames.slice(before).map(({ status: word }) => word);
    expect(words.filter((word) => word !== undefined && word !== 'active')).toEqual([]);
    await stop();
  });
});

describe('webhooks', () => {
  it.each<FaultName>(['webhooks-missing', 'webhooks-twice'])('%s: the same start and stop', async (name) => {
    await fault(name);
    request();
    await active();
    await stop();
    await allGone();
    expect(await hits(name)).toBeGreaterThan(1);
    const words = app.inbox.frames.map(({ status: word }) => word);
    expect([words.filter((word) => word === 'stopped').length, words.includes('error')]).toEqual([1, false]);
  });

  it('webhooks-late: what is told of the last stream means nothing to the next one', async () => {
    await fault('webhooks-late', { delayMs: 1_500 });
    request();
    await active();
    await stop();
    await allGone();
    request();
    await active();
    await later(1_500);
    await stop();
    expect(await hits('webhooks-late')).toBeGreaterThan(1);
    const words = app.inbox.frames.map(({ status: word }) => word);
    expect([words.filter((word) => word === 'stopped').length, words.includes('error')]).toEqual([2, false]);
  });

  it('with another secret, or another signature, are nobody’s', async () => {
    const post = async (path: string, headers: Record<string, string>) =>
      (await fetch(`${world.url}/webhooks/cloudflare/${path}`, { method: 'POST', headers, body: '{}' })).status;
    expect(await post('live', { 'cf-webhook-auth': 'wrong' })).toBe(401);
    expect(await post('recording', { 'webhook-signature': 'time=1,sig1=00' })).toBe(401);
    expect(await tell({ input_id: 'x', event_type: 'live_input.connected' })).toBe(200);
  });
});

describe('storage', () => {
  it('is exhausted: the input is made, the publisher refused, the app is told why; the next start at once', async () => {
    // Only the ingest's question counts as the first: the preflight was well, with much room.
    await fault('storage-exhausted');
    request();
    const first = await hears('error', status('error'));
    expect(first.message).toMatch(/no storage left/);
    expect(glasses.inbox.frames.some(({ type }) => type === 'start_rtmp_stream')).toBe(true);
    await allGone();
    const starts = glasses.inbox.frames.filter(({ type }) => type === 'start_rtmp_stream').length;
    request();
    expect((await hears('refusal', status('error'))).message).toMatch(/no storage left/);
    expect(glasses.inbox.frames.filter(({ type }) => type === 'start_rtmp_stream').length).toBe(starts);
    // Room was made: seen by the next start, not a minute later.
    await admin('DELETE', '/faults');
    await later(5_100);
    request();
    await active();
    await stop();
  });
});

describe('an output', () => {
  it('fails at its target: told to the viewers, and the stream goes on', async () => {
    await fault('output-error');
    request({ restreamDestinations: [{ url: 'rtmp://127.0.0.1:9/live/key-of-the-target' }] });
    await active();
    const failed = await hears('output error', ({ outputs }) =>
      ((outputs ?? []) as { status: string }[]).some((output) => output.status === 'error'),
    );
    expect(['active', 'initializing']).toContain(failed.status);
    expect(JSON.stringify(app.inbox.frames)).not.toContain('secret');
    await stop();
  });
});

describe('the API, for longer', () => {
  it('limits requests for five minutes: said at once', async () => {
    await fault('rate-limited', { retryAfterSeconds: 300, times: 1 });
    request();
    expect(await hears('error', status('error'))).toMatchObject({
      message: expect.stringMatching(/limiting requests/),
    });
    request();
    await hears('error', status('error'));
    expect(await hits('rate-limited')).toBe(1);
  });
});
