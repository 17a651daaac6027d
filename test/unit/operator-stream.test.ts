/** The operator's REST of streams, outputs and recordings, with fakes behind it. */
import fastify from 'fastify';
import { expect, it, onTestFinished } from 'vitest';
import type { AppCatalog } from '../../cloud/apps/app-catalog.ts';
import { createEventFeed } from '../../cloud/http/event-feed.ts';
import { answerError } from '../../cloud/http/http.ts';
import { operatorRoutes } from '../../cloud/http/operator-routes.ts';
import { recordingRoutes } from '../../cloud/http/recording-routes.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { operatorStream } from '../../cloud/streams/operator-stream.ts';
import { createStoryArchive } from '../../cloud/streams/story-archive.ts';
import { createStreamHistory } from '../../cloud/streams/stream-history.ts';
import { createStreamRegistry } from '../../cloud/streams/stream-registry.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { fakeGlasses, fakePlayback, fakeRestreaming, fakeSource, fakeViewer } from '../support/stream-fakes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const USER = 'ada@example.com';
const PATH = `/api/users/${USER}/managed-stream`;
const url = 'rtmp://live.example/app/the-stream-key';

function world() {
  const clock = createTestClock();
  const [glasses, source, playback, restreaming] = [fakeGlasses(), fakeSource(), fakePlayback(), fakeRestreaming()];
  const store = createSqliteStore({ file: ':memory:' });
  const history = createStreamHistory({
    ...{ clock, redact: (text: string) => text, onEntry() {} },
    archive: createStoryArchive({ store, clock, log: silentLog() }),
  });
  const streams = createStreamRegistry({
    ...{ source, playback, restreaming, clock, store, log: silentLog(), onChange: history.saw },
    onDefect(error) {
      throw error;
    },
  });
  const server = fastify();
  onTestFinished(() => server.close());
  server.setErrorHandler((thrown, request, reply) => answerError(thrown, request, reply, silentLog()));
  const known = { ...glasses, isKnown: () => true };
  operatorRoutes({
    ...{ catalog: {} as AppCatalog, events: createEventFeed(), clock, history },
    operatorStream: operatorStream({ get: () => known }, streams),
    sessions: () => [],
    streams: () => streams.snapshots(),
    endStream: () => false,
  })(server);
  const removed: string[] = [];
  recordingRoutes({
    recordings: {
      list: async () => ({ recordings: [], keepsRecordings: true }),
      async remove(uid) {
        if (uid === 'live') throw new GlasscastError('RECORDING_LIVE');
        removed.push(uid);
      },
    },
  })(server);
  async function ask(method: 'GET' | 'POST' | 'DELETE', path: string, payload?: object) {
    const response = await server.inject({ method, url: path, ...(payload ? { payload } : {}) });
    return { status: response.statusCode, body: response.body ? (response.json() as Record<string, unknown>) : {} };
  }
  async function goLive() {
    await settle();
    await source.provide();
    await settle();
    playback.prove();
  }
  return { ask, clock, glasses, goLive, known, playback, removed, restreaming, streams };
}

it('starts with settings and outputs; the glasses get the ones, the provider the others', async () => {
  const { ask, glasses, goLive, restreaming } = world();
  const video = { width: 640, height: 360, frameRate: 15, bitrate: 500_000 };
  const audio = { bitrate: 48_000, echoCancellation: true, noiseSuppression: true };
  const outputs = [{ url, name: 'One' }];
  expect((await ask('POST', PATH, { video, audio, outputs })).status).toBe(202);
  await goLive();
  expect(glasses.sent.find(({ type }) => type === 'start_stream')).toMatchObject({ video, audio });
  expect(restreaming.opened[0]?.list).toMatchObject([{ url, name: 'One', addedBy: 'glasscast.console' }]);
  const wrong = await ask('POST', PATH, { outputs: [{ url, key: 'x' }] });
  expect(wrong).toMatchObject({ status: 400, body: { error: 'MALFORMED_MESSAGE' } });
});

it('is answered with the new stream when an earlier one is just ending', async () => {
  const { ask, clock, goLive } = world();
  const { body: first } = await ask('POST', PATH, {});
  await goLive();
  await ask('DELETE', PATH);
  const asked = ask('POST', PATH, {});
  await settle();
  await clock.advance(10_000);
  const { status, body: second } = await asked;
  expect(status).toBe(202);
  expect(second).toMatchObject({ state: 'provisioning', viewers: ['glasscast.console'] });
  expect(second.streamId).not.toBe(first.streamId);
});

it('adds an output to the stream of apps and removes theirs, and shows no key', async () => {
  const { ask, goLive, known, streams } = world();
  expect(await ask('POST', `${PATH}/outputs`, { url })).toMatchObject({ status: 404 });
  streams.request(USER, fakeViewer('app.a'), { restreamDestinations: [{ url: `${url}-of-app` }] }, known);
  await settle();
  expect(await ask('POST', `${PATH}/outputs`, { url })).toMatchObject({
    ...{ status: 409, body: { error: 'OUTPUTS_NOT_READY' } },
  });
  await goLive();
  const added = await ask('POST', `${PATH}/outputs`, { url, name: 'Mine' });
  const mine = { url: 'rtmp://live.example', name: 'Mine', addedBy: 'glasscast.console', status: 'stopped' };
  expect(added).toMatchObject({ status: 201, body: { ...mine, outputId: expect.any(String) } });
  const { body } = await ask('GET', '/api/streams');
  const [stream] = body.streams as { outputs: { outputId: string }[]; viewers: string[] }[];
  expect(stream).toMatchObject({ viewers: ['app.a'], outputs: [{ addedBy: 'app.a' }, mine] });
  expect(JSON.stringify(body)).not.toContain('the-stream-key');
  for (const { outputId } of [...(stream?.outputs ?? [])]) {
    expect((await ask('DELETE', `${PATH}/outputs/${outputId}`)).status).toBe(204);
  }
  expect(await ask('DELETE', `${PATH}/outputs/none`)).toMatchObject({
    status: 404,
    body: { error: 'OUTPUT_NOT_FOUND' },
  });
  expect(streams.snapshots()[0]?.outputs).toEqual([]);
});

it('removes a viewer, who hears why, and ends the stream with the last one', async () => {
  const { ask, goLive, known, streams } = world();
  const [a, b] = [fakeViewer('app.a'), fakeViewer('app.b')];
  for (const viewer of [a, b]) streams.request(USER, viewer, {}, known);
  await goLive();
  const { streamId = '' } = streams.snapshots()[0] ?? {};
  const path = `/api/streams/${streamId}/viewers`;
  expect(await ask('DELETE', `${path}/app.c`)).toMatchObject({ status: 404, body: { error: 'VIEWER_NOT_FOUND' } });
  expect(await ask('DELETE', '/api/streams/none/viewers/app.a')).toMatchObject({
    ...{ status: 404, body: { error: 'STREAM_NOT_FOUND' } },
  });
  expect((await ask('DELETE', `${path}/app.a`)).status).toBe(204);
  const message = 'The operator has removed app.a from the stream';
  expect(a.last()).toEqual({ type: 'managed_stream_status', status: 'stopped', streamId, message });
  expect(streams.repeat(USER, 'app.a')).toBe(false);
  expect((await ask('DELETE', `${path}/app.a`)).status).toBe(404);
  // The operator's own page is a viewer like any other.
  await ask('POST', PATH, {});
  expect(streams.snapshots()).toMatchObject([{ state: 'active', viewers: ['app.b', 'glasscast.console'] }]);
  expect((await ask('DELETE', `${path}/glasscast.console`)).status).toBe(204);
  expect(b.last()).toMatchObject({ status: 'active' });
  expect((await ask('DELETE', `${path}/app.b`)).status).toBe(204);
  expect(b.last()).toMatchObject({ status: 'stopped' });
  expect(streams.snapshots()).toMatchObject([
    { state: 'stopping', viewers: [], message: 'The operator has removed app.b from the stream' },
  ]);
});

it('removes the owner of an unmanaged stream, which ends', async () => {
  const { ask, known, streams } = world();
  const owner = fakeViewer('app.a');
  streams.requestUnmanaged(USER, owner, { publishUrl: 'rtmp://there/live/key' }, known);
  await settle();
  const { streamId = '' } = streams.snapshots()[0] ?? {};
  expect((await ask('DELETE', `/api/streams/${streamId}/viewers/app.a`)).status).toBe(204);
  const errorDetails = 'The operator has removed app.a from the stream';
  expect(owner.last()).toEqual({ type: 'stream_status', status: 'stopped', streamId, errorDetails });
});

it('takes changes of outputs no faster than from apps', async () => {
  const { ask, clock } = world();
  const codes = [];
  for (let n = 0; n < 21; n += 1) codes.push((await ask('DELETE', `${PATH}/outputs/x`)).status);
  expect(codes).toEqual([...Array(20).fill(404), 429]);
  await clock.advance(2_000);
  expect((await ask('DELETE', `${PATH}/outputs/x`)).status).toBe(404);
});

it('tells the timeline of a stream, also when it is over', async () => {
  const { ask, goLive } = world();
  const { body } = await ask('POST', PATH, {});
  await goLive();
  await ask('DELETE', PATH);
  const { body: told } = await ask('GET', `/api/streams/${String(body.streamId)}/timeline`);
  const states = (told.entries as { state?: string }[]).flatMap(({ state }) => state ?? []);
  expect(states).toEqual(['provisioning', 'starting', 'active', 'stopping']);
  expect((await ask('GET', '/api/streams/none/timeline')).status).toBe(404);
  expect((await ask('GET', '/api/streams/history')).body).toEqual({ streams: [] });
});

it('lists and deletes recordings', async () => {
  const { ask, removed } = world();
  expect((await ask('GET', '/api/recordings')).body).toEqual({ recordings: [], keepsRecordings: true });
  expect((await ask('DELETE', '/api/recordings/v1')).status).toBe(204);
  expect(await ask('DELETE', '/api/recordings/live')).toMatchObject({ status: 409, body: { error: 'RECORDING_LIVE' } });
  expect(removed).toEqual(['v1']);
});
