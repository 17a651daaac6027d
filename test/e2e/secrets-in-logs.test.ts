/** One run with every kind of secret in it, right and wrong, at debug level: none of them is in any line of the log. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Secret } from '../../shared/secrets.ts';
import { createRelayWorld, type Frame, openPeer, type RelayWorld } from '../support/relay-world.ts';

const status = (word: string) => (frame: Frame) => frame.type === 'managed_stream_status' && frame.status === word;
const OUTPUT_KEY = 'a-very-secret-output-key';
const LATE_OUTPUT_KEY = 'another-secret-output-key';
const METRICS_TOKEN = 'a-very-secret-metrics-token';
const WRONG = 'a-wrong-secret-that-is-nobodys';

let world: RelayWorld;
const secrets = new Map<string, string>();
/** What the relay tells its provider. */
const watching: typeof fetch = (url, init) => {
  const token = /^Bearer (.+)$/.exec(new Headers(init?.headers).get('authorization') ?? '')?.[1];
  if (token) secrets.set('provider token', token);
  return fetch(url, init);
};

beforeAll(async () => {
  world = await createRelayWorld({
    fetch: watching,
    restreamPrivateTargets: true,
    metricsToken: new Secret(METRICS_TOKEN),
  });
});
afterAll(async () => {
  expect(await world.close()).toEqual([]);
});

it('no secret is in any line of the log, at debug level, nor in an error (defects 29, 45, 48)', async () => {
  secrets.set('admin token', world.adminToken.reveal());
  const glasses = await world.glasses('ada@example.com');
  const app = await world.app('com.example.cam');
  secrets.set('API key', app.apiKey);
  const token = await world.rest<Record<string, string>>('POST', '/api/tokens', { email: 'bob@example.com' });
  secrets.set('core token', token.coreToken ?? '');
  const enrolment = await world.rest<Record<string, string>>('POST', '/api/enrolments', { email: 'eve@example.com' });
  secrets.set('enrolment code', enrolment.code ?? '');

  // A stream, with destinations, from its start to its end.
  await world.rest('POST', '/api/apps/com.example.cam/start', { userId: 'ada@example.com' });
  secrets.set('session id', String(app.webhooks.frames[0]?.sessionId));
  secrets.set('output key', OUTPUT_KEY).set('later output key', LATE_OUTPUT_KEY);
  app.send({
    type: 'managed_stream_request',
    video: { width: 320, height: 240, frameRate: 15 },
    restreamDestinations: [{ url: `rtmp://127.0.0.1:9/live/${OUTPUT_KEY}`, name: 'nowhere' }],
  });
  const start = await glasses.inbox.take('START', ({ type }) => type === 'start_rtmp_stream');
  secrets.set('stream key', String(start.rtmpUrl).split('/').at(-1) ?? '');
  await app.inbox.take('active', status('active'));
  const call = (method: string, path: string, headers: Record<string, string>, body?: string) =>
    fetch(world.url + path, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      ...(body ? { body } : {}),
    });
  const later = JSON.stringify({ packageName: 'com.example.cam', url: `rtmp://127.0.0.1:9/live/${LATE_OUTPUT_KEY}` });
  await call('POST', `/api/streams/${start.streamId}/outputs`, { authorization: `Bearer ${app.apiKey}` }, later);
  app.send({ type: 'managed_stream_stop' });
  await app.inbox.take('stopped', status('stopped'));

  secrets.set('metrics token', METRICS_TOKEN);
  const metrics = await call('GET', '/metrics', { authorization: `Bearer ${METRICS_TOKEN}` });
  expect(metrics.status).toBe(200);

  // Right ones in wrong places, and wrong ones.
  secrets.set('wrong secret', WRONG);
  const answers: string[] = [await metrics.text()];
  const refused = async (work: Promise<unknown>) =>
    answers.push(
      String(
        await work.then(
          () => '',
          (error) => error,
        ),
      ),
    );
  for (const wrong of [WRONG, app.apiKey, METRICS_TOKEN, world.adminToken.reveal()]) {
    await refused(openPeer(`${world.wsUrl}/glasses-ws?token=${wrong}`));
    await refused(openPeer(`${world.wsUrl}/glasses-ws`, { authorization: `Bearer ${wrong}` }));
    await refused(openPeer(`${world.wsUrl}/elsewhere/${wrong}?token=${wrong}`));
    await refused(openPeer(`${world.wsUrl}/app-ws`, { 'x-package-name': 'com.example.cam', 'x-api-key': wrong }));
    for (const path of ['/api/sessions', `/api/apps/${wrong}`, `/api/tokens/${wrong}?x=${wrong}`]) {
      answers.push(await (await call('GET', path, { authorization: `Bearer ${wrong}x` })).text());
    }
    answers.push(await (await call('POST', '/api/enrol', {}, JSON.stringify({ code: wrong }))).text());
    answers.push(await (await call('POST', '/api/enrol', {}, `{"code":"${wrong}`)).text());
  }
  const peer = await openPeer(`${world.wsUrl}/app-ws`);
  peer.send({ type: 'tpa_connection_init', sessionId: WRONG, packageName: 'com.example.cam', apiKey: WRONG });
  await peer.closed;
  app.send(`{"type":"managed_stream_request","apiKey":"${app.apiKey}","video":"${app.apiKey}"`);
  app.send({ type: 'something_new', apiKey: app.apiKey, token: token.coreToken });
  glasses.send({ type: 'rtmp_stream_status', status: token.coreToken, streamId: token.coreToken });
  const bob = await openPeer(`${world.wsUrl}/glasses-ws?token=${token.coreToken}`);
  await world.rest('DELETE', `/api/tokens/${token.tokenId}`);
  await bob.closed;
  while ((await world.leftovers()).length > 0) await world.clock.sleep(50);

  expect([...secrets.keys()].sort()).toEqual([
    'API key',
    'admin token',
    'core token',
    'enrolment code',
    'later output key',
    'metrics token',
    'output key',
    'provider token',
    'session id',
    'stream key',
    'wrong secret',
  ]);
  expect(world.logLines.length).toBeGreaterThan(20);
  for (const [name, secret] of secrets) {
    expect(secret.length, name).toBeGreaterThan(8);
    expect(
      world.logLines.filter((line) => line.includes(secret)),
      `${name} in the log`,
    ).toEqual([]);
    expect(
      answers.filter((text) => text.includes(secret)),
      `${name} in an answer`,
    ).toEqual([]);
  }
});
