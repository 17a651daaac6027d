/** Runs sdk-app.ts, the real MentraOS SDK, as a child and calls it over the message channel. */

import { fileURLToPath } from 'node:url';
import { freePort } from '../../scripts/bench/free-port.ts';
import type { SpawnChild } from '../../shared/child-process.ts';
import { createInbox, type Frame } from './relay-world.ts';

/** Each is a dependency pinned to this very version. */
export const sdkLines = ['2.1.29', '3.0.0-hono.8'] as const;
export type SdkLine = (typeof sdkLines)[number];

/** What the app does in `onSession` before it returns. */
export type OnSession = 'return' | 'await-stream' | 'throw';

export interface SdkStream {
  hlsUrl: string;
  dashUrl: string;
  streamId: string;
  thumbnailUrl?: string;
  webrtcUrl?: string;
}

export interface SdkCheck {
  hasActiveStream: boolean;
  streamInfo?: { type: string; streamId: string; status: string; activeViewers: number; hlsUrl: string };
}

/** A status as the app's handler got it. */
export type SdkStatus = Frame & { status: string; streamId?: string; message?: string };

/** Proxies are for the outside only: the SDK's look for news at its maker's host ends at a closed port of ours. */
const offline = { HTTPS_PROXY: 'http://127.0.0.1:9', NO_PROXY: '127.0.0.1' };

export async function createSdkApp(spawn: SpawnChild, packageName: string, line: SdkLine = '2.1.29') {
  const apiKey = `key-of-${packageName}`;
  // The SDK cannot listen on port 0 and tell which one it got.
  const port = await freePort();
  const inbox = createInbox();
  let calls = 0;
  const child = spawn({
    name: 'sdk-app',
    file: process.execPath,
    args: [
      ...['--import', 'tsx', fileURLToPath(new URL('./sdk-app.ts', import.meta.url))],
      ...[line, packageName, apiKey, String(port)],
    ],
    env: { ...process.env, ...offline },
    ipc: true,
    stopSignal: 'SIGKILL',
    onMessage: (message) => inbox.arrived(message as Frame),
  });
  await inbox.take('ready', ({ ready }) => ready === true);

  /** The app as it serves one user: the SDK's own functions and what it told the app. */
  function of(user: string) {
    async function call<Result>(name: string, ...args: unknown[]): Promise<Result> {
      calls += 1;
      const id = calls;
      child.send({ id, user, call: name, args });
      const { value, error } = await inbox.take(name, (frame) => frame.id === id, 65_000);
      if (error !== undefined) throw new Error(String(error));
      return value as Result;
    }
    const heard = (event: string) => inbox.frames.filter((frame) => frame.user === user && frame.event === event);
    const statuses = (event: string) => () => heard(event).map(({ status }) => status as SdkStatus);
    /** The next of its events, each taken once. */
    const next = (event: string, fits: (frame: Frame) => boolean = () => true, timeoutMs?: number) =>
      inbox.take(
        `${event} of ${user}`,
        (frame) => frame.user === user && frame.event === event && fits(frame),
        timeoutMs,
      );
    return {
      ...{ packageName, call, heard, next },
      /** The next status of this word. */
      hears: (event: 'managed-status' | 'stream-status', word: string, timeoutMs?: number) =>
        next(event, ({ status }) => (status as SdkStatus).status === word, timeoutMs),
      managedStatuses: statuses('managed-status'),
      streamStatuses: statuses('stream-status'),
      inSession: (manner: OnSession) => child.send({ user, onSession: manner }),
      startManagedStream: (options: object = {}) => call<SdkStream>('camera.startManagedStream', options),
      stopManagedStream: () => call<null>('camera.stopManagedStream'),
      checkExistingStream: () => call<SdkCheck>('camera.checkExistingStream'),
      isManagedStreamActive: () => call<boolean>('camera.isManagedStreamActive'),
      startStream: (options: object) => call<null>('camera.startStream', options),
      stopStream: () => call<null>('camera.stopStream'),
      isCurrentlyStreaming: () => call<boolean>('camera.isCurrentlyStreaming'),
    };
  }
  return {
    ...{ packageName, apiKey, of },
    publicUrl: `http://127.0.0.1:${port}`,
    close: () => child.stop(),
  };
}
export type SdkApp = Awaited<ReturnType<typeof createSdkApp>>;
export type SdkAppOfUser = ReturnType<SdkApp['of']>;
