/** Apps and operators at one relay of a cluster, glasses at another one: as served as at one relay, also when one dies. */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type ClusterNode, createRelayCluster, type RelayCluster } from '../support/relay-cluster.ts';
import { sdkLines } from '../support/sdk-app-process.ts';

describe.runIf(inject('hasRedis'))('two relays that share a Redis', () => {
  let world: RelayCluster;
  let a: ClusterNode;
  let b: ClusterNode;
  beforeAll(async () => {
    world = await createRelayCluster();
    [a, b] = await Promise.all([world.startNode(), world.startNode()]);
    world.leadGlasses(a);
    world.leadApps(b);
  });
  afterAll(async () => expect(await world.close()).toEqual([]));

  it.each(sdkLines)(
    'an app of the SDK %s on the other one starts a stream, hears all of it, and stops it',
    async (line) => {
      const user = `ada-lovelace-${line.split('.')[0]}@example.com`;
      // Registered at one, started at the other, a moment later.
      const app = await world.sdkApp(a, line);
      await world.glasses(a, user);
      expect(await b.rest('POST', `/api/apps/${app.packageName}/start`, { userId: user })).toMatchObject({
        ...{ status: 200, userId: user },
      });
      const ada = app.of(user);
      await ada.next('session');
      const stream = await ada.startManagedStream();
      expect(stream.hlsUrl).toMatch(/^http/);
      await ada.hears('managed-status', 'active');
      expect(await ada.checkExistingStream()).toMatchObject({ hasActiveStream: true });
      const { streams, missingNodes } = await b.rest<{ streams: { streamId: string }[]; missingNodes?: string[] }>(
        ...(['GET', '/api/streams'] as const),
      );
      expect([streams.map(({ streamId }) => streamId), missingNodes]).toEqual([[stream.streamId], undefined]);
      expect(await b.rest('GET', `/api/streams/${stream.streamId}`)).toMatchObject({ status: 200, userId: user });
      expect((await b.rest('GET', `/api/streams/${stream.streamId}/timeline`)).status).toBe(200);
      await ada.stopManagedStream();
      await ada.hears('managed-status', 'stopped');
      await b.rest('POST', `/api/apps/${app.packageName}/stop`, { userId: user });
      await ada.next('stopped');
      await app.close();
    },
  );

  it('an operator hears at one what happens at the other', async () => {
    const controller = new AbortController();
    const response = await fetch(`${b.url}/api/events`, {
      headers: { authorization: 'Bearer an-admin-token-for-tests' },
      signal: controller.signal,
    });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let heard = '';
    const glasses = world.glasses(a, 'eve@example.com');
    while (!heard.includes('"userId":"eve@example.com"')) heard += (await reader?.read())?.value ?? '';
    controller.abort();
    await (await glasses).disconnect();
  });

  /** An app in session at `b`, whose user has glasses at `a`. */
  async function scripted(name: string) {
    const user = `${name}@example.com`;
    const glasses = await world.glasses(a, user);
    const app = await world.scriptedApp(a, `com.example.${name}`);
    await b.rest('POST', `/api/apps/${app.packageName}/start`, { userId: user });
    await app.inbox.take('acknowledgement', ({ type }) => type === 'tpa_connection_ack');
    const { sessionId } = await app.webhooks.take('invitation', ({ type }) => type === 'session_request');
    return { user, glasses, app, comeBack: () => app.connect(`${world.appProxy.url}/app-ws`, String(sessionId)) };
  }

  it('an outage of Redis keeps no app from its session at the other one, and closes no socket', async () => {
    const { glasses, app, comeBack } = await scripted('hedy');
    const stays = await scripted('mary');
    await world.redis.kill();
    app.socket()?.socket.terminate();
    await comeBack();
    await app.inbox.take('acknowledgement', ({ type }) => type === 'tpa_connection_ack');
    const wifi = { connected: true, ssid: 'another network' };
    glasses.send({ type: 'glasses_connection_state', modelName: 'Mentra Live', status: 'CONNECTED', wifi });
    const told = ({ type, state }: { type: string; state?: unknown }) =>
      type === 'device_state_update' && JSON.stringify(state).includes('another network');
    await app.inbox.take('state of the glasses', told);
    expect(stays.app.socket()?.socket.readyState).toBe(1);
    await world.redis.restart();
    for (const node of [a, b]) {
      await expect.poll(async () => (await node.rest('GET', '/api/tokens')).status, { timeout: 10_000 }).toBe(200);
    }
  });

  it('an app hears that it has to come back when the glasses go to another one, and is served there', async () => {
    const { glasses, app, comeBack } = await scripted('emmy');
    const closed = app.socket()?.closed;
    world.leadGlasses(b);
    await glasses.disconnect();
    await glasses.connect();
    expect(await closed).toBe(1012);
    await comeBack();
    await app.inbox.take('acknowledgement', ({ type }) => type === 'tpa_connection_ack');
    expect((await b.rest('GET', '/api/sessions')).sessions).toContainEqual(
      expect.objectContaining({ userId: 'emmy@example.com', connected: true }),
    );
    world.leadGlasses(a);
  });

  it('an app comes back and is served by the other one when the one with its session is killed', async () => {
    const user = 'grace-hopper@example.com';
    const app = await world.sdkApp(b, sdkLines[0]);
    const glasses = await world.glasses(a, user);
    await b.rest('POST', `/api/apps/${app.packageName}/start`, { userId: user });
    const grace = app.of(user);
    await grace.next('session');
    const { streamId } = await grace.startManagedStream();
    world.leadGlasses(b);
    await a.kill();
    const killedMs = world.clock.monotonicMs();
    await glasses.closed();
    await glasses.connect();
    await grace.next('disconnected');
    await grace.next('connected', () => true, 15_000);
    process.stderr.write(`served again after ${Math.round(world.clock.monotonicMs() - killedMs)} ms\n`);
    expect(await grace.checkExistingStream()).toMatchObject({ hasActiveStream: true, streamInfo: { streamId } });
    await grace.stopManagedStream();
    await grace.hears('managed-status', 'stopped');
  });
});
