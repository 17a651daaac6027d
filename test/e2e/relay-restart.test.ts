/**
 * The relay's program is killed, or told to restart, while a stream runs: local Stream and glasses are programs of their own,
 * as in production. Nobody may notice more than a pause in the conversation.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/bench/free-port.ts';
import { type ChildSpawner, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { pictureTimes } from '../support/ffprobe.ts';
import { descendantsOf, isRunning } from '../support/processes.ts';
import { type Program, startProgram } from '../support/program.ts';
import { createScriptedApp, type Frame, type Peer } from '../support/relay-world.ts';

const USER = 'ada@example.com';
const ADMIN_TOKEN = 'an-admin-token-for-tests';
const clock = createSystemClock();

let children: ChildSpawner;
let folder: string;
let closers: (() => Promise<unknown>)[];
beforeEach(async () => {
  children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  folder = await mkdtemp(join(tmpdir(), 'glasscast-restart-'));
  closers = [];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
  await children.close();
  await rm(folder, { recursive: true, force: true });
});

interface Provider {
  env: Record<string, string>;
  call<T>(path: string): Promise<T>;
}

async function externalLocalStream(): Promise<Provider> {
  const dataDir = join(folder, 'stream');
  const args = ['--http-port', '0', '--rtmp-port', '0', '--data-dir', dataDir, '--log-level', 'warn'];
  const program = startProgram(children, { file: 'cloud/local-stream/main.ts', args });
  const apiBaseUrl = await program.line(/^Local Stream ready: ([^,]+),/);
  const token = (await readFile(join(dataDir, 'api-token'), 'utf8')).trim();
  const accountId = 'a1'.repeat(16);
  return {
    env: {
      GLASSCAST_PROVIDER: 'local',
      GLASSCAST_CLOUDFLARE_ACCOUNT_ID: accountId,
      GLASSCAST_CLOUDFLARE_API_TOKEN: token,
      GLASSCAST_CLOUDFLARE_API_BASE_URL: apiBaseUrl,
    },
    async call<T>(path: string) {
      const headers = { authorization: `Bearer ${token}` };
      const response = await fetch(`${apiBaseUrl}/accounts/${accountId}/stream${path}`, { headers });
      return ((await response.json()) as { result: T }).result;
    },
  };
}

/** A relay that can be started again in its own place, glasses, and an app that is never told that it was a restart. */
async function world(env: Record<string, string>) {
  const port = String(await freePort());
  const url = `http://127.0.0.1:${port}`;
  const startRelay = async (): Promise<Program> => {
    const relay = startProgram(children, {
      file: 'cloud/main.ts',
      args: ['--port', port, '--data-dir', join(folder, 'relay')],
      env: { GLASSCAST_ADMIN_TOKEN: ADMIN_TOKEN, ...env },
    });
    await Promise.race([
      relay.line(/^Relay ready: (\S+)/),
      relay.child.exited.then(({ lastLines }) => Promise.reject(new Error(lastLines.join('\n')))),
    ]);
    return relay;
  };
  async function rest<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    expect(response.ok, `${method} ${path} ${response.status}`).toBe(true);
    return (response.status === 204 ? {} : await response.json()) as T;
  }
  const relay = await startRelay();
  const { coreToken } = await rest<{ coreToken: string }>('POST', '/api/tokens', { email: USER });
  const agent = startProgram(children, {
    file: 'device/main.ts',
    env: {
      GLASSCAST_AGENT_RELAY_URL: `${url.replace('http', 'ws')}/glasses-ws`,
      GLASSCAST_AGENT_CORE_TOKEN: coreToken,
    },
  });
  const areGlassesBack = async () => {
    const { sessions } = await rest<{ sessions: { userId: string; connected: boolean }[] }>('GET', '/api/sessions');
    return sessions.some(({ userId, connected }) => userId === USER && connected);
  };
  await expect.poll(areGlassesBack, { timeout: 20_000 }).toBe(true);
  const app = await createScriptedApp('com.example.cam');
  closers.push(app.close);
  await rest('PUT', `/api/apps/${app.packageName}`, { publicUrl: app.publicUrl, apiKey: app.apiKey });
  await rest('POST', `/api/apps/${app.packageName}/start`, { userId: USER });
  const { sessionId } = await app.inbox.take('the ack', ({ type }) => type === 'tpa_connection_ack');
  const status = (word: string) =>
    app.inbox.take(word, (frame) => frame.type === 'managed_stream_status' && frame.status === word);
  app.send({
    type: 'managed_stream_request',
    packageName: app.packageName,
    video: { width: 320, height: 240, frameRate: 15, bitrate: 300_000 },
  });
  const { streamId, hlsUrl } = await status('active');
  const activeMs = clock.monotonicMs();

  return {
    ...{
      port: Number(port),
      relay,
      startRelay,
      rest,
      agent,
      app,
      status,
      areGlassesBack,
      streamId,
      hlsUrl: String(hlsUrl),
    },
    /** ffmpeg on the glasses. */
    encoders: () => descendantsOf(agent.child.pid ?? 0).filter(isRunning),
    /** As the SDK does after a loss, only without its patience. */
    async appComesBack(): Promise<void> {
      for (;;) {
        const peer: Peer | undefined = await app
          .connect(`${url.replace('http', 'ws')}/app-ws`, String(sessionId))
          .catch(() => undefined);
        if (peer) return;
        await clock.sleep(50);
      }
    },
    /** Gives the seconds that viewers could see it. */
    async stop(): Promise<number> {
      app.send({ type: 'managed_stream_stop', packageName: app.packageName });
      await status('stopped');
      return (clock.monotonicMs() - activeMs) / 1000;
    },
  };
}

/** That of the unmanaged kind comes and is right: the app has no such stream. */
const isManagedStop = ({ type, status }: Frame) => type === 'managed_stream_status' && status === 'stopped';
const leftAt = async (provider: Provider) => (await provider.call<{ uid: string }[]>('/live_inputs')).length;

// Each starts four or five programs.
describe('a relay that comes back under a live stream', { timeout: 120_000 }, () => {
  it('after a SIGKILL: same stream, same ffmpeg, one recording without a gap', async () => {
    const provider = await externalLocalStream();
    const run = await world({ ...provider.env, GLASSCAST_KEEP_RECORDINGS: 'yes' });
    const encoders = run.encoders();
    expect(encoders.length).toBeGreaterThan(0);
    process.kill(run.relay.child.pid ?? 0, 'SIGKILL');
    expect((await run.relay.child.exited).signal).toBe('SIGKILL');
    expect(await run.app.socket()?.closed).toBe(1006);

    const again = await run.startRelay();
    await run.appComesBack();
    expect(await run.status('active')).toMatchObject({ streamId: run.streamId, hlsUrl: run.hlsUrl });
    await expect.poll(run.areGlassesBack, { timeout: 20_000 }).toBe(true);
    expect(run.encoders()).toEqual(encoders);
    expect(run.app.inbox.frames.filter(isManagedStop)).toEqual([]);
    const { streams } = await run.rest<{ streams: object[] }>('GET', '/api/streams');
    expect(streams).toMatchObject([{ streamId: run.streamId, userId: USER, viewers: [run.app.packageName] }]);
    await clock.sleep(2_000);
    const seenS = await run.stop();

    type VideoJson = { uid: string; status: { state: string }; playback: { hls: string } };
    const videos = () => provider.call<VideoJson[]>('');
    await expect
      .poll(async () => (await videos()).map(({ status }) => status.state), { timeout: 20_000 })
      .toEqual(['ready']);
    const [video] = await videos();
    const times = await pictureTimes(children.spawn, video?.playback.hls ?? '');
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(seenS - 1);
    // A restart takes more than a second; pictures are 67 ms apart, and a busy machine may be late with one.
    expect(Math.max(...gaps)).toBeLessThan(0.5);
    await expect.poll(() => leftAt(provider), { timeout: 20_000 }).toBe(0);
    expect(await again.child.stop()).toMatchObject({ code: 0 });
  });

  it('after a SIGTERM: peers are told 1012, the broadcast goes on, and its end leaves nothing', async () => {
    const provider = await externalLocalStream();
    const run = await world(provider.env);
    const encoders = run.encoders();
    const broadcasts = async () => (await provider.call<{ uid: string }[]>('')).map(({ uid }) => uid);
    const before = await broadcasts();
    expect(before).toHaveLength(1);
    process.kill(run.relay.child.pid ?? 0, 'SIGTERM');
    expect(await run.app.socket()?.closed).toBe(1012);
    expect(await run.relay.child.exited).toMatchObject({ code: 0 });
    const words = run.app.inbox.frames.map(({ status }) => status);
    expect(words).not.toContain('stopped');
    expect(words).not.toContain('error');

    // A start that fails ends nothing.
    const other = createServer((socket) => socket.destroy()).listen(run.port, '127.0.0.1');
    await expect(run.startRelay()).rejects.toThrow('The port is in use');
    await new Promise((resolve) => other.close(resolve));

    const again = await run.startRelay();
    await run.appComesBack();
    expect(await run.status('active')).toMatchObject({ streamId: run.streamId, hlsUrl: run.hlsUrl });
    await expect.poll(run.areGlassesBack, { timeout: 20_000 }).toBe(true);
    expect([run.encoders(), await broadcasts()]).toEqual([encoders, before]);
    expect(run.app.inbox.frames.filter(isManagedStop)).toEqual([]);
    await run.stop();
    await expect.poll(async () => [await leftAt(provider), await broadcasts()], { timeout: 20_000 }).toEqual([0, []]);
    expect(again.logged.filter(({ level }) => Number(level) >= 50)).toEqual([]);
    expect(await again.child.stop()).toMatchObject({ code: 0 });
  });

  it('with the local Stream as its child: that ends with it, and the glasses publish to the next one', async () => {
    const run = await world({
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: String(await freePort()),
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: String(await freePort()),
    });
    const encoders = run.encoders();
    const family = descendantsOf(run.relay.child.pid ?? 0);
    process.kill(run.relay.child.pid ?? 0, 'SIGTERM');
    expect(await run.relay.child.exited).toMatchObject({ code: 0 });
    expect(family.filter(isRunning)).toEqual([]);

    await run.startRelay();
    await run.appComesBack();
    expect(await run.status('active')).toMatchObject({ streamId: run.streamId, hlsUrl: run.hlsUrl });
    expect(run.encoders()).toEqual(encoders);
    await run.stop();
  });

  it('that is ended by SIGINT ends the stream, on the glasses and at the provider', async () => {
    const provider = await externalLocalStream();
    const run = await world(provider.env);
    expect(await run.relay.child.stop()).toMatchObject({ code: 0 });
    await run.status('stopped');
    expect(await leftAt(provider)).toBe(0);
    await expect.poll(run.encoders, { timeout: 10_000 }).toEqual([]);
  });
});
