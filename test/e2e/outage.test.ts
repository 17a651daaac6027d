/** The whole chain as programs, and the ingest killed in the middle: the encoder must not notice, viewers must be told the truth. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type ChildSpawner, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { probe } from '../support/ffprobe.ts';
import { descendantsOf, isRunning } from '../support/processes.ts';
import { startProgram } from '../support/program.ts';

const ADMIN_TOKEN = 'an-admin-token-for-the-outage';
const USER = 'ada@example.com';

let children: ChildSpawner;
let folder: string;

beforeEach(async () => {
  children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  folder = await mkdtemp(join(tmpdir(), 'glasscast-outage-'));
});
afterEach(async () => {
  await children.close();
  await rm(folder, { recursive: true, force: true });
});

interface Stream {
  streamId: string;
  state: string;
  urls?: { hlsUrl: string };
}

function operator(url: string) {
  return async <Result>(method: string, path: string, body?: object): Promise<Result> => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return (await response.json()) as Result;
  };
}

it('the local Stream killed with SIGKILL: the same encoder, the same stream, interrupted and active again', async () => {
  const relay = startProgram(children, {
    file: 'cloud/main.ts',
    env: {
      GLASSCAST_PORT: '0',
      GLASSCAST_DATA_DIR: folder,
      GLASSCAST_ADMIN_TOKEN: ADMIN_TOKEN,
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: '0',
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: '0',
    },
  });
  const url = await relay.line(/^Relay ready: (\S+)/);
  const call = operator(url);
  const { coreToken } = await call<{ coreToken: string }>('POST', '/api/tokens', { email: USER });
  const glasses = startProgram(children, {
    file: 'device/main.ts',
    args: ['--relay-url', `${url.replace('http', 'ws')}/glasses-ws`],
    env: { GLASSCAST_AGENT_CORE_TOKEN: coreToken },
  });
  await relay.until(() => relay.logged.find(({ msg }) => msg === 'glasses-connected'));

  const video = { width: 320, height: 240, frameRate: 15, bitrate: 300_000 };
  const { streamId } = await call<Stream>('POST', `/api/users/${USER}/managed-stream`, { video });
  const live = () => relay.logged.filter((line) => line.msg === 'stream-live' && line.streamId === streamId);
  await relay.until(() => live()[0]);
  const encoders = () => descendantsOf(glasses.child.pid ?? 0);
  const before = encoders();
  // One of the picture, one of the sound.
  expect(before).toHaveLength(2);

  for (const pid of descendantsOf(relay.child.pid ?? 0)) process.kill(pid, 'SIGKILL');
  await relay.until(() => relay.logged.find((line) => line.msg === 'stream-interrupted' && line.streamId === streamId));
  await relay.until(() => live()[1]);

  expect(encoders()).toEqual(before);
  expect(before.every(isRunning)).toBe(true);
  const stream = await call<Stream>('GET', `/api/streams/${streamId}`);
  expect(stream.state).toBe('active');
  const { streams } = await probe(children.spawn, stream.urls?.hlsUrl ?? '');
  expect(streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);

  expect(await glasses.child.stop()).toMatchObject({ code: 0 });
  expect(await relay.child.stop()).toMatchObject({ code: 0 });
  expect(before.some(isRunning)).toBe(false);
});
