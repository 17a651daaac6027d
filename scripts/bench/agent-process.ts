/** The agent as a process of its own, as the glasses run it. */
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Secret } from '../../shared/secrets.ts';
import type { AgentProgramAnswer, AgentProgramRequest, AgentProgramSettings } from './agent-program.ts';
import type { Bench } from './program.ts';
import { nodeArgs, plainEnv } from './stream-process.ts';

export type AgentKind = AgentProgramSettings['source'];

export interface AgentProcess {
  pid: number;
  /** Of the barcode camera: frames exposed, and the numbers of those that the encoder did not take. */
  cameraStats(): Promise<{ exposed: number; dropped: number[] }>;
  stop(): Promise<void>;
}

const ANSWER_TIMEOUT_MS = 20_000;

export async function startAgentProcess(
  bench: Bench,
  source: AgentKind,
  { relayUrl, coreToken }: { relayUrl: string; coreToken: Secret },
): Promise<AgentProcess> {
  let take: (answer: AgentProgramAnswer) => void = () => {};
  const child = bench.spawn({
    name: 'agent',
    file: process.execPath,
    args: nodeArgs('scripts/bench/agent-program.ts'),
    env: plainEnv(),
    ipc: true,
    onMessage: (message) => take(message as AgentProgramAnswer),
    onStderrLine: bench.note,
  });
  const died = child.exited.then(({ lastLines }): AgentProgramAnswer => {
    return { type: 'failed', reason: lastLines.at(-1) ?? 'it said nothing' };
  });
  function ask(request: AgentProgramRequest): Promise<AgentProgramAnswer> {
    const answer = new Promise<AgentProgramAnswer>((resolve) => {
      take = resolve;
    });
    child.send(request);
    const late = () => new GlasscastError('CHILD_START_FAILED', { reason: 'the agent does not answer' });
    return withTimeout(bench.clock, 'agent-answer', ANSWER_TIMEOUT_MS, Promise.race([answer, died]), late);
  }

  const answer = await ask({
    type: 'start',
    settings: {
      source,
      relayUrl: `${relayUrl}/glasses-ws`,
      coreToken: coreToken.reveal(),
      ffmpegFile: bench.ffmpeg.file,
      logLevel: bench.logLevel,
    },
  });
  if (answer.type === 'failed') throw new GlasscastError('CHILD_START_FAILED', { reason: `agent: ${answer.reason}` });
  return {
    pid: child.pid ?? 0,
    async cameraStats() {
      const stats = await ask({ type: 'camera-stats' });
      return stats.type === 'camera-stats' ? stats : { exposed: 0, dropped: [] };
    },
    async stop() {
      await child.stop();
    },
  };
}
