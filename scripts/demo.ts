/**
 * One command to a live picture: the relay with its local Stream, and simulated glasses, each the program it is in
 * production; then the address to open. Ctrl-C stops all of it and removes its temporary folder.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { newSecret } from '../cloud/access/credentials.ts';
import { type Child, createChildSpawner, type SpawnChild } from '../shared/child-process.ts';
import { type Clock, createSystemClock, withTimeout } from '../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../shared/errors.ts';
import { silentLog } from '../shared/log.ts';
import { untilSignal } from '../shared/program.ts';
import { createRedactor } from '../shared/secrets.ts';

const USAGE = `npm run dev -- [options]

Simulated glasses, live in your browser: starts a relay, a local Stream and simulated glasses on this machine.

  --port N          of the console and the relay (default 8787; 0 takes a free one)
  --source SOURCE   what the glasses see: test-pattern, file:PATH or v4l2:/dev/videoN (default test-pattern)
  --microphone MIC  what they hear: beep, silence, alsa:NAME or pulse:NAME (default: as the agent)
  --scenario NAME   what happens to them: wifi-flap, narrow-uplink, hot-day, low-battery, loose-camera, relay-away
                    or a JSON file
  --seed N          of what a scenario leaves to chance (default 1)
  --user EMAIL      whose glasses they are (default ada@example.com)
  --verbose         the log of all parts on standard error
  --help            this text
`;

const START_TIMEOUT_MS = 30_000;
const LIVE_TIMEOUT_MS = 30_000;
const LOOK_MS = 100;

interface DemoOptions {
  port: string;
  source: string;
  microphone: string | undefined;
  scenario: string | undefined;
  seed: string | undefined;
  user: string;
  verbose: boolean;
}

const say = (line: string) => void process.stdout.write(`${line}\n`);
const bold = (text: string) => (process.stdout.isTTY && !process.env.NO_COLOR ? `\u001b[1m${text}\u001b[22m` : text);

async function demo(options: DemoOptions): Promise<void> {
  const clock = createSystemClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-demo-'));
  const started: Child[] = [];
  let closing = false;
  const { ended, end } = untilSignal(clock, async () => {
    closing = true;
    say('\nStopping …');
    // The glasses first, so that the relay sees their stream end and can clean up before the local Stream goes.
    for (const child of started.reverse()) await child.stop();
    await children.close();
    await rm(folder, { recursive: true, force: true });
    say('Stopped. Nothing is left running.');
  });

  async function start(program: Program): Promise<string> {
    const { child, ready } = launch(program, { spawn: children.spawn, clock, verbose: options.verbose });
    const text = await ready;
    started.push(child);
    void child.exited.then(() => {
      if (closing) return;
      say(`The ${program.name} ended unexpectedly.`);
      process.exitCode = 1;
      end();
    });
    return text;
  }

  try {
    const adminToken = newSecret().reveal();
    say('Glasscast: starting the relay and the local Stream …');
    const url = await start(relayProgram(options, folder, adminToken));
    const api = operatorApi(url, adminToken);
    say('           starting simulated glasses …');
    const { coreToken } = await api<{ coreToken: string }>('POST', '/api/tokens', { email: options.user });
    await start(glassesProgram(options, url, coreToken));
    await goLive(clock, api, options.user);
    say(`\n  Open ${bold(`${url}/#token=${adminToken}`)}\n\nCtrl-C stops everything.`);
  } catch (error) {
    if (!closing) {
      process.exitCode = 1;
      process.stderr.write(`${asGlasscastError(error).message}\n`);
      end();
    }
  }
  await ended;
}

interface Program {
  name: string;
  file: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  /** Starts the line on standard output that says it is ready; what follows on that line is the result. */
  readyWord: string;
}

function launch(
  { name, file, args, env, readyWord }: Program,
  { spawn, clock, verbose }: { spawn: SpawnChild; clock: Clock; verbose: boolean },
): { child: Child; ready: Promise<string> } {
  let take = (_line: string) => {};
  const said = new Promise<string>((resolve) => {
    take = (line) => {
      if (line.startsWith(readyWord)) resolve(line.slice(readyWord.length).trim());
    };
  });
  const child = spawn({
    name,
    file: process.execPath,
    // The flags carry the loader that runs TypeScript.
    args: [...process.execArgv, fileURLToPath(new URL(file, import.meta.url)), ...args],
    env: { ...process.env, ...env },
    stdout: 'lines',
    onStdoutLine: (line) => take(line),
    onStderrLine: (line) => void (verbose && process.stderr.write(`${line}\n`)),
    stopTimeoutMs: 15_000,
  });
  const failed = child.exited.then(({ lastLines }): never => {
    throw new GlasscastError('CHILD_START_FAILED', { reason: `${name}: ${lastLines.at(-1) ?? 'it said nothing'}` });
  });
  failed.catch(() => {});
  const late = () => new GlasscastError('CHILD_START_FAILED', { reason: `${name}: not ready in time` });
  return { child, ready: withTimeout(clock, `${name}-ready`, START_TIMEOUT_MS, Promise.race([said, failed]), late) };
}

function relayProgram({ port }: DemoOptions, folder: string, adminToken: string): Program {
  return {
    name: 'relay',
    file: '../cloud/main.ts',
    // To be replayed in the console; they go with the folder.
    args: ['--port', port, '--data-dir', folder, '--keep-recordings', 'yes'],
    // One port to know; the local Stream takes free ones.
    env: {
      GLASSCAST_ADMIN_TOKEN: adminToken,
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: '0',
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: '0',
    },
    readyWord: 'Relay ready:',
  };
}

function glassesProgram({ source, microphone, scenario, seed }: DemoOptions, url: string, coreToken: string): Program {
  const relayUrl = `${url.replace(/^http/, 'ws')}/glasses-ws`;
  return {
    name: 'glasses',
    file: '../device/main.ts',
    args: [
      ...['--relay-url', relayUrl, '--source', source, ...(microphone ? ['--microphone', microphone] : [])],
      ...[...(scenario ? ['--scenario', scenario] : []), ...(seed ? ['--seed', seed] : [])],
    ],
    env: { GLASSCAST_AGENT_CORE_TOKEN: coreToken },
    readyWord: 'Agent ready:',
  };
}

type OperatorApi = <Result>(method: string, path: string, body?: object) => Promise<Result>;

function operatorApi(url: string, adminToken: string): OperatorApi {
  return async <Result>(method: string, path: string, body?: object) => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const answer = (await response.json()) as { message?: string };
    if (!response.ok) throw new Error(answer.message ?? `the relay answered ${response.status}`);
    return answer as Result;
  };
}

interface StreamView {
  state: string;
  message?: string;
  liveMs?: number;
}

async function goLive(clock: Clock, api: OperatorApi, user: string): Promise<void> {
  const deadlineMs = clock.monotonicMs() + LIVE_TIMEOUT_MS;
  const until = async <Found>(what: string, look: () => Promise<Found | undefined>): Promise<Found> => {
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (clock.monotonicMs() > deadlineMs) throw new GlasscastError('START_TIMEOUT', { reason: what });
      await clock.sleep(LOOK_MS);
    }
  };
  await until('the glasses did not connect', async () => {
    const { sessions } = await api<{ sessions: { userId: string; connected: boolean }[] }>('GET', '/api/sessions');
    return sessions.find(({ userId, connected }) => userId === user && connected);
  });
  const { streamId } = await api<{ streamId: string }>(
    'POST',
    `/api/users/${encodeURIComponent(user)}/managed-stream`,
    {},
  );
  say('           going live …');
  const live = await until('no picture', async () => {
    const stream = await api<StreamView>('GET', `/api/streams/${streamId}`);
    if (stream.state === 'failed') throw new GlasscastError('DEVICE_REPORTED', { reason: stream.message });
    return stream.state === 'active' ? stream : undefined;
  });
  say(`           live ${((live.liveMs ?? 0) / 1000).toFixed(1)} s after the request`);
}

function readOptions(): DemoOptions | 'help' {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8787' },
      source: { type: 'string', default: 'test-pattern' },
      microphone: { type: 'string' },
      scenario: { type: 'string' },
      seed: { type: 'string' },
      user: { type: 'string', default: 'ada@example.com' },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const { microphone, scenario, seed, user } = values;
  return values.help ? 'help' : { ...values, microphone, scenario, seed, user: user.toLowerCase() };
}

try {
  const options = readOptions();
  if (options === 'help') process.stdout.write(USAGE);
  else await demo(options);
  process.exit();
} catch (error) {
  process.stderr.write(`${asGlasscastError(error).message}\n`);
  process.exit(2);
}
