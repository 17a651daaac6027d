/**
 * A small Debian that boots for a test: made once per machine by mmdebstrap, copied for each test, run by systemd-nspawn with a
 * real systemd, and gone afterwards, also when the test run is killed. Shares the network of this machine, and the control group
 * of whoever starts it: two test runs at once take each other's units for their own.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Child, createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { removeLeftOvers } from '../../shared/own-folder.ts';
import { createRedactor } from '../../shared/secrets.ts';

/** What a board's system has, and what tests look with. */
const PACKAGES = [
  ...['systemd', 'systemd-sysv', 'udev', 'dbus', 'kmod', 'iproute2', 'procps', 'ca-certificates'],
  ...['openssh-server', 'sudo', 'alsa-utils', 'v4l-utils'],
];
const SUITE = 'bookworm';
/** Not /tmp, which may be memory: a root takes 300 MB. */
const FOLDER = '/var/tmp/glasscast-debian';
const BOOT_TIMEOUT_MS = 60_000;
const POLL_MS = 100;

/** A question, not a fact: the tests' set-up may install what is missing. */
export const hasDebianTools = () =>
  process.getuid?.() === 0 &&
  ['mmdebstrap', 'systemd-nspawn', 'nsenter'].every((name) => findOnPath(name) !== undefined);

/** A machine that is a container itself may not let others begin. Tried with a program of this system, in a root of no files. */
export const letsContainersRun = () => {
  const words = ['-q', '--register=no', '--keep-unit', '--link-journal=no', '--volatile=yes', '-D', '/'];
  const machine = `glasscast-probe-${process.pid}`;
  return spawnSync('systemd-nspawn', [...words, '-M', machine, '/usr/bin/true'], { timeout: 20_000 }).status === 0;
};

export const canBootDebian = () => hasDebianTools() && letsContainersRun();

export interface RunResult {
  code: number | null;
  output: string;
  /** Its last lines on standard error. */
  errors: string;
}

export interface DebianRoot {
  /** Of this machine: what is `/` inside. */
  folder: string;
  /** As root, inside and running; sh reads the script from its standard input, `input` follows it. */
  run(script: string): Promise<RunResult>;
  /** As `run`. @throws Error with what it printed, unless it ended with 0 */
  must(script: string): Promise<string>;
  /** Again, after `powerOff` or `powerCut`. */
  boot(): Promise<void>;
  /** In order. */
  powerOff(): Promise<void>;
  /** Without a warning to anything inside. */
  powerCut(): Promise<void>;
  /** Idempotent; leaves nothing. */
  close(): Promise<void>;
}

export interface DebianRootOptions {
  /** Beside what each has. Their services are not started: the network is this machine's, and so would be their ports. */
  packages?: readonly string[];
  /** Units of those packages. */
  disabled?: readonly string[];
  /** Paths inside to files and folders of this machine, for reading. */
  binds?: Readonly<Record<string, string>>;
}

/** A fresh one, booted. */
export async function openDebianRoot(options: DebianRootOptions = {}): Promise<DebianRoot> {
  const { packages = [], disabled = [], binds = {} } = options;
  const clock = createSystemClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const name = `${process.pid}-${createHash('sha256').update(String(clock.monotonicMs())).digest('hex').slice(0, 6)}`;
  const folder = join(FOLDER, `copy-${name}`);
  let machine: Child | undefined;

  async function execute(file: string, args: readonly string[], script?: string): Promise<RunResult> {
    const lines: string[] = [];
    const child = children.spawn({
      ...{ name: file, file, args, stdout: 'lines', onStdoutLine: (line) => void lines.push(line) },
      ...(script === undefined ? {} : { stdin: 'pipe' as const }),
    });
    child.stdin?.end(script);
    const { code, error, lastLines } = await child.exited;
    return { code, output: lines.join('\n'), errors: error?.message ?? lastLines.join('\n') };
  }
  async function must(file: string, args: readonly string[]): Promise<void> {
    const { code, errors } = await execute(file, args);
    if (code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${code}: ${errors}`);
  }
  /** The system's first process: a child of nspawn. */
  function leader(): string | undefined {
    try {
      const pid = machine?.pid;
      return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0] || undefined;
    } catch {
      return undefined;
    }
  }
  async function run(script: string): Promise<RunResult> {
    const pid = leader();
    if (pid === undefined) throw new Error('the Debian root does not run');
    const inside = ['env', '-i', 'HOME=/root', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL=C.UTF-8', 'sh'];
    return execute('nsenter', ['-t', pid, '-a', '--', ...inside], script);
  }
  async function boot(): Promise<void> {
    const shared = Object.entries(binds).map(([inside, outside]) => `--bind-ro=${outside}:${inside}`);
    const args = ['-q', '-D', folder, '--boot', '--register=no', '--keep-unit', '--link-journal=no', ...shared];
    // When the test run is killed nspawn gets SIGTERM and ends the system; its own sudden death would leave that running.
    const mortal = ['--pdeathsig', 'TERM', '--', 'systemd-nspawn', ...args, '-M', `glasscast-${name}`];
    machine = children.spawn({ name: 'nspawn', file: 'setpriv', args: mortal });
    const deadlineMs = clock.monotonicMs() + BOOT_TIMEOUT_MS;
    const states = ['running', 'degraded'];
    for (;;) {
      const pid = leader();
      const answer = pid === undefined ? undefined : await run('systemctl is-system-running --wait');
      if (answer && states.includes(answer.output)) return;
      if (clock.monotonicMs() > deadlineMs) throw new Error(`the Debian root does not boot: ${answer?.output}`);
      await clock.sleep(POLL_MS);
    }
  }
  async function powerCut(): Promise<void> {
    // Not nspawn, which would leave the system running: with its first process all of it goes.
    const pid = leader();
    if (pid !== undefined) process.kill(Number(pid), 'SIGKILL');
    await machine?.exited;
  }
  async function close(): Promise<void> {
    await powerCut();
    await children.close();
    await rm(folder, { recursive: true, force: true });
  }

  try {
    await must('cp', ['-a', '--reflink=auto', await baseFolder(must, { packages, disabled }), folder]);
    await boot();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    ...{ folder, run, boot, powerCut, close },
    async must(script) {
      const { code, output, errors } = await run(script);
      if (code !== 0) throw new Error(`ended with ${code}: ${script}\n${output}\n${errors}`);
      return output;
    },
    async powerOff() {
      await run('systemctl poweroff');
      await machine?.exited;
    },
  };
}

/** Made when it is not there yet. Two may make it at once: the first one's counts. */
async function baseFolder(
  must: (file: string, args: readonly string[]) => Promise<void>,
  extra: { packages: readonly string[]; disabled: readonly string[] },
): Promise<string> {
  const packages = [...PACKAGES, ...extra.packages];
  await mkdir(FOLDER, { recursive: true });
  for (const name of ['copy', '.#copy', 'part']) await removeLeftOvers(FOLDER, name);
  const hash = createHash('sha256')
    .update([SUITE, ...packages].join(' '))
    .digest('hex')
    .slice(0, 12);
  const base = join(FOLDER, `base-${hash}`);
  if (existsSync(base)) return base;
  const part = join(FOLDER, `part-${process.pid}-${hash}`);
  // This machine's network is shared: an sshd on port 22 would be its own.
  const units = ['ssh.service', ...extra.disabled].join(' ');
  const quiet = `--customize-hook=systemctl --root="$1" disable ${units}`;
  await must('mmdebstrap', ['--quiet', '--variant=minbase', `--include=${packages.join(',')}`, quiet, SUITE, part]);
  await rename(part, base).catch((error) => {
    if (!existsSync(base)) throw error;
  });
  return base;
}
