/** The local Stream as a program of its own: started over a message channel, killed, started again, ended. */
import { createServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { LocalStreamReady } from '../../cloud/local-stream/main.ts';
import { type Child, createChildSpawner, type SpawnChild } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { probe } from '../support/ffprobe.ts';
import {
  advances,
  apiClient,
  type InputJson,
  pushTestPattern,
  temporaryFolder,
  until,
  type VideoJson,
} from '../support/local-stream-world.ts';
import { descendantsOf } from '../support/processes.ts';

function createSpawn(): SpawnChild {
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  onTestFinished(() => children.close());
  return children.spawn;
}

interface Program {
  child: Child;
  ready: Promise<LocalStreamReady>;
  lines: string[];
}

function run(spawn: SpawnChild, flags: string[], { ipc = true } = {}): Program {
  const lines: string[] = [];
  let tell: (ready: LocalStreamReady) => void = () => {};
  const ready = new Promise<LocalStreamReady>((resolve) => {
    tell = resolve;
  });
  const child = spawn({
    name: 'local-stream',
    file: process.execPath,
    args: ['--import', './scripts/typescript.js', 'cloud/local-stream/main.ts', '--log-level', 'warn', ...flags],
    ipc,
    stdout: 'lines',
    onStdoutLine: (line) => void lines.push(line),
    onStderrLine: (line) => void lines.push(line),
    onMessage: (message) => tell(message as LocalStreamReady),
  });
  return { child, ready, lines };
}

const freePorts = ['--http-port', '0', '--rtmp-port', '0'];

function clientOf(ready: LocalStreamReady) {
  return apiClient({ ...ready, apiToken: new Secret(ready.apiToken) }, ready.apiToken);
}

describe('the program', () => {
  it('is killed in the middle of a broadcast: inputs, keys and what was recorded are there again', async () => {
    const spawn = createSpawn();
    const flags = [...freePorts, '--data-dir', temporaryFolder()];
    const before = run(spawn, flags);
    const address = await before.ready;
    const input = await clientOf(address).createInput(60);
    const push = pushTestPattern(spawn, input);
    await advances(input.playback.hls);
    const killed = await until(async () => {
      const { result } = await clientOf(address).call<VideoJson[]>('GET', `/live_inputs/${input.uid}/videos`);
      return result[0];
    });
    process.kill(before.child.pid ?? 0, 'SIGKILL');
    await before.child.exited;
    await push.exited;

    const after = await run(spawn, flags).ready;
    expect(after.apiToken).toBe(address.apiToken);
    const client = clientOf(after);
    const { result: same } = await client.call<InputJson>('GET', `/live_inputs/${input.uid}`);
    expect(same.rtmps.streamKey).toBe(input.rtmps.streamKey);
    expect(same.status?.current.state).toBe('disconnected');
    const { result: video } = await client.call<VideoJson>('GET', `/${killed.uid}`);
    expect(video.status.state).toBe('ready');
    expect(video.duration).toBeGreaterThan(0.5);
    const recorded = await probe(spawn, video.playback.hls, { countFrames: true });
    expect(recorded.complaints).toBe('');
    expect(recorded.durationS).toBeCloseTo(video.duration, 0);

    const again = pushTestPattern(spawn, same);
    await advances(same.playback.hls);
    await again.stop();
  });

  it.runIf(process.platform === 'linux')('keeps no compiler beside it once all is loaded', async () => {
    const { child, ready } = run(createSpawn(), [...freePorts, '--data-dir', temporaryFolder()]);
    await ready;
    const pid = child.pid ?? 0;
    expect(descendantsOf(pid)).toHaveLength(1);
    await until(async () => descendantsOf(pid).length === 0);
    expect(await child.stop()).toMatchObject({ code: 0 });
  });

  it('says in one line what is wrong, and exits with 1', async () => {
    const spawn = createSpawn();
    const taken = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void taken.close());
    await new Promise((resolve) => taken.once('listening', resolve));
    const port = String((taken.address() as { port: number }).port);
    for (const flag of ['--http-port', '--rtmp-port']) {
      const { child, lines } = run(spawn, [...freePorts, '--data-dir', temporaryFolder(), flag, port]);
      expect((await child.exited).code).toBe(1);
      expect(lines.filter((line) => line.startsWith('The port is in use'))).toEqual([expect.stringContaining(port)]);
      expect(lines.join('\n')).not.toContain('    at ');
    }
    const unknown = run(spawn, ['--bogus', '1']);
    expect((await unknown.child.exited).code).toBe(1);
    expect(unknown.lines).toEqual([expect.stringMatching(/^The configuration is not valid.*--bogus/)]);
  });

  it('ends cleanly on a signal, and when the parent goes away', async () => {
    const spawn = createSpawn();
    const alone = run(spawn, [...freePorts, '--data-dir', temporaryFolder()], { ipc: false });
    await until(async () => alone.lines.some((line) => line.startsWith('Local Stream ready: http://127.0.0.1:')));
    expect(await alone.child.stop()).toMatchObject({ code: 0 });

    const source = `
      const { fork } = require('node:child_process');
      const child = fork('cloud/local-stream/main.ts', ${JSON.stringify([...freePorts, '--data-dir', temporaryFolder()])},
        { execArgv: ['--import', './scripts/typescript.js'], stdio: ['ignore', 'ignore', 'ignore', 'ipc'], detached: true });
      child.once('message', () => { console.log(child.pid); process.exit(0); });`;
    const pids: number[] = [];
    const parent = spawn({
      name: 'parent',
      file: process.execPath,
      args: ['-e', source],
      stdout: 'lines',
      onStdoutLine: (line) => void pids.push(Number(line)),
    });
    await parent.exited;
    const [pid = 0] = pids;
    expect(pid).toBeGreaterThan(0);
    await until(async () => {
      try {
        return !process.kill(pid, 0);
      } catch {
        return true;
      }
    });
  });
});
