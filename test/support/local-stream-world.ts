/** A local Stream that listens, a client of its API, and publishers made of real ffmpeg. All is closed when the test is finished. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import {
  createLocalStream,
  type LocalStreamAddress,
  type LocalStreamOptions,
} from '../../cloud/local-stream/server.ts';
import { type Child, createChildSpawner, type SpawnChild } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { ffmpegs } from './ffprobe.ts';

/** What of a live input's JSON the tests look at. */
export interface InputJson {
  uid: string;
  rtmps: { url: string; streamKey: string };
  rtmpsPlayback: { url: string; streamKey: string };
  playback: { hls: string; dash: string };
  status: { current: { state: string }; history: unknown[] } | null;
  enabled: boolean;
}

export interface VideoJson {
  uid: string;
  status: { state: string };
  duration: number;
  size: number;
  playback: { hls: string; dash: string };
  thumbnail: string;
  input: { width: number; height: number };
}

export interface ApiAnswer<T> {
  http: number;
  success: boolean;
  errors: { code: number; message: string }[];
  result: T;
}

export interface ApiClient {
  call<T>(method: string, path: string, body?: unknown): Promise<ApiAnswer<T>>;
  /** A recorded live input with a hold window of this many seconds. */
  createInput(timeoutSeconds?: number): Promise<InputJson>;
}

export function apiClient({ apiBaseUrl, accountId }: LocalStreamAddress, token: string): ApiClient {
  const base = `${apiBaseUrl}/accounts/${accountId}/stream`;
  async function call<T>(method: string, path: string, body?: unknown): Promise<ApiAnswer<T>> {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const init = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) };
    const response = await fetch(base + path, init);
    return { http: response.status, ...((await response.json()) as Omit<ApiAnswer<T>, 'http'>) };
  }
  return {
    call,
    async createInput(timeoutSeconds = 1) {
      const recording = { mode: 'automatic', timeoutSeconds };
      return (await call<InputJson>('POST', '/live_inputs', { meta: { name: 'test' }, recording })).result;
    },
  };
}

export interface PushOptions {
  ffmpeg?: string;
  size?: string;
  fps?: number;
  keyFrameEveryS?: number;
  hasAudio?: boolean;
}

/** ffmpeg pushing a test pattern, and a beep unless told otherwise, in real time. Stop it with `child.stop()`. */
export function pushTestPattern(spawn: SpawnChild, input: Pick<InputJson, 'rtmps'>, options: PushOptions = {}): Child {
  const { size = '640x360', fps = 30, keyFrameEveryS = 0.5, hasAudio = true } = options;
  const file = options.ffmpeg ?? ffmpegs()[0]?.file ?? 'ffmpeg';
  return spawn({
    name: 'push',
    file,
    args: [
      ...['-hide_banner', '-loglevel', 'error', '-re', '-f', 'lavfi', '-i', `testsrc2=size=${size}:rate=${fps}`],
      ...(hasAudio ? ['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=44100', '-c:a', 'aac', '-b:a', '64k'] : []),
      ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p'],
      ...['-g', String(Math.round(fps * keyFrameEveryS)), '-sc_threshold', '0'],
      ...['-f', 'flv', input.rtmps.url + input.rtmps.streamKey],
    ],
    stopTimeoutMs: 5000,
  });
}

export interface LocalStreamWorld extends ApiClient {
  address: LocalStreamAddress;
  dataDir: string;
  spawn: SpawnChild;
  push(input: InputJson, options?: PushOptions): Child;
  /** Before the test is finished. */
  close(): Promise<void>;
}

export async function createLocalStreamWorld(options: Partial<LocalStreamOptions> = {}): Promise<LocalStreamWorld> {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const children = createChildSpawner({ clock, log: silentLog(), redactor });
  const dataDir = temporaryFolder();
  const { spawn } = children;
  const stream = createLocalStream({
    ...{ clock, redactor, spawn, dataDir, log: silentLog(), holdMarginMs: 0, readyDelayMs: 50 },
    ...options,
  });
  onTestFinished(async () => {
    await children.close();
    await stream.close();
    if (clock.pending().length > 0) throw new Error(`timers left: ${clock.pending().join(', ')}`);
  });
  const address = await stream.start();
  const api = apiClient(address, address.apiToken.reveal());
  const push: LocalStreamWorld['push'] = (input, how) => pushTestPattern(spawn, input, how);
  return { ...api, address, dataDir, spawn, push, close: stream.close };
}

/** Gone when the test is finished. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Asks again until there is an answer; the test's own timeout is the limit. */
export async function until<T>(look: () => Promise<T | undefined | false>): Promise<T> {
  const clock = createSystemClock();
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    await clock.sleep(40);
  }
}

/** Names of the segments that an HLS address lists for its video, or the status when that is not 200. */
export async function listedSegments(masterUrl: string): Promise<{ names: string[]; playlist: string } | number> {
  const master = await fetch(masterUrl);
  if (master.status !== 200) return master.status;
  const uri = (await master.text()).split('\n').find((line) => line && !line.startsWith('#')) ?? '';
  const playlist = await (await fetch(new URL(uri, masterUrl))).text();
  return { playlist, names: playlist.split('\n').filter((line) => line && !line.startsWith('#')) };
}

/** Resolves once the newest segment has advanced past the one that was seen first. */
export async function advances(masterUrl: string): Promise<void> {
  let first: string | undefined;
  await until(async () => {
    const listed = await listedSegments(masterUrl);
    if (typeof listed === 'number') return false;
    first ??= listed.names.at(-1);
    return listed.names.at(-1) !== first;
  });
}
