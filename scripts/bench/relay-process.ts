/** The relay as a process of its own, and what an operator asks of it over REST. */
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { Bench } from './program.ts';
import type { RelayProgramAnswer, RelayProgramSettings } from './relay-program.ts';
import { plainEnv, plainNodeArgs } from './stream-process.ts';

export interface RelayProcess {
  pid: number;
  /** `http://127.0.0.1:PORT` */
  url: string;
  /** Of the glasses of this user. */
  coreToken(userId: string): Promise<Secret>;
  /** Registers the app and starts it for the user: the relay then calls its webhook. */
  startApp(app: { packageName: string; apiKey: string; publicUrl: string }, userId: string): Promise<void>;
  /** Whether the user's glasses are connected. */
  hasGlasses(userId: string): Promise<boolean>;
  /** Streams that are not yet over. */
  streams(): Promise<{ userId: string; state: string }[]>;
  /** Anything else of the operator's REST; bytes go as they are. @throws GlasscastError INTERNAL: refused, with the relay's reason */
  ask<T>(method: string, path: string, body?: object): Promise<T>;
  /** Text of `/metrics`; undefined: it has none. */
  metrics(): Promise<string | undefined>;
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
    ...operator(answer.url, adminToken, bench),
    async stop() {
      await child.stop();
    },
  };
}

function operator(
  url: string,
  adminToken: string,
  { redactor }: Bench,
): Pick<RelayProcess, 'coreToken' | 'startApp' | 'hasGlasses' | 'streams' | 'ask' | 'metrics'> {
  async function ask<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${adminToken}`,
        ...(body ? { 'content-type': isBytes(body) ? 'application/octet-stream' : 'application/json' } : {}),
      },
      ...(body ? { body: isBytes(body) ? Buffer.from(body) : JSON.stringify(body) } : {}),
    });
    const text = await response.text();
    const answer = (text === '' ? {} : JSON.parse(text)) as T & { message?: string };
    if (!response.ok) throw new GlasscastError('INTERNAL', { reason: `${method} ${path}: ${answer.message}` });
    return answer;
  }
  return {
    ask,
    async metrics() {
      const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${adminToken}` } });
      const text = await response.text();
      return response.ok ? text : undefined;
    },
    async coreToken(email) {
      const { coreToken } = await ask<{ coreToken: string }>('POST', '/api/tokens', { email });
      redactor.add(coreToken);
      return new Secret(coreToken);
    },
    async startApp({ packageName, apiKey, publicUrl }, userId) {
      await ask('PUT', `/api/apps/${packageName}`, { publicUrl, apiKey });
      await ask('POST', `/api/apps/${packageName}/start`, { userId });
    },
    async hasGlasses(userId) {
      const { sessions } = await ask<{ sessions: { userId: string; connected: boolean }[] }>('GET', '/api/sessions');
      return sessions.some((session) => session.userId === userId && session.connected);
    },
    streams: async () => (await ask<{ streams: { userId: string; state: string }[] }>('GET', '/api/streams')).streams,
  };
}

const isBytes = (body: object): body is Uint8Array => body instanceof Uint8Array;
