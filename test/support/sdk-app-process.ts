/** Runs sdk-app.ts, the real `@mentra/sdk`, as a child and calls it over the message channel. */

import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { SpawnChild } from '../../shared/child-process.ts';
import { createInbox, type Frame } from './relay-world.ts';

export interface SdkStream {
  hlsUrl: string;
  dashUrl: string;
  streamId: string;
  thumbnailUrl?: string;
}

export interface SdkCheck {
  hasActiveStream: boolean;
  streamInfo?: { type: string; streamId: string; status: string; activeViewers: number; hlsUrl: string };
}

/** The SDK cannot listen on port 0 and tell which one it got. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function createSdkApp(spawn: SpawnChild, packageName: string) {
  const apiKey = `key-of-${packageName}`;
  const port = await freePort();
  const inbox = createInbox();
  let calls = 0;
  const child = spawn({
    name: 'sdk-app',
    file: process.execPath,
    args: [
      '--import',
      'tsx',
      fileURLToPath(new URL('./sdk-app.ts', import.meta.url)),
      packageName,
      apiKey,
      String(port),
    ],
    ipc: true,
    stopSignal: 'SIGKILL',
    onMessage: (message) => inbox.arrived(message as Frame),
  });
  await inbox.take('ready', ({ ready }) => ready === true);

  async function call<Result>(name: string, options?: object): Promise<Result> {
    calls += 1;
    const id = calls;
    child.send({ id, call: name, options });
    const { value, error } = await inbox.take(name, (frame) => frame.id === id, 40_000);
    if (error !== undefined) throw new Error(String(error));
    return value as Result;
  }
  return {
    ...{ packageName, apiKey, inbox },
    publicUrl: `http://127.0.0.1:${port}`,
    session: () => inbox.take('session', ({ session }) => session !== undefined),
    startManagedStream: (options?: object) => call<SdkStream>('startManagedStream', options ?? {}),
    stopManagedStream: () => call<null>('stopManagedStream'),
    checkExistingStream: () => call<SdkCheck>('checkExistingStream'),
    isManagedStreamActive: () => call<boolean>('isManagedStreamActive'),
    close: () => child.stop(),
  };
}
export type SdkApp = Awaited<ReturnType<typeof createSdkApp>>;
