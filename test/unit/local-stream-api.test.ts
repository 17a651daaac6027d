/** The API as a client meets it: paths, envelope, codes and traps, without ports. */

import { join } from 'node:path';
import fc from 'fast-check';
import Fastify, { type InjectOptions } from 'fastify';
import Database from 'libsql';
import { afterEach, describe, expect, it } from 'vitest';
import { answerUnroutable, apiPrefix, createApi } from '../../cloud/local-stream/api/api.ts';
import { createLiveAlerts } from '../../cloud/local-stream/api/live-alerts.ts';
import { createLiveInputRegistry } from '../../cloud/local-stream/api/live-input-registry.ts';
import { createRequestLimit } from '../../cloud/local-stream/api/request-limit.ts';
import { createWebhooks } from '../../cloud/local-stream/api/webhooks.ts';
import { type Catalogue, openCatalogue } from '../../cloud/local-stream/catalogue.ts';
import { createPlaybackTokens } from '../../cloud/local-stream/playback/playback-tokens.ts';
import { editedVideo, newVideo, type Video } from '../../cloud/local-stream/recordings/video.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { temporaryFolder } from '../support/local-stream-world.ts';
import { contractCalls, contractViolations } from '../support/stream-contract.ts';
import { createTestClock } from '../support/test-clock.ts';

const token = 'token-of-the-test';
const account = 'a1'.repeat(16);
const opened: Catalogue[] = [];
afterEach(() => {
  for (const catalogue of opened.splice(0)) catalogue.close();
});

interface InputJson {
  uid: string;
  rtmps: { url: string; streamKey: string };
  [field: string]: unknown;
}

function createWorld({ dataDir = temporaryFolder(), clock = createTestClock(), requestsPerWindow = 0 } = {}) {
  const catalogue = openCatalogue({ dataDir });
  opened.push(catalogue);
  const changed: string[] = [];
  const videos = new Map<string, Video>();
  const redactor = createRedactor();
  const registry = createLiveInputRegistry({
    catalogue,
    clock,
    redactor,
    log: silentLog(),
    onChanged: (uid) => void changed.push(uid),
    onKeysRotated: (uid) => void changed.push(`${uid} keys`),
  });
  registry.start();
  const webhooks = createWebhooks({ catalogue, accountId: account, clock, log: silentLog(), redactor });
  const greeted: string[] = [];
  const app = Fastify({ frameworkErrors: answerUnroutable });
  const library = {
    list: () => [...videos.values()].sort((a, b) => b.createdMs - a.createdMs),
    get: (uid: string) => videos.get(uid),
    edit(uid: string, body: Parameters<typeof editedVideo>[1]) {
      const video = videos.get(uid);
      const edited = video && editedVideo(video, body, clock.now());
      if (edited && 'uid' in edited) videos.set(uid, edited);
      return edited;
    },
    async remove(uid: string) {
      const video = videos.get(uid);
      if (!video) return undefined;
      return video.state !== 'live-inprogress' && videos.delete(uid);
    },
  };
  const addresses = () => ({ httpOrigin: 'http://127.0.0.1:1', rtmpUrl: 'rtmp://127.0.0.1:2/live/' });
  app.register(
    createApi({
      ...{ registry, library, addresses, outputs: { states: () => new Map() } },
      apiToken: new Secret(token),
      accountId: account,
      log: silentLog(),
      storageUsage: (creator) => ({
        totalStorageMinutes: creator ? 1 : 3,
        totalStorageMinutesLimit: 1000,
        videoCount: 1,
      }),
      webhooks: { ...webhooks, greet: ({ url }) => void greeted.push(url) },
      tokens: createPlaybackTokens({ catalogue, clock }),
      alerts: createLiveAlerts({ catalogue, clock, redactor }),
      requestLimit: requestsPerWindow > 0 ? createRequestLimit({ clock, requestsPerWindow }) : undefined,
    }),
    { prefix: apiPrefix },
  );
  async function raw(options: InjectOptions) {
    const { statusCode: http, headers, payload } = await app.inject(options);
    return { http, body: payload === '' ? undefined : JSON.parse(payload), headers };
  }
  async function call(
    method: InjectOptions['method'] & string,
    path: string,
    payload?: object,
    headers: Record<string, string> = {},
  ) {
    const url = `${apiPrefix}/accounts/${account}/stream${path}`;
    const sent = { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers };
    return raw({ method: method as 'GET', url, headers: sent, ...(payload ? { payload } : {}) });
  }
  const create = async (body: object = {}, headers: Record<string, string> = {}) =>
    (await call('POST', '/live_inputs', body, headers)).body.result as InputJson;
  return { dataDir, clock, raw, call, create, changed, videos, registry, redactor, greeted };
}

const failure = (code: number) => ({ success: false, errors: [{ code }], messages: [], result: null });

describe('the door', () => {
  it.each([undefined, 'Bearer wrong', token, `bearer ${token}`])('refuses %s', async (authorization) => {
    const { raw } = createWorld();
    const url = `${apiPrefix}/accounts/${account}/stream/live_inputs`;
    const { http, body } = await raw({ url, headers: authorization ? { authorization } : {} });
    expect(http).toBe(401);
    expect(body).toEqual({ ...failure(10000), errors: [{ code: 10000, message: 'Authentication error' }] });
  });
  it('knows its account and its routes', async () => {
    const { raw, call } = createWorld();
    const headers = { authorization: `Bearer ${token}` };
    const stranger = await raw({ url: `${apiPrefix}/accounts/${'b2'.repeat(16)}/stream/live_inputs`, headers });
    expect(stranger).toMatchObject({ http: 404, body: failure(7003) });
    for (const [method, path] of [
      ['PATCH', '/live_inputs'],
      ['PUT', '/keys'],
      ['PUT', '/some-video'],
      ['POST', '/storage-usage/all'],
      ['GET', '/some-video/token'],
    ] as const) {
      expect(await call(method, path), `${method} ${path}`).toMatchObject({ http: 404, body: failure(7003) });
    }
  });
  it('answers HEAD as it does GET, without a body', async () => {
    const { call } = createWorld();
    expect(await call('HEAD', '/live_inputs')).toMatchObject({ http: 200, body: undefined });
    expect(await call('HEAD', '/nobody')).toMatchObject({ http: 404, body: undefined });
  });
  it('tells a good token by either address, and a wrong one in the words of that address', async () => {
    const { raw } = createWorld();
    for (const path of ['/user/tokens/verify', `/accounts/${account}/tokens/verify`]) {
      const url = apiPrefix + path;
      const good = await raw({ url, headers: { authorization: `Bearer ${token}` } });
      expect(good).toMatchObject({ http: 200, body: { success: true, result: { status: 'active' } } });
      expect(await raw({ url })).toMatchObject({ http: 401, body: failure(1000) });
    }
  });
  it('closes for five minutes to who calls too often, and says until when', async () => {
    const { call, clock } = createWorld({ requestsPerWindow: 3 });
    for (const left of [2, 1, 0]) {
      const { http, headers } = await call('GET', '/live_inputs');
      expect([http, headers.ratelimit]).toEqual([200, `"default";r=${left};t=300`]);
    }
    await clock.advance(100_000);
    const blocked = await call('GET', '/live_inputs');
    expect(blocked).toMatchObject({ http: 429, body: failure(10000), headers: { 'retry-after': '300' } });
    await clock.advance(299_000);
    expect(await call('DELETE', '/webhook')).toMatchObject({ http: 429, headers: { 'retry-after': '1' } });
    await clock.advance(1_000);
    expect(await call('GET', '/live_inputs')).toMatchObject({
      http: 200,
      headers: { 'ratelimit-policy': '"default";q=3;w=300' },
    });
    expect((await createWorld().call('GET', '/live_inputs')).headers).not.toHaveProperty('ratelimit');
  });
  it.each(['/direct_upload', '/copy', '/clip', '/watermarks', '', '/some-video/downloads', '/some-video/captions/en'])(
    'says of uploads (%s) that they are not offered',
    async (path) => {
      const { call } = createWorld();
      const { http, body } = await call('POST', path, {});
      expect([http, body.errors]).toEqual([404, [{ code: 7003, message: expect.stringContaining('not offered') }]]);
    },
  );
  it('refuses what is not JSON', async () => {
    const { raw } = createWorld();
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const url = `${apiPrefix}/accounts/${account}/stream/live_inputs`;
    expect(await raw({ method: 'POST', url, headers, payload: '{"meta":' })).toMatchObject({
      http: 400,
      body: failure(10005),
    });
    expect(await raw({ method: 'POST', url, headers, payload: '[]' })).toMatchObject({
      http: 400,
      body: failure(10005),
    });
  });
});

describe('whatever is asked', () => {
  const words = [
    'live_inputs',
    'meta',
    'recording',
    'mode',
    'enabled',
    'url',
    'streamKey',
    'uid',
    'exp',
    'accessRules',
  ];
  const more = ['name', 'secret', 'mechanisms', 'webhooks', 'id', 'filters', 'notificationUrl', 'scheduledDeletion'];
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom('', 'automatic', 'http://a/', 'rtmp://a/b', 1e300, -1, '2020-01-01T00:00:00Z', true),
  );
  const body = fc.oneof(fc.jsonValue(), fc.dictionary(fc.constantFrom(...words, ...more, '__proto__'), value));

  it('the answer is one of the contract, and never an internal error', async () => {
    const { raw, create, call, videos, registry, clock } = createWorld();
    const { uid } = await create();
    const input = registry.get(uid);
    const key = (await call('POST', '/keys')).body.result as { id: string };
    if (!input) throw new Error('it is gone');
    const video = newVideo(input, clock.now());
    videos.set(video.uid, video);
    const ids = fc.constantFrom(uid, video.uid, key.id, 'f'.repeat(32), '%00', '%zz', 'a'.repeat(300), '..%2f..');
    // Making keys is slow, and taken apart in a test of its own.
    const calls = contractCalls.filter((one) => one !== 'POST /stream/keys');
    const query = fc.oneof(fc.constant(''), fc.webQueryParameters());
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...calls),
        ids,
        ids,
        query,
        body,
        async (one, first, second, search, payload) => {
          const [method = '', path = ''] = one.split(' ');
          const place = path.startsWith('/user/') ? '' : `/accounts/${account}`;
          const address = path.replace(':id', first).replace(':id', second);
          const url = `${apiPrefix}${place}${address}?${search}`;
          const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
          const sent = method === 'GET' ? {} : { payload: JSON.stringify(payload) };
          const answer = await raw({ method: method as 'GET', url, headers, ...sent });
          expect(answer.http, url).toBeLessThan(500);
          expect(contractViolations(method, `http://a${url}`, answer.http, answer.body)).toEqual([]);
        },
      ),
      { numRuns: 250 },
    );
  });
});

describe('live inputs', () => {
  it('are created with the defaults of the real API', async () => {
    const { create } = createWorld();
    const { uid, rtmps, ...rest } = await create();
    expect(uid).toMatch(/^[0-9a-f]{32}$/);
    expect(rtmps).toEqual({
      url: 'rtmp://127.0.0.1:2/live/',
      streamKey: expect.stringMatching(`^[0-9a-f]{32}k${uid}$`),
    });
    expect(rest).toMatchObject({
      enabled: true,
      meta: {},
      status: null,
      deleteRecordingAfterDays: null,
      recording: {
        mode: 'off',
        requireSignedURLs: false,
        allowedOrigins: null,
        hideLiveViewerCount: false,
        timeoutSeconds: null,
      },
      playback: {
        hls: `http://127.0.0.1:1/${uid}/manifest/video.m3u8`,
        dash: `http://127.0.0.1:1/${uid}/manifest/video.mpd`,
      },
      webRTCPlayback: { url: `http://127.0.0.1:1/${uid}/webRTC/play` },
      created: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
    });
    expect(rest).not.toHaveProperty('preferLowLatency');
    expect(rest).not.toHaveProperty('keysRotatedAt');
  });
  it('silent traps: 200, and the echo tells', async () => {
    const { create } = createWorld();
    const recording = { mode: 'automatic', timeoutSeconds: 0, deleteRecordingAfterDays: 40 };
    const input = await create({ recording, timeoutSeconds: 30, nonsense: true });
    expect(input.recording).toEqual({
      mode: 'automatic',
      requireSignedURLs: false,
      allowedOrigins: null,
      hideLiveViewerCount: false,
      timeoutSeconds: null,
    });
    expect(input.deleteRecordingAfterDays).toBeNull();
    expect(input).not.toHaveProperty('nonsense');
  });
  it.each([
    [{ deleteRecordingAfterDays: 29 }, 10060],
    [{ deleteRecordingAfterDays: 1097 }, 10060],
    [{ recording: { mode: 'bogus' } }, 10005],
    [{ recording: { timeoutSeconds: -1 } }, 10005],
    [{ enabled: 'yes' }, 10005],
  ])('refuses %j', async (body, code) => {
    const { call } = createWorld();
    expect(await call('POST', '/live_inputs', body)).toMatchObject({ http: 400, body: failure(code) });
  });
  it('absurd values are refused or kept, and never an internal error', async () => {
    const { call, raw, registry } = createWorld();
    const deep = `{"meta":{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`;
    const sent = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const url = `${apiPrefix}/accounts/${account}/stream/live_inputs`;
    for (const payload of [
      deep,
      '{"__proto__":{"enabled":false}}',
      '{"meta":{"__proto__":{"a":1}}}',
      '[]',
      '""',
      '1e999',
    ]) {
      expect((await raw({ method: 'POST', url, headers: sent, payload })).http, payload.slice(0, 40)).toBeLessThan(500);
    }
    for (const recording of [
      { timeoutSeconds: -1 },
      { timeoutSeconds: 1e300 },
      { timeoutSeconds: 0.5 },
      { mode: null },
    ]) {
      expect((await call('POST', '/live_inputs', { recording })).http, JSON.stringify(recording)).toBe(400);
    }
    for (const query of [
      'limit=-1',
      'limit=1001',
      'limit=a',
      'live_input_id=a&live_input_id=b',
      'start=yesterday',
      'asc=1',
    ]) {
      expect((await call('GET', `/?${query}`)).http, query).toBe(400);
    }
    expect(registry.list().every(({ enabled }) => enabled)).toBe(true);
  });
  it('an update merges at the top and replaces recording as a whole', async () => {
    const { create, call, changed } = createWorld();
    const { uid, rtmps } = await create({ meta: { a: 1 }, recording: { mode: 'automatic', timeoutSeconds: 60 } });
    const off = await call('PUT', `/live_inputs/${uid}`, { enabled: false });
    expect(off.body.result).toMatchObject({ enabled: false, meta: { a: 1 }, rtmps, recording: { timeoutSeconds: 60 } });
    const replaced = await call('PUT', `/live_inputs/${uid}`, { recording: { mode: 'automatic' } });
    expect(replaced.body.result.recording.timeoutSeconds).toBeNull();
    expect(changed).toEqual([uid, uid]);
  });
  it('the list is bare and tells no credentials', async () => {
    const { create, call } = createWorld();
    const { uid } = await create({ meta: { name: 'one' } });
    const { body } = await call('GET', '/live_inputs');
    const counted = (await call('GET', '/live_inputs?include_counts=true')).body.result;
    expect(counted).toEqual({ liveInputs: body.result, range: 1, total: 1 });
    expect(body.result).toHaveLength(1);
    expect(Object.keys(body.result[0]).sort()).toEqual([
      'created',
      'deleteRecordingAfterDays',
      'enabled',
      'meta',
      'modified',
      'uid',
    ]);
    expect(body.result[0].uid).toBe(uid);
  });
  it('deleted once, unknown afterwards; a DELETE may come with a content type and no body', async () => {
    const { create, call, registry } = createWorld();
    const { uid, rtmps } = await create();
    expect(registry.byPublishKey(rtmps.streamKey)?.uid).toBe(uid);
    expect(await call('DELETE', `/live_inputs/${uid}`)).toMatchObject({
      http: 200,
      body: { success: true, result: {} },
    });
    for (const [method, path] of [
      ['GET', ''],
      ['PUT', ''],
      ['DELETE', ''],
      ['GET', '/outputs'],
      ['GET', '/videos'],
    ] as const) {
      expect(await call(method, `/live_inputs/${uid}${path}`)).toMatchObject({ http: 404, body: failure(10003) });
    }
    expect(registry.byPublishKey(rtmps.streamKey)).toBeUndefined();
  });
  it('one idempotency key, one input, for six hours', async () => {
    const { create, call, clock } = createWorld();
    const key = { 'idempotency-key': 'intent-1' };
    const first = await create({}, key);
    expect((await create({}, key)).uid).toBe(first.uid);
    expect((await create({}, { 'idempotency-key': 'intent-2' })).uid).not.toBe(first.uid);
    await call('DELETE', `/live_inputs/${first.uid}`);
    expect((await call('POST', '/live_inputs', {}, key)).http).toBe(409);
    await clock.advance(6 * 3_600_000 + 1);
    expect((await create({}, key)).uid).not.toBe(first.uid);
    expect((await call('POST', '/live_inputs', {}, { 'idempotency-key': 'x'.repeat(256) })).http).toBe(400);
  });
  it('an input and its idempotency key are written together or not at all', async () => {
    const { create, call, dataDir, registry } = createWorld();
    const other = new Database(join(dataDir, 'catalogue.db'));
    other.exec("CREATE TRIGGER refuse BEFORE INSERT ON idempotency_keys BEGIN SELECT RAISE(ABORT, 'no'); END");
    const key = { 'idempotency-key': 'k-1' };
    expect(await call('POST', '/live_inputs', {}, key)).toMatchObject({ http: 500, body: failure(10001) });
    expect(registry.list()).toEqual([]);
    other.exec('DROP TRIGGER refuse');
    other.close();
    const both = await Promise.all([create({}, key), create({}, key)]);
    expect(both[0].uid).toBe(both[1].uid);
    expect(registry.list()).toHaveLength(1);
  });
  it('keys work only whole, and each only for its own use', async () => {
    const { create, registry } = createWorld();
    const { uid, rtmps, rtmpsPlayback } = await create();
    const { streamKey } = rtmpsPlayback as { streamKey: string };
    expect(registry.byPlaybackKey(streamKey)?.uid).toBe(uid);
    for (const wrong of [streamKey, uid, rtmps.streamKey.slice(1), `0${rtmps.streamKey}`, '']) {
      expect(registry.byPublishKey(wrong)).toBeUndefined();
    }
  });
  it('survive a restart, with keys, outputs and idempotency; a broken connection is told as such', async () => {
    const before = createWorld();
    const input = await before.create({ meta: { a: 1 } }, { 'idempotency-key': 'k' });
    await before.call('POST', `/live_inputs/${input.uid}/outputs`, {
      url: 'rtmp://example.org/app',
      streamKey: 'destination-key',
    });
    before.registry.connectionChanged(input.uid, 'connected');
    for (const catalogue of opened.splice(0)) catalogue.close();
    const after = createWorld({ dataDir: before.dataDir, clock: before.clock });
    const { body } = await after.call('GET', `/live_inputs/${input.uid}`);
    expect(body.result).toMatchObject({
      rtmps: input.rtmps,
      meta: { a: 1 },
      status: { current: { state: 'disconnected' } },
    });
    expect((await after.create({}, { 'idempotency-key': 'k' })).uid).toBe(input.uid);
    expect(after.redactor.redact(`sent to destination-key and ${input.rtmps.streamKey}`)).toBe('sent to *** and ***');
  });
});

describe('outputs', () => {
  const destination = { url: 'rtmp://127.0.0.1:9/app', streamKey: 'their-key' };
  it('are added, listed, switched and removed; their destination never changes', async () => {
    const { create, call } = createWorld();
    const { uid } = await create();
    const path = `/live_inputs/${uid}/outputs`;
    const { body } = await call('POST', path, destination);
    expect(body.result).toEqual({ uid: expect.stringMatching(/^[0-9a-f]{32}$/), ...destination, enabled: true });
    const changed = await call('PUT', `${path}/${body.result.uid}`, {
      enabled: false,
      url: 'rtmp://other/app',
      streamKey: 'x',
    });
    expect(changed.body.result).toEqual({ ...body.result, enabled: false });
    expect((await call('GET', path)).body.result).toEqual([changed.body.result]);
    expect((await call('DELETE', `${path}/${body.result.uid}`)).body).toMatchObject({ success: true, result: {} });
    expect((await call('DELETE', `${path}/${body.result.uid}`)).body).toMatchObject(failure(10003));
    expect((await call('PUT', `${path}/${body.result.uid}`, { enabled: true })).body).toMatchObject(failure(10003));
  });
  it('fifty of them, not one more; and none without a destination', async () => {
    const { create, call } = createWorld();
    const { uid } = await create();
    for (let i = 0; i < 50; i += 1) await call('POST', `/live_inputs/${uid}/outputs`, destination);
    expect(await call('POST', `/live_inputs/${uid}/outputs`, destination)).toMatchObject({ http: 400 });
    expect((await call('GET', `/live_inputs/${uid}/outputs`)).body.result).toHaveLength(50);
    const srt = { ...destination, url: 'srt://example.org:778' };
    const other = await create();
    const refused = await call('POST', `/live_inputs/${other.uid}/outputs`, srt);
    expect(refused).toMatchObject({ http: 400, body: failure(10004) });
    expect(await call('POST', `/live_inputs/${uid}/outputs`, { url: 'rtmp://x/y' })).toMatchObject({
      http: 400,
      body: failure(10005),
    });
  });
});

describe('videos', () => {
  it('are listed by input, state and time, told in full, and deleted only when they are over', async () => {
    const { create, call, videos, clock, registry } = createWorld();
    const { uid } = await create({ meta: { name: 'cam' }, defaultCreator: 'me', deleteRecordingAfterDays: 30 });
    const input = registry.get(uid);
    if (!input) throw new Error('the input is gone');
    const live = newVideo(input, clock.now());
    const ready: Video = {
      ...newVideo(input, clock.now() - 5000),
      state: 'ready',
      readyMs: clock.now(),
      durationMs: 61_500,
      bytes: 9,
    };
    const other = { ...ready, uid: 'f'.repeat(32), liveInputUid: 'other', createdMs: clock.now() - 9000 };
    for (const video of [live, ready, other]) videos.set(video.uid, video);
    const uids = async (query: string) =>
      ((await call('GET', query)).body.result as { uid: string }[]).map((video) => video.uid);
    expect(await uids('')).toEqual([live.uid, ready.uid, other.uid]);
    expect(await uids(`?live_input_id=${uid}&asc=true`)).toEqual([ready.uid, live.uid]);
    expect(await uids(`?status=ready&limit=1`)).toEqual([ready.uid]);
    expect(await uids(`?before=${new Date(clock.now() - 8000).toISOString()}`)).toEqual([other.uid]);
    expect(await uids(`/live_inputs/${uid}/videos`)).toEqual([live.uid, ready.uid]);
    expect((await call('GET', '?include_counts=true&limit=2')).body).toMatchObject({ range: 2, total: 3 });

    expect((await call('GET', `/${live.uid}`)).body.result).toMatchObject({
      duration: -1,
      liveInput: uid,
      creator: 'me',
    });
    expect((await call('GET', `/${ready.uid}`)).body.result).toMatchObject({
      duration: 61.5,
      readyToStream: true,
      status: { state: 'ready', pctComplete: '100.000000' },
      scheduledDeletion: expect.stringMatching(/^20/),
    });
    expect((await call('GET', '/storage-usage')).body.result).toEqual({
      totalStorageMinutes: 3,
      totalStorageMinutesLimit: 1000,
      videoCount: 1,
    });
    const usage = (await call('GET', '/storage-usage?creator=me')).body.result;
    expect(usage).toMatchObject({ creator: 'me', totalStorageMinutes: 1 });
    expect(await call('DELETE', `/${live.uid}`)).toMatchObject({ http: 409, body: failure(10046) });
    expect(await call('DELETE', `/${ready.uid}`)).toMatchObject({ http: 200 });
    expect(await call('DELETE', `/${ready.uid}`)).toMatchObject({ http: 404, body: failure(10003) });
  });
});

describe('videos by what they are', () => {
  function listed() {
    const world = createWorld();
    const { videos, clock, call } = world;
    const add = (uid: string, fields: Partial<Video>) => {
      const base = newVideo({ ...input, uid: 'in' }, clock.now());
      videos.set(uid, { ...base, uid, createdMs: clock.now() - videos.size, ...fields });
    };
    const input = world.registry.create({ meta: {} }) as Exclude<ReturnType<typeof world.registry.create>, 'key-spent'>;
    add('a', { meta: { name: 'Morning walk' }, state: 'ready', creator: 'me' });
    add('b', { meta: { name: 'Evening walk' } });
    add('c', { meta: {}, state: 'error' });
    const uids = async (query: string) =>
      ((await call('GET', `?${query}`)).body.result as { uid: string }[]).map((video) => video.uid).join('');
    return { ...world, uids };
  }
  it.each([
    ['id=a', 'a'],
    ['id=a,c', 'ac'],
    ['name=b', 'b'],
    ['name=Morning walk,c', 'ac'],
    ['video_name=Morning walk', 'a'],
    ['video_name=Morning', ''],
    ['search=WALK', 'ab'],
    ['type=live', 'b'],
    ['type=vod', 'ac'],
    ['status=live-inprogress', 'b'],
    ['creator=me', 'a'],
    ['live_input_id=other', ''],
    ['asc=true&limit=2', 'cb'],
  ])('%s finds %j', async (query, wanted) => {
    expect(await listed().uids(query)).toBe(wanted);
  });
  it.each(['type=music', 'status=lost', 'include_counts=1', 'before=soon'])('refuses %s', async (query) => {
    expect(await listed().call('GET', `?${query}`)).toMatchObject({ http: 400, body: failure(10005) });
  });
  it('are edited: what is given changes, the rest stays', async () => {
    const { call, clock } = listed();
    const scheduledDeletion = new Date(clock.now() + 31 * 86_400_000).toISOString();
    const publicDetails = { title: 'Walk', share_link: null };
    const body = { meta: { name: 'new' }, requireSignedURLs: true, allowedOrigins: ['example.org'] };
    const more = { scheduledDeletion, thumbnailTimestampPct: 0.5, publicDetails, maxDurationSeconds: 60 };
    const { result } = (await call('POST', '/a', { ...body, ...more })).body;
    expect(result).toMatchObject({
      ...{ ...body, uid: 'a', creator: 'me', thumbnailTimestampPct: 0.5, publicDetails, maxDurationSeconds: null },
      scheduledDeletion: scheduledDeletion.replace('Z', '000Z'),
    });
    expect((await call('GET', '/a')).body.result).toEqual(result);
    const again = (await call('POST', '/a', { scheduledDeletion: null, creator: null, uid: 'a' })).body.result;
    expect(again).toMatchObject({ scheduledDeletion: null, creator: null, meta: { name: 'new' } });
    expect(await call('POST', '/nobody', {})).toMatchObject({ http: 404, body: failure(10003) });
    for (const wrong of [
      { uid: 'b' },
      { scheduledDeletion: new Date(clock.now() + 29 * 86_400_000).toISOString() },
      { scheduledDeletion: 'tomorrow' },
      { thumbnailTimestampPct: 1.5 },
      { creator: 'x'.repeat(65) },
      { meta: 'text' },
    ]) {
      expect(await call('POST', '/a', wrong), JSON.stringify(wrong)).toMatchObject({ http: 400, body: failure(10005) });
    }
  });
});

describe('tokens and their keys', () => {
  it('are made for what there is; a key is shown once', async () => {
    const { call, create } = createWorld();
    const { uid } = await create();
    const { body } = await call('POST', '/keys');
    expect(body.result).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
      ...{ pem: expect.any(String), jwk: expect.any(String), created: expect.stringMatching(/^20/) },
    });
    const { id, pem, created } = body.result as { id: string; pem: string; created: string };
    expect((await call('GET', '/keys')).body.result).toEqual([{ id, created }]);
    for (const request of [undefined, {}, { id, pem, downloadable: true }]) {
      const made = await call('POST', `/${uid}/token`, request);
      expect(made.body.result).toEqual({ token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/) });
    }
    expect(await call('POST', '/nobody/token')).toMatchObject({ http: 404, body: failure(10003) });
    for (const wrong of [{ exp: 1 }, { id }, { accessRules: [{ type: 'asn', action: 'allow' }] }, { nbf: 'now' }]) {
      expect(await call('POST', `/${uid}/token`, wrong)).toMatchObject({ http: 400, body: failure(10005) });
    }
    expect((await call('DELETE', `/keys/${id}`)).body).toMatchObject({ success: true, result: 'ok' });
    expect(await call('DELETE', `/keys/${id}`)).toMatchObject({ http: 404, body: failure(10003) });
  });
});

describe('notifications', () => {
  const url = `${apiPrefix}/accounts/${account}/alerting/v3`;
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const hook = { name: 'relay', url: 'http://127.0.0.1:1/hook', secret: 'secret-of-the-hook' };

  it('have destinations, greeted once, whose secret is never shown', async () => {
    const { raw, greeted, redactor, dataDir, clock } = createWorld();
    const destinations = `${url}/destinations/webhooks`;
    const made = await raw({ method: 'POST', url: destinations, headers, payload: hook });
    const { id } = made.body.result as { id: string };
    const shown = { id, name: 'relay', url: hook.url, type: 'generic', last_success: null, last_failure: null };
    expect((await raw({ url: destinations, headers })).body.result).toEqual([
      { ...shown, created_at: expect.stringMatching(/^20/) },
    ]);
    expect([greeted, redactor.redact(hook.secret)]).toEqual([[hook.url], '***']);
    const moved = { name: 'moved', url: 'http://127.0.0.1:2/hook' };
    await raw({ method: 'PUT', url: `${destinations}/${id}`, headers, payload: moved });
    const next = createWorld({ dataDir, clock });
    expect((await next.raw({ url: `${destinations}/${id}`, headers })).body.result).toMatchObject(moved);
    expect(next.redactor.redact(hook.secret)).toBe('***');
    for (const wrong of [{}, { ...hook, url: 'ftp://x' }, { ...hook, name: '' }]) {
      expect(await raw({ method: 'POST', url: destinations, headers, payload: wrong })).toMatchObject({ http: 400 });
    }
    expect(await raw({ method: 'DELETE', url: `${destinations}/${id}`, headers })).toMatchObject({ http: 200 });
    for (const method of ['GET', 'DELETE'] as const) {
      expect(await raw({ method, url: `${destinations}/${id}`, headers })).toMatchObject({ http: 404 });
    }
  });

  it('have policies, over destinations that exist, of live events and nothing else', async () => {
    const { raw } = createWorld();
    const made = await raw({ method: 'POST', url: `${url}/destinations/webhooks`, headers, payload: hook });
    const mechanisms = { webhooks: [{ id: (made.body.result as { id: string }).id }] };
    const policy = { name: 'live', alert_type: 'stream_live_notifications', enabled: true, mechanisms };
    const filters = { input_id: ['a,b'], event_type: ['live_input.connected'] };
    const added = await raw({ method: 'POST', url: `${url}/policies`, headers, payload: { ...policy, filters } });
    const { id } = added.body.result as { id: string };
    expect((await raw({ url: `${url}/policies/${id}`, headers })).body.result).toMatchObject({
      ...{ ...policy, id, description: '' },
      filters: { input_id: ['a', 'b'], event_type: ['live_input.connected'] },
    });
    await raw({ method: 'PUT', url: `${url}/policies/${id}`, headers, payload: { enabled: false, filters: {} } });
    expect((await raw({ url: `${url}/policies`, headers })).body.result).toMatchObject([
      { enabled: false, filters: {} },
    ]);
    for (const wrong of [
      { ...policy, alert_type: 'billing_usage_alert' },
      { ...policy, mechanisms: { webhooks: [{ id: 'unknown' }] } },
      { ...policy, mechanisms: { email: [{ id: 'a@b.c' }] } },
      { ...policy, filters: { zones: ['z'] } },
      { ...policy, enabled: undefined },
    ]) {
      const answer = await raw({ method: 'POST', url: `${url}/policies`, headers, payload: wrong });
      expect(answer, JSON.stringify(wrong)).toMatchObject({ http: 400, body: failure(10005) });
    }
    expect(await raw({ method: 'DELETE', url: `${url}/policies/${id}`, headers })).toMatchObject({ http: 200 });
    expect(await raw({ method: 'DELETE', url: `${url}/policies/${id}`, headers })).toMatchObject({ http: 404 });
  });
});

describe('keys', () => {
  it('are changed on request: the old ones open nothing, uid and settings stay', async () => {
    const { call, create, changed, registry, redactor } = createWorld();
    const before = await create({ recording: { mode: 'automatic' }, meta: { name: 'n' } });
    const { body } = await call('POST', `/live_inputs/${before.uid}/rotate_keys`);
    expect(body.result).toMatchObject({
      ...{ uid: before.uid, meta: { name: 'n' }, recording: { mode: 'automatic' } },
      rtmps: { streamKey: expect.stringMatching(new RegExp(`^[0-9a-f]{32}k${before.uid}$`)) },
      keysRotatedAt: expect.stringMatching(/^20.*000Z$/),
    });
    const key = (body.result as InputJson).rtmps.streamKey;
    expect([registry.byPublishKey(before.rtmps.streamKey), registry.byPublishKey(key)?.uid]).toEqual([
      undefined,
      before.uid,
    ]);
    expect(changed).toEqual([`${before.uid} keys`]);
    expect([redactor.redact(key), redactor.redact(before.rtmps.streamKey)]).toEqual(['***', before.rtmps.streamKey]);
    expect(await call('POST', '/live_inputs/unknown/rotate_keys')).toMatchObject({ http: 404, body: failure(10003) });
  });
});

describe('the webhook of recordings', () => {
  it('is one per account, kept over restarts, with a new secret each time', async () => {
    const { call, dataDir } = createWorld();
    expect(await call('GET', '/webhook')).toMatchObject({ http: 404 });
    expect(await call('PUT', '/webhook', { notificationUrl: 'ftp://x' })).toMatchObject({ http: 400 });
    const first = await call('PUT', '/webhook', { notificationUrl: 'http://127.0.0.1:1/a' });
    const second = await call('PUT', '/webhook', { notificationUrl: 'http://127.0.0.1:1/b' });
    const shown = { notificationUrl: 'http://127.0.0.1:1/b', secret: expect.any(String), modified: expect.any(String) };
    expect(second.body.result).toEqual(shown);
    expect(first.body.result).not.toMatchObject({ secret: (second.body.result as { secret: string }).secret });
    const next = createWorld({ dataDir });
    expect((await next.call('GET', '/webhook')).body).toEqual((await call('GET', '/webhook')).body);
    expect(await next.call('DELETE', '/webhook')).toMatchObject({ http: 200 });
    expect(await next.call('GET', '/webhook')).toMatchObject({ http: 404 });
  });
});
