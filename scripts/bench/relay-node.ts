/**
 * One relay node as the program that production runs, in its own place: started, told to end, killed and started again there.
 * What is asked of the relay, here or through a load balancer, is not known here.
 */
import type { Child } from '../../shared/child-process.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Bench } from './program.ts';
import { plainEnv, plainNodeArgs } from './stream-process.ts';

export interface RelayNode {
  readonly name: string;
  readonly port: number;
  readonly pid: number | undefined;
  readonly isRunning: boolean;
  /** @throws GlasscastError CHILD_START_FAILED with its last line */
  start(): Promise<{ spawnedMs: number; readyMs: number }>;
  /** Resolves when it is gone, with its exit code. SIGINT ends its streams. */
  end(signal: NodeJS.Signals): Promise<{ code: number | null; ms: number }>;
}

export interface RelayNodeOptions {
  name: string;
  port: number;
  flags: readonly string[];
  /** Its settings, secrets among them. */
  env: Record<string, string>;
  /** Of V8, e.g. `--no-opt`. */
  v8Flags?: readonly string[];
  /** The process has gone without `end`. */
  onDeath?: (lastLine: string) => void;
}

const START_TIMEOUT_MS = 30_000;
const END_TIMEOUT_MS = 40_000;

export function createRelayNode(bench: Bench, options: RelayNodeOptions): RelayNode {
  const { clock, spawn } = bench;
  const { name, port, flags, env, v8Flags = [], onDeath } = options;
  const program = plainNodeArgs('cloud/main.ts', '--port', String(port), ...flags, '--log-level', bench.logLevel);
  const args = [...v8Flags, ...program];
  let child: Child | undefined;
  let isRunning = false;
  const asked = new WeakSet<Child>();
  return {
    ...{ name, port },
    get pid() {
      return child?.pid;
    },
    get isRunning() {
      return isRunning;
    },
    async start() {
      const spawnedMs = clock.monotonicMs();
      let onReady = (_atMs: number) => {};
      const ready = new Promise<number>((resolve) => {
        onReady = resolve;
      });
      const starting = spawn({
        ...{ name, file: process.execPath, args, env: plainEnv(env), stdout: 'lines' },
        onStdoutLine: (line) => void (line.startsWith('Relay ready:') && onReady(clock.monotonicMs())),
        onStderrLine: bench.note,
        stopTimeoutMs: END_TIMEOUT_MS,
      });
      child = starting;
      isRunning = true;
      const failed = starting.exited.then(({ lastLines }): never => {
        isRunning = false;
        throw new GlasscastError('CHILD_START_FAILED', { reason: `${name}: ${lastLines.at(-1) ?? 'it said nothing'}` });
      });
      failed.catch(() => {});
      const late = () => new GlasscastError('CHILD_START_FAILED', { reason: `${name} did not become ready` });
      const readyMs = await withTimeout(clock, 'node-ready', START_TIMEOUT_MS, Promise.race([ready, failed]), late);
      void starting.exited.then(({ end, lastLines }) => {
        if (end === 'exited' && !asked.has(starting)) onDeath?.(lastLines.at(-1) ?? 'it said nothing');
      });
      return { spawnedMs, readyMs };
    },
    async end(signal) {
      const sinceMs = clock.monotonicMs();
      if (!child || !isRunning) return { code: null, ms: 0 };
      asked.add(child);
      if (signal === 'SIGINT') void child.stop();
      else if (child.pid !== undefined) process.kill(child.pid, signal);
      const late = () => new GlasscastError('INTERNAL', { reason: `${name} does not end after ${signal}` });
      const { code } = await withTimeout(clock, 'node-end', END_TIMEOUT_MS, child.exited, late);
      return { code, ms: clock.monotonicMs() - sinceMs };
    },
  };
}
