/** Apps and phones on the wire of a real relay: the 3.x handshake, REST of phones, restarts, absences, the catalogue. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRelayWorld, type Frame, openPeer, type RelayWorld } from '../support/relay-world.ts';

const ofType = (type: string) => (frame: Frame) => frame.type === type;
/** Phones list apps by it. */
const activeApps = (names: string[]) => (frame: Frame) =>
  frame.type === 'app_state_change' &&
  JSON.stringify((frame.userSession as { activeAppSessions: string[] }).activeAppSessions) === JSON.stringify(names);

let world: RelayWorld;
beforeAll(async () => {
  world = await createRelayWorld({ sessionGraceMs: 1_500, appResumeGraceMs: 600 });
});
afterAll(async () => {
  expect(await world.close()).toEqual([]);
});

/** An app that runs for a user, its own socket of the 2.x kind. */
async function running(packageName: string, userId: string) {
  const app = await world.app(packageName);
  expect(await world.rest('POST', `/api/apps/${packageName}/start`, { userId })).toMatchObject({ status: 'started' });
  await app.inbox.take('ack', ofType('tpa_connection_ack'));
  const sessionId = String(app.webhooks.frames.at(-1)?.sessionId);
  const headers = {
    'x-package-name': packageName,
    'x-api-key': app.apiKey,
    'x-session-id': sessionId,
    'x-user-id': userId,
  };
  return { app, sessionId, headers };
}
const appSocket = () => `${world.wsUrl}/app-ws`;

describe('the 3.x handshake', () => {
  it('refuses a wrong name in the headers before the upgrade, in the words of the handshake', async () => {
    const { headers } = await running('com.example.headers', 'h@example.com');
    const refusal = async (wrong: Record<string, string>) => {
      const { message } = await openPeer(appSocket(), wrong).then(
        () => new Error('it came in'),
        (error: Error) => error,
      );
      return [Number(message.slice(0, 3)), JSON.parse(message.slice(4)) as Frame] as const;
    };
    for (const [wrong, code] of [
      [{ ...headers, 'x-api-key': 'wrong' }, 'INVALID_API_KEY'],
      [{ ...headers, 'x-package-name': 'com.none' }, 'PACKAGE_NOT_FOUND'],
      [{ 'x-package-name': 'com.example.headers' }, 'MISSING_HEADERS'],
      [{ 'x-api-key': 'wrong' }, 'MISSING_HEADERS'],
    ] as const) {
      const [status, body] = await refusal(wrong);
      expect([status, body]).toMatchObject([401, { type: 'tpa_connection_error', code }]);
      expect([typeof body.message, typeof body.timestamp]).toEqual(['string', 'string']);
    }
  });

  it('takes an init that leaves its session to the headers, and believes no foreign user in them', async () => {
    const { app, headers, sessionId } = await running('com.example.mini', 'mini@example.com');
    const init = { type: 'tpa_connection_init', packageName: app.packageName, apiKey: app.apiKey, sdkVersion: '3.0.0' };
    const foreign = await openPeer(appSocket(), { ...headers, 'x-user-id': 'eve@example.com' });
    foreign.send(init);
    expect(await foreign.inbox.take('refusal', ofType('tpa_connection_error'))).toMatchObject({
      code: 'SESSION_NOT_FOUND',
    });
    expect(await foreign.closed).toBe(1008);
    const own = await openPeer(appSocket(), headers);
    own.send(init);
    expect(await own.inbox.take('ack', ofType('tpa_connection_ack'))).toMatchObject({ sessionId });
    own.send({ type: 'ping' });
    expect(await own.inbox.take('pong', ofType('pong'))).toMatchObject({ timestamp: expect.any(String) });
  });

  it('takes a reconnect, tells who does not run, and takes an init after a session that is not the app’s', async () => {
    const { app, headers, sessionId } = await running('com.example.back', 'back@example.com');
    const other = await running('com.example.other', 'back@example.com');
    const reconnect = { type: 'reconnect', sessionId, sdkVersion: '3.0.0' };
    app.socket()?.socket.terminate();
    const back = await openPeer(appSocket(), headers);
    back.send(reconnect);
    expect(await back.inbox.take('ack', ofType('reconnect_ack'))).toMatchObject({ sessionId, settings: [] });
    back.send({ type: 'stream_status_check', requestId: 'r' });
    await back.inbox.take('check', ofType('stream_status_check_response'));

    const confused = await openPeer(appSocket(), headers);
    confused.send({ ...reconnect, sessionId: other.sessionId });
    expect(await confused.inbox.take('rejection', ofType('reconnect_rejected'))).toMatchObject({
      code: 'SESSION_NOT_FOUND',
    });
    confused.send({ type: 'tpa_connection_init', sessionId, packageName: app.packageName, apiKey: app.apiKey });
    await confused.inbox.take('ack after all', ofType('tpa_connection_ack'));

    // Without headers nothing shows who it is: an init has to.
    const nameless = await openPeer(appSocket());
    nameless.send(reconnect);
    expect(await nameless.inbox.take('rejection', ofType('reconnect_rejected'))).toMatchObject({
      code: 'SESSION_NOT_FOUND',
    });
    nameless.send({ type: 'tpa_connection_init', packageName: app.packageName, apiKey: app.apiKey });
    await nameless.inbox.take('ack', ofType('tpa_connection_ack'));

    await world.rest('POST', `/api/apps/${app.packageName}/stop`, { userId: 'back@example.com' });
    const late = await openPeer(appSocket(), headers);
    late.send(reconnect);
    expect(await late.inbox.take('rejection', ofType('reconnect_rejected'))).toMatchObject({ code: 'NOT_RUNNING' });
    expect(await late.closed).toBe(1000);
  });
});

describe('a phone', () => {
  /** With the core token that REST takes, too. */
  async function phone(userId: string) {
    const { coreToken } = await world.rest<{ coreToken: string }>('POST', '/api/tokens', { email: userId });
    const peer = await openPeer(`${world.wsUrl}/glasses-ws`, { authorization: `Bearer ${coreToken}` });
    const ask = async (path: string, token = coreToken) => {
      const response = await fetch(`${world.url}${path}`, {
        method: 'POST',
        headers: token ? { authorization: `Bearer ${token}` } : {},
      });
      return [response.status, (await response.json()) as Frame] as const;
    };
    return { ...peer, ask };
  }

  it.each(['/apps', '/api/apps'])('starts and stops apps of its own user by POST %s (defect 44)', async (base) => {
    const userId = `phone${base.replaceAll('/', '-')}@example.com`;
    const name = `com.example.by${base.replaceAll('/', '-')}`;
    const app = await world.app(name);
    const { ask, inbox, socket } = await phone(userId);
    await inbox.take('nothing runs', activeApps([]));
    const [status, body] = await ask(`${base}/${name}/start`);
    expect([status, body]).toMatchObject([
      200,
      {
        success: true,
        data: { status: 'started', packageName: name, appState: { userSession: { activeAppSessions: [name] } } },
      },
    ]);
    expect(await inbox.take('app_started', ofType('app_started'))).toMatchObject({ packageName: name });
    await inbox.take('it runs', activeApps([name]));
    expect(await ask(`${base}/${name}/stop`)).toMatchObject([200, { success: true, data: { status: 'stopped' } }]);
    expect(await inbox.take('app_stopped', ofType('app_stopped'))).toMatchObject({ packageName: name });
    await inbox.take('nothing runs again', activeApps([]));
    expect(await app.webhooks.take('stop', ofType('stop_request'))).toMatchObject({ userId });

    app.close();
    expect(await ask(`${base}/com.none/start`)).toMatchObject([404, { error: 'PACKAGE_NOT_FOUND' }]);
    expect(await ask(`${base}/${name}/start`, '')).toMatchObject([401, { error: 'MISSING_TOKEN' }]);
    expect(await ask(`${base}/${name}/start`, 'nonsense')).toMatchObject([401, { error: 'INVALID_TOKEN' }]);
    socket.terminate();
  });

  it('hears the truth of a start that failed, and of glasses that are not there (defect 44)', async () => {
    const broken = createServer((_request, response) => void response.writeHead(500).end());
    await new Promise<void>((resolve) => broken.listen(0, '127.0.0.1', resolve));
    const publicUrl = `http://127.0.0.1:${(broken.address() as AddressInfo).port}`;
    await world.rest('PUT', '/api/apps/com.example.fails', { publicUrl, apiKey: 'key' });
    const hardwareRequirements = [{ type: 'DISPLAY', level: 'REQUIRED' }];
    await world.rest('PUT', '/api/apps/com.example.draws', { publicUrl, apiKey: 'key', hardwareRequirements });
    const { ask, send, inbox, socket, closed } = await phone('truth@example.com');
    expect(await ask('/apps/com.example.fails/start')).toMatchObject([502, { error: 'APP_UNREACHABLE' }]);
    send({ type: 'glasses_connection_state', modelName: 'Mentra Live', status: 'CONNECTED' });
    send({ type: 'ping' });
    await inbox.take('pong', ofType('pong'));
    expect(await ask('/apps/com.example.draws/start')).toMatchObject([409, { error: 'HARDWARE_MISSING' }]);
    socket.close();
    await closed;
    await expect
      .poll(async () => (await ask('/apps/com.example.fails/start'))[1])
      .toMatchObject({ error: 'GLASSES_NOT_CONNECTED' });
    broken.close();
  });

  it('is acknowledged before its apps start again, however slow they are (defect 46)', async () => {
    const userId = 'away@example.com';
    const name = 'com.example.slow';
    const first = await phone(userId);
    const { app, headers, sessionId } = await running(name, userId);
    first.socket.terminate();
    expect(await app.socket()?.closed).toBe(1000);
    // A 3.x app that comes back meanwhile is put off, not sent away.
    const waiting = await openPeer(appSocket(), headers);
    waiting.send({ type: 'reconnect', sessionId });
    await waiting.inbox.take('deferral', ofType('reconnect_deferred'));
    waiting.socket.terminate();
    await waiting.closed;

    let answer = () => {};
    app.state.answer = new Promise((resolve) => {
      answer = resolve;
    });
    app.state.connects = false;
    const { inbox, socket } = await phone(userId);
    await app.webhooks.take('first start', ofType('session_request'));
    await app.webhooks.take('start again', ofType('session_request'));
    expect(inbox.frames.slice(0, 2).map(({ type }) => type)).toEqual(['connection_ack', 'app_state_change']);
    await app.connect(appSocket(), sessionId);
    await inbox.take('it runs', activeApps([name]));
    answer();
    socket.terminate();
  });
});

describe('a restart of the relay', () => {
  it('leaves apps their sessions: one comes back by itself, another is asked again', async () => {
    const userId = 'again@example.com';
    const [quick, gone] = [await running('com.example.quick', userId), await running('com.example.gone', userId)];
    for (const { app } of [quick, gone]) await app.webhooks.take('start', ofType('session_request'));
    await world.restart();
    expect(await Promise.all([quick, gone].map(({ app }) => app.socket()?.closed))).toEqual([1012, 1012]);
    await quick.app.connect(appSocket(), quick.sessionId);
    await quick.app.inbox.take('ack', ofType('tpa_connection_ack'));
    expect(await quick.app.inbox.take('the end of what it had', ofType('managed_stream_status'))).toMatchObject({
      status: 'stopped',
    });
    await gone.app.webhooks.take('asked again', ofType('session_request'));
    await gone.app.inbox.take('ack', ofType('tpa_connection_ack'));
    expect([quick, gone].map(({ app }) => app.webhooks.frames.map(({ type }) => type))).toEqual([
      ['session_request'],
      ['session_request', 'session_request'],
    ]);
  });
});

describe('the catalogue', () => {
  it('ends the sessions of an app that is deleted or gets another key', async () => {
    const userId = 'catalogue@example.com';
    const { app } = await running('com.example.deleted', userId);
    await world.rest('DELETE', `/api/apps/${app.packageName}`);
    expect(await app.inbox.take('app_stopped', ofType('app_stopped'))).toBeDefined();
    expect([await app.socket()?.closed, (await app.webhooks.take('stop', ofType('stop_request'))).reason]).toEqual([
      1000,
      'system_stop',
    ]);
    const rekeyed = await running('com.example.rekeyed', userId);
    const { publicUrl } = rekeyed.app;
    await world.rest('PUT', '/api/apps/com.example.rekeyed', { publicUrl, apiKey: 'another' });
    expect(await rekeyed.app.socket()?.closed).toBe(1000);
  });
});
