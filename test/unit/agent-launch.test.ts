/** `launch` by this machine's sh, with a Node that only says how it was called. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { descendantsOf, isRunning } from '../support/processes.ts';

const launch = fileURLToPath(new URL('../../scripts/package/files/launch', import.meta.url));
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-launch-'));
  mkdirSync(join(folder, 'home'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const commandsOf = (pids: number[]) =>
  pids.map((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    } catch {
      return '';
    }
  });

/** Each call of Node is a line `CODE ARGUMENTS`; an agent also tells what the environment says. */
async function launched(
  args: string[],
  answer: { text: string; code?: number; agentCode?: number; isHanging?: boolean; signal?: NodeJS.Signals },
  path = process.env.PATH,
) {
  const home = join(folder, 'home');
  const fake = `#!/bin/sh
case $1 in
  *launcher.mjs) shift
    printf 'launcher %s\\n' "$*" >>'${folder}/calls'
    case $1 in run|look) printf '%s' '${answer.text}'; exit ${answer.code ?? 0};; confirmed) exit 1;; esac ;;
  *) printf 'agent' >>'${folder}/calls'
    printf ' <%s>' "$@" >>'${folder}/calls'
    printf '\\n' >>'${folder}/calls'
    printf '%s %s %s %s %s %s' "$GLASSCAST_LAUNCH_MODE" "$GLASSCAST_LAUNCH_PLACE" "$GLASSCAST_LAUNCH_FLASHED" "$GLASSCAST_LAUNCH_RESTARTS" "\${WATCHDOG_PID-unset}" "\${GLASSCAST_AGENT_PACKAGED_FFMPEG-none}" >'${folder}/environment'
    ${answer.isHanging ? 'exec sleep 1000' : `exit ${answer.agentCode ?? 0}`} ;;
esac
`;
  writeFileSync(join(home, 'node'), fake);
  chmodSync(join(home, 'node'), 0o755);
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const errors: string[] = [];
  const child = children.spawn({
    ...{ name: 'launch', file: '/bin/sh', args: [launch, ...args] },
    env: {
      PATH: path,
      ...{ GLASSCAST_HOME: home, GLASSCAST_AGENT_RELEASES_FOLDER: join(folder, 'releases'), WATCHDOG_PID: '1' },
      GLASSCAST_AGENT_RELEASE_KEYS_FOLDER: join(folder, 'keys'),
    },
    onStderrLine: (line) => errors.push(line),
  });
  const descendants: number[] = [];
  while (answer.signal && !commandsOf(descendants).includes('sleep 1000')) {
    await new Promise((resolve) => setImmediate(resolve));
    descendants.splice(0, descendants.length, ...descendantsOf(child.pid ?? 0));
  }
  if (answer.signal) process.kill(child.pid ?? 0, answer.signal);
  const { code } = await child.exited;
  const read = (name: string) => readFileSync(join(folder, name), 'utf8').replaceAll(folder, '');
  return { code, errors, descendants, calls: read('calls').trim().split('\n'), environment: read('environment') };
}

describe.runIf(process.platform === 'linux')('launch', () => {
  it.each([
    [['run', '--source', 'a b*$(x)'], 'run flashed 0.1.0 0.1.0', '/home/agent.mjs', 'run flashed 0.1.0 yes 1 none'],
    [[], 'run a 0.2.0 0.1.0', '/releases/a/agent.mjs', 'run a 0.1.0 yes 1 none'],
    [['--relay-url', 'ws://x'], 'run b 0.3.0 0.1.0', '/releases/b/agent.mjs', 'run b 0.1.0 yes 1 none'],
    [['run'], 'trial b 0.3.0 0.1.0', '/releases/b/agent.mjs', 'trial b 0.1.0 yes unset none'],
  ])('%j, told "%s", runs %s', async (args, text, file, environment) => {
    const all = await launched(args, { text });
    expect(all.calls.slice(0, 2)).toEqual([
      'launcher run /releases /keys',
      `agent${[file, ...args].map((arg) => ` <${arg}>`).join('')}`,
    ]);
    expect([all.environment, all.errors]).toEqual([environment, []]);
  });

  it.each(['status', 'doctor', 'devices', '--help', '--version', 'help'])('changes nothing for %s', async (word) => {
    const { calls } = await launched([word], { text: 'run a 0.2.0 0.1.0' });
    expect(calls).toEqual(['launcher look /releases /keys', `agent </releases/a/agent.mjs> <${word}>`]);
  });

  it.each([
    ['nothing', { text: '' }],
    ['that it failed', { text: 'run a 0.2.0 0.1.0', code: 1 }],
    ['another place', { text: 'run ../../../tmp 0.2.0 0.1.0' }],
    ['another word', { text: 'rm a 0.2.0 0.1.0' }],
    ['a command', { text: '$(touch x) a; rm -rf / 0' }],
    ['words before', { text: 'warning\nrun a 0.2.0 0.1.0' }],
  ])('runs the flashed version when the launcher says %s', async (_name, answer) => {
    const { calls, environment, errors, code } = await launched(['run'], { ...answer, agentCode: 4 });
    expect(calls[1]).toBe('agent </home/agent.mjs> <run>');
    expect([environment, code]).toEqual(['run flashed  yes 1 none', 4]);
    expect(errors.join()).toMatch(/flashed version runs/);
  });

  it('notes a trial that has ended, and ends with its code', async () => {
    const { calls, code } = await launched(['run'], { text: 'trial a 0.2.0 0.1.0', agentCode: 7 });
    expect(code).toBe(7);
    expect(calls.at(-1)).toBe('launcher ended /releases /keys it ended with code 7 before it had proven itself');
  });

  it.each([
    ['SIGABRT', 137, 'launcher ended /releases /keys it hung, and systemd ended it'],
    ['SIGTERM', 143, undefined],
    ['SIGINT', 143, undefined],
  ] as const)('in a trial ends the agent on %s, and waits for it', async (signal, code, note) => {
    const all = await launched(['run'], { text: 'trial a 0.2.0 0.1.0', isHanging: true, signal });
    expect(all.code).toBe(code);
    expect(all.calls[2]).toBe(note);
    expect(all.descendants.filter(isRunning)).toEqual([]);
  });

  it('does not wait for ever for a launcher that hangs', async () => {
    const programs = join(folder, 'programs');
    mkdirSync(programs);
    const real = findOnPath('timeout');
    // "-s KILL 40 COMMAND", sooner.
    writeFileSync(join(programs, 'timeout'), `#!/bin/sh\nshift 3\nexec ${real} -s KILL 0.2 "$@"\n`);
    chmodSync(join(programs, 'timeout'), 0o755);
    const text = "run a 0.2.0 0.1.0'; sleep 1000; : '";
    const { calls, errors } = await launched(['run'], { text }, `${programs}:${process.env.PATH}`);
    expect(calls[1]).toBe('agent </home/agent.mjs> <run>');
    expect(errors.join()).toMatch(/flashed version runs/);
  });

  it.runIf(findOnPath('setpriv'))('in a trial leaves no agent behind when it is killed itself', async () => {
    const all = await launched(['run'], { text: 'trial a 0.2.0 0.1.0', isHanging: true, signal: 'SIGKILL' });
    expect(all.code).toBe(null);
    await expect.poll(() => all.descendants.filter(isRunning)).toEqual([]);
  });

  it('names the ffmpeg of the package', async () => {
    writeFileSync(join(folder, 'home', 'ffmpeg'), '');
    chmodSync(join(folder, 'home', 'ffmpeg'), 0o755);
    const { environment } = await launched(['run'], { text: 'run flashed 0.1.0 0.1.0' });
    expect(environment).toMatch(/\/home\/ffmpeg$/);
  });
});
