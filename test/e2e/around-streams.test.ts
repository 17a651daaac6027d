/** What apps and glasses have of a real relay beside managed streams: the SDK's REST, events, orders, other apps' streams. */
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRelayWorld, type Frame, type RelayWorld } from '../support/relay-world.ts';

let world: RelayWorld;
beforeAll(async () => {
  world = await createRelayWorld();
});
afterAll(async () => {
  expect(await world.close()).toEqual([]);
});

const ofType = (type: string) => (frame: Frame) => frame.type === type;

/** An app that runs for a user. */
async function running(packageName: string, userId: string, permissions = ['ALL']) {
  const app = await world.app(packageName);
  await world.rest('PUT', `/api/apps/${packageName}`, {
    publicUrl: app.publicUrl,
    apiKey: app.apiKey,
    permissions: permissions.map((type) => ({ type })),
    settings: [{ key: 'mode', value: 'fast' }],
  });
  await world.rest('POST', `/api/apps/${packageName}/start`, { userId });
  await app.inbox.take('ack', ofType('tpa_connection_ack'));
  return app;
}

async function call(method: string, path: string, bearer?: string, body?: object) {
  const response = await fetch(`${world.url}${path}`, {
    method,
    // As the SDK does, also where there is no body.
    headers: { 'content-type': 'application/json', ...(bearer ? { authorization: `Bearer ${bearer}` } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { status: response.status, ...((await response.json()) as object) } as Frame & { status: number };
}

describe('the REST of the SDK', () => {
  const userId = 'rest@example.com';
  const path = `/api/sdk/simple-storage/${encodeURIComponent(userId)}`;

  it('keeps what an app stores, for that app alone, and writes no key to the log (defect 45)', async () => {
    const app = await running('com.example.store', userId);
    const other = await running('com.example.other', userId);
    const [mine, theirs] = [app, other].map(({ packageName, apiKey }) => `${packageName}:${apiKey}`);
    const data = { a: '1', b: 'x'.repeat(90_000), c: 'y'.repeat(90_000), d: 'z'.repeat(90_000) };
    expect(await call('PUT', path, mine, { data })).toEqual({ status: 200, success: true });
    expect(await call('PUT', `${path}/a`, mine, { value: '2' })).toMatchObject({ status: 200, success: true });
    expect(await call('DELETE', `${path}/b`, mine)).toMatchObject({ status: 200, success: true });
    expect(await call('GET', `${path}/a`, mine)).toEqual({ status: 200, success: true, data: '2' });
    expect(await call('GET', `${path}/b`, mine)).toEqual({ status: 200, success: true });
    expect(await call('GET', '/api/sdk/simple-storage/REST@example.com', mine)).toMatchObject({
      data: { a: '2', c: data.c, d: data.d },
    });
    expect(await call('GET', path, theirs)).toEqual({ status: 200, success: true, data: {} });
    expect(await call('DELETE', path, mine)).toMatchObject({ success: true });
    expect(await call('GET', path, mine)).toEqual({ status: 200, success: true, data: {} });
    expect(world.logLines.filter((line) => line.includes(app.apiKey) || line.includes(other.apiKey))).toEqual([]);
  });

  it('refuses whoever has no key, is too big, or asks for strangers', async () => {
    const app = await running('com.example.refused', userId);
    const mine = `${app.packageName}:${app.apiKey}`;
    const refusals: [string, string | undefined, object | undefined, number, string][] = [
      [path, undefined, undefined, 401, 'INVALID_API_KEY'],
      [path, `${app.packageName}:wrong`, undefined, 401, 'INVALID_API_KEY'],
      [path, app.packageName, undefined, 401, 'INVALID_API_KEY'],
      [path, 'com.example.nobody:key', undefined, 404, 'PACKAGE_NOT_FOUND'],
      ['/api/sdk/simple-storage/stranger@example.com', mine, undefined, 404, 'SESSION_NOT_FOUND'],
      [path, mine, { data: { a: 1 } }, 400, 'MALFORMED_MESSAGE'],
      [path, mine, { data: { a: 'x'.repeat(100_001) } }, 413, 'APP_STORAGE_FULL'],
    ];
    for (const [where, bearer, body, status, error] of refusals) {
      expect(await call(body ? 'PUT' : 'GET', where, bearer, body)).toMatchObject({ status, error });
    }
  });

  it('tells an app its settings by the id of its session, which nobody can guess, and by nothing else (defect 61)', async () => {
    const app = await running('com.example.settings', userId);
    const settings = (bearer?: string) => call('GET', `/appsettings/user/${app.packageName}`, bearer);
    const answer = { status: 200, success: true, settings: [{ key: 'mode', value: 'fast' }] };
    const other = await running('com.example.elsewhere', userId);
    const [mine, theirs] = [app, other].map(({ webhooks }) => String(webhooks.frames[0]?.sessionId));
    expect(await settings(mine)).toEqual(answer);
    for (const wrong of [undefined, userId, `${userId}-${app.packageName}`, theirs, mine?.slice(0, -1)]) {
      expect(await settings(wrong)).toMatchObject({ status: 401, error: 'INVALID_SESSION' });
    }
  });

  it('says what it does not offer', async () => {
    for (const unknown of ['/api/auth/exchange-user-token', '/api/app-communication/discover-users']) {
      expect(await call('POST', unknown, 'key', {})).toMatchObject({ status: 501, error: 'NOT_OFFERED' });
    }
  });

  it('shrugs off TLS on its plain port, which SDKs knock with when they look for permissions (defect 62)', async () => {
    const { hostname, port } = new URL(world.url);
    const knock = connectTls({ host: hostname, port: Number(port), rejectUnauthorized: false });
    const outcome = await new Promise((resolve) => {
      knock.on('error', () => resolve('refused'));
      knock.on('secureConnect', () => resolve('spoken to'));
    });
    expect(outcome).toBe('refused');
    expect(await call('GET', '/api/public/permissions/com.example.settings')).toMatchObject({
      status: 200,
      permissions: [{ type: 'ALL' }],
    });
  });
});

describe('apps and glasses beside streams', () => {
  it('pass events and orders on, each to whom it is for, and survive a new pair of glasses', async () => {
    const userId = 'events@example.com';
    const glasses = await world.glasses(userId);
    const [first, second] = [
      await running('com.example.ear', userId),
      await running('com.example.eye', userId, ['CAMERA']),
    ];
    first.send({ type: 'subscription_update', subscriptions: ['button_press', 'location_stream', 'all'] });
    second.send({ type: 'subscription_update', subscriptions: ['VAD', 'head_position'] });
    expect(await second.inbox.take('the refusal', ofType('permission_error'))).toMatchObject({
      details: [{ stream: 'VAD', requiredPermission: 'MICROPHONE' }],
    });
    await glasses.inbox.take('the tier', ({ type, tier }) => type === 'set_location_tier' && tier === 'standard');
    for (const type of ['vad', 'head_position', 'brand_new']) glasses.send({ type, position: 'up', extra: null });
    const streamOf = (name: string) => (frame: Frame) => frame.type === 'data_stream' && frame.streamType === name;
    expect(await first.inbox.take('the unknown', streamOf('brand_new'))).toMatchObject({
      sessionId: expect.stringContaining(`${userId}-com.example.ear-`),
      data: { type: 'brand_new', position: 'up', extra: null },
    });
    await second.inbox.take('the head', streamOf('head_position'));
    expect(second.inbox.frames.filter(streamOf('VAD'))).toEqual([]);
    expect(first.inbox.frames.filter(streamOf('VAD'))).toHaveLength(1);

    first.send({ type: 'audio_play_request', requestId: 'a1', audioUrl: 'http://x/a.mp3' });
    await glasses.inbox.take('the sound', ofType('audio_play_request'));
    glasses.send({ type: 'audio_play_response', requestId: 'a1', success: true });
    await first.inbox.take('the answer', ofType('audio_play_response'));
    expect(second.inbox.frames.filter(ofType('audio_play_response'))).toEqual([]);

    const newer = await world.glasses(userId);
    newer.send({ type: 'glasses_connection_state', modelName: 'Glasscast', status: 'CONNECTED' });
    expect(await second.inbox.take('other capabilities', ofType('capabilities_update'))).toMatchObject({
      modelName: 'Glasscast',
      capabilities: { hasSpeaker: false },
    });
    expect(await glasses.closed()).toBe(4001);
    newer.send({ type: 'ping' });
    await newer.inbox.take('pong', ofType('pong'));
  });

  it('an app acts for itself alone, whatever name it writes (defect 40), and others hear of its stream without its key (defect 33)', async () => {
    const userId = 'names@example.com';
    const glasses = await world.glasses(userId);
    glasses.state.onStart = 'nothing';
    const owner = await running('com.example.owner', userId);
    const other = await running('com.example.liar', userId);
    other.send({ type: 'subscription_update', subscriptions: ['rtmp_stream_status'] });
    owner.send({ type: 'subscription_update', subscriptions: ['rtmp_stream_status'] });
    const rtmpUrl = 'rtmp://127.0.0.1:9/live/very-secret-key';
    owner.send({ type: 'rtmp_stream_request', rtmpUrl });
    const start = await glasses.inbox.take('START', ofType('start_rtmp_stream'));
    expect(start).toMatchObject({ appId: owner.packageName, rtmpUrl });
    glasses.status({ status: 'streaming', streamId: start.streamId, rtmpUrl });
    const isActive = ({ status }: Frame) => status === 'active';
    await owner.inbox.take('active', (frame) => frame.type === 'rtmp_stream_status' && isActive(frame));
    const copy = await other.inbox.take(
      'a copy',
      (frame) => frame.type === 'data_stream' && isActive(frame.data as Frame),
    );
    expect(copy.data).toMatchObject({ type: 'rtmp_stream_status', appId: owner.packageName });

    other.send({ type: 'rtmp_stream_stop', packageName: owner.packageName, streamId: start.streamId });
    other.send({ type: 'stream_status_check', packageName: owner.packageName });
    const check = await other.inbox.take('check', ofType('stream_status_check_response'));
    expect(check).toMatchObject({
      hasActiveStream: true,
      streamInfo: { type: 'unmanaged', streamId: start.streamId, requestingAppId: owner.packageName },
    });
    expect(JSON.stringify(other.inbox.frames)).not.toContain('very-secret-key');
    expect(glasses.inbox.frames.filter(ofType('stop_rtmp_stream'))).toEqual([]);
    const direct = (frame: Frame) => frame.type === 'rtmp_stream_status' && isActive(frame);
    expect(owner.inbox.frames.filter(direct)).toHaveLength(1);
    expect(owner.inbox.frames.filter((frame) => frame.streamType === 'rtmp_stream_status')).toEqual([]);

    owner.send({ type: 'rtmp_stream_stop', streamId: start.streamId });
    await owner.inbox.take('stopped', ({ type, status }) => type === 'rtmp_stream_status' && status === 'stopped');
  });

  it('answers a stream request that it cannot read as a failed one, and stays', async () => {
    const app = await running('com.example.odd', 'odd@example.com');
    app.send({ type: 'rtmp_stream_request', rtmpUrl: 7 });
    expect(await app.inbox.take('the error', ofType('rtmp_stream_status'))).toMatchObject({
      status: 'error',
      errorCode: 'MALFORMED_MESSAGE',
    });
    app.send('{');
    await app.inbox.take('the complaint', ofType('message_error'));
    app.send({ type: 'ping' });
    await app.inbox.take('pong', ofType('pong'));
  });
});
