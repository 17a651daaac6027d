/**
 * Everything a benchmark measures, each part in its own process as in production: local Stream, relay, agent; and the app.
 * Between them stand the taps, so that all times are taken from outside, in this one process with its one clock.
 */
import { join } from 'node:path';
import { GlasscastError } from '../../shared/errors.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { type AgentKind, type AgentProcess, startAgentProcess } from './agent-process.ts';
import { type ApiCall, createApiTap } from './api-tap.ts';
import { type CameraApp, createCameraApp } from './camera-app.ts';
import { createGlassesTap } from './glasses-tap.ts';
import type { Bench } from './program.ts';
import { type RelayProcess, startRelayProcess } from './relay-process.ts';
import { createRtmpTap } from './rtmp-tap.ts';
import { type StreamProcess, startStreamProcess } from './stream-process.ts';
import type { TcpTap } from './tcp-tap.ts';

/** Who listens at the taps now; a bench sets what it needs. */
export interface WorldListeners {
  onApiCall?: (call: ApiCall) => void;
  onStart?: () => void;
  onDeviceStatus?: (status: string) => void;
  onConnected?: (connection: number) => void;
  onFirstByte?: (connection: number) => void;
  onTag?: (tag: FlvTag, connection: number, bytes: number) => void;
  onAcknowledged?: (bytes: number, connection: number) => void;
  onClosed?: (connection: number) => void;
}

export interface World {
  readonly stream: StreamProcess;
  relay: RelayProcess;
  readonly agent: AgentProcess;
  /** Ends the agent and starts one of this kind in its place. */
  changeAgent(kind: AgentKind): Promise<void>;
  app: CameraApp;
  /** Everyone who publishes is led through it. */
  rtmpTap: TcpTap;
  rtmpTapPort: number;
  listeners: WorldListeners;
  /** A new local Stream on the same ports and data, after a kill. */
  restartStream(): Promise<void>;
  /** `rtmp://…` through the tap, for peers. */
  publishUrl(streamKey: string): string;
  playUrl(playbackKey: string): string;
}

const USER_ID = 'bench@glasscast.example';
const CONNECT_TIMEOUT_MS = 20_000;

export type MediaWorld = Pick<
  World,
  'stream' | 'rtmpTap' | 'rtmpTapPort' | 'listeners' | 'restartStream' | 'publishUrl' | 'playUrl'
>;

/** The ingest and the tap before it. @param host where publishers find the tap. */
export async function startMedia(bench: Bench, host = '127.0.0.1'): Promise<MediaWorld> {
  const listeners: WorldListeners = {};
  const dataDir = join(bench.folder, 'local-stream');
  const held = { stream: await startStreamProcess(bench, { dataDir }) };
  bench.defer(() => held.stream.stop());
  const { httpPort, rtmpPort } = held.stream;
  const rtmpTap = createRtmpTap({
    host,
    target: () => ({ host: '127.0.0.1', port: rtmpPort }),
    onConnected: (connection) => listeners.onConnected?.(connection),
    onFirstByte: (connection) => listeners.onFirstByte?.(connection),
    onTag: (tag, connection, bytes) => listeners.onTag?.(tag, connection, bytes),
    onAcknowledged: (bytes, connection) => listeners.onAcknowledged?.(bytes, connection),
    onClosed: (connection) => listeners.onClosed?.(connection),
  });
  const rtmpTapPort = await rtmpTap.listen();
  bench.defer(rtmpTap.drop);
  return {
    get stream() {
      return held.stream;
    },
    rtmpTap,
    rtmpTapPort,
    listeners,
    async restartStream() {
      held.stream = await startStreamProcess(bench, { dataDir, ports: { httpPort, rtmpPort } });
    },
    publishUrl: (streamKey) => `rtmp://${host}:${rtmpTapPort}/live/${streamKey}`,
    playUrl: (playbackKey) => `rtmp://127.0.0.1:${rtmpPort}/live/${playbackKey}`,
  };
}

export async function startWorld(bench: Bench, agentKind: AgentKind): Promise<World> {
  const media = await startMedia(bench);
  const { stream, listeners, rtmpTapPort } = media;
  const apiTap = createApiTap({
    clock: bench.clock,
    target: () => ({ host: '127.0.0.1', port: stream.httpPort }),
    onCall: (call) => listeners.onApiCall?.(call),
  });
  const apiPort = await apiTap.listen();
  bench.defer(apiTap.drop);
  const apiBaseUrl = stream.apiBaseUrl.replace(`:${stream.httpPort}/`, `:${apiPort}/`);
  const { accountId, apiToken } = stream;
  const relay = await startRelayProcess(bench, { apiBaseUrl, accountId, apiToken }, join(bench.folder, 'relay'));
  bench.defer(relay.stop);

  const glassesTap = createGlassesTap({
    relayUrl: () => relay.url.replace(/^http/, 'ws'),
    publishPort: () => rtmpTapPort,
    onStart: () => listeners.onStart?.(),
    onDeviceStatus: (status) => listeners.onDeviceStatus?.(status),
  });
  const glassesPort = await glassesTap.listen();
  bench.defer(glassesTap.close);
  const link = { relayUrl: `ws://127.0.0.1:${glassesPort}/glasses-ws`, coreToken: await relay.coreToken(USER_ID) };
  const held = { agent: await startAgentProcess(bench, agentKind, link) };
  bench.defer(() => held.agent.stop());
  const connected = async () => {
    held.agent.mustRun();
    return (await relay.connectedUsers()).includes(USER_ID);
  };
  await until(bench, 'the agent did not connect', connected);

  const app = createCameraApp({ clock: bench.clock });
  bench.defer(app.close);
  const publicUrl = await app.listen();
  await relay.registerApp({ packageName: app.packageName, apiKey: app.apiKey, publicUrl });
  await relay.startApp(app.packageName, USER_ID);
  await app.connected;
  return {
    ...{ relay, app, rtmpTapPort, listeners },
    get stream() {
      return media.stream;
    },
    get agent() {
      return held.agent;
    },
    async changeAgent(kind) {
      await held.agent.stop();
      await until(bench, 'the agent did not leave', async () => !(await relay.connectedUsers()).includes(USER_ID));
      held.agent = await startAgentProcess(bench, kind, link);
      await until(bench, 'the agent did not connect', connected);
    },
    rtmpTap: media.rtmpTap,
    restartStream: media.restartStream,
    publishUrl: media.publishUrl,
    playUrl: media.playUrl,
  };
}

/** Asks again each 20 ms. */
export async function until(bench: Bench, otherwise: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const deadlineMs = bench.clock.monotonicMs() + CONNECT_TIMEOUT_MS;
  while (!(await isSo())) {
    if (bench.clock.monotonicMs() > deadlineMs) throw new GlasscastError('INTERNAL', { reason: otherwise });
    await bench.clock.sleep(20, { signal: bench.signal });
  }
}
