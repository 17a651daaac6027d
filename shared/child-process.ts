/**
 * The only file that spawns. A child has one owner, one end and a classified exit: stop is a signal, then SIGKILL;
 * a stall is judged by progress that the owner reports, never by mere output; no child outlives this process, but for
 * the one that has to clean up after it (`outlives`).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import type { Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { Clock, Timer } from './clock.ts';
import type { Log } from './log.ts';
import type { Redactor } from './secrets.ts';

export interface ChildSpec {
  /** Short noun for logs: "encoder", "local-stream". */
  name: string;
  file: string;
  args: readonly string[];
  /** Whole environment of the child; default: ours without our own settings (GLASSCAST_*), which hold secrets. */
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** `pipe` gives `child.stdin`. Default: nothing to read. */
  stdin?: 'pipe' | 'ignore';
  /** `raw` gives `child.stdout`; `lines` goes to `onStdoutLine`. Default: discarded. */
  stdout?: 'raw' | 'lines' | 'ignore';
  /** Sockets that become the child's descriptors 3, 4, …; our copies are closed here. */
  givenSockets?: readonly Socket[];
  /** Opens a message channel (Node children only); see `onMessage` and `child.send`. */
  ipc?: boolean;
  onStdoutLine?: (line: string) => void;
  onStderrLine?: (line: string) => void;
  onMessage?: (message: unknown) => void;
  /** First, polite signal of `stop()`. Default SIGINT: ffmpeg then closes its output properly. */
  stopSignal?: NodeJS.Signals;
  /**
   * Ends by the end of its standard input and by nothing else: it has work left to do when we die, however we die. No death
   * signal is asked for, and `stop()` ends the input in place of the polite signal.
   */
  outlives?: boolean;
  /** Keeps our terminal, to ask the person there (ssh: passwords, host keys). Ctrl-C then reaches it too. */
  inTerminal?: boolean;
  /** Patience after the polite signal before SIGKILL. Default 3000. */
  stopTimeoutMs?: number;
  /** Killed when `child.progressed()` is not called for this long. Default: never. */
  stallTimeoutMs?: number;
}

/** `stopped`: we asked; `stalled`: no progress; `exited`: by itself; `not-started`: the file could not be run. */
export type ChildEnd = 'stopped' | 'stalled' | 'exited' | 'not-started';

export interface ChildExit {
  end: ChildEnd;
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Last lines of standard error, redacted, oldest first. */
  lastLines: string[];
  /** Life time. */
  ms: number;
  error?: Error;
}

export interface Child {
  readonly pid: number | undefined;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  /** Settles when the process is gone and its output has been read; never rejects. */
  readonly exited: Promise<ChildExit>;
  /** The owner saw real progress; restarts the stall clock. */
  progressed(): void;
  send(message: object): void;
  /** Polite signal, then SIGKILL. Idempotent. */
  stop(): Promise<ChildExit>;
  /** SIGKILL at once: for one that no longer listens. */
  kill(): void;
}

export type SpawnChild = (spec: ChildSpec) => Child;

export interface SpawnerDeps {
  clock: Clock;
  log: Log;
  redactor: Redactor;
  /** What a program's environment has besides ours, which wins. Default: nothing. */
  environmentOf?: ((file: string) => NodeJS.ProcessEnv) | undefined;
}

export interface ChildSpawner {
  spawn: SpawnChild;
  /** Children alive now: their names and pids. */
  running(): { name: string; pid: number }[];
  /** Stops every child that is left. */
  close(): Promise<void>;
}

const KEPT_LINES = 40;
const MAX_LINE_CHARS = 4000;

export function createChildSpawner(deps: SpawnerDeps): ChildSpawner {
  const live = new Map<Child, string>();
  const deathSignal = process.platform === 'linux' ? findOnPath('setpriv') : undefined;
  return {
    spawn(spec) {
      const child = startChild(spec, deps, deathSignal);
      live.set(child, spec.name);
      void child.exited.then(() => live.delete(child));
      return child;
    },
    running: () => [...live].flatMap(([child, name]) => (child.pid === undefined ? [] : [{ name, pid: child.pid }])),
    async close() {
      await Promise.all([...live.keys()].map((child) => child.stop()));
    },
  };
}

/** Full path of an executable on PATH, or undefined. */
export function findOnPath(name: string, path = process.env.PATH ?? ''): string | undefined {
  for (const folder of path.split(delimiter)) {
    if (!folder) continue;
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // not here: the next folder
    }
  }
  return undefined;
}

function startChild(spec: ChildSpec, deps: SpawnerDeps, deathSignal: string | undefined): Child {
  const { clock, log, redactor } = deps;
  const startedMs = clock.monotonicMs();
  let asked: 'stopped' | 'stalled' | undefined;
  let gone = false;
  let killTimer: Timer | undefined;
  let stallTimer: Timer | undefined;
  const proc = launch(spec, deps, spec.outlives ? undefined : deathSignal);
  const lastLines = keepLastLines(proc, spec, redactor);
  const refusal = (code: number | null) => (deathSignal ? refusalOf(code, lastLines) : undefined);
  function signal(name: NodeJS.Signals): void {
    if (!gone) proc.kill(name);
  }
  function armStall(): void {
    stallTimer?.cancel();
    if (spec.stallTimeoutMs === undefined || gone || asked) return;
    stallTimer = clock.after(`${spec.name}-stall`, spec.stallTimeoutMs, () => {
      asked = 'stalled';
      log.warn({ child: spec.name, pid: proc.pid, stallTimeoutMs: spec.stallTimeoutMs }, 'child-stalled');
      signal('SIGKILL');
    });
  }
  const exited = ended(proc).then(({ code, signal: by, error = refusal(code) }): ChildExit => {
    gone = true;
    killTimer?.cancel();
    stallTimer?.cancel();
    const exit: ChildExit = {
      end: asked ?? (error ? 'not-started' : 'exited'),
      code,
      signal: by,
      lastLines,
      ms: Math.round(clock.monotonicMs() - startedMs),
      ...(error ? { error } : {}),
    };
    log.debug({ child: spec.name, pid: proc.pid, end: exit.end, code, signal: by, ms: exit.ms }, 'child-exited');
    return exit;
  });
  log.debug({ child: spec.name, pid: proc.pid, file: spec.file }, 'child-started');
  armStall();

  return {
    pid: proc.pid,
    stdin: proc.stdin ?? undefined,
    stdout: spec.stdout === 'raw' ? (proc.stdout ?? undefined) : undefined,
    exited,
    progressed: armStall,
    send(message) {
      if (proc.connected) proc.send(message, () => {});
    },
    stop() {
      if (!gone && asked === undefined) {
        asked = 'stopped';
        stallTimer?.cancel();
        if (spec.outlives) proc.stdin?.end();
        else signal(spec.stopSignal ?? 'SIGINT');
        killTimer = clock.after(`${spec.name}-kill`, spec.stopTimeoutMs ?? 3000, () => signal('SIGKILL'));
      }
      return exited;
    },
    kill() {
      asked ??= 'stopped';
      signal('SIGKILL');
    },
  };
}

function launch(spec: ChildSpec, { environmentOf }: SpawnerDeps, deathSignal: string | undefined): ChildProcess {
  // setpriv execs the program in its own place (same pid) after asking the kernel to kill it when we die, however we die.
  const [file, args] = deathSignal
    ? [deathSignal, ['--pdeathsig', 'KILL', '--', spec.file, ...spec.args]]
    : [spec.file, [...spec.args]];
  const proc = spawn(file, args, {
    cwd: spec.cwd,
    env: spec.env ?? { ...environmentOf?.(spec.file), ...withoutOurSettings(process.env) },
    // A process group of its own: Ctrl-C in the terminal reaches us alone, and we end our children in our order.
    detached: !spec.inTerminal,
    stdio: [
      spec.stdin ?? (spec.outlives ? 'pipe' : 'ignore'),
      spec.stdout === undefined || spec.stdout === 'ignore' ? 'ignore' : 'pipe',
      'pipe',
      ...(spec.givenSockets ?? []),
      ...(spec.ipc ? ['ipc' as const] : []),
    ],
  });
  for (const socket of spec.givenSockets ?? []) socket.destroy();
  // A program may be a script that started the real one: what is left of its group goes with it.
  proc.once('exit', () => {
    try {
      if (proc.pid !== undefined && !spec.inTerminal) process.kill(-proc.pid, 'SIGKILL');
    } catch {
      // nothing was left
    }
  });
  // A closed pipe is seen as the child's exit; as an 'error' event it would end our process.
  // Without a descriptor to spare Node makes no pipes at all, and leaves the list of them out.
  const pipes: ChildProcess['stdio'] | undefined = proc.stdio;
  for (const stream of pipes ?? []) stream?.on('error', () => {});
  if (spec.stdout === 'lines' && proc.stdout) onLines(proc.stdout, (line) => spec.onStdoutLine?.(line));
  if (spec.onMessage) proc.on('message', spec.onMessage);
  return proc;
}

/** Grows and forgets while the child talks. */
function keepLastLines(proc: ChildProcess, spec: ChildSpec, redactor: Redactor): string[] {
  const lastLines: string[] = [];
  if (proc.stderr) {
    onLines(proc.stderr, (line) => {
      const clean = redactor.redact(line);
      lastLines.push(clean);
      if (lastLines.length > KEPT_LINES) lastLines.shift();
      spec.onStderrLine?.(clean);
    });
  }
  return lastLines;
}

/** setpriv's own last word, e.g. `failed to execute /x: No such file or directory`; a program may end with 127 by itself. */
function refusalOf(code: number | null, lastLines: readonly string[]): Error | undefined {
  if (code !== 126 && code !== 127) return undefined;
  const reason = /^setpriv: (.+)/.exec(lastLines.at(-1) ?? '')?.[1];
  return reason === undefined ? undefined : new Error(reason);
}

function withoutOurSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('GLASSCAST_')));
}

function ended(
  proc: ChildProcess,
): Promise<{ code: number | null; signal: NodeJS.Signals | null; error?: Error | undefined }> {
  return new Promise((resolve) => {
    // 'close' comes after 'exit' and after all output; a failed spawn gives 'error' and maybe no 'close'.
    proc.once('error', (error) => {
      if (proc.pid === undefined) resolve({ code: null, signal: null, error });
    });
    proc.once('close', (code, signal) => resolve({ code, signal }));
  });
}

/** Splits at \n and \r (ffmpeg rewrites its status line with \r) and bounds the length of a line. */
export function onLines(stream: Readable, take: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (rest + text).split(/[\r\n]+/);
    rest = (lines.pop() ?? '').slice(0, MAX_LINE_CHARS);
    for (const line of lines) if (line) take(line.slice(0, MAX_LINE_CHARS));
  });
  stream.on('end', () => {
    if (rest) take(rest);
    rest = '';
  });
}
