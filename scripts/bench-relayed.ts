/**
 * `npm run bench:relayed`: what it costs a status that the app's socket is on another node than the session, beside the same
 * app on the node of the session, in the same run. Measures only.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import type { AppSession } from '../cloud/apps/app-session.ts';
import { createSessionIds } from '../cloud/apps/session-ids.ts';
import type { Ownership } from '../cloud/cluster/cluster.ts';
import { type ClusterMesh, createMesh, NODE_PATH } from '../cloud/cluster/mesh.ts';
import { createRelayedSockets } from '../cloud/cluster/relayed-sockets.ts';
import { type AppHandshakeOptions, welcomeApp } from '../cloud/http/app-handshake.ts';
import type { Socket } from '../cloud/http/socket.ts';
import type { ToApp } from '../shared/protocol/app-messages.ts';
import { Secret } from '../shared/secrets.ts';
import { goal, percentile, summary } from './bench/measuring.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { until } from './bench/world.ts';

const USER = 'ada@example.com';
const PACKAGE = 'com.example.bench';

const method = {
  statusMs:
    'from the hand-over of a managed_stream_status to the socket of the session until the app has read the frame; one process holds both nodes and the app, so one clock; the line between the nodes is a WebSocket over loopback',
  direct: 'the app on the node of the session: the floor',
  relayed: 'the app on the other node, at the same rate, taken in turns with the direct one',
  addedMs: 'medians and 99th percentiles of relayed less those of direct',
};

interface AppLine {
  /** Of the session. */
  socket: Socket<ToApp>;
  samples: number[];
  sentMs: Map<string, number>;
}

async function measure(bench: Bench): Promise<BenchReport> {
  const { clock, log } = bench;
  const ids = createSessionIds(new Secret('of the bench'));
  const owner = await startNode(bench, ids, 'owner', 'here');
  const edge = await startNode(bench, ids, 'edge', { nodeId: 'owner' });
  for (const { mesh } of [owner, edge])
    mesh.setPeers([owner, edge].map(({ nodeId, address }) => ({ nodeId, address })));
  await until(bench, 'the nodes do not find each other', async () => edge.mesh.others().length === 1);
  const [direct, relayed] = [await join(bench, owner, owner, ids), await join(bench, edge, owner, ids)];
  const perSecond = Number(bench.options.rate);
  bench.progress(`${perSecond} statuses each second to each app, for ${bench.seconds} s`);
  const untilMs = clock.monotonicMs() + bench.seconds * 1000;
  for (let n = 0; clock.monotonicMs() < untilMs && !bench.signal.aborted; n += 1) {
    // One at a time: the other's way would be in its figure.
    tell(bench, n % 2 === 0 ? direct : relayed, n);
    await clock.sleep(1000 / perSecond / 2);
  }
  await clock.sleep(200);
  log.debug({ samples: relayed.samples.length }, 'measured');
  const added = (share: number) => percentile(relayed.samples, share) - percentile(direct.samples, share);
  return {
    goals: [goal('added to a status by the other node, 99th percentile', added(0.99), 25)],
    method,
    statusMs: { direct: summary(direct.samples), relayed: summary(relayed.samples) },
    addedMs: { p50: hundredths(added(0.5)), p99: hundredths(added(0.99)) },
    lost: { direct: direct.sentMs.size, relayed: relayed.sentMs.size },
  };
}

/** An added hop is shorter than what one decimal can tell. */
const hundredths = (ms: number) => Math.round(ms * 100) / 100;

function tell({ clock }: Bench, { socket, sentMs }: AppLine, n: number): void {
  const streamId = `stream-${n}`;
  sentMs.set(streamId, clock.monotonicMs());
  socket.send(
    { type: 'managed_stream_status', status: 'initializing', streamId, message: 'The stream is being made' },
    'state',
  );
}

interface BenchNode {
  nodeId: string;
  address: string;
  mesh: ClusterMesh;
  /** Of apps whose session is here, the last one last. */
  sockets: Socket<ToApp>[];
}

async function startNode(
  { clock, log, defer }: Bench,
  ids: ReturnType<typeof createSessionIds>,
  nodeId: string,
  place: Awaited<ReturnType<Ownership['place']>>,
): Promise<BenchNode> {
  const mesh = createMesh({ nodeId, secret: new Secret('of the cluster'), clock, log });
  const sockets: Socket<ToApp>[] = [];
  const session = { receive() {} } as unknown as AppSession;
  const options: AppHandshakeOptions = {
    attempts: { guard: (_address, check) => check() },
    callers: { addressOf: () => '127.0.0.1' },
    catalog: { verify: async () => ({}) as never },
    apps: {
      async admit(_claim, socket) {
        sockets.push(socket);
        return session;
      },
      lost() {},
    },
    ...{ clock, log },
  };
  const relayed = createRelayedSockets({
    ...{ mesh, sessionIds: ids, clock, log },
    ownership: { place: async () => place, isHere: () => place === 'here' },
    welcome: (ws, arrival) => welcomeApp(ws, arrival, { ...options, elsewhere: relayed }),
  });
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  const http = createServer();
  http.on('upgrade', (request, raw, head) => {
    if (request.url?.startsWith(NODE_PATH)) mesh.accept(request, raw, head);
    else
      server.handleUpgrade(request, raw, head, (ws) => {
        const identity = { packageName: undefined, apiKey: undefined, sessionId: undefined, userId: undefined };
        welcomeApp(ws, { address: '127.0.0.1', identity, admitted() {} }, { ...options, elsewhere: relayed });
      });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  mesh.start(address);
  defer(async () => {
    relayed.close();
    await mesh.close();
    for (const ws of server.clients) ws.terminate();
    http.close();
  });
  return { nodeId, address, mesh, sockets };
}

/** An app at one node, whose session another one has. */
async function join(
  bench: Bench,
  at: BenchNode,
  owner: BenchNode,
  ids: ReturnType<typeof createSessionIds>,
): Promise<AppLine> {
  const { clock, defer } = bench;
  const before = owner.sockets.length;
  const app = new WebSocket(at.address.replace('http', 'ws'), { perMessageDeflate: false });
  defer(() => app.terminate());
  await new Promise((resolve, reject) => app.once('open', resolve).once('error', reject));
  const init = { type: 'tpa_connection_init', sessionId: ids.of(USER, PACKAGE), packageName: PACKAGE, apiKey: 'key' };
  app.send(JSON.stringify(init));
  await until(bench, 'the app was not let in', async () => owner.sockets.length > before);
  const [socket] = owner.sockets.slice(before);
  if (!socket) throw new Error('the app has no session');
  const [samples, sentMs]: [number[], Map<string, number>] = [[], new Map()];
  app.on('message', (data) => {
    const heardMs = clock.monotonicMs();
    const { streamId } = JSON.parse(String(data)) as { streamId: string };
    samples.push(heardMs - (sentMs.get(streamId) ?? Number.NaN));
    sentMs.delete(streamId);
  });
  return { socket, samples, sentMs };
}

await runBench({
  name: 'bench:relayed',
  about: 'What it costs a status that the app is on another node than its session.',
  defaultRuns: 1,
  defaultSeconds: 10,
  options: [{ name: 'rate', default: '200', help: 'statuses each second to each of the two apps' }],
  measure,
});
