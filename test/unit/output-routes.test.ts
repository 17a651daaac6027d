import fastify from 'fastify';
import { describe, expect, it, onTestFinished } from 'vitest';
import { hashSecret } from '../../cloud/access/credentials.ts';
import { createFailedAttempts } from '../../cloud/access/failed-attempts.ts';
import { outputRoutes } from '../../cloud/http/output-routes.ts';
import type { RestreamOutput } from '../../cloud/provider/restream-outputs.ts';
import type { RegisteredApp } from '../../cloud/store/records.ts';
import type { StreamSnapshot } from '../../cloud/streams/stream-views.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

const apps = ['app.a', 'app.b', 'app.other'];
const keyOf = (packageName: string) => `key-of-${packageName}`;
const bearer = (packageName: string) => ({ authorization: `Bearer ${keyOf(packageName)}` });
const PATH = '/api/streams/m1/outputs';
const url = 'rtmp://live.example/app/the-stream-key';

function world() {
  const clock = createTestClock();
  const lines: string[] = [];
  const log = createLog({
    program: 'test',
    level: 'debug',
    redactor: createRedactor(),
    destination: { write: (line) => void lines.push(line) },
  });
  const list: RestreamOutput[] = [];
  const state = { fails: undefined as ErrorCode | undefined, isThere: true, isMade: true };
  const fail = () => {
    if (state.fails) throw new GlasscastError(state.fails, { reason: 'as the test wants' });
  };
  const outputs = {
    list: () => list,
    addAll: async () => {},
    async add(addedBy: string, { url, name }: { url: string; name?: string | undefined }) {
      fail();
      const output: RestreamOutput = { outputId: `o${list.length + 1}`, url, addedBy, state: 'unknown' };
      list.push(name === undefined ? output : { ...output, name });
      return output;
    },
    async remove() {
      fail();
      list.pop();
    },
    unfinished: () => [],
    records: () => [],
    close() {},
  };
  const server = fastify();
  onTestFinished(() => server.close());
  const viewers = ['app.a', 'app.b'];
  outputRoutes({
    ...{ clock, log },
    attempts: createFailedAttempts({ clock, callers: { standsForMany: () => false } }),
    catalog: {
      async get(packageName) {
        if (!apps.includes(packageName)) throw new GlasscastError('PACKAGE_NOT_FOUND');
        return { packageName, hashedApiKey: hashSecret(keyOf(packageName)) } as RegisteredApp;
      },
    },
    streams: {
      outputs: (streamId) => (streamId === 'm1' && state.isThere && state.isMade ? { viewers, outputs } : undefined),
      snapshots: () =>
        state.isThere
          ? [{ streamId: 'm1', viewers, state: state.isMade ? 'active' : 'provisioning' } as unknown as StreamSnapshot]
          : [],
    },
  })(server);
  async function ask(method: 'GET' | 'POST' | 'DELETE', path: string, asked: Record<string, unknown> = {}) {
    const response = await server.inject({ method, url: path, ...asked });
    return { status: response.statusCode, body: response.json() as Record<string, unknown> };
  }
  return { ask, state, list, lines, clock };
}

describe('outputs over REST', () => {
  it('adds, lists and removes with the bodies of the reference', async () => {
    const { ask } = world();
    const payload = { packageName: 'app.a', url, name: 'One' };
    expect(await ask('POST', PATH, { headers: bearer('app.a'), payload })).toEqual({
      status: 200,
      body: { success: true, outputId: 'o1', message: 'Output added successfully' },
    });
    const one = { outputId: 'o1', name: 'One', addedBy: 'app.a', status: 'unknown' };
    expect(await ask('GET', `${PATH}?packageName=app.a`, { headers: bearer('app.a') })).toEqual({
      status: 200,
      body: { streamId: 'm1', outputs: [{ ...one, url }], total: 1, maxPerStream: 10, maxPerApp: 10 },
    });
    // The key is for the app that gave it.
    expect((await ask('GET', `${PATH}?packageName=app.b`, { headers: bearer('app.b') })).body.outputs).toEqual([
      { ...one, url: 'rtmp://live.example' },
    ]);
    expect(await ask('DELETE', `${PATH}/o1`, { headers: bearer('app.a'), payload: { packageName: 'app.a' } })).toEqual({
      status: 200,
      body: { success: true, message: 'Output removed successfully' },
    });
  });
  it('takes the headers of the documentation as well, and a DELETE with a content type and no body (defect 43)', async () => {
    const { ask } = world();
    const headers = { 'x-api-key': keyOf('app.a'), 'x-package-name': 'app.a', 'content-type': 'application/json' };
    expect((await ask('POST', PATH, { headers, payload: { url } })).status).toBe(200);
    expect((await ask('GET', PATH, { headers })).body.total).toBe(1);
    expect((await ask('DELETE', `${PATH}/o1`, { headers })).status).toBe(200);
  });

  const named = { payload: { packageName: 'app.a', url } };
  it.each<[string, Record<string, unknown>, number, unknown]>([
    ['no key', named, 401, 'Missing or invalid Authorization header'],
    ['no Bearer', { ...named, headers: { authorization: 'Basic x' } }, 401, 'Missing or invalid Authorization header'],
    ['an empty key', { ...named, headers: { authorization: 'Bearer ' } }, 401, 'API Key required'],
    ['a wrong key', { ...named, headers: bearer('app.b') }, 401, 'Invalid API Key'],
    [
      'no such app',
      { headers: bearer('x'), payload: { packageName: 'x', url } },
      401,
      'Invalid API Key or Package Name',
    ],
    ['no name', { headers: bearer('app.a'), payload: { url } }, 400, 'Package name required for API key validation'],
    ['a name that is no text', { headers: bearer('app.a'), payload: { url, packageName: 7 } }, 400, expect.any(String)],
  ])('refuses %s, in the same words on every path', async (_, asked, status, error) => {
    const { ask, list } = world();
    for (const [method, path] of [
      ['POST', PATH],
      ['DELETE', `${PATH}/o1`],
    ] as const) {
      expect(await ask(method, path, asked)).toEqual({ status, body: { error } });
    }
    expect(list).toEqual([]);
  });
  it.each<[unknown, string]>([
    [{ packageName: 'app.a' }, 'INVALID_URL'],
    [{ packageName: 'app.a', url: 5 }, 'INVALID_URL'],
    [{ packageName: 'app.a', url: '' }, 'INVALID_URL'],
    [{ packageName: 'app.a', url, name: 5 }, 'MALFORMED_MESSAGE'],
    [{ packageName: 'app.a', url, name: 'x'.repeat(201) }, 'MALFORMED_MESSAGE'],
  ])('refuses the body %j', async (payload, error) => {
    const { ask } = world();
    const answer = await ask('POST', PATH, { headers: bearer('app.a'), payload });
    expect(answer).toEqual({ status: 400, body: { error, message: expect.any(String) } });
  });
  it('refuses what is no JSON', async () => {
    const { ask } = world();
    const headers = { ...bearer('app.a'), 'content-type': 'application/json' };
    expect((await ask('POST', `${PATH}?packageName=app.a`, { headers, payload: '{"url":' })).status).toBe(400);
  });

  const calls = [
    ['POST', PATH, { packageName: 'app.a', url }],
    ['DELETE', `${PATH}/o1`, { packageName: 'app.a' }],
  ] as const;
  it.each<[ErrorCode, number, string]>([
    ['INVALID_URL_FORMAT', 400, 'INVALID_URL_FORMAT'],
    ['DESTINATION_FORBIDDEN', 400, 'DESTINATION_FORBIDDEN'],
    ['DESTINATION_UNRESOLVED', 400, 'DESTINATION_UNRESOLVED'],
    ['STREAM_NOT_FOUND', 404, 'STREAM_NOT_FOUND'],
    ['OUTPUT_NOT_FOUND', 404, 'OUTPUT_NOT_FOUND'],
    ['NOT_AUTHORIZED', 403, 'NOT_AUTHORIZED'],
    ['MAX_OUTPUTS_REACHED', 409, 'MAX_OUTPUTS_REACHED'],
    ['MAX_APP_OUTPUTS_REACHED', 409, 'MAX_APP_OUTPUTS_REACHED'],
    ['DUPLICATE_URL', 409, 'DUPLICATE_URL'],
    ['PROVIDER_UNREACHABLE', 502, 'CLOUDFLARE_ERROR'],
    ['PROVIDER_RATE_LIMITED', 502, 'CLOUDFLARE_ERROR'],
    ['INTERNAL', 500, 'INTERNAL_ERROR'],
  ])('answers %s with %d %s on every path (defect 43)', async (code, status, error) => {
    const { ask, state } = world();
    state.fails = code;
    for (const [method, path, payload] of calls) {
      const answer = await ask(method, path, { headers: bearer('app.a'), payload });
      expect(answer).toEqual({ status, body: { error, message: expect.any(String) } });
    }
  });
  it('knows a stream that is not there, one that is not watched, and one that is still being made (defect 43)', async () => {
    const { ask, state } = world();
    const codes = async (app: string) => {
      const headers = bearer(app);
      const answers = [await ask('GET', `${PATH}?packageName=${app}`, { headers })];
      for (const [method, path] of calls) {
        answers.push(await ask(method, path, { headers, payload: { packageName: app, url } }));
      }
      return answers.map(({ status, body }) => `${status} ${body.error ?? 'ok'}`);
    };
    // Its own output an app may remove after it has left.
    expect(await codes('app.other')).toEqual(['403 NOT_A_VIEWER', '403 NOT_A_VIEWER', '200 ok']);
    state.isMade = false;
    expect(await codes('app.other')).toEqual(['403 NOT_A_VIEWER', '403 NOT_A_VIEWER', '409 OUTPUTS_NOT_READY']);
    expect(await codes('app.a')).toEqual(['200 ok', '409 OUTPUTS_NOT_READY', '409 OUTPUTS_NOT_READY']);
    state.isThere = false;
    expect(await codes('app.a')).toEqual(Array(3).fill('404 STREAM_NOT_FOUND'));
  });
  it('bounds guessing at keys, and how often one app may change outputs', async () => {
    const { ask, clock } = world();
    const payload = { packageName: 'app.a', url };
    const change = async (headers: object) => (await ask('POST', PATH, { headers, payload })).status;
    for (let n = 0; n < 20; n += 1) expect(await change(bearer('app.a'))).toBe(200);
    expect(await change(bearer('app.a'))).toBe(429);
    await clock.advance(2_000);
    expect(await change(bearer('app.a'))).toBe(200);
    for (let n = 0; n < 30; n += 1) expect(await change({ authorization: `Bearer guess-${n}` })).toBe(401);
    expect(await change(bearer('app.a'))).toBe(429);
  });
  it('logs neither keys nor headers (defect 29)', async () => {
    const { ask, lines, state } = world();
    state.fails = 'INTERNAL';
    await ask('POST', PATH, { headers: bearer('app.a'), payload: { packageName: 'app.a', url } });
    await ask('POST', PATH, {
      headers: { authorization: 'Bearer a-wrong-key' },
      payload: { packageName: 'app.a', url },
    });
    expect(lines.length).toBe(2);
    expect(lines.join()).not.toMatch(/the-stream-key|key-of|a-wrong-key/);
  });
});
