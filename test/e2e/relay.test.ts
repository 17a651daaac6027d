import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRelay } from '../../cloud/relay.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createRelayWorld, type Frame, openPeer, type RelayWorld } from '../support/relay-world.ts';

const status = (word: string) => (frame: Frame) => frame.type === 'managed_stream_status' && frame.status === word;
const ofType = (type: string) => (frame: Frame) => frame.type === type;

let world: RelayWorld;
beforeAll(async () => {
  world = await createRelayWorld();
});
afterAll(async () => {
  expect(await world.close()).toEqual([]);
});

/** Resolves when nothing of any stream is left at the provider and in the relay. */
async function allGone(): Promise<void> {
  for (;;) {
    const left = await world.leftovers();
    const { streams } = await world.rest<{ streams: unknown[] }>('GET', '/api/streams');
    if (left.length === 0 && streams.length === 0) return;
    await world.clock.sleep(50);
  }
}

describe('the managed stream, end to end', () => {
  it('goes live for its first app, is joined by a second, and leaves nothing behind', async () => {
    const glasses = await world.glasses('ada-b@example.com');
    const first = await world.app('com.example.first');
    const second = await world.app('com.example.second');
    for (const app of [first, second]) {
      await world.rest('POST', `/api/apps/${app.packageName}/start`, { userId: 'ada-b@example.com' });
    }
    first.send({
      type: 'managed_stream_request',
      quality: '720p',
      enableWebRTC: true,
      video: { width: 320, height: 240, bitrate: 600_000, frameRate: 15 },
    });
    const start = await glasses.inbox.take('START', ofType('start_rtmp_stream'));
    expect(start).toMatchObject({
      appId: 'MANAGED_STREAM',
      sessionId: 'ada-b@example.com',
      video: { width: 320, height: 240, bitrate: 600_000, frameRate: 15, keyFrameIntervalMs: 1000 },
      audio: {},
      stream: {},
    });
    const initializing = await first.inbox.take('initializing', status('initializing'));
    expect(initializing).toMatchObject({ streamId: start.streamId });
    expect(Object.keys(initializing).filter((key) => /url/i.test(key))).toEqual([]);
    expect(String(start.streamId).length).toBeLessThanOrEqual(11);

    const active = await first.inbox.take('active', status('active'));
    expect(active.webrtcUrl).toBe(String(active.hlsUrl).replace('/manifest/video.m3u8', '/webRTC/play'));
    // On air: it is the offer that is wrong.
    const whep = await fetch(active.webrtcUrl as string, {
      ...{ method: 'POST', headers: { 'content-type': 'application/sdp' }, body: 'no offer' },
    });
    expect([whep.status, await whep.text()]).toEqual([400, 'Unable to parse SDP']);
    for (const url of [active.hlsUrl, active.dashUrl]) expect((await fetch(url as string)).status).toBe(200);
    expect(active.timeToLiveMs).toBeGreaterThan(0);

    second.send({ type: 'managed_stream_request' });
    expect(await second.inbox.take('join', status('active'))).toMatchObject({ hlsUrl: active.hlsUrl });
    second.send({ type: 'stream_status_check', sessionId: 'unknown-session-id', requestId: 'r1' });
    expect(await second.inbox.take('check', ofType('stream_status_check_response'))).toMatchObject({
      requestId: 'r1',
      hasActiveStream: true,
      streamInfo: { type: 'managed', streamId: start.streamId, status: 'active', activeViewers: 2 },
    });

    first.send({ type: 'managed_stream_stop' });
    await first.inbox.take('stopped', status('stopped'));
    expect(glasses.inbox.frames.filter(ofType('stop_rtmp_stream'))).toEqual([]);
    second.send({ type: 'managed_stream_stop' });
    expect(await second.inbox.take('stopped', status('stopped'))).toMatchObject({ streamId: start.streamId });
    expect(await glasses.inbox.take('STOP', ofType('stop_rtmp_stream'))).toMatchObject({ streamId: start.streamId });
    await allGone();

    // And again, at once: nothing of the first may disturb the second.
    first.send({ type: 'managed_stream_request' });
    await first.inbox.take('second active', status('active'));
    first.send({ type: 'managed_stream_stop' });
    await first.inbox.take('second stopped', status('stopped'));
    await allGone();
    for (const app of [first, second]) {
      expect(app.inbox.frames.filter(status('stopped')).length).toBe(app === first ? 2 : 1);
    }
    await glasses.close();
  });

  it('gives two apps that ask at once one live input', async () => {
    const glasses = await world.glasses('two@example.com');
    const apps = [await world.app('com.example.left'), await world.app('com.example.right')];
    for (const app of apps)
      await world.rest('POST', `/api/apps/${app.packageName}/start`, { userId: 'two@example.com' });
    for (const app of apps) app.send({ type: 'managed_stream_request' });
    const lives = await Promise.all(apps.map((app) => app.inbox.take('active', status('active'))));
    expect(lives[0]?.hlsUrl).toBe(lives[1]?.hlsUrl);
    expect(glasses.inbox.frames.filter(ofType('start_rtmp_stream')).length).toBe(1);
    expect(((await world.providerCall('/live_inputs')) as unknown[]).length).toBe(1);

    // The operator takes one off it; that app may ask again.
    const viewers = `/api/streams/${lives[0]?.streamId}/viewers`;
    expect(await world.rest('DELETE', `${viewers}/com.example.right`)).toMatchObject({ status: 204 });
    expect(await apps[1]?.inbox.take('removed', status('stopped'))).toMatchObject({
      ...{ streamId: lives[0]?.streamId, message: 'The operator has removed com.example.right from the stream' },
    });
    expect(await world.rest('GET', `/api/streams/${lives[0]?.streamId}`)).toMatchObject({
      ...{ state: 'active', viewers: ['com.example.left'] },
    });
    apps[1]?.send({ type: 'managed_stream_request' });
    await apps[1]?.inbox.take('joined again', status('active'));

    // A request while the first one ends waits for its end, and then gets a stream of its own.
    apps[1]?.send({ type: 'managed_stream_stop' });
    await apps[1]?.inbox.take('stopped', status('stopped'));
    apps[0]?.send({ type: 'managed_stream_stop' });
    apps[0]?.send({ type: 'managed_stream_request' });
    const again = await apps[0]?.inbox.take('new stream', status('active'));
    expect(again?.streamId).not.toBe(lives[0]?.streamId);
    apps[0]?.send({ type: 'managed_stream_stop' });
    await allGone();
    await glasses.close();
  });

  it('serves the operator as the built-in app, with events', async () => {
    const glasses = await world.glasses('op@example.com');
    const response = await fetch(`${world.url}/api/events`, {
      headers: { authorization: `Bearer ${world.adminToken.reveal()}` },
    });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    const started = await world.rest('POST', '/api/users/op@example.com/managed-stream', { video: { width: 320 } });
    expect(started).toMatchObject({ status: 202, userId: 'op@example.com', viewers: ['glasscast.console'] });
    let heard = '';
    while (!heard.includes('"state":"active"')) heard += (await reader?.read())?.value ?? '';
    await reader?.cancel();
    const { sessions } = await world.rest<{ sessions: Frame[] }>('GET', '/api/sessions');
    expect(sessions.find(({ userId }) => userId === 'op@example.com')).toMatchObject({
      connected: true,
      modelName: 'Mentra Live',
    });
    expect(await world.rest('GET', `/api/streams/${started.streamId}`)).toMatchObject({ state: 'active' });
    expect(await world.rest('DELETE', '/api/users/op@example.com/managed-stream')).toMatchObject({ status: 'stopped' });
    await allGone();
    await glasses.close();
  });

  it('survives the loss of the control link and reconciles on return', async () => {
    const glasses = await world.glasses('link@example.com');
    await world.rest('POST', '/api/users/link@example.com/managed-stream');
    const start = await glasses.inbox.take('START', ofType('start_rtmp_stream'));
    const isActive = async () => (await world.rest<Frame>('GET', `/api/streams/${start.streamId}`)).state === 'active';
    while (!(await isActive())) await world.clock.sleep(50);
    await glasses.disconnect();
    await glasses.connect();
    // It knows the stream: asked, not told again.
    await glasses.inbox.take('keep-alive', (frame) => frame.type === 'keep_rtmp_stream_alive');
    expect(await isActive()).toBe(true);
    await world.rest('DELETE', '/api/users/link@example.com/managed-stream');
    await glasses.inbox.take('STOP', ofType('stop_rtmp_stream'));
    expect(glasses.inbox.frames.filter(ofType('start_rtmp_stream')).length).toBe(1);
    await allGone();
    await glasses.close();
  });

  it('prints no key and no token in its log (defect 29)', async () => {
    const text = world.logLines.join('');
    expect(text).not.toMatch(/[0-9a-f]{32}k[0-9a-f]{32}/);
    expect(text).not.toContain(world.adminToken.reveal());
    const errors = world.logLines.filter((line) => line.includes('"level":50') && !line.includes('api-failed'));
    expect(errors).toEqual([]);
  });
});

describe('the door', () => {
  it('refuses glasses without a good token before the upgrade', async () => {
    await expect(openPeer(`${world.wsUrl}/glasses-ws`)).rejects.toThrow(
      /^401 .*"type":"connection_error".*No core token provided/,
    );
    await expect(openPeer(`${world.wsUrl}/glasses-ws?token=nonsense`)).rejects.toThrow(/^401 .*Invalid core token/);
    await expect(openPeer(`${world.wsUrl}/elsewhere`)).rejects.toThrow(/^404 .*ROUTE_NOT_FOUND/);
  });

  it('lets glasses in by query too, acknowledges first, and replaces their older socket', async () => {
    const { coreToken } = await world.rest<{ coreToken: string }>('POST', '/api/tokens', { email: 'Old@Example.com' });
    const older = await openPeer(`${world.wsUrl}/glasses-ws?token=${coreToken}`);
    await older.inbox.take('ack', ofType('connection_ack'));
    expect(older.inbox.frames[0]).toMatchObject({ type: 'connection_ack', sessionId: 'old@example.com' });
    const newer = await openPeer(`${world.wsUrl}/glasses-ws?token=${coreToken}`);
    // A token in a query ends up in logs easily [48].
    expect(world.logLines.join('')).not.toContain(coreToken);
    expect(await older.closed).toBe(4001);
    newer.send('{ not json');
    expect(await newer.inbox.take('complaint', ofType('connection_error'))).toMatchObject({
      code: 'MALFORMED_MESSAGE',
    });
    newer.send({ type: 'something_new' });
    newer.send({ type: 'ping' });
    await newer.inbox.take('pong', ofType('pong'));
    newer.socket.terminate();
  });

  it('knows apps by session, key and socket, and says what is wrong', async () => {
    const app = await world.app('com.example.door');
    const url = `${world.wsUrl}/app-ws`;
    const refused = async (claim: object) => {
      const peer = await openPeer(url);
      peer.send({ type: 'tpa_connection_init', ...claim });
      const answer = await peer.inbox.take('error', ofType('tpa_connection_error'));
      return [answer.code, await peer.closed];
    };
    const { packageName, apiKey } = app;
    expect(await refused({ sessionId: 'x', packageName: 'com.none', apiKey })).toEqual(['PACKAGE_NOT_FOUND', 1008]);
    expect(await refused({ sessionId: 'x', packageName, apiKey: 'wrong' })).toEqual(['INVALID_API_KEY', 1008]);
    expect(await refused({ sessionId: 'x', packageName, apiKey })).toEqual(['SESSION_NOT_FOUND', 1008]);
  });

  it('answers bad frames of an app on the open socket', async () => {
    const app = await world.app('com.example.bad');
    await world.rest('POST', '/api/apps/com.example.bad/start', { userId: 'nobody@example.com' });
    app.send('nonsense');
    expect(await app.inbox.take('complaint', ofType('message_error'))).toMatchObject({ code: 'MALFORMED_MESSAGE' });
    app.send({ type: 'managed_stream_request', video: 'large' });
    expect(await app.inbox.take('feature error', status('error'))).toMatchObject({ errorCode: 'MALFORMED_MESSAGE' });
    app.send({ type: 'display_event', view: 'main' });
    app.send({ type: 'managed_stream_request' });
    expect(await app.inbox.take('no glasses', status('error'))).toMatchObject({
      errorCode: 'GLASSES_NOT_CONNECTED',
      message: 'Glasses are not connected',
    });
    app.send({ type: 'managed_stream_stop' });
    await app.inbox.take('answered stop', status('stopped'));
    app.send({ type: 'stream_status_check' });
    expect(await app.inbox.take('check', ofType('stream_status_check_response'))).toMatchObject({
      hasActiveStream: false,
    });
    expect(app.socket()?.socket.readyState).toBe(1);
  });

  it('takes back an app after a drop, and starts it anew when it stays away (defect 38)', async () => {
    const app = await world.app('com.example.drop');
    await world.rest('POST', '/api/apps/com.example.drop/start', { userId: 'drop@example.com' });
    const first = await app.webhooks.take('webhook', ofType('session_request'));
    expect(new Set([first.websocketUrl, first.mentraOSWebsocketUrl, first.augmentOSWebsocketUrl]).size).toBe(1);
    app.socket()?.socket.terminate();
    await app.connect(`${world.wsUrl}/app-ws`, first.sessionId as string);
    await app.inbox.take('first ack', ofType('tpa_connection_ack'));
    expect(await app.inbox.take('second ack', ofType('tpa_connection_ack'))).toMatchObject({
      settings: [],
      mentraosSettings: {},
      augmentosSettings: {},
      capabilities: null,
    });
    app.socket()?.socket.terminate();
    await app.webhooks.take('stop', ofType('stop_request'));
    await app.webhooks.take('restart', ofType('session_request'));
    await app.inbox.take('third ack', ofType('tpa_connection_ack'));
    await world.rest('POST', '/api/apps/com.example.drop/stop', { userId: 'drop@example.com' });
    expect(await app.socket()?.closed).toBe(1000);
    expect(await app.webhooks.take('stop', ofType('stop_request'))).toMatchObject({ reason: 'user_disabled' });
  });
});

describe('REST', () => {
  it('has one form of error, and wants the admin token', async () => {
    const answer = await fetch(`${world.url}/api/sessions`);
    expect([answer.status, await answer.json()]).toMatchObject([401, { error: 'ADMIN_TOKEN_REQUIRED' }]);
    expect(await world.rest('GET', '/nowhere')).toMatchObject({ status: 404, error: 'ROUTE_NOT_FOUND' });
    expect(await world.rest('GET', '/api/streams/none')).toMatchObject({ status: 404, error: 'STREAM_NOT_FOUND' });
    expect(await world.rest('POST', '/api/tokens', { mail: 'x' })).toMatchObject({
      status: 400,
      error: 'MALFORMED_MESSAGE',
    });
    expect(await world.rest('POST', '/api/users/nobody@x.com/managed-stream')).toMatchObject({
      status: 409,
      error: 'GLASSES_NOT_CONNECTED',
    });
    expect(await world.rest('POST', '/api/apps/com.none/start', { userId: 'a@b.c' })).toMatchObject({
      status: 404,
      error: 'PACKAGE_NOT_FOUND',
    });
    expect(await brokenBody(world)).toMatch(/"error":"MALFORMED_MESSAGE"/);
    expect(await (await fetch(`${world.url}/healthz`)).json()).toMatchObject({ status: 'ok' });
  });

  it('tells permissions in public and never a key, not even in its log (defect 45)', async () => {
    const app = await world.app('com.example.rest');
    const permissions = await fetch(`${world.url}/api/public/permissions/${app.packageName}`);
    expect(await permissions.json()).toMatchObject({ success: true, permissions: [{ type: 'CAMERA' }] });
    const listed = JSON.stringify(await world.rest('GET', '/api/apps'));
    expect(listed).toContain(app.packageName);
    expect(listed).not.toMatch(/apiKey|hashed/i);
    expect(world.logLines.join('')).not.toContain(app.apiKey);
    expect(await world.rest('DELETE', `/api/apps/${app.packageName}`)).toMatchObject({ status: 204 });
    expect(await world.rest('GET', `/api/apps/${app.packageName}`)).toMatchObject({ status: 404 });
  });

  it('says that a start failed when it did (defect 44)', async () => {
    const broken = createServer((_request, response) => void response.writeHead(500).end());
    await new Promise<void>((resolve) => broken.listen(0, '127.0.0.1', resolve));
    const publicUrl = `http://127.0.0.1:${(broken.address() as AddressInfo).port}`;
    await world.rest('PUT', '/api/apps/com.example.broken', { publicUrl, apiKey: 'key' });
    expect(await world.rest('POST', '/api/apps/com.example.broken/start', { userId: 'a@b.c' })).toMatchObject({
      status: 502,
      error: 'APP_UNREACHABLE',
      message: expect.stringContaining('HTTP 500'),
    });
    broken.close();
  });

  it('answers floods of wrong tokens with 429, and lets the right one in from here', async () => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, guess) =>
        fetch(`${world.url}/api/sessions`, { headers: { authorization: `Bearer guess-${guess}` } }),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401, 429]));
    await expect(openPeer(`${world.wsUrl}/glasses-ws?token=nonsense`)).rejects.toThrow(/^429 .*RATE_LIMITED/);
    expect(await world.rest('GET', '/api/sessions')).toMatchObject({ status: 200 });
  });

  it('says which port is taken', async () => {
    const { port } = new URL(world.url);
    const clock = createSystemClock();
    const second = createRelay({
      ...{ clock, log: silentLog(), redactor: createRedactor(), dataDir: ':memory:', port: Number(port) },
      adminToken: new Secret('another-admin-token'),
      provider: { kind: 'local', apiBaseUrl: 'http://127.0.0.1:9', accountId: 'a', apiToken: new Secret('token-x') },
    });
    await expect(second.start()).rejects.toMatchObject({ code: 'PORT_IN_USE', details: { port: Number(port) } });
    expect(clock.pending()).toEqual([]);
  });
});

function brokenBody({ url, adminToken }: RelayWorld): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request(
      `${url}/api/tokens`,
      {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${adminToken.reveal()}` },
      },
      (response) => {
        response.setEncoding('utf8').once('data', resolve);
      },
    );
    call.once('error', reject);
    call.end('{"email":');
  });
}
