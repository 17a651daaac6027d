/** The agent as a process of its own: the program that the glasses run, by tsx or bundled, or the one with the barcode camera. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Child } from '../../shared/child-process.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Secret } from '../../shared/secrets.ts';
import { bundleForDevice } from '../package/agent-bundle.ts';
import type { AgentProgramAnswer, AgentProgramRequest } from './agent-program.ts';
import type { Bench } from './program.ts';
import { nodeArgs, plainEnv } from './stream-process.ts';

/** `tsx` and `bundle`: device/main.ts with its test pattern. `barcode`: the same parts with another camera. */
export type AgentKind = 'tsx' | 'bundle' | 'barcode';

export interface AgentProcess {
  pid: number;
  /** Of the barcode camera: frames exposed, and the numbers of those that the encoder did not take. */
  cameraStats(): Promise<{ exposed: number; dropped: number[] }>;
  /** Throws the program's last line when it has ended. */
  mustRun(): void;
  stop(): Promise<void>;
}

export interface AgentLink {
  relayUrl: string;
  coreToken: Secret;
}

export interface AgentStart {
  /** Default: the bench's. */
  ffmpegFile?: string;
  /** Default: the product's. */
  maxBacklogMs?: number;
  /** Frames as hard to encode as a walk through a wood (barcode camera only). */
  isBusyPicture?: boolean;
  /** Command that runs it, e.g. in a network namespace. */
  launcher?: readonly string[];
}

const ANSWER_TIMEOUT_MS = 20_000;

export async function startAgentProcess(
  bench: Bench,
  kind: AgentKind,
  link: AgentLink,
  start: AgentStart = {},
): Promise<AgentProcess> {
  return kind === 'barcode' ? startBarcodeAgent(bench, link, start) : startProgram(bench, kind, link, start);
}

/** The command line of Node with these arguments, by the launcher if there is one. */
function nodeCommand({ launcher = [] }: AgentStart, args: string[]): { file: string; args: string[] } {
  const [file = process.execPath, ...rest] = [...launcher, process.execPath, ...args];
  return { file, args: rest };
}

async function startProgram(
  bench: Bench,
  kind: 'tsx' | 'bundle',
  link: AgentLink,
  start: AgentStart,
): Promise<AgentProcess> {
  const child = bench.spawn({
    name: 'agent',
    ...nodeCommand(start, kind === 'tsx' ? nodeArgs('device/main.ts') : [await bundledAgent(bench)]),
    env: plainEnv({
      FFMPEG_PATH: start.ffmpegFile ?? bench.ffmpeg.file,
      ...(start.maxBacklogMs === undefined ? {} : { GLASSCAST_AGENT_MAX_BACKLOG_MS: String(start.maxBacklogMs) }),
      GLASSCAST_AGENT_RELAY_URL: link.relayUrl,
      GLASSCAST_AGENT_CORE_TOKEN: link.coreToken.reveal(),
      GLASSCAST_AGENT_LOG_LEVEL: bench.logLevel,
    }),
    onStderrLine: bench.note,
  });
  return { ...processOf(child), cameraStats: async () => ({ exposed: 0, dropped: [] }) };
}

/** One file of plain JavaScript, as it is flashed; built anew so that it is never an old one. */
export async function bundledAgent({ folder }: Bench): Promise<string> {
  const outfile = join(folder, 'agent.mjs');
  await writeFile(outfile, await bundleForDevice({ version: '0.0.0' }));
  return outfile;
}

async function startBarcodeAgent(
  bench: Bench,
  { relayUrl, coreToken }: AgentLink,
  options: AgentStart,
): Promise<AgentProcess> {
  let take: (answer: AgentProgramAnswer) => void = () => {};
  const child = bench.spawn({
    name: 'agent',
    ...nodeCommand(options, nodeArgs('scripts/bench/agent-program.ts')),
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

  const { ffmpeg, logLevel } = bench;
  const answer = await ask({
    type: 'start',
    settings: {
      ...{ relayUrl, coreToken: coreToken.reveal(), ffmpegFile: options.ffmpegFile ?? ffmpeg.file, logLevel },
      ...(options.maxBacklogMs === undefined ? {} : { maxBacklogMs: options.maxBacklogMs }),
      isBusyPicture: options.isBusyPicture ?? false,
    },
  });
  if (answer.type === 'failed') throw new GlasscastError('CHILD_START_FAILED', { reason: `agent: ${answer.reason}` });
  return {
    ...processOf(child),
    async cameraStats() {
      const stats = await ask({ type: 'camera-stats' });
      return stats.type === 'camera-stats' ? stats : { exposed: 0, dropped: [] };
    },
  };
}

function processOf(child: Child): Pick<AgentProcess, 'pid' | 'mustRun' | 'stop'> {
  let lastLine: string | undefined;
  void child.exited.then(({ lastLines }) => {
    lastLine = lastLines.at(-1) ?? 'it said nothing';
  });
  return {
    pid: child.pid ?? 0,
    mustRun() {
      if (lastLine !== undefined) throw new GlasscastError('CHILD_START_FAILED', { reason: `agent: ${lastLine}` });
    },
    async stop() {
      await child.stop();
    },
  };
}
