/**
 * The whole product for the soak, each part a process of its own behind a line that can be cut: local Stream with its faults,
 * relay nodes, glasses, apps. Starts and ends them; does no harm and judges nothing.
 */
import { join } from 'node:path';
import { GlasscastError } from '../../shared/errors.ts';
import { freePort } from '../bench/free-port.ts';
import type { Bench } from '../bench/program.ts';
import { startRedis } from '../bench/redis-process.ts';
import { createRelayMain, type RelayMain } from '../bench/relay-main.ts';
import { type StreamProcess, startStreamProcess } from '../bench/stream-process.ts';
import { createTcpTap, type TcpTap } from '../bench/tcp-tap.ts';
import type { Collector } from './collector.ts';
import { mountSmallDisk } from './small-disk.ts';
import { type SoakApp, startSoakApp } from './soak-apps.ts';
import { type SoakGlasses, startSoakGlasses } from './soak-glasses.ts';
import type { SoakLogs } from './soak-logs.ts';

export interface StreamJson {
  streamId: string;
  userId: string;
  kind: string;
  state: string;
  viewers: string[];
  urls?: { hlsUrl?: string };
  playback?: { hlsUrl?: string };
  errorCode?: string;
}

export interface SoakWorld {
  nodes: RelayMain[];
  /** One that is up answers operators and takes glasses, as behind a load balancer. */
  readonly relay: RelayMain;
  /** One of the nodes is; a request to it may be lost. */
  readonly isNodeDown: boolean;
  /** Ends the node by this signal and starts it in its place; one after the other, and not while disk or Redis are away. */
  restartNode(node: RelayMain, how: NodeJS.Signals): Promise<void>;
  /** The relay's disk is full for so long; nothing happens where it cannot be filled. */
  fillDisk(ms: number): Promise<void>;
  /** Redis is killed and away for so long; undefined: there is one node, or the Redis is not ours to kill. */
  killRedis: ((ms: number) => Promise<void>) | undefined;
  /** Disk or Redis, a node; or it was a moment ago: what is written about it then is no news. */
  isAway(what: 'store' | 'node'): boolean;
  stream: SoakStream;
  glasses: SoakGlasses[];
  apps: SoakApp[];
  /** Everything that is not over, as the relay says it. */
  streams(): Promise<StreamJson[]>;
  /** Users whose glasses are connected. */
  connected(): Promise<string[]>;
  /** Ends all, apps first. */
  close(): Promise<void>;
}

export interface SoakStream {
  readonly pid: number | undefined;
  /** SIGKILL, and anew in its place. */
  killAndRestart(awayMs: number): Promise<void>;
  /** Uids of the live inputs that exist. */
  liveInputs(): Promise<string[]>;
  fault(name: string, settings: object): Promise<void>;
  faultsOff(): Promise<void>;
  /** Everybody who publishes comes through it. */
  ingest: TcpTap;
  ingestPort: number;
  /** Everybody who plays comes through it. */
  delivery: TcpTap;
  deliveryPort: number;
}

/** What the local Stream writes into its addresses: there stand the taps. */
const PUBLIC_HOST = '127.0.0.2';
const AFTERWARDS_MS = 3_000;
const manyHandshakes = { GLASSCAST_HANDSHAKES_PER_SECOND: '1000' };
const PACKAGES = ['com.glasscast.soak.one', 'com.glasscast.soak.two'];

export interface SoakWorldOptions {
  bench: Bench;
  logs: SoakLogs;
  users: number;
  nodes: number;
  /** `redis://…` that the nodes share; undefined: several get one of their own. */
  redisUrl: string | undefined;
  /** Of V8, for relay and local Stream. */
  v8Flags: readonly string[];
  collector: Collector;
  /** A process ended that nobody had ended. */
  onDeath: (words: string) => void;
}

export async function startSoakWorld(options: SoakWorldOptions): Promise<SoakWorld> {
  const { bench, logs, onDeath, v8Flags } = options;
  const partBench = (part: string): Bench => ({ ...bench, logLevel: 'info', note: heardBy(options, part) });
  const { stream, first } = await startSoakStream(partBench('local-stream'), v8Flags, onDeath);
  bench.defer(() => stream.stop());
  const disk = await mountSmallDisk(bench, join(bench.folder, 'relay-1'));
  /** Each goes away in turn. */
  const awayUntilMs = { store: Number.NEGATIVE_INFINITY, node: Number.NEGATIVE_INFINITY };
  async function without(what: keyof typeof awayUntilMs, work: () => Promise<unknown>): Promise<void> {
    awayUntilMs[what] = Number.POSITIVE_INFINITY;
    await work().finally(() => {
      awayUntilMs[what] = bench.clock.monotonicMs() + AFTERWARDS_MS;
    });
  }
  const withoutStore = (end: () => Promise<unknown>, ms: number, back: () => Promise<unknown>) =>
    without('store', async () => {
      try {
        await end();
        await bench.clock.sleep(ms, { signal: bench.signal });
      } finally {
        await back();
      }
    });
  const { clock, folder, spawn } = bench;
  const hasOwnRedis = options.nodes > 1 && options.redisUrl === undefined;
  const redis = hasOwnRedis ? await startRedis({ spawn, clock, folder: join(folder, 'redis') }) : undefined;
  if (redis) bench.defer(() => redis.stop());
  const nodes = await startNodes({ ...options, redisUrl: options.redisUrl ?? redis?.url }, first, partBench);
  const up = new Set(nodes);
  const relayUp = () => nodes.find((node) => up.has(node)) ?? firstNode;
  const [firstNode] = nodes;

  const apps: SoakApp[] = [];
  for (const packageName of PACKAGES) {
    const app = await startSoakApp({ clock: bench.clock, packageName, note: logs.note });
    bench.defer(app.close);
    await relayUp().registerApp(app);
    apps.push(app);
  }
  const glasses: SoakGlasses[] = [];
  for (let number = 1; number <= options.users; number += 1) {
    const userId = `user${number}@soak.example`;
    const coreToken = await relayUp().coreToken(userId);
    const parts = { bench: partBench(`glasses-${number}`), userId, coreToken, onDeath };
    const one = await startSoakGlasses({ ...parts, relayPort: () => relayUp().port });
    bench.defer(one.stop);
    glasses.push(one);
  }
  let turn = Promise.resolve();
  const inTurn = (work: () => Promise<void>) => {
    turn = turn.catch(() => undefined).then(work);
    return turn;
  };
  return {
    ...{ nodes, stream, glasses, apps },
    get relay() {
      return relayUp();
    },
    restartNode: (node, how) =>
      inTurn(() =>
        without('node', async () => {
          up.delete(node);
          await node.end(how);
          await node.start();
          up.add(node);
        }),
      ),
    get isNodeDown() {
      return up.size < nodes.length;
    },
    isAway: (what) => bench.clock.monotonicMs() < awayUntilMs[what],
    fillDisk: (ms) => inTurn(async () => disk && withoutStore(disk.fill, ms, disk.free)),
    killRedis: redis && ((ms) => inTurn(() => withoutStore(redis.kill, ms, redis.start))),
    streams: async () =>
      (await relayUp().streams<StreamJson>()).filter(({ state }) => state !== 'stopped' && state !== 'failed'),
    connected: () => relayUp().connectedUsers(),
    async close() {
      for (const app of apps) await app.close();
      await Promise.all(glasses.map((one) => one.stop()));
      for (const node of nodes) await node.end('SIGINT');
      await redis?.stop();
      await stream.stop();
    },
  };
}

function heardBy({ collector, logs }: SoakWorldOptions, part: string): (line: string) => void {
  const log = logs.of(part);
  return (line) => {
    collector.heard(part, line);
    log(line);
  };
}

type Nodes = [RelayMain, ...RelayMain[]];

async function startNodes(
  { bench, nodes: count, redisUrl, v8Flags, onDeath }: SoakWorldOptions,
  stream: StreamProcess,
  partBench: (part: string) => Bench,
): Promise<Nodes> {
  const adminToken = crypto.randomUUID();
  const prefix = `glasscast:soak:${crypto.randomUUID().slice(0, 8)}:`;
  const shared = redisUrl ? { GLASSCAST_REDIS_URL: redisUrl, GLASSCAST_REDIS_PREFIX: prefix } : {};
  async function startNode(number: number): Promise<RelayMain> {
    const node = createRelayMain(partBench(`relay-${number}`), stream, {
      ...{ v8Flags, adminToken, port: await freePort(), dataDir: join(bench.folder, `relay-${number}`) },
      // Everybody comes from one address.
      env: { ...shared, ...{ GLASSCAST_KEEP_RECORDINGS: 'no', GLASSCAST_HOLD_SECONDS: '30', ...manyHandshakes } },
      onDeath: (line) => onDeath(`relay ${number} has ended by itself: ${line}`),
    });
    bench.defer(() => node.end('SIGINT'));
    await node.start();
    return node;
  }
  const nodes: Nodes = [await startNode(1)];
  while (nodes.length < count) nodes.push(await startNode(nodes.length + 1));
  return nodes;
}

async function startSoakStream(
  bench: Bench,
  v8Flags: readonly string[],
  onDeath: SoakWorldOptions['onDeath'],
): Promise<{ stream: SoakStream & { stop(): Promise<void> }; first: StreamProcess }> {
  const dataDir = join(bench.folder, 'local-stream');
  const adminPort = await freePort();
  const flags = ['--admin-port', String(adminPort), '--public-host', PUBLIC_HOST];
  const start = { dataDir, flags, v8Flags };
  const asked = new WeakSet<StreamProcess>();
  const watched = (started: StreamProcess): StreamProcess => {
    void started.exited.then(({ end, lastLines }) => {
      if (end === 'exited' && !asked.has(started))
        onDeath(`the local Stream has ended by itself: ${lastLines.at(-1) ?? 'it said nothing'}`);
    });
    return started;
  };
  const first = watched(await startStreamProcess(bench, start));
  const { httpPort, rtmpPort, accountId, apiToken } = first;
  const held = { process: first };
  // The API is asked where it listens, and not through a line that is cut: its faults are its own.
  const direct = { ...first, apiBaseUrl: first.apiBaseUrl.replace(PUBLIC_HOST, '127.0.0.1') };
  const tapTo = (port: number) =>
    createTcpTap({ host: PUBLIC_HOST, target: () => ({ host: '127.0.0.1', port }), observe: () => ({}) });
  const [ingest, delivery] = [tapTo(rtmpPort), tapTo(httpPort)];
  await ingest.listen(rtmpPort);
  bench.defer(ingest.drop);
  await delivery.listen(httpPort);
  bench.defer(delivery.drop);

  let restarting = Promise.resolve();
  async function killAndRestart(awayMs: number): Promise<void> {
    asked.add(held.process);
    await held.process.kill();
    await bench.clock.sleep(awayMs, { signal: bench.signal });
    held.process = watched(await startStreamProcess(bench, { ...start, ports: { httpPort, rtmpPort } }));
  }
  const headers = { authorization: `Bearer ${apiToken.reveal()}` };
  async function admin(method: string, path: string, body?: object): Promise<void> {
    const json = body
      ? { headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) }
      : {};
    const response = await fetch(`http://127.0.0.1:${adminPort}/faults${path}`, { method, headers, ...json });
    if (!response.ok) throw new GlasscastError('INTERNAL', { reason: `fault ${path}: ${await response.text()}` });
    await response.body?.cancel();
  }
  const stream = {
    get pid() {
      return held.process.pid;
    },
    killAndRestart(awayMs: number) {
      restarting = restarting.catch(() => undefined).then(() => killAndRestart(awayMs));
      return restarting;
    },
    async liveInputs() {
      const response = await fetch(`${direct.apiBaseUrl}/accounts/${accountId}/stream/live_inputs`, { headers });
      const { result } = (await response.json()) as { result: { uid: string }[] };
      return result.map(({ uid }) => uid);
    },
    fault: (name: string, settings: object) => admin('PUT', `/${name}`, settings),
    faultsOff: () => admin('DELETE', ''),
    ...{ ingest, ingestPort: rtmpPort, delivery, deliveryPort: httpPort },
    async stop() {
      asked.add(held.process);
      await held.process.stop();
    },
  };
  return { stream, first: direct };
}
