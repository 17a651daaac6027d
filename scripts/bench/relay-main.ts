/**
 * The relay's own program, cloud/main.ts, on a port and a data folder that it keeps: ended by any signal and started again in
 * its place, as an operator or a crash does it. Its provider runs outside of it.
 */
import type { Child } from '../../shared/child-process.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Bench } from './program.ts';
import { plainEnv, plainNodeArgs, type StreamProcess } from './stream-process.ts';

export interface RelayMain {
  /** `http://127.0.0.1:PORT` */
  url: string;
  port: number;
  /** Of the process that runs, or ran last. */
  readonly pid: number | undefined;
  /** Resolves at the ready line. */
  start(): Promise<{ spawnedMs: number; readyMs: number }>;
  /** Resolves when the process is gone. SIGINT ends it for good; SIGTERM and SIGKILL leave its streams to the next one. */
  end(signal: NodeJS.Signals): Promise<void>;
  /** The operator's REST. Errors: INTERNAL with the relay's reason when it refuses. */
  ask<T>(method: string, path: string, body?: object): Promise<T>;
}

export interface RelayMainOptions {
  port: number;
  dataDir: string;
  /** Settings of the relay besides those of its provider. */
  env?: Record<string, string>;
  /** Of V8, e.g. `--no-opt`. */
  v8Flags?: readonly string[];
  /** Default: one of its own. */
  adminToken?: string;
  /** The process has gone without `end`. */
  onDeath?: (lastLine: string) => void;
}

const START_TIMEOUT_MS = 20_000;

export function createRelayMain(bench: Bench, stream: StreamProcess, options: RelayMainOptions): RelayMain {
  const { clock, redactor, spawn } = bench;
  const { port, dataDir, onDeath, v8Flags = [] } = options;
  const url = `http://127.0.0.1:${port}`;
  const { adminToken = crypto.randomUUID() } = options;
  redactor.add(adminToken);
  const env = plainEnv({
    GLASSCAST_ADMIN_TOKEN: adminToken,
    GLASSCAST_KEEP_RECORDINGS: 'yes',
    GLASSCAST_PROVIDER: 'local',
    GLASSCAST_CLOUDFLARE_ACCOUNT_ID: stream.accountId,
    GLASSCAST_CLOUDFLARE_API_TOKEN: stream.apiToken.reveal(),
    GLASSCAST_CLOUDFLARE_API_BASE_URL: stream.apiBaseUrl,
    ...options.env,
  });
  const flags = ['--port', String(port), '--data-dir', dataDir, '--log-level', bench.logLevel];
  let child: Child | undefined;
  const asked = new WeakSet<Child>();
  return {
    ...{ url, port },
    get pid() {
      return child?.pid;
    },
    async start() {
      const spawnedMs = clock.monotonicMs();
      let onReady = (_atMs: number) => {};
      const ready = new Promise<number>((resolve) => {
        onReady = resolve;
      });
      const starting = spawn({
        ...{
          name: 'relay',
          file: process.execPath,
          args: [...v8Flags, ...plainNodeArgs('cloud/main.ts', ...flags)],
          env,
          stdout: 'lines',
        },
        onStdoutLine: (line) => void (line.startsWith('Relay ready:') && onReady(clock.monotonicMs())),
        onStderrLine: bench.note,
        stopTimeoutMs: 15_000,
      });
      child = starting;
      const failed = starting.exited.then(({ lastLines }): never => {
        throw new GlasscastError('CHILD_START_FAILED', { reason: `relay: ${lastLines.at(-1) ?? 'it said nothing'}` });
      });
      failed.catch(() => {});
      const late = () => new GlasscastError('CHILD_START_FAILED', { reason: 'the relay did not become ready' });
      const readyMs = await withTimeout(clock, 'relay-ready', START_TIMEOUT_MS, Promise.race([ready, failed]), late);
      void starting.exited.then(({ end, lastLines }) => {
        if (end === 'exited' && !asked.has(starting)) onDeath?.(lastLines.at(-1) ?? 'it said nothing');
      });
      return { spawnedMs, readyMs };
    },
    async end(signal) {
      if (child) asked.add(child);
      if (signal === 'SIGINT') await child?.stop();
      else if (child?.pid !== undefined) process.kill(child.pid, signal);
      await child?.exited;
    },
    async ask<T>(method: string, path: string, body?: object): Promise<T> {
      const response = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${adminToken}`, ...(body ? { 'content-type': 'application/json' } : {}) },
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      const text = await response.text();
      const answer = (text === '' ? {} : JSON.parse(text)) as T & { message?: string };
      if (!response.ok) throw new GlasscastError('INTERNAL', { reason: `${method} ${path}: ${answer.message}` });
      return answer;
    },
  };
}
