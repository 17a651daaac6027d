/**
 * One user's glasses in the soak: the agent as it is flashed, as a process that is killed, frozen and started again, behind a
 * control line of its own that can be cut.
 */
import { join } from 'node:path';
import type { Child } from '../../shared/child-process.ts';
import type { Secret } from '../../shared/secrets.ts';
import { bundledAgent } from '../bench/agent-process.ts';
import { descendantsOf, type ProcessMark } from '../bench/process-use.ts';
import type { Bench } from '../bench/program.ts';
import { plainEnv } from '../bench/stream-process.ts';
import { createTcpTap, type TcpTap } from '../bench/tcp-tap.ts';

export interface SoakGlasses {
  readonly userId: string;
  readonly pid: number | undefined;
  /** Its line to the relay is reset; the next connection is served. */
  cutLine(): void;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  start(): void;
  /** SIGSTOP, and SIGCONT after so long. */
  freeze(ms: number): Promise<void>;
  /** What encodes now. */
  encoders(): Promise<ProcessMark[]>;
  stop(): Promise<void>;
}

export async function startSoakGlasses(options: {
  bench: Bench;
  userId: string;
  coreToken: Secret;
  relayPort: () => number;
  /** It went without being asked. */
  onDeath: (words: string) => void;
}): Promise<SoakGlasses> {
  const { bench, userId, coreToken, relayPort, onDeath } = options;
  const { clock } = bench;
  const line: TcpTap = createTcpTap({ target: () => ({ host: '127.0.0.1', port: relayPort() }), observe: () => ({}) });
  const linePort = await line.listen();
  const agentFile = await bundledAgent(bench);
  const name = userId.replace(/@.*/, '');
  let child: Child | undefined;

  function start(): void {
    const starting = bench.spawn({
      name: 'agent',
      file: process.execPath,
      args: [agentFile],
      env: plainEnv({
        FFMPEG_PATH: bench.ffmpeg.file,
        GLASSCAST_AGENT_RELAY_URL: `ws://127.0.0.1:${linePort}/glasses-ws`,
        GLASSCAST_AGENT_CORE_TOKEN: coreToken.reveal(),
        GLASSCAST_AGENT_LOG_LEVEL: bench.logLevel,
        GLASSCAST_AGENT_STATUS_SOCKET: 'none',
        GLASSCAST_AGENT_TOKEN_FILE: join(bench.folder, `${name}-token.json`),
      }),
      onStderrLine: bench.note,
      stopTimeoutMs: 10_000,
    });
    child = starting;
    void starting.exited.then(({ end, code, signal }) => {
      if (end === 'exited') onDeath(`the agent of ${userId} has ended by itself, ${signal ?? `code ${code}`}`);
    });
  }
  start();
  return {
    userId,
    get pid() {
      return child?.pid;
    },
    cutLine: line.reset,
    async kill() {
      child?.kill();
      await child?.exited;
      child = undefined;
    },
    start,
    async freeze(ms) {
      const { pid } = child ?? {};
      if (pid === undefined) return;
      signalled(pid, 'SIGSTOP');
      try {
        await clock.sleep(ms, { signal: bench.signal });
      } finally {
        signalled(pid, 'SIGCONT');
      }
    },
    async encoders() {
      return child?.pid === undefined ? [] : descendantsOf(child.pid);
    },
    async stop() {
      await child?.stop();
      child = undefined;
      await line.drop();
    },
  };
}

/** Another fault may have ended it meanwhile. */
function signalled(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // gone
  }
}
