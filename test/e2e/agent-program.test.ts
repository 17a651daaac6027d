/** The agent as a program: how it begins, how signals end it, and that no ffmpeg outlives it, however it dies. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findOnPath } from '../../shared/child-process.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { type FakeRelay, startFakeRelay } from '../support/fake-relay.ts';
import { descendantsOf, isRunning } from '../support/processes.ts';
import { type RtmpSink, startRtmpSink } from '../support/rtmp-sink.ts';

const KEY = 'very-secret-stream-key';
const TOKEN = 'very-secret-core-token';
const setpriv = findOnPath('setpriv');

let relay: FakeRelay;
let sink: RtmpSink;
let folder: string;
let started: ChildProcess[];

beforeEach(async () => {
  relay = await startFakeRelay();
  sink = await startRtmpSink();
  folder = mkdtempSync(join(tmpdir(), 'glasscast-agent-program-'));
  started = [];
});
afterEach(async () => {
  for (const child of started) child.kill('SIGKILL');
  await relay.close();
  await sink.close();
  rmSync(folder, { recursive: true, force: true });
});

function startProgram(env: Record<string, string>) {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, ['--import', 'tsx', 'device/main.ts'], {
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, exited, output: () => output };
}
async function goLive(env: Record<string, string>) {
  const program = startProgram({
    GLASSCAST_AGENT_RELAY_URL: relay.url,
    GLASSCAST_AGENT_CORE_TOKEN: TOKEN,
    ...env,
  });
  await relay.untilConnected();
  const rtmpUrl = `rtmp://127.0.0.1:${sink.port}/live/${KEY}`;
  const video = { width: 320, height: 180, bitrate: 300_000, frameRate: 15 };
  relay.send({ type: 'start_rtmp_stream', streamId: 'm1', rtmpUrl, video, audio: {}, stream: {} });
  await relay.until(({ status }) => status === 'streaming');
  return program;
}
async function untilGone(pid: number): Promise<void> {
  while (isRunning(pid)) await new Promise((resolve) => setImmediate(resolve));
}

test('a signal ends stream, program and ffmpeg', async () => {
  const program = await goLive({});
  const pids = descendantsOf(program.child.pid ?? 0);
  expect(pids.length).toBeGreaterThan(0);
  program.child.kill('SIGINT');
  expect(await program.exited).toBe(0);
  expect(pids.filter(isRunning)).toEqual([]);
  expect(relay.frames.filter(({ status }) => status === 'stopped')).toHaveLength(1);
  expect(program.output()).toContain('Agent ready');
  expect(program.output()).toContain('agent-config');
  expect(program.output()).not.toContain(KEY);
  expect(program.output()).not.toContain(TOKEN);
});

const binaries = [findOnPath('ffmpeg'), bundledFfmpeg()].filter((file) => file !== undefined);
const killed = binaries.flatMap((file) => [
  { file, helper: 'with setpriv' },
  { file, helper: 'without setpriv' },
]);

// Without setpriv ffmpeg ends at its next picture: nobody holds the other end of its pipe.
test.each(killed)(
  'a program killed while $file streams, $helper on PATH, leaves no ffmpeg',
  async ({ file, helper }) => {
    const path = join(folder, 'bin');
    mkdirSync(path);
    if (setpriv && helper === 'with setpriv') symlinkSync(setpriv, join(path, 'setpriv'));
    const program = await goLive({ PATH: path, FFMPEG_PATH: file });
    const pids = descendantsOf(program.child.pid ?? 0);
    expect(pids.length).toBeGreaterThan(0);
    program.child.kill('SIGKILL');
    await program.exited;
    for (const pid of pids) await untilGone(pid);
  },
);

test('a missing token, an unknown key and a missing ffmpeg are one clear line each', async () => {
  const cases: [Record<string, string>, string][] = [
    [{}, 'GLASSCAST_AGENT_CORE_TOKEN: is missing'],
    [{ GLASSCAST_AGENT_CORE_TOKEN: TOKEN, GLASSCAST_AGENT_COLOUR: 'red' }, 'unknown GLASSCAST_AGENT_COLOUR'],
    [{ GLASSCAST_AGENT_CORE_TOKEN: TOKEN, FFMPEG_PATH: '/no/such/ffmpeg' }, '/no/such/ffmpeg'],
  ];
  for (const [env, text] of cases) {
    const program = startProgram(env);
    expect(await program.exited).toBe(1);
    expect(program.output()).toContain(text);
    expect(program.output().trim().split('\n')).toHaveLength(1);
  }
});
