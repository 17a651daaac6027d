import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createServiceNotifier } from '../../device/runtime/systemd.ts';
import { type ChildExit, createChildSpawner, findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const notify = findOnPath('systemd-notify');
const perl = findOnPath('perl');
const PATH = process.env.PATH ?? '';

/** A systemd-notify that ends when told, or at once. */
function world(environment: Record<string, string>, isInstant = true) {
  const clock = createTestClock();
  const said: string[] = [];
  const ends: ((end: ChildExit['end']) => void)[] = [];
  let isHealthy = true;
  const spawn: SpawnChild = ({ args }) => {
    said.push(args.join(' '));
    let finish = (_end: ChildExit['end']) => {};
    const exited = new Promise<ChildExit>((resolve) => {
      finish = (end) => resolve({ end, code: 0, signal: null, lastLines: [], ms: 0 });
    });
    if (isInstant) finish('exited');
    else ends.push(finish);
    const stop = () => {
      finish('stopped');
      return exited;
    };
    return { pid: 1, stdin: undefined, stdout: undefined, exited, progressed() {}, send() {}, stop, kill() {} };
  };
  const notifier = createServiceNotifier({
    ...{ environment, spawn, clock, log: silentLog(), pid: 42 },
    isHealthy: () => isHealthy,
  });
  return {
    clock,
    said,
    ends,
    notifier,
    setHealthy(now: boolean) {
      isHealthy = now;
    },
  };
}

describe.runIf(notify)('what systemd is told', () => {
  const environment = { NOTIFY_SOCKET: '/run/x', PATH, WATCHDOG_USEC: '60000000' };

  it('comes in order, one at a time, and once', async () => {
    const { said, ends, notifier } = world(environment, false);
    notifier.ready('Idle');
    notifier.status('Idle');
    notifier.status('Streaming\nREADY=1');
    notifier.stopping();
    await settle();
    expect(said).toEqual(['READY=1 STATUS=Idle']);
    const closed = notifier.close();
    for (let word = 0; word < 3; word += 1) {
      ends[word]?.('exited');
      await settle();
    }
    await closed;
    expect(said).toEqual(['READY=1 STATUS=Idle', 'STATUS=Streaming READY=1', 'STOPPING=1']);
  });

  it('is a sign of life each third of the time, from ready on, while we are well', async () => {
    const { said, clock, notifier, setHealthy } = world(environment);
    await clock.advance(100_000);
    expect(said).toEqual([]);
    notifier.ready();
    await clock.advance(40_000);
    expect(said).toEqual(['READY=1', 'WATCHDOG=1', 'WATCHDOG=1']);
    setHealthy(false);
    await clock.advance(60_000);
    expect(said).toHaveLength(3);
    setHealthy(true);
    await clock.advance(20_000);
    expect(said).toHaveLength(4);
    await notifier.close();
    expect(clock.pending()).toEqual([]);
  });

  it('does not pile up, and one that hangs is ended', async () => {
    const { said, clock, notifier } = world({ ...environment, WATCHDOG_USEC: '3000000' }, false);
    notifier.ready();
    await clock.advance(4_900);
    expect(said).toEqual(['READY=1']);
    await clock.advance(1_200);
    expect(said).toEqual(['READY=1', 'WATCHDOG=1']);
    const closed = notifier.close();
    await clock.advance(5_000);
    await closed;
    expect(clock.pending()).toEqual([]);
  });

  it.each([
    ['nobody to tell', { PATH, WATCHDOG_USEC: '1000000' }],
    ['no systemd-notify', { NOTIFY_SOCKET: '/run/x', PATH: '/nowhere', WATCHDOG_USEC: '1000000' }],
  ])('is nothing with %s', async (_name, given) => {
    const { said, clock, notifier } = world(given);
    notifier.ready('x');
    notifier.stopping();
    await clock.advance(10_000);
    await notifier.close();
    expect([said, clock.pending()]).toEqual([[], []]);
  });

  it.each(['', 'soon', '0', '-1'])('is no sign of life when the time is "%s"', async (WATCHDOG_USEC) => {
    const { clock, notifier } = world({ ...environment, WATCHDOG_USEC });
    notifier.ready();
    expect(clock.pending().filter((name) => name === 'systemd-watchdog')).toEqual([]);
  });

  it('is no sign of life when another process is watched', async () => {
    const { clock, notifier } = world({ ...environment, WATCHDOG_PID: '43' });
    notifier.ready();
    expect(clock.pending()).not.toContain('systemd-watchdog');
  });
});

describe.runIf(notify && perl)('systemd-notify itself', () => {
  const clock = createSystemClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'glasscast-notify-'));
  });
  afterEach(async () => {
    await children.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('carries the words to a datagram socket', async () => {
    const NOTIFY_SOCKET = join(folder, 'notify');
    const lines: string[] = [];
    // As systemd reads them; closing the descriptor that comes along is what BARRIER=1 waits for.
    const script = `use Socket; $| = 1; socket(S, PF_UNIX, SOCK_DGRAM, 0); bind(S, sockaddr_un($ARGV[0])); print "ready\\n";
      while (defined recv(S, $m, 4096, 0)) { print "$m\\n" }`;
    const receiver = children.spawn({
      ...{ name: 'receiver', file: perl ?? '', args: ['-e', script, NOTIFY_SOCKET], stdout: 'lines' as const },
      onStdoutLine: (line) => lines.push(line),
    });
    await expect.poll(() => lines).toContain('ready');
    const notifier = createServiceNotifier({
      ...{ environment: { NOTIFY_SOCKET, PATH }, pid: process.pid, isHealthy: () => true },
      ...{ spawn: children.spawn, clock, log: silentLog() },
    });
    notifier.ready('Idle');
    notifier.stopping();
    await notifier.close();
    await expect.poll(() => lines).toContain('STOPPING=1');
    expect(lines).toEqual(expect.arrayContaining(['READY=1', 'STATUS=Idle', 'STOPPING=1']));
    expect(lines.indexOf('READY=1')).toBeLessThan(lines.indexOf('STOPPING=1'));
    await receiver.stop();
  });
});

describe.runIf(findOnPath('systemd-analyze'))('the unit file', () => {
  it('is one that systemd understands', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'glasscast-unit-'));
    const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
    const text = readFileSync(new URL('../../scripts/package/files/glasscast-agent.service', import.meta.url), 'utf8');
    const file = join(folder, 'glasscast-agent.service');
    // The program is not installed here.
    writeFileSync(file, text.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`));
    const { code, lastLines } = await children.spawn({
      ...{ name: 'verify', file: 'systemd-analyze', args: ['verify', '--man=no', file], stdout: 'ignore' },
    }).exited;
    rmSync(folder, { recursive: true });
    expect([code, lastLines]).toEqual([0, []]);
  });

  it('exposes at most 2.5 ("OK") by systemd-analyze security, and allows camera and sound', async () => {
    const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
    const file = fileURLToPath(new URL('../../scripts/package/files/glasscast-agent.service', import.meta.url));
    const lines: string[] = [];
    const { code } = await children.spawn({
      ...{ name: 'exposure', file: 'systemd-analyze', stdout: 'lines', onStdoutLine: (line) => void lines.push(line) },
      args: ['security', '--no-pager', '--offline=true', '--threshold=25', file],
    }).exited;
    const exposure = /exposure level for \S+: (\d+\.\d)/.exec(lines.join('\n'))?.[1];
    expect([code, Number(exposure) <= 2.5, exposure]).toEqual([0, true, expect.anything()]);
    const devices = /DeviceAllow= .*special devices: (.*?) {2}/.exec(lines.join('\n'))?.[1]?.split(' ');
    expect(devices).toEqual(expect.arrayContaining(['char-video4linux:rw', 'char-alsa:rw', 'char-gpiochip:rw']));
  });
});
