import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLiveInputs, providerProfiles } from '../../cloud/provider/live-inputs.ts';
import { createStreamApi, type StreamApiOptions } from '../../cloud/provider/stream-api.ts';
import { silentLog } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';
import { createTestClock, type TestClock } from '../support/test-clock.ts';

const UID = 'a'.repeat(32);
const KEY = `${'b'.repeat(32)}k${UID}`;
const ok = (result: unknown) => ({ status: 200, body: { success: true, errors: [], messages: [], result } });
const refusal = (status: number, code: number, headers: Record<string, string> = {}) => ({
  status,
  headers,
  body: { success: false, errors: [{ code, message: `code ${code}` }], messages: [], result: null },
});
const created = (change: object = {}) => ({
  uid: UID,
  meta: { app: 'glasscast', stream: 'm1' },
  recording: { mode: 'automatic', timeoutSeconds: 120 },
  deleteRecordingAfterDays: 30,
  rtmps: { url: 'rtmps://live.cloudflare.com:443/live/', streamKey: KEY },
  webRTC: { url: 'https://customer-x.cloudflarestream.com/SECRET/webRTC/publish' },
  webRTCPlayback: { url: `https://customer-x.cloudflarestream.com/${UID}/webRTC/play` },
  status: null,
  ...change,
});

type Answer = { status: number; body?: unknown; text?: string; headers?: Record<string, string> } | Error | 'hang';
interface Call {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: unknown;
}

function world(
  answers: Answer[],
  options: Partial<StreamApiOptions> = {},
  kind: 'local' | 'cloudflare' = 'cloudflare',
) {
  const clock = createTestClock();
  const calls: Call[] = [];
  const fetchFake = ((url: string, init: RequestInit) => {
    const { method = 'GET', headers, body, signal } = init;
    calls.push({
      method,
      url,
      headers: headers as Record<string, string>,
      body: body ? JSON.parse(String(body)) : undefined,
    });
    const answer = answers.shift() ?? new Error('no more answers');
    if (answer instanceof Error) return Promise.reject(new TypeError('fetch failed', { cause: answer }));
    if (answer === 'hang') {
      return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    }
    const text = answer.text ?? JSON.stringify(answer.body);
    return Promise.resolve(new Response(text, { status: answer.status, headers: answer.headers ?? {} }));
  }) as typeof fetch;
  const api = createStreamApi({
    apiBaseUrl: 'https://api.example/client/v4/',
    accountId: 'acc',
    apiToken: new Secret('the-api-token'),
    clock,
    log: silentLog(),
    fetch: fetchFake,
    random: () => 0,
    ...options,
  });
  const inputs = createLiveInputs({ api, profile: providerProfiles[kind], relayId: 'relay-1' });
  return { clock, calls, inputs, api };
}
const asked = { streamId: 'm1', idempotencyKey: 'key-1', holdSeconds: 120, deleteRecordingAfterDays: 30 };

/** Settles a call that waits on the test clock. */
async function after<T>(clock: TestClock, ms: number, work: Promise<T>): Promise<T> {
  const settled = work.catch((error: unknown) => error as never);
  await clock.advance(ms);
  return settled;
}

it('ends at its close what is under way, waiting included', async () => {
  const { api, clock } = world(['hang', { status: 503 }]);
  const code = (call: Promise<unknown>) => call.catch((error) => error.code);
  const outcomes = Promise.all(['/a', '/b'].map((path) => code(api.call({ method: 'GET', path }))));
  await clock.advance(50);
  api.close();
  expect(await outcomes).toEqual(['SHUTTING_DOWN', 'SHUTTING_DOWN']);
  expect(await code(api.call({ method: 'GET', path: '/c' }))).toBe('SHUTTING_DOWN');
  expect(clock.pending()).toEqual([]);
});

describe('creation', () => {
  it('asks for a playable input with a mark and an idempotency key, and gives the addresses to watch (defects 23, 24, 25)', async () => {
    const { calls, inputs } = world([ok(created())]);
    const input = await inputs.create(asked);
    expect(calls).toMatchObject([
      {
        method: 'POST',
        url: 'https://api.example/client/v4/accounts/acc/stream/live_inputs',
        headers: { authorization: 'Bearer the-api-token', 'idempotency-key': 'key-1' },
        body: {
          defaultCreator: 'relay-1',
          meta: { name: 'glasscast m1', app: 'glasscast', relay: 'relay-1', stream: 'm1' },
          recording: { mode: 'automatic', timeoutSeconds: 120 },
          deleteRecordingAfterDays: 30,
        },
      },
    ]);
    expect(input.publishUrl.reveal()).toBe(`rtmps://live.cloudflare.com:443/live/${KEY}`);
    expect(JSON.stringify(input)).not.toContain(KEY);
    expect(input).toMatchObject({
      uid: UID,
      ingestState: 'never-connected',
      urls: {
        hlsUrl: `https://customer-x.cloudflarestream.com/${UID}/manifest/video.m3u8`,
        dashUrl: `https://customer-x.cloudflarestream.com/${UID}/manifest/video.mpd`,
        previewUrl: `https://customer-x.cloudflarestream.com/${UID}/iframe`,
      },
    });
    expect(input.urls.webrtcUrl).toBeUndefined();
    expect(JSON.stringify(input)).not.toMatch(/SECRET|publish"/);
  });

  it.each([
    ['recording.mode', { recording: { mode: 'off', timeoutSeconds: 120 } }],
    ['recording.timeoutSeconds', { recording: { mode: 'automatic', timeoutSeconds: null } }],
    ['deleteRecordingAfterDays', { deleteRecordingAfterDays: null }],
  ])('takes back an input whose %s was ignored', async (setting, change) => {
    const { calls, inputs } = world([ok(created(change)), { status: 200, text: '' }]);
    await expect(inputs.create(asked)).rejects.toMatchObject({ code: 'PROVIDER_ECHO_MISMATCH', details: { setting } });
    expect(calls[1]).toMatchObject({ method: 'DELETE', url: expect.stringContaining(UID) });
  });

  it('is refused, and left alone, when it turns out to be another stream’s', async () => {
    const { calls, inputs } = world([ok(created({ meta: { app: 'glasscast', stream: 'm2' } }))]);
    await expect(inputs.create(asked)).rejects.toMatchObject({ details: { setting: 'meta.stream' } });
    expect(calls.length).toBe(1);
  });

  it('without any address to watch is taken back', async () => {
    const { calls, inputs } = world([ok(created({ webRTCPlayback: undefined })), { status: 200, text: '{}' }]);
    await expect(inputs.create(asked)).rejects.toMatchObject({ code: 'PROVIDER_FAILED' });
    expect(calls[1]).toMatchObject({ method: 'DELETE', url: expect.stringContaining(UID) });
  });

  it('is repeated with its key after a failure, and only with it', async () => {
    const { clock, calls, inputs } = world([refusal(500, 10001), new Error('reset'), ok(created())]);
    expect(await after(clock, 5_000, inputs.create(asked))).toMatchObject({ uid: UID });
    expect(new Set(calls.map(({ headers }) => headers['idempotency-key']))).toEqual(new Set(['key-1']));
    const output = world([refusal(500, 10001)]);
    const target = { url: 'rtmp://a.example/live', streamKey: new Secret('k') };
    const failed = await after(output.clock, 60_000, output.inputs.createOutput(UID, target));
    expect(failed).toMatchObject({ code: 'PROVIDER_FAILED' });
    expect(output.calls.length).toBe(1);
  });
});

describe('answers', () => {
  it.each<[string, Answer, string]>([
    ['a bad token', refusal(401, 10000), 'PROVIDER_UNAUTHORIZED'],
    ['no subscription', refusal(403, 10002), 'PROVIDER_SUBSCRIPTION_MISSING'],
    ['a bad body', refusal(400, 10060), 'PROVIDER_REJECTED'],
    ['an unknown input', refusal(404, 10003), 'LIVE_INPUT_NOT_FOUND'],
    ['an unknown route', refusal(404, 7003), 'PROVIDER_REJECTED'],
    ['a conflict', refusal(409, 10046), 'PROVIDER_CONFLICT'],
  ])('%s is %s, at once', async (_name, answer, code) => {
    const { calls, inputs } = world([answer]);
    await expect(inputs.get(UID)).rejects.toMatchObject({ code });
    expect(calls.length).toBe(1);
  });

  it.each<[string, Answer, string]>([
    ['success: false', { status: 200, body: { success: false, result: null } }, 'PROVIDER_FAILED'],
    ['a web page', { status: 200, text: '<html>' }, 'PROVIDER_FAILED'],
    ['a refused connection', new Error('x'), 'PROVIDER_UNREACHABLE'],
    ['silence', 'hang', 'PROVIDER_UNREACHABLE'],
  ])('%s is a failure after three attempts', async (_name, answer, code) => {
    const { clock, calls, inputs } = world([answer, answer, answer, answer]);
    expect(await after(clock, 60_000, inputs.get(UID))).toMatchObject({ code });
    expect(calls.length).toBe(3);
    expect(clock.pending()).toEqual([]);
  });

  it('reads every shape of lists, states and empty successes', async () => {
    const items = [
      {
        uid: UID,
        meta: { app: 'glasscast', relay: 'relay-1', stream: 'm1' },
        created: '2026-10-09T10:00:00.123456Z',
      },
      { uid: 'of-another-relay', meta: { app: 'glasscast', relay: 'relay-2', stream: 'm1' } },
      { uid: 'other', meta: {} },
    ];
    const expected = [
      { uid: UID, streamId: 'm1', createdAtMs: Date.parse('2026-10-09T10:00:00.123Z') },
      { uid: 'of-another-relay', streamId: undefined, createdAtMs: undefined },
      { uid: 'other', streamId: undefined, createdAtMs: undefined },
    ];
    const usage = { totalStorageMinutes: 1, totalStorageMinutesLimit: 2, videoCount: 3 };
    const { inputs } = world([
      ok(items),
      ok({ liveInputs: items, range: 2, total: 2 }),
      ok(created({ status: 'connected' })),
      ok(created({ status: { current: { state: 'disconnected' }, history: [] } })),
      ok(created({ status: { current: null } })),
      ok(created({ status: 'something_new' })),
      { status: 200, text: '' },
      { status: 200, text: '{}' },
      ok([{ uid: 'v', status: { state: 'live-inprogress' } }, { uid: 'w' }]),
      ok([]),
      ok([{ uid: 'o', url: 'rtmp://a/live', streamKey: 'key-of-output' }]),
      ok(usage),
    ]);
    expect(await inputs.list()).toEqual(expected);
    expect(await inputs.list()).toEqual(expected);
    const states = [];
    for (let count = 0; count < 4; count += 1) states.push((await inputs.get(UID)).ingestState);
    expect(states).toEqual(['connected', 'disconnected', 'unknown', 'unknown']);
    await inputs.delete(UID);
    await inputs.deleteVideo('v');
    expect(await inputs.videos(UID)).toEqual([
      { uid: 'v', state: 'live-inprogress' },
      { uid: 'w', state: 'unknown' },
    ]);
    const outputs = await inputs.outputs(UID);
    expect(outputs).toMatchObject([{ uid: 'o', enabled: true, state: undefined }]);
    expect(JSON.stringify(outputs)).not.toContain('key-of-output');
    expect(await inputs.storageUsage()).toEqual(usage);
  });

  it('of any shape are read or refused by name', async () => {
    const wild = fc.oneof(
      fc.jsonValue(),
      fc.record({ uid: fc.jsonValue(), meta: fc.jsonValue(), status: fc.jsonValue(), created: fc.jsonValue() }),
      fc.jsonValue().map((status) => created({ status, meta: status, playback: undefined })),
      fc.array(fc.record({ uid: fc.string(), liveInput: fc.jsonValue(), status: fc.jsonValue(), url: fc.jsonValue() })),
    );
    await fc.assert(
      fc.asyncProperty(wild, async (result) => {
        const { inputs } = world(Array.from({ length: 20 }, () => ok(result)));
        const calls = [inputs.get(UID), inputs.list(), inputs.videos(UID), inputs.outputs(UID), inputs.storageUsage()];
        for (const outcome of await Promise.allSettled([...calls, inputs.setEnabled(UID, false)])) {
          if (outcome.status === 'rejected') expect(outcome.reason.code).toMatch(/^PROVIDER_/);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('names the field of an answer that it cannot use, and prints no key', async () => {
    const { inputs } = world([ok({ ...created(), rtmps: { url: 5, streamKey: KEY } })]);
    const error = (await inputs.get(UID).catch((thrown: unknown) => thrown)) as Error;
    expect(error.message).toMatch(/rtmps\.url/);
    expect(error.message).not.toContain(KEY);
  });

  it('believes no list that names another owner of a recording', async () => {
    const own = [{ uid: 'ours', liveInput: UID }, { uid: 'of-the-path' }, { uid: 'theirs', liveInput: 'x' }];
    const { inputs } = world([ok(own), ok([])]);
    expect((await inputs.videos(UID)).map(({ uid }) => uid)).toEqual(['ours', 'of-the-path']);
  });

  it('finds the recordings of an input that is gone, and nobody else’s when the filter is ignored', async () => {
    const { calls, inputs } = world([
      refusal(404, 10003),
      ok([{ uid: 'ours', liveInput: UID }, { uid: 'theirs', liveInput: 'x' }, { uid: 'uploaded' }]),
    ]);
    expect(await inputs.videos(UID)).toEqual([{ uid: 'ours', state: 'unknown' }]);
    expect(calls[1]?.url).toBe(`https://api.example/client/v4/accounts/acc/stream?live_input_id=${UID}`);
  });

  it('tells when a switch was accepted and dropped, and offers WHEP only where it plays', async () => {
    const { inputs, api } = world([ok({ enabled: true }), ok({}), ok(created())]);
    await expect(inputs.setEnabled(UID, false)).rejects.toMatchObject({ code: 'PROVIDER_ECHO_MISMATCH' });
    await inputs.setEnabled(UID, false);
    const { urls } = await createLiveInputs({ api, profile: providerProfiles.local, relayId: 'r' }).get(UID);
    expect(urls.webrtcUrl).toBe(`https://customer-x.cloudflarestream.com/${UID}/webRTC/play`);
  });
});
