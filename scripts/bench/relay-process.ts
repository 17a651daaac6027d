/** The relay of benchmarks that need settings no flag has, as a process of its own, with its operator. */
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Secret } from '../../shared/secrets.ts';
import { createOperator, type Operator } from './operator.ts';
import type { Bench } from './program.ts';
import type { RelayProgramAnswer, RelayProgramSettings } from './relay-program.ts';
import { plainEnv, plainNodeArgs } from './stream-process.ts';

export interface RelayProcess extends Operator {
  pid: number;
  /** `http://127.0.0.1:PORT` */
  url: string;
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 20_000;

export interface RelayProvider {
  apiBaseUrl: string;
  accountId: string;
  apiToken: Secret;
}

export interface RelaySettings {
  /** Signs core tokens. Default: the relay's own. */
  coreTokenSecret?: Secret;
  /** Default: the product's. */
  appGraceMs?: number;
  /** Flags of Node, e.g. for a profile. */
  nodeFlags?: readonly string[];
}

export async function startRelayProcess(
  bench: Bench,
  provider: RelayProvider,
  dataDir: string,
  { coreTokenSecret, appGraceMs, nodeFlags = [] }: RelaySettings = {},
): Promise<RelayProcess> {
  const adminToken = crypto.randomUUID();
  bench.redactor.add(adminToken);
  let onAnswer: (answer: RelayProgramAnswer) => void = () => {};
  const answered = new Promise<RelayProgramAnswer>((resolve) => {
    onAnswer = resolve;
  });
  const child = bench.spawn({
    name: 'relay',
    file: process.execPath,
    args: [...nodeFlags, ...plainNodeArgs('scripts/bench/relay-program.ts')],
    env: plainEnv(),
    ipc: true,
    onMessage: (message) => onAnswer(message as RelayProgramAnswer),
    onStderrLine: bench.note,
  });
  const settings: RelayProgramSettings = {
    dataDir,
    logLevel: bench.logLevel,
    adminToken,
    apiBaseUrl: provider.apiBaseUrl,
    accountId: provider.accountId,
    apiToken: provider.apiToken.reveal(),
    ...(coreTokenSecret === undefined ? {} : { coreTokenSecret: coreTokenSecret.reveal() }),
    ...(appGraceMs === undefined ? {} : { appGraceMs }),
  };
  child.send(settings);
  const silent = () => new GlasscastError('CHILD_START_FAILED', { reason: 'the relay did not become ready' });
  const died = child.exited.then(({ lastLines }): RelayProgramAnswer => {
    return { type: 'failed', reason: lastLines.at(-1) ?? 'it said nothing' };
  });
  const answer = await withTimeout(
    bench.clock,
    'relay-ready',
    START_TIMEOUT_MS,
    Promise.race([answered, died]),
    silent,
  );
  if (answer.type === 'failed') throw new GlasscastError('CHILD_START_FAILED', { reason: `relay: ${answer.reason}` });
  return {
    pid: child.pid ?? 0,
    url: answer.url,
    ...createOperator(bench, answer.url, adminToken),
    async stop() {
      await child.stop();
    },
  };
}
