/** Runs agents-program.ts, many glasses in one process, as a child and asks it over the message channel. */
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { AgentFacts, AgentsProgramAnswer, AgentsProgramRequest, AgentsProgramSettings } from './agents-program.ts';
import type { Bench } from './program.ts';
import { nodeArgs, plainEnv } from './stream-process.ts';

export interface AgentsProcess {
  pid: number;
  facts(): Promise<AgentFacts[]>;
  stop(): Promise<void>;
}

/** Each looks for its ffmpeg first. */
const ANSWER_TIMEOUT_MS = 120_000;

export async function startAgentsProcess(
  bench: Bench,
  settings: Omit<AgentsProgramSettings, 'ffmpegFile' | 'logLevel'>,
): Promise<AgentsProcess> {
  let take: (answer: AgentsProgramAnswer) => void = () => {};
  const child = bench.spawn({
    ...{ name: 'agents', file: process.execPath, args: nodeArgs('scripts/bench/agents-program.ts'), env: plainEnv() },
    ipc: true,
    onMessage: (message) => take(message as AgentsProgramAnswer),
    onStderrLine: bench.note,
    stopTimeoutMs: 20_000,
  });
  const died = child.exited.then(({ lastLines }): AgentsProgramAnswer => {
    return { type: 'failed', reason: lastLines.at(-1) ?? 'it said nothing' };
  });
  async function ask(request: AgentsProgramRequest): Promise<AgentsProgramAnswer> {
    const answer = new Promise<AgentsProgramAnswer>((resolve) => {
      take = resolve;
    });
    child.send(request);
    const late = () => new GlasscastError('CHILD_START_FAILED', { reason: 'the agents do not answer' });
    const got = await withTimeout(bench.clock, 'agents-answer', ANSWER_TIMEOUT_MS, Promise.race([answer, died]), late);
    if (got.type === 'failed') throw new GlasscastError('CHILD_START_FAILED', { reason: `agents: ${got.reason}` });
    return got;
  }
  await ask({ type: 'start', settings: { ...settings, ffmpegFile: bench.ffmpeg.file, logLevel: bench.logLevel } });
  return {
    pid: child.pid ?? 0,
    async facts() {
      const got = await ask({ type: 'facts' });
      return got.type === 'facts' ? got.agents : [];
    },
    async stop() {
      await child.stop();
    },
  };
}
