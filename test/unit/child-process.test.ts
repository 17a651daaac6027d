import { once } from 'node:events';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type ChildSpec, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { isRunning } from '../support/processes.ts';

const clock = createSystemClock();
const redactor = createRedactor();
const spawner = createChildSpawner({ clock, log: silentLog(), redactor });

/** Node itself, running one line of misbehaviour. */
function node(script: string, spec: Partial<ChildSpec> = {}) {
  return spawner.spawn({ name: 'misbehaving', file: process.execPath, args: ['-e', script], ...spec });
}
afterEach(async () => {
  await spawner.close();
  expect(spawner.running()).toEqual([]);
  expect(clock.pending()).toEqual([]);
});

describe('child process', () => {
  it('tells an exit by itself with code and last words, secrets masked', async () => {
    redactor.add('verysecret');
    const child = node('console.error("first"); console.error("key verysecret"); process.exitCode = 3');
    expect(await child.exited).toMatchObject({ end: 'exited', code: 3, lastLines: ['first', 'key ***'] });
  });

  it('splits lines at \\n and \\r', async () => {
    const lines: string[] = [];
    await node('process.stdout.write("a\\rb\\nc")', { stdout: 'lines', onStdoutLine: (line) => lines.push(line) })
      .exited;
    expect(lines).toEqual(['a', 'b', 'c']);
  });

  it('says when the file cannot be run', async () => {
    const child = spawner.spawn({ name: 'missing', file: '/does/not/exist', args: [] });
    const exit = await child.exited;
    expect(exit).toMatchObject({ end: 'not-started' });
    expect(exit.error?.message).toMatch(/\/does\/not\/exist.*No such file|ENOENT/);
    const forbidden = await spawner.spawn({ name: 'no-program', file: './package.json', args: [] }).exited;
    expect(forbidden.end).toBe('not-started');
    expect(forbidden.error?.message).toMatch(/Permission denied|EACCES/);
  });

  it('takes 127 from a program that did run for what it is', async () => {
    expect(await node('process.exitCode = 127').exited).toMatchObject({ end: 'exited', code: 127 });
  });

  it('keeps our settings, and the secrets among them, from children', async () => {
    const lines: string[] = [];
    vi.stubEnv('GLASSCAST_ADMIN_TOKEN', 'verysecret');
    await node('console.log(process.env.GLASSCAST_ADMIN_TOKEN, Boolean(process.env.PATH))', {
      stdout: 'lines',
      onStdoutLine: (line) => lines.push(line),
    }).exited;
    vi.unstubAllEnvs();
    expect(lines).toEqual(['undefined true']);
  });

  it('stops politely', async () => {
    const child = node(
      'process.on("SIGINT", () => process.exit(0)); console.log("ready"); setInterval(() => {}, 1e6)',
      {
        stdout: 'raw',
      },
    );
    if (child.stdout) await once(child.stdout, 'data');
    expect(await child.stop()).toMatchObject({ end: 'stopped', code: 0 });
    expect(await child.stop()).toMatchObject({ end: 'stopped' });
  });

  it('ends one that outlives us by its input, not by a signal', async () => {
    const child = node(
      'process.on("SIGINT", () => process.exit(1)); process.stdin.on("end", () => process.exit(7)).resume()',
      { outlives: true },
    );
    expect(await child.stop()).toMatchObject({ end: 'stopped', code: 7 });
  });

  it('kills what ignores the polite signal', async () => {
    const child = node('process.on("SIGINT", () => {}); console.log("ready"); setInterval(() => {}, 1e6)', {
      stdout: 'raw',
      stopTimeoutMs: 50,
    });
    if (child.stdout) await once(child.stdout, 'data');
    expect(await child.stop()).toMatchObject({ end: 'stopped', signal: 'SIGKILL' });
  });

  it('ends a child that talks but makes no progress', async () => {
    const child = node('setInterval(() => console.error("busy"), 5)', { stallTimeoutMs: 150 });
    expect(await child.exited).toMatchObject({ end: 'stalled' });
  });

  it('gives a message channel', async () => {
    const messages: unknown[] = [];
    const child = node('process.send({ ready: true }, () => process.disconnect())', {
      ipc: true,
      onMessage: (message) => messages.push(message),
    });
    await child.exited;
    expect(messages).toEqual([{ ready: true }]);
  });

  it.runIf(process.platform === 'linux')('takes its children along when it is killed', async () => {
    const script = `
      import { createChildSpawner } from './shared/child-process.ts';
      import { createSystemClock } from './shared/clock.ts';
      import { silentLog } from './shared/log.ts';
      import { createRedactor } from './shared/secrets.ts';
      const spawner = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
      const grandchild = spawner.spawn({ name: 'g', file: process.execPath, args: ['-e', 'console.log(1);setInterval(()=>{},1e6)'], stdout: 'lines',
        onStdoutLine: () => console.log(grandchild.pid) });`;
    const parent = spawner.spawn({
      name: 'parent',
      file: process.execPath,
      args: ['--import', 'tsx', '--input-type=module', '-e', script],
      stdout: 'raw',
      stopSignal: 'SIGKILL',
    });
    const [line] = parent.stdout ? await once(parent.stdout, 'data') : [];
    const pid = Number(String(line));
    expect(isRunning(pid)).toBe(true);
    await parent.stop();
    await expect.poll(() => isRunning(pid)).toBe(false);
  });

  it.runIf(process.platform === 'linux')(
    'without a descriptor to spare one does not start, and nothing else ends',
    async () => {
      const script = `
      import { openSync } from 'node:fs';
      import { createChildSpawner } from './shared/child-process.ts';
      import { createSystemClock } from './shared/clock.ts';
      import { silentLog } from './shared/log.ts';
      import { createRedactor } from './shared/secrets.ts';
      const spawner = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
      try { for (;;) openSync('/dev/null', 'r'); } catch {}
      const exit = await spawner.spawn({ name: 'g', file: '/bin/true', args: [], stdin: 'pipe' }).exited;
      console.log(exit.end, exit.error.code);`;
      const lines: string[] = [];
      const args = ['-c', 'ulimit -n 80; exec "$0" "$@"', process.execPath];
      const parent = spawner.spawn({
        ...{ name: 'parent', file: '/bin/sh', stdout: 'lines' },
        args: [...args, '--import', 'tsx', '--input-type=module', '-e', script],
        onStdoutLine: (line) => lines.push(line),
      });
      expect(await parent.exited).toMatchObject({ code: 0 });
      expect(lines).toEqual(['not-started EMFILE']);
    },
  );
});
