/**
 * What a restart of the relay is measured on: the relay's own program on a fixed port, its local Stream outside of it, the
 * glasses with the barcode camera, and two apps, one that tries to come back ten times a second and one with the SDK's patience.
 */
import { join } from 'node:path';
import { type AgentProcess, startAgentProcess } from './agent-process.ts';
import { type CameraApp, createCameraApp } from './camera-app.ts';
import { freePort } from './free-port.ts';
import type { Bench } from './program.ts';
import { framesOf, listVideos } from './recorded-pictures.ts';
import { createRelayMain, type RelayMain } from './relay-main.ts';
import { startStreamProcess } from './stream-process.ts';
import { until } from './world.ts';

export interface RestartWorld {
  agent: AgentProcess;
  /** Comes back as soon as it can. */
  app: CameraApp;
  /** Comes back 1 and 3 s after the loss, as `@mentra/sdk` 2.1 does, and not again. */
  patientApp: CameraApp;
  /** From the spawn to the ready line of the first relay, which has nothing to resume. */
  coldReadyMs: number;
  /** Ends the relay by this signal; resolves when it is gone. */
  endRelay: RelayMain['end'];
  /** In its own place. */
  startRelay(): Promise<{ spawnedMs: number; readyMs: number }>;
  areGlassesThere(): Promise<boolean>;
  /** HLS addresses of what the local Stream has recorded and finished. */
  recordings(): Promise<string[]>;
  /** Numbers of the frames behind an address, decoded. */
  frames(hlsUrl: string): Promise<Set<number>>;
}

const USER_ID = 'bench@glasscast.example';
const SDK_RETRIES_MS = [1_000, 2_000];

export async function startRestartWorld(bench: Bench): Promise<RestartWorld> {
  const stream = await startStreamProcess(bench, { dataDir: join(bench.folder, 'local-stream') });
  bench.defer(() => stream.stop());
  const relay = createRelayMain(bench, stream, { port: await freePort(), dataDir: join(bench.folder, 'relay') });
  bench.defer(() => relay.end('SIGINT'));
  const { spawnedMs, readyMs } = await relay.start();

  const relayUrl = `${relay.url.replace('http', 'ws')}/glasses-ws`;
  const link = { relayUrl, coreToken: await relay.coreToken(USER_ID) };
  const agent = await startAgentProcess(bench, 'barcode', link);
  bench.defer(() => agent.stop());
  async function areGlassesThere(): Promise<boolean> {
    agent.mustRun();
    return (await relay.connectedUsers()).length > 0;
  }
  await until(bench, 'the agent did not connect', areGlassesThere);

  async function addApp(packageName: string, retryMs: (attempt: number) => number | undefined): Promise<CameraApp> {
    const app = createCameraApp({ clock: bench.clock, packageName, retryMs });
    bench.defer(app.close);
    await relay.registerApp({ packageName, apiKey: app.apiKey, publicUrl: await app.listen() });
    await relay.startApp(packageName, USER_ID);
    await app.connected;
    return app;
  }
  return {
    ...{ agent, areGlassesThere, coldReadyMs: readyMs - spawnedMs, endRelay: relay.end, startRelay: relay.start },
    app: await addApp('com.glasscast.bench', () => 100),
    patientApp: await addApp('com.glasscast.patient', (attempt) => SDK_RETRIES_MS[attempt - 1]),
    async recordings() {
      const videos = await listVideos(stream);
      return videos.filter(({ status }) => status.state === 'ready').map(({ playback }) => playback.hls);
    },
    frames: (hlsUrl) => framesOf(bench, hlsUrl),
  };
}
