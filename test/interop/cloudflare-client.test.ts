/**
 * The official client of Cloudflare's API against the local Stream, over HTTP, with a real broadcast: every call, every class of
 * error, its own retries. Each answer is held against the contract on its way.
 */
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { importJWK, type JWK, jwtVerify } from 'jose';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import type { FaultName } from '../../cloud/local-stream/faults.ts';
import type { LocalStreamOptions } from '../../cloud/local-stream/server.ts';
import { type CloudflareClient, loadClient } from '../support/cloudflare-client.ts';
import { createLocalStreamWorld, type InputJson, until, type VideoJson } from '../support/local-stream-world.ts';
import { startRtmpSink } from '../support/rtmp-sink.ts';
import { contractCall, contractCalls, contractViolations } from '../support/stream-contract.ts';

const called = new Set<string>();

async function createWorld(options: Partial<LocalStreamOptions> = {}) {
  const Cloudflare = loadClient();
  const world = await createLocalStreamWorld({ adminPort: 0, ...options });
  const { apiBaseUrl: baseURL, accountId: account_id, apiToken, adminPort } = world.address;
  const violations: string[] = [];
  const sent: { method: string; key: string | null; http: number }[] = [];
  onTestFinished(() => expect(violations).toEqual([]));

  /** What is wrong is kept for the end: thrown here, the client would take it for the network's fault and ask again. */
  const checked: typeof fetch = async (address, init) => {
    const response = await fetch(address, init);
    const method = init?.method?.toUpperCase() ?? 'GET';
    const text = await response.clone().text();
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    violations.push(...contractViolations(method, String(address), response.status, body));
    if (response.ok) called.add(contractCall(method, String(address)) ?? '');
    sent.push({ method, key: new Headers(init?.headers).get('idempotency-key'), http: response.status });
    return response;
  };
  const settings = { apiToken: apiToken.reveal(), baseURL, fetch: checked };
  async function fault(name: FaultName, more: object = {}): Promise<void> {
    const { status } = await fetch(`http://127.0.0.1:${adminPort}/faults/${name}`, {
      ...{ method: 'PUT', body: JSON.stringify(more) },
      headers: { authorization: `Bearer ${apiToken.reveal()}`, 'content-type': 'application/json' },
    });
    expect(status).toBe(200);
  }
  const client = new Cloudflare(settings);
  const once = new Cloudflare({ ...settings, maxRetries: 0 });
  return { ...world, Cloudflare, settings, client, once, account: { account_id }, sent, fault };
}

interface Hook {
  url: string;
  received: { headers: Record<string, string | string[] | undefined>; text: string; json: Record<string, unknown> }[];
}

async function createHook(): Promise<Hook> {
  const received: Hook['received'] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      received.push({ headers: request.headers, text, json: JSON.parse(text) as Record<string, unknown> });
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received };
}

const videosOf = async (client: CloudflareClient, accountId: string, input: InputJson) =>
  (await client.get(`/accounts/${accountId}/stream/live_inputs/${input.uid}/videos`)).result as VideoJson[];

describe.skipIf(!inject('hasCloudflareClient'))('the official client', () => {
  it('makes, reads, changes, lists and deletes live inputs', async () => {
    const { client, once, account, Cloudflare } = await createWorld();
    const { liveInputs } = client.stream;
    const recording = { mode: 'automatic', timeoutSeconds: 60, hideLiveViewerCount: true, allowedOrigins: ['a.org'] };
    const settings = { meta: { name: 'cam' }, defaultCreator: 'me', preferLowLatency: true, enabled: true };
    const asked = { ...account, ...settings, recording, deleteRecordingAfterDays: 30 };
    const input = await liveInputs.create(asked);
    expect(input).toMatchObject({ ...settings, recording, deleteRecordingAfterDays: 30, status: null });
    expect(await liveInputs.get(input.uid, account)).toEqual(input);
    const changed = await liveInputs.update(input.uid, { ...account, enabled: false });
    expect(changed).toMatchObject({ uid: input.uid, enabled: false, recording, rtmps: input.rtmps });
    await liveInputs.update(input.uid, { ...account, deleteRecordingAfterDays: null });
    const listed = (await liveInputs.list(account)) as InputJson[];
    expect(listed.map(({ uid }) => uid)).toEqual([input.uid]);
    expect(await liveInputs.list({ ...account, include_counts: true })).toEqual({
      ...{ liveInputs: listed, range: 1, total: 1 },
    });
    const path = `/accounts/${account.account_id}/stream/live_inputs/${input.uid}`;
    const rotated = (await client.post(`${path}/rotate_keys`)).result as InputJson & { keysRotatedAt: string };
    expect(rotated.keysRotatedAt).toMatch(/^20/);
    expect(rotated.rtmps.streamKey).not.toBe(input.rtmps.streamKey);
    await liveInputs.delete(input.uid, account);
    await expect(once.stream.liveInputs.get(input.uid, account)).rejects.toThrow(Cloudflare.NotFoundError);
  });

  it('adds outputs, switches them and takes them away; none can be read alone', async () => {
    const { client, account, Cloudflare, once } = await createWorld();
    const input = await client.stream.liveInputs.create(account);
    const { outputs } = client.stream.liveInputs;
    const destination = { url: 'rtmp://127.0.0.1:9/app', streamKey: 'their-key' };
    const output = await outputs.create(input.uid, { ...account, ...destination });
    expect(output).toEqual({ uid: output.uid, ...destination, enabled: true });
    const of = { ...account, live_input_identifier: input.uid };
    expect(await outputs.update(output.uid, { ...of, enabled: false })).toEqual({ ...output, enabled: false });
    expect((await outputs.list(input.uid, account)).result).toEqual([{ ...output, enabled: false }]);
    const path = `/accounts/${account.account_id}/stream/live_inputs/${input.uid}/outputs/${output.uid}`;
    await expect(once.get(path)).rejects.toThrow(Cloudflare.NotFoundError);
    for (let i = 1; i < 50; i += 1) await outputs.create(input.uid, { ...account, ...destination });
    const oneMore = outputs.create(input.uid, { ...account, ...destination });
    await expect(oneMore).rejects.toThrow(Cloudflare.BadRequestError);
    await outputs.delete(output.uid, of);
    expect((await outputs.list(input.uid, account)).result).toHaveLength(49);
  });

  it('sees a broadcast go out, become a recording, and be told of by both kinds of webhooks', async () => {
    const { client, once, account, push, Cloudflare } = await createWorld({ outputPrivateTargets: true });
    const [live, recorded, sink] = [await createHook(), await createHook(), await startRtmpSink()];
    onTestFinished(() => sink.close());
    const { stream, alerting } = client;
    const recording = { mode: 'automatic', timeoutSeconds: 1 };
    const input = await stream.liveInputs.create({
      ...account,
      meta: { name: 'cam' },
      defaultCreator: 'me',
      recording,
    });
    const other = await stream.liveInputs.create({ ...account, recording });
    await stream.liveInputs.outputs.create(input.uid, {
      ...{ ...account, url: `rtmp://127.0.0.1:${sink.port}/app`, streamKey: 'their-key' },
    });
    const secret = 'secret-of-live-events';
    const hook = await alerting.destinations.webhooks.create({ ...account, name: 'relay', url: live.url, secret });
    const mechanisms = { webhooks: [{ id: hook.id }] };
    await alerting.policies.create({
      ...{ ...account, name: 'one input', alert_type: 'stream_live_notifications', enabled: true, mechanisms },
      filters: { input_id: [input.uid] },
    });
    const { secret: signing } = await stream.webhooks.update({ ...account, notificationUrl: recorded.url });

    const [publisher, unheard] = [push(input), push(other)];
    const onAir = await until(async () => (await videosOf(client, account.account_id, input))[0]);
    expect(onAir).toMatchObject({ status: { state: 'live-inprogress' }, duration: -1, liveInput: input.uid });
    await until(async () => {
      const [output] = (await stream.liveInputs.outputs.list(input.uid, account)).result;
      return (output as { status?: { current: { state: string } } }).status?.current.state === 'connected';
    });
    await sink.until(() => sink.tags.some(({ kind }) => kind === 'video'));
    expect((await stream.liveInputs.get(input.uid, account)).status).toMatchObject({ current: { state: 'connected' } });
    expect((await stream.list({ ...account, type: 'live', live_input_id: input.uid })).result).toEqual([
      await stream.get(onAir.uid, account),
    ]);
    await expect(once.stream.delete(onAir.uid, account)).rejects.toThrow(Cloudflare.ConflictError);
    await unheard.stop();
    await publisher.stop();

    const ready = await until(async () => {
      const [video] = (await stream.list({ ...account, status: 'ready', id: onAir.uid, include_counts: true })).result;
      return video;
    });
    expect(ready.duration).toBeGreaterThan(0);
    expect(await stream.videos.storageUsage({ ...account, creator: 'me' })).toMatchObject({
      ...{ creator: 'me', videoCount: 1, totalStorageMinutes: 1 },
    });
    const notice = await until(async () => recorded.received.find(({ json }) => json.uid === onAir.uid));
    const [, time, sig1] = /^time=(\d+),sig1=([0-9a-f]{64})$/.exec(String(notice.headers['webhook-signature'])) ?? [];
    expect(createHmac('sha256', signing).update(`${time}.${notice.text}`).digest('hex')).toBe(sig1);
    expect(notice.json).toEqual(JSON.parse(JSON.stringify(ready)));

    await until(async () => live.received.length >= 3);
    expect(live.received.map(({ headers }) => headers['cf-webhook-auth'])).toEqual([secret, secret, secret]);
    const [greeting, ...events] = live.received.map(({ json }) => json);
    expect(greeting?.text).toMatch(/^Hello World! This is a test message/);
    expect(events).toMatchObject([
      { name: 'one input', data: { input_id: input.uid, event_type: 'live_input.connected' } },
      { policy_name: 'one input', data: { input_id: input.uid, event_type: 'live_input.disconnected' } },
    ]);
    const shown = await alerting.destinations.webhooks.get(hook.id, account);
    expect(shown.last_success).toMatch(/^20/);

    const edit = { meta: { name: 'kept' }, requireSignedURLs: true, thumbnailTimestampPct: 0.5 };
    expect(await stream.edit(onAir.uid, { ...account, ...edit })).toMatchObject({ ...edit, uid: onAir.uid });
    expect((await stream.list({ ...account, search: 'KEPT' })).result).toHaveLength(1);
    await stream.liveInputs.delete(input.uid, account);
    expect((await stream.get(onAir.uid, account)).status.state).toBe('ready');
    await stream.delete(onAir.uid, account);
    await expect(once.stream.get(onAir.uid, account)).rejects.toThrow(Cloudflare.NotFoundError);
  });

  it('manages keys, and gets tokens that its own libraries verify', async () => {
    const { client, account } = await createWorld();
    const { stream } = client;
    const input = await stream.liveInputs.create(account);
    const key = await stream.keys.create(account);
    expect((await stream.keys.get(account)).result).toEqual([{ id: key.id, created: key.created }]);
    const { token } = await stream.token.create(input.uid, { ...account, id: key.id, pem: key.pem });
    const { d, p, q, dp, dq, qi, ...publicJwk } = JSON.parse(Buffer.from(key.jwk, 'base64').toString()) as JWK;
    expect([d, p, q, dp, dq, qi].every(Boolean)).toBe(true);
    const { payload } = await jwtVerify(token, await importJWK(publicJwk, 'RS256'), { subject: input.uid });
    expect([payload.kid, Number(payload.exp) - Date.now() / 1000 > 3500]).toEqual([key.id, true]);
    expect((await stream.token.create(input.uid, account)).token).not.toBe(token);
    await stream.keys.delete(key.id, account);
    expect((await stream.keys.get(account)).result).toEqual([]);
  });

  it('manages both kinds of webhooks, and has its token told good', async () => {
    const { client, once, account, Cloudflare } = await createWorld();
    const { stream, alerting } = client;
    await expect(once.stream.webhooks.get(account)).rejects.toThrow(Cloudflare.NotFoundError);
    const set = await stream.webhooks.update({ ...account, notificationUrl: 'http://127.0.0.1:9/a' });
    expect(await stream.webhooks.get(account)).toEqual(set);
    await stream.webhooks.delete(account);

    const { webhooks } = alerting.destinations;
    const body = { name: 'hook', url: 'http://127.0.0.1:9/b' };
    const { id } = await webhooks.create({ ...account, ...body });
    await webhooks.update(id, { ...account, ...body, name: 'renamed' });
    expect((await webhooks.list(account)).result).toMatchObject([{ id, name: 'renamed', url: body.url }]);
    const live = { name: 'p', alert_type: 'stream_live_notifications', enabled: true };
    const mechanisms = { webhooks: [{ id }] };
    const policy = await alerting.policies.create({ ...account, ...live, mechanisms });
    const filters = { event_type: ['live_input.errored'] };
    await alerting.policies.update(policy.id, { ...account, enabled: false, filters });
    const shown = await alerting.policies.get(policy.id, account);
    expect(shown).toMatchObject({ ...live, enabled: false, filters, mechanisms });
    expect((await alerting.policies.list(account)).result).toEqual([shown]);
    await alerting.policies.delete(policy.id, account);
    await webhooks.delete(id, account);
    await expect(once.alerting.destinations.webhooks.get(id, account)).rejects.toThrow(Cloudflare.NotFoundError);

    expect((await client.user.tokens.verify()).status).toBe('active');
    expect((await client.accounts.tokens.verify(account)).status).toBe('active');
  });

  it('has a class for each error, with its code', async () => {
    const { client, once, account, Cloudflare, settings, fault } = await createWorld();
    const failing = async (work: Promise<unknown>) => {
      const error = (await work.then(
        () => undefined,
        (thrown: unknown) => thrown,
      )) as Error & { status: number; errors: { code: number }[] };
      return [error.constructor, error.status, error.errors[0]?.code];
    };
    const { liveInputs } = once.stream;
    const stranger = new Cloudflare({ ...settings, apiToken: 'wrong-token', maxRetries: 0 });
    expect(await failing(stranger.stream.liveInputs.list(account))).toEqual([
      Cloudflare.AuthenticationError,
      401,
      10000,
    ]);
    expect(await failing(stranger.user.tokens.verify())).toEqual([Cloudflare.AuthenticationError, 401, 1000]);
    expect(await failing(liveInputs.list({ account_id: 'b2'.repeat(16) }))).toEqual([
      ...[Cloudflare.NotFoundError, 404, 7003],
    ]);
    expect(await failing(liveInputs.get('unknown', account))).toEqual([Cloudflare.NotFoundError, 404, 10003]);
    expect(await failing(once.stream.directUpload.create({ ...account, maxDurationSeconds: 60 }))).toEqual([
      ...[Cloudflare.NotFoundError, 404, 7003],
    ]);
    const bad = [Cloudflare.BadRequestError, 400];
    expect(await failing(liveInputs.create({ ...account, deleteRecordingAfterDays: 7 }))).toEqual([...bad, 10060]);
    expect(await failing(liveInputs.create({ ...account, recording: { mode: 'x' } }))).toEqual([...bad, 10005]);
    const used = { ...account, 'Idempotency-Key': 'intent-1' };
    await client.stream.liveInputs.delete((await client.stream.liveInputs.create(used)).uid, account);
    expect(await failing(liveInputs.create(used))).toEqual([Cloudflare.ConflictError, 409, 10005]);
    await fault('rate-limited', { retryAfterSeconds: 1, times: 1 });
    expect(await failing(liveInputs.list(account))).toEqual([Cloudflare.RateLimitError, 429, 10000]);
    await fault('no-subscription', { times: 1 });
    expect(await failing(liveInputs.list(account))).toEqual([Cloudflare.PermissionDeniedError, 403, 10002]);
    await fault('failing', { times: 1 });
    expect(await failing(liveInputs.list(account))).toEqual([Cloudflare.InternalServerError, 500, 10001]);
  });

  it('asks again after a failure: one idempotency key, one input, also when the answer was lost', async () => {
    const { client, account, sent, fault } = await createWorld();
    const { liveInputs } = client.stream;
    await fault('failing', { times: 1 });
    const first = await liveInputs.create({ ...account, 'Idempotency-Key': 'intent-1' });
    await fault('lost-creation', { times: 1 });
    const second = await liveInputs.create({ ...account, 'Idempotency-Key': 'intent-2' });
    expect(sent.map(({ key, http }) => [key, http])).toEqual([
      ...[
        ['intent-1', 500],
        ['intent-1', 200],
        ['intent-2', 500],
      ],
      ['intent-2', 200],
    ]);
    const uids = ((await liveInputs.list(account)) as InputJson[]).map(({ uid }) => uid);
    expect(uids.sort()).toEqual([first.uid, second.uid].sort());
    // Without a key the client's own retry leaves an orphan, as with the real one.
    await fault('lost-creation', { times: 1 });
    await liveInputs.create(account);
    expect(await liveInputs.list(account)).toHaveLength(4);
  });

  it('is limited to so many calls when that is set, and waits as long as it is told when it is told', async () => {
    const { client, once, account, Cloudflare, fault, sent } = await createWorld({ apiRequestLimit: 4 });
    await fault('rate-limited', { retryAfterSeconds: 1, times: 1 });
    const startedMs = performance.now();
    await client.stream.liveInputs.list(account);
    expect(performance.now() - startedMs).toBeGreaterThan(950);
    expect(sent.map(({ http }) => http)).toEqual([429, 200]);
    for (const _ of [2, 3, 4]) await client.stream.liveInputs.list(account);
    await expect(once.stream.list(account)).rejects.toThrow(Cloudflare.RateLimitError);
    await expect(once.stream.liveInputs.list(account)).rejects.toMatchObject({ status: 429 });
  });

  it('meets the oddities of the real API when faults ask for them', async () => {
    const { client, once, account, Cloudflare, fault, push } = await createWorld();
    const { liveInputs } = client.stream;
    const input = await liveInputs.create({ ...account, recording: { mode: 'automatic', timeoutSeconds: 1 } });
    await fault('wrapped-list', { times: 1 });
    expect(await liveInputs.list(account)).toMatchObject({ liveInputs: [{ uid: input.uid }], total: 1 });
    await fault('slow-replies', { delayMs: 500, times: 1 });
    const impatient = once.stream.liveInputs.list(account, { timeout: 100 });
    await expect(impatient).rejects.toThrow(Cloudflare.APIConnectionTimeoutError);
    await fault('output-error');
    const destination = { url: 'rtmp://127.0.0.1:9/app', streamKey: 'their-key' };
    const output = await liveInputs.outputs.create(input.uid, { ...account, ...destination });
    expect(output).toMatchObject({ status: { current: { state: 'error' } } });

    const publisher = push(input);
    await fault('status-word');
    await until(async () => (await liveInputs.get(input.uid, account)).status !== null);
    expect((await liveInputs.get(input.uid, account)).status).toBe('connected');
    await publisher.stop();
    await fault('storage-exhausted');
    expect((await push(input).exited).end).toBe('exited');
    expect(await client.stream.videos.storageUsage({ ...account })).toMatchObject({ totalStorageMinutes: 1000 });

    // The client takes an empty answer for broken JSON, although the input is gone.
    await fault('empty-deletion', { times: 1 });
    await expect(liveInputs.delete(input.uid, account)).rejects.toThrow(SyntaxError);
    await expect(once.stream.liveInputs.get(input.uid, account)).rejects.toThrow(Cloudflare.NotFoundError);
  });

  it('reaches no fault where there is no port for them', async () => {
    const { client, once, account, address, Cloudflare } = await createWorld({ adminPort: undefined });
    expect(address).not.toHaveProperty('adminPort');
    const headers = {
      ...{ authorization: `Bearer ${address.apiToken.reveal()}`, 'content-type': 'application/json' },
      ...{ 'x-fault': 'failing', prefer: 'code=500' },
    };
    for (const base of [address.apiBaseUrl, `http://127.0.0.1:${address.httpPort}`]) {
      for (const path of [
        '/faults',
        '/faults/failing',
        '/live-webhook',
        `/accounts/${account.account_id}/faults/dark`,
      ]) {
        const { status } = await fetch(base + path, { method: 'PUT', headers, body: '{}' });
        expect([404, 405], base + path).toContain(status);
      }
    }
    await expect(once.get(`/accounts/${account.account_id}/stream/faults`)).rejects.toThrow(Cloudflare.NotFoundError);
    expect(await client.stream.liveInputs.list(account)).toEqual([]);
  });

  it('has called every address of the contract by now', () => {
    expect(contractCalls.filter((call) => !called.has(call))).toEqual([]);
  });
});
