/**
 * The local Stream as a child process of the relay's program: started, awaited, started again on the same ports and
 * data when it dies. Knows it by its message channel and its address only.
 */
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import type { Child, ChildExit, SpawnChild } from '../../shared/child-process.ts';
import { backoffMs, type Clock, withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';
import type { RelayProvider } from '../relay.ts';

export interface LocalStreamChildOptions {
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  /** What the child gets to see; GLASSCAST_LOCAL_STREAM_* in it are its settings. */
  env: Record<string, string | undefined>;
  /** How this process runs TypeScript: Node and its flags. */
  node: { file: string; flags: readonly string[] };
  /** Default: the program beside this file. */
  program?: string;
  /** Used unless the environment names another one. */
  dataDir: string;
  logLevel: string;
  /** Its outputs may push to addresses that are not on the public internet. */
  outputPrivateTargets: boolean;
  /** For the ready message. Default 20000. */
  startTimeoutMs?: number;
}

export interface LocalStreamChild {
  /** CHILD_START_FAILED carries the child's own last line. */
  start(): Promise<RelayProvider>;
  close(): Promise<void>;
}

const readyMessage = z.object({
  type: z.literal('ready'),
  apiBaseUrl: z.string(),
  accountId: z.string(),
  apiToken: z.string().min(1),
  httpPort: z.number(),
  rtmpPort: z.number(),
  rtmpsPort: z.number().optional(),
});
type Ready = z.output<typeof readyMessage>;

const RESTART = { firstMs: 250, factor: 2, maxMs: 10_000, jitter: 0.2 };
/** Alive this long, it is not failing at the start: the next restart is quick again. */
const HEALTHY_MS = 30_000;
const PREFIX = 'GLASSCAST_LOCAL_STREAM_';

export function createLocalStreamChild(options: LocalStreamChildOptions): LocalStreamChild {
  const { clock, log } = options;
  const closing = new AbortController();
  let child: Child | undefined;
  let supervision: Promise<void> = Promise.resolve();

  /** Keeps it running: each restart takes the ports and the token of the first start, so that addresses stay true. */
  async function supervise(first: Ready, firstExit: Promise<ChildExit>): Promise<void> {
    let attempt = 0;
    let exit = await firstExit;
    while (!closing.signal.aborted) {
      if (exit.ms > HEALTHY_MS) attempt = 0;
      const waitMs = backoffMs(RESTART, attempt, Math.random);
      attempt += 1;
      log.warn({ code: exit.code, signal: exit.signal, waitMs }, 'local-stream-died');
      await clock.sleep(waitMs, { name: 'local-stream-restart', signal: closing.signal }).catch(() => {});
      if (closing.signal.aborted) return;
      const run = launch(options, first);
      child = run.child;
      run.ready.catch(() => {});
      exit = await run.child.exited;
    }
  }

  return {
    async start() {
      const run = launch(options, undefined);
      child = run.child;
      const ready = await run.ready.catch(async (error) => {
        await run.child.stop();
        throw error;
      });
      supervision = supervise(ready, run.child.exited);
      const { apiBaseUrl, accountId, apiToken } = ready;
      return { kind: 'local', apiBaseUrl, accountId, apiToken: new Secret(apiToken) };
    },
    async close() {
      closing.abort();
      await child?.stop();
      await supervision;
    },
  };
}

function launch(
  options: LocalStreamChildOptions,
  previous: Ready | undefined,
): { child: Child; ready: Promise<Ready> } {
  const { clock, node, spawn, startTimeoutMs = 20_000 } = options;
  let onReady = (_ready: Ready) => {};
  const ready = new Promise<Ready>((resolve) => {
    onReady = resolve;
  });
  const program = options.program ?? fileURLToPath(new URL('../local-stream/main.ts', import.meta.url));
  const child = spawn({
    name: 'local-stream',
    file: node.file,
    args: [...node.flags, program],
    env: childEnv(options, previous),
    ipc: true,
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 5_000,
    // Its log lines are complete lines of their own: passed on as they are.
    onStderrLine: (line) => void process.stderr.write(`${line}\n`),
    onMessage(message) {
      const parsed = readyMessage.safeParse(message);
      if (parsed.success) onReady(parsed.data);
    },
  });
  const failed = child.exited.then((exit): never => {
    throw new GlasscastError('CHILD_START_FAILED', {
      reason: `local Stream: ${exit.lastLines.at(-1) ?? exit.error?.message ?? `exit code ${exit.code}`}`,
    });
  });
  const timeout = () => new GlasscastError('CHILD_START_FAILED', { reason: 'local Stream: not ready in time' });
  return {
    child,
    ready: withTimeout(clock, 'local-stream-ready', startTimeoutMs, Promise.race([ready, failed]), timeout),
  };
}

function childEnv(options: LocalStreamChildOptions, previous: Ready | undefined): NodeJS.ProcessEnv {
  const { env, dataDir, logLevel, outputPrivateTargets } = options;
  // Unknown to the child and none of its business: the relay's own settings, secrets among them.
  const passed = Object.entries(env).filter(([name]) => !name.startsWith('GLASSCAST_') || name.startsWith(PREFIX));
  return {
    // Each arena of malloc keeps what was freed in it.
    MALLOC_ARENA_MAX: '2',
    // glibc's own begin (mallopt(3)); unless it is set, one large buffer that is freed raises it for good.
    MALLOC_TRIM_THRESHOLD_: '131072',
    [`${PREFIX}DATA_DIR`]: dataDir,
    [`${PREFIX}LOG_LEVEL`]: logLevel,
    [`${PREFIX}OUTPUT_PRIVATE_TARGETS`]: String(outputPrivateTargets),
    ...Object.fromEntries(passed),
    ...(previous
      ? {
          [`${PREFIX}HTTP_PORT`]: String(previous.httpPort),
          [`${PREFIX}RTMP_PORT`]: String(previous.rtmpPort),
          ...(previous.rtmpsPort === undefined ? {} : { [`${PREFIX}RTMPS_PORT`]: String(previous.rtmpsPort) }),
          [`${PREFIX}API_TOKEN`]: previous.apiToken,
          [`${PREFIX}ACCOUNT_ID`]: previous.accountId,
        }
      : {}),
  };
}
