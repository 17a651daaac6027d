/**
 * The local Stream as the process that production runs, started and killed at will, and the few calls of its API that a
 * bench needs for its peers. Keys stay Secrets until they stand in a URL for ffmpeg.
 */
import { fileURLToPath } from 'node:url';
import type { ChildExit } from '../../shared/child-process.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { Bench } from './program.ts';

export interface StreamProcess {
  pid: number;
  apiBaseUrl: string;
  accountId: string;
  apiToken: Secret;
  httpPort: number;
  rtmpPort: number;
  /** With `--admin-port` alone. */
  adminPort?: number;
  /** Settles when it is gone, whoever ended it. */
  exited: Promise<ChildExit>;
  /** As the kernel or a power cut does it: SIGKILL. Resolves when the process is gone. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export interface StreamProcessOptions {
  dataDir: string;
  /** Default: free ones. The ports of a process before, to come back in its place. */
  ports?: { httpPort: number; rtmpPort: number };
  /** Further ones of the program, e.g. `--admin-port`. */
  flags?: readonly string[];
  /** Of V8, e.g. `--no-opt`. */
  v8Flags?: readonly string[];
}

interface Ready {
  type: 'ready';
  apiBaseUrl: string;
  accountId: string;
  apiToken: string;
  httpPort: number;
  rtmpPort: number;
  adminPort?: number;
}

const START_TIMEOUT_MS = 20_000;

/** Arguments that run one of our programs by the same loader as this one. */
export function nodeArgs(program: string, ...args: string[]): string[] {
  // A test's runner was started in another way than a bench is.
  const flags = process.execArgv.includes('tsx') ? process.execArgv : ['--import', 'tsx'];
  return [...flags, fileURLToPath(new URL(`../../${program}`, import.meta.url)), ...args];
}

/** The same by the loader of production (`npm run relay`, `npm run local-stream`), which makes functions as they are written. */
export function plainNodeArgs(program: string, ...args: string[]): string[] {
  const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
  return ['--import', path('scripts/typescript.js'), path(program), ...args];
}

/** This process's environment without our own settings: a bench measures the defaults. */
export function plainEnv(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('GLASSCAST_'));
  return { ...Object.fromEntries(kept), ...extra };
}

/** Settings of a relay that has it as its provider, and keeps recordings. */
export function providerEnv(
  stream: Pick<StreamProcess, 'accountId' | 'apiToken' | 'apiBaseUrl'>,
): Record<string, string> {
  return {
    GLASSCAST_PROVIDER: 'local',
    GLASSCAST_KEEP_RECORDINGS: 'yes',
    GLASSCAST_CLOUDFLARE_ACCOUNT_ID: stream.accountId,
    GLASSCAST_CLOUDFLARE_API_TOKEN: stream.apiToken.reveal(),
    GLASSCAST_CLOUDFLARE_API_BASE_URL: stream.apiBaseUrl,
  };
}

export async function startStreamProcess(bench: Bench, options: StreamProcessOptions): Promise<StreamProcess> {
  const { httpPort = 0, rtmpPort = 0 } = options.ports ?? {};
  let onReady: (ready: Ready) => void = () => {};
  const ready = new Promise<Ready>((resolve) => {
    onReady = resolve;
  });
  const ports = ['--http-port', String(httpPort), '--rtmp-port', String(rtmpPort)];
  const flags = ['--data-dir', options.dataDir, ...ports, '--log-level', bench.logLevel];
  const child = bench.spawn({
    name: 'local-stream',
    file: process.execPath,
    args: [
      ...(options.v8Flags ?? []),
      ...plainNodeArgs('cloud/local-stream/main.ts', ...flags, ...(options.flags ?? [])),
    ],
    env: plainEnv({ FFMPEG_PATH: bench.ffmpeg.file }),
    ipc: true,
    onMessage: (message) => onReady(message as Ready),
    onStderrLine: bench.note,
  });
  const failed = child.exited.then(({ lastLines }) => {
    throw new GlasscastError('CHILD_START_FAILED', {
      reason: `local Stream: ${lastLines.at(-1) ?? 'it said nothing'}`,
    });
  });
  failed.catch(() => {});
  const address = await withTimeout(
    bench.clock,
    'local-stream-ready',
    START_TIMEOUT_MS,
    Promise.race([ready, failed]),
    () => new GlasscastError('CHILD_START_FAILED', { reason: 'the local Stream did not become ready' }),
  );
  bench.redactor.add(address.apiToken);
  return {
    ...address,
    pid: child.pid ?? 0,
    exited: child.exited,
    apiToken: new Secret(address.apiToken),
    async kill() {
      if (child.pid !== undefined) process.kill(child.pid, 'SIGKILL');
      await child.exited;
    },
    async stop() {
      await child.stop();
    },
  };
}

export interface LiveInput {
  uid: string;
  publishKey: Secret;
  playbackKey: Secret;
  hlsUrl: string;
  llHlsUrl: string;
  flvUrl: string;
  webrtcUrl: string;
}

export interface LiveInputSettings {
  /** `off`: nothing is packaged nor kept on disk, for measurements that last. Default automatic. */
  mode?: 'automatic' | 'off';
  preferLowLatency?: boolean;
}

type LiveInputJson = {
  uid: string;
  rtmps: { streamKey: string };
  rtmpsPlayback: { streamKey: string };
  playback: { hls: string };
  webRTCPlayback: { url: string };
};

export async function createLiveInput(stream: StreamProcess, settings: LiveInputSettings = {}): Promise<LiveInput> {
  const { mode = 'automatic', preferLowLatency = false } = settings;
  return liveInput(await call(stream, 'POST', '', { preferLowLatency, recording: { mode, timeoutSeconds: 0 } }));
}

export async function deleteLiveInput(stream: StreamProcess, uid: string): Promise<void> {
  await call(stream, 'DELETE', `/${uid}`);
}

function liveInput({ uid, rtmps, rtmpsPlayback, playback, webRTCPlayback }: LiveInputJson): LiveInput {
  const { hls: hlsUrl } = playback;
  const origin = new URL(hlsUrl).origin;
  return {
    ...{ uid, hlsUrl, llHlsUrl: `${hlsUrl}?protocol=llhls` },
    flvUrl: `${origin.replace(/^http/, 'ws')}/${uid}/live.flv`,
    webrtcUrl: webRTCPlayback.url,
    publishKey: new Secret(rtmps.streamKey),
    playbackKey: new Secret(rtmpsPlayback.streamKey),
  };
}

async function call(stream: StreamProcess, method: string, path: string, body?: object): Promise<LiveInputJson> {
  const response = await fetch(`${stream.apiBaseUrl}/accounts/${stream.accountId}/stream/live_inputs${path}`, {
    method,
    headers: { authorization: `Bearer ${stream.apiToken.reveal()}`, 'content-type': 'application/json' },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const answer = (await response.json()) as { success: boolean; result: LiveInputJson };
  if (!answer.success)
    throw new GlasscastError('PROVIDER_FAILED', { reason: `${method} live input: ${response.status}` });
  return answer.result;
}
