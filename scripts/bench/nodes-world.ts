/**
 * What a cluster is measured on: relay nodes as programs, Redis, HAProxy before them, one local Stream for all, many glasses that
 * really encode, and apps, some of them the real SDK. Whoever is outside comes through HAProxy. Builds and takes down; measures nothing.
 */
import { join } from 'node:path';
import { recordingNames } from '../../cloud/provider/recording-names.ts';
import { type AgentsProcess, startAgentsProcess } from './agents-process.ts';
import { createCrowdApp, eagerness, sdkPatience, type Viewer } from './crowd-app.ts';
import type { FrameShape } from './frame-source.ts';
import { freePort } from './free-port.ts';
import { startHaproxy } from './haproxy-process.ts';
import { createOperator, type Operator } from './operator.ts';
import type { Bench } from './program.ts';
import { framesOf, listVideos } from './recorded-pictures.ts';
import { type RedisProcess, startRedis } from './redis-process.ts';
import { createRelayNode, type RelayNode } from './relay-node.ts';
import { startSdkViewers } from './sdk-viewers.ts';
import { providerEnv, startStreamProcess } from './stream-process.ts';
import { until } from './world.ts';

export interface Recording {
  streamId: string;
  hlsUrl: string;
}

export interface NodesWorld {
  readonly nodes: readonly RelayNode[];
  /** Undefined with one node, which needs none. */
  readonly redis: RedisProcess | undefined;
  readonly agents: AgentsProcess;
  readonly userIds: readonly string[];
  /** Each user's first app, which asks for the stream. */
  readonly owners: readonly Viewer[];
  /** Further apps of some users: the SDK's. */
  readonly guests: readonly Viewer[];
  /** One more user with glasses and an app, whose stream is started and ended within the phases. */
  readonly latecomer: Viewer;
  /** Of the operator, through HAProxy. @throws GlasscastError INTERNAL: refused, with code and reason */
  ask<T>(method: string, path: string, body?: object): Promise<T>;
  /** Users whose glasses are connected, as the relay says. */
  connectedUsers(): Promise<string[]>;
  /** That are finished. */
  recordings(): Promise<Recording[]>;
  /** Numbers of the frames in one, each decoded. */
  frames(recording: Recording): Promise<Set<number>>;
}

export interface NodesWorldOptions {
  streams: number;
  /** 1: a relay alone, without Redis. */
  nodes: 1 | 2;
  /** Users whose second app is the real SDK. */
  sdkApps: number;
}

/** Small, so that two cores encode twenty; the barcode is readable at 10 pixels to the block. */
export const shape: FrameShape = { width: 320, height: 180, framesPerSecond: 10 };
export const streamSettings = {
  video: { width: shape.width, height: shape.height, frameRate: shape.framesPerSecond, bitrate: 250_000 },
  audio: { bitrate: 16_000, sampleRate: 16_000 },
} as const;
/** How often the glasses say their numbers; 2 s unless asked. */
export const STATS_EVERY_MS = 500;
const PREFIX = 'glasscast:bench:';

export async function startNodesWorld(bench: Bench, options: NodesWorldOptions): Promise<NodesWorld> {
  const stream = await startStreamProcess(bench, { dataDir: join(bench.folder, 'local-stream') });
  bench.defer(() => stream.stop());
  const { spawn, clock, folder } = bench;
  const redis = options.nodes > 1 ? await startRedis({ spawn, clock, folder: join(folder, 'redis') }) : undefined;
  if (redis) bench.defer(() => redis.stop());
  const nodePorts = [await freePort(), await freePort()] as const;
  const port = await freePort();
  const operator = createOperator(bench, `http://127.0.0.1:${port}`);
  const nodes = nodePorts.slice(0, options.nodes).map((nodePort, index) => {
    const name = `node-${index + 1}`;
    const address = `http://127.0.0.1:${nodePort}`;
    const clusterFlags = redis ? ['--redis-prefix', PREFIX, '--node-address', address] : [];
    const flags = ['--data-dir', join(folder, name), '--public-url', `ws://127.0.0.1:${port}`, ...clusterFlags];
    const env = {
      ...providerEnv(stream),
      GLASSCAST_TRUSTED_PROXIES: '127.0.0.1',
      GLASSCAST_ADMIN_TOKEN: operator.adminToken,
      ...(redis && { GLASSCAST_REDIS_URL: redis.url }),
    };
    const note = (line: string) => bench.note(`${name}: ${line}`);
    const node = createRelayNode({ ...bench, note }, { name, port: nodePort, flags, env });
    bench.defer(() => node.end('SIGINT'));
    return node;
  });
  for (const node of nodes) await node.start();
  const haproxy = await startHaproxy({ spawn, clock, port, nodePorts, onLine: bench.note });
  bench.defer(() => haproxy.stop());
  await until(bench, 'no node became healthy', () =>
    operator.connectedUsers().then(
      () => true,
      () => false,
    ),
  );

  const userIds = Array.from({ length: options.streams }, (_, index) => `bench-${index + 1}@glasscast.example`);
  const lateUserId = 'latecomer@glasscast.example';
  const agents = await startGlasses(bench, operator, [...userIds, lateUserId], `ws://127.0.0.1:${port}/glasses-ws`);
  const apps = await startApps(bench, operator, { userIds, lateUserId, sdkApps: options.sdkApps });
  return {
    ...{ nodes, redis, agents, userIds, ...apps },
    ask: operator.ask,
    connectedUsers: operator.connectedUsers,
    async recordings() {
      const videos = await listVideos(stream);
      return videos.flatMap(({ status, meta, playback }) => {
        const { streamId } = recordingNames.read(meta?.name ?? '');
        return status.state === 'ready' && streamId ? [{ streamId, hlsUrl: playback.hls }] : [];
      });
    },
    frames: ({ hlsUrl }) => framesOf(bench, hlsUrl),
  };
}

async function startGlasses(
  bench: Bench,
  operator: Operator,
  userIds: readonly string[],
  relayUrl: string,
): Promise<AgentsProcess> {
  const users = [];
  for (const userId of userIds) {
    users.push({ userId, coreToken: (await operator.coreToken(userId)).reveal() });
  }
  const agents = await startAgentsProcess(bench, { relayUrl, shape, statsEveryMs: STATS_EVERY_MS, users });
  bench.defer(() => agents.stop());
  await until(
    bench,
    'not all glasses connected',
    async () => (await operator.connectedUsers()).length === users.length,
  );
  return agents;
}

async function startApps(
  bench: Bench,
  operator: Operator,
  { userIds, lateUserId, sdkApps }: { userIds: readonly string[]; lateUserId: string; sdkApps: number },
): Promise<Pick<NodesWorld, 'owners' | 'guests' | 'latecomer'>> {
  const { clock } = bench;
  async function crowd(packageName: string, retryMs: (attempt: number) => number | undefined) {
    const app = createCrowdApp({ clock, packageName, retryMs });
    bench.defer(app.close);
    await operator.registerApp({ packageName, apiKey: app.apiKey, publicUrl: await app.listen() });
    return app;
  }
  const eager = await crowd('com.glasscast.eager', eagerness);
  const patient = await crowd('com.glasscast.patient', sdkPatience);
  const owners = userIds.map((userId, index) => (index % 2 === 0 ? eager : patient).viewer(userId));
  const latecomer = eager.viewer(lateUserId);
  const guests: Viewer[] = [];
  if (sdkApps > 0) {
    const sdk = await startSdkViewers(bench, 'com.glasscast.sdk');
    bench.defer(sdk.close);
    await operator.registerApp(sdk);
    guests.push(...userIds.slice(0, sdkApps).map(sdk.viewer));
  }
  for (const viewer of [...owners, latecomer, ...guests]) {
    await operator.startApp(viewer.packageName, viewer.userId);
    await viewer.accepted();
  }
  return { owners, guests, latecomer };
}
