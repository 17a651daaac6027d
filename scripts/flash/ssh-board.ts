/**
 * A board by the system's ssh, with the user's own configuration, keys and known hosts. One connection is kept open and shared
 * by all scripts (ControlMaster); it alone may ask the person at the terminal. No secret and no script is ever an argument.
 */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Child, findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { makeOwnFolder } from '../../shared/own-folder.ts';
import type { BoardShell, ShellCall } from './board.ts';
import { runFed } from './fed-program.ts';

export interface SshShellOptions {
  /** As ssh takes it: `user@board` or a name of the user's ssh configuration. */
  destination: string;
  port?: number | undefined;
  identityFiles?: readonly string[];
  /** More of ssh's `-o`, before the user's own. */
  sshOptions?: readonly string[];
  /** A person is at the terminal and may be asked for a password or a host key. */
  isInteractive: boolean;
  spawn: SpawnChild;
  clock: Clock;
  /** Default: the one on PATH. */
  sshFile?: string | undefined;
}

const RUN_TIMEOUT_MS = 120_000;
const CONNECTED = 'glasscast-connected';
/** sudo also warns, of a host without a name for one, and goes on. */
const NO_ROOT =
  /^sudo: (a password|a terminal|sorry|no tty|.*not allowed)|not in the sudoers|may not run sudo|exec: sudo/;
/** ssh's own failures; scripts never end with it. */
const SSH_FAILED = 255;

/** The script's first word: what comes before it is said by the user's start-up files over there. */
const BEGIN = 'glasscast-begin';

/**
 * The remote end reads the script by its length, runs it as root and leaves it the rest of standard input. A shell that read
 * its script from standard input would swallow some of what follows.
 */
const BOOT = [
  `sh -c 'r=; [ "$(id -u)" = 0 ] || r="sudo -n"`,
  `exec $r sh -c "s=\\$(dd bs=1 count=$1 2>/dev/null); echo ${BEGIN}; eval \\"\\$s\\""' sh`,
].join('; ');

/** @throws GlasscastError INVALID_CONFIG: no ssh here, or no destination */
export function createSshShell(options: SshShellOptions): BoardShell {
  const { destination, port, identityFiles = [], sshOptions = [], isInteractive, spawn } = options;
  const ssh = options.sshFile ?? findOnPath('ssh');
  if (ssh === undefined)
    throw new GlasscastError('INVALID_CONFIG', { reason: 'there is no ssh here; install openssh-client' });
  if (!/^[^\s-]\S*$/.test(destination)) {
    throw new GlasscastError('INVALID_CONFIG', { reason: '--ssh: expected user@board, as ssh takes it' });
  }
  const common = [
    ...['-T', '-x', '-o', 'ClearAllForwardings=yes', '-o', 'RemoteCommand=none', '-o', 'ForwardAgent=no'],
    ...(port === undefined ? [] : ['-p', String(port)]),
    ...identityFiles.flatMap((file) => ['-i', file]),
    ...sshOptions.flatMap((option) => ['-o', option]),
  ];
  let folder: Promise<string> | undefined;
  let master: Child | undefined;
  let connecting: Promise<void> | undefined;
  let wasConnected = false;

  async function controlPath(): Promise<string> {
    folder ??= makeOwnFolder(tmpdir(), 'glasscast-ssh');
    return join(await folder, 'm');
  }

  async function connect(signal: AbortSignal): Promise<void> {
    const path = await controlPath();
    await rm(path, { force: true });
    // Only at first: a lost connection comes back while nobody looks.
    const mayAsk = isInteractive && !wasConnected;
    let onConnected = () => {};
    const connected = new Promise<'connected'>((resolve) => {
      onConnected = () => resolve('connected');
    });
    const child = spawn({
      name: 'ssh-master',
      file: ssh ?? 'ssh',
      args: [
        ...['-N', '-S', path, '-o', 'ControlMaster=yes', '-o', 'ControlPersist=no', '-o', 'ConnectTimeout=15'],
        ...['-o', 'ServerAliveInterval=5', '-o', 'ServerAliveCountMax=3'],
        ...['-o', 'PermitLocalCommand=yes', '-o', `LocalCommand=echo ${CONNECTED}`],
        ...(mayAsk ? [] : ['-o', 'BatchMode=yes']),
        ...common,
        ...['--', destination],
      ],
      stdout: 'lines',
      inTerminal: mayAsk,
      stopSignal: 'SIGTERM',
      onStdoutLine: (line) => line.includes(CONNECTED) && onConnected(),
    });
    const stop = () => void child.stop();
    signal.addEventListener('abort', stop, { once: true });
    const first = await Promise.race([connected, child.exited]);
    signal.removeEventListener('abort', stop);
    signal.throwIfAborted();
    if (first !== 'connected') throw sshFailure(first.lastLines, destination);
    wasConnected = true;
    master = child;
    void child.exited.then(() => {
      if (master === child) master = undefined;
    });
  }

  async function run(script: string, { signal, timeoutMs = RUN_TIMEOUT_MS, input }: ShellCall) {
    signal.throwIfAborted();
    if (!master) {
      connecting ??= connect(signal).finally(() => {
        connecting = undefined;
      });
      await connecting;
    }
    const bytes = Buffer.from(script);
    const { code, end, lastLines, output } = await runFed(
      {
        ...{ name: 'ssh', file: ssh ?? 'ssh', signal, timeoutMs, script: bytes, input },
        args: [
          ...['-S', await controlPath(), '-o', 'ControlMaster=no', '-o', 'BatchMode=yes', ...common],
          ...['--', destination, `${BOOT} ${bytes.byteLength}`],
        ],
      },
      options,
    );
    if (end === 'stopped') throw unreachable(destination, 'it did not answer in time');
    if (code === SSH_FAILED || code === null) throw sshFailure(lastLines, destination);
    const refusal = lastLines.some((line) => NO_ROOT.test(line));
    if (code !== 0 && refusal) throw noRoot(destination);
    const answer = scriptsOwn(output);
    if (answer === undefined) throw noShell(destination, output, lastLines);
    return { code, output: answer, errors: lastLines.join('\n') };
  }

  return {
    name: destination,
    run,
    async close() {
      await connecting?.catch(() => {});
      await master?.stop();
      if (folder) await rm(await folder, { recursive: true, force: true });
      folder = undefined;
    },
  };
}

/** Undefined: the script did not begin. */
function scriptsOwn(output: string): string | undefined {
  const at = output.indexOf(`${BEGIN}\n`);
  return at < 0 ? undefined : output.slice(at + BEGIN.length + 1);
}

const unreachable = (destination: string, reason: string) =>
  new GlasscastError('BOARD_UNREACHABLE', { reason: `${destination}: ${reason}` });

function noRoot(destination: string): GlasscastError {
  const reason = `${destination} may not become root without a password; connect as root, or allow sudo with NOPASSWD`;
  return new GlasscastError('BOARD_UNFIT', { reason });
}

function noShell(destination: string, output: string, lastLines: readonly string[]): GlasscastError {
  const said = output.trim().split('\n').at(-1)?.trim() || lastLines.at(-1)?.trim();
  const reason = `${destination} runs no commands${said ? ` (it said: ${said.slice(0, 200)})` : ''}; connect as a user with a shell`;
  return new GlasscastError('BOARD_UNFIT', { reason });
}

const FAILURES: readonly [RegExp, string][] = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    'its host key has changed; if that is right, ssh-keygen -R it and connect once by ssh',
  ],
  [/Host key verification failed/, 'its host key is not known here; connect once by ssh and look at the key'],
  [/Too many authentication failures/, 'too many keys were tried; name the right one with --identity'],
  [/Permission denied/, 'it refuses this user or key; try ssh-copy-id, or --identity FILE'],
  [/Could not resolve hostname/, 'no such name; give its address'],
  [/Connection refused/, 'nothing listens there; is sshd running, and is --port right'],
  [/timed out|No route to host|Network is unreachable/i, 'no answer; is it on, and in this network'],
  [/Connection closed|Connection reset|Broken pipe|closed by remote/i, 'the connection was lost'],
];

/** @param lastLines what ssh said on standard error */
export function sshFailure(lastLines: readonly string[], destination: string): GlasscastError {
  const text = lastLines.join('\n');
  const [, removal] = /^\s*(ssh-keygen -f .*-R .*)$/m.exec(text) ?? [];
  const known = FAILURES.find(([pattern]) => pattern.test(text))?.[1].replace(
    'ssh-keygen -R it',
    removal?.trim() ?? '$&',
  );
  return unreachable(destination, known ?? (lastLines.at(-1)?.trim() || 'the connection was lost'));
}
