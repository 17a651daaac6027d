/**
 * `npm run bench:nodes`: two relay nodes, Redis and HAProxy as programs, twenty streams with real media. One node is killed, then the
 * other, then Redis for 10 s, then both nodes are restarted one after the other. What the recordings lack, and how soon every app is
 * served again; beside it bare WebSockets behind the same HAProxy. Measures only.
 */

import { GlasscastError } from '../shared/errors.ts';
import { goal, headline, rounded, summary } from './bench/measuring.ts';
import {
  calm,
  nodeKilled,
  type PhaseResult,
  type RedisPhase,
  recordedStreams,
  redisKilled,
  rollingRestart,
  type ServedApp,
  startStreams,
} from './bench/nodes-phases.ts';
import { type NodesWorld, shape, startNodesWorld } from './bench/nodes-world.ts';
import { plainNodesKilled } from './bench/plain-nodes.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';

const OUTAGE_MS = 10_000;
const SERVED_GOAL_MS = 3_000;
const STORE_IS_AWAY = 'STORE_UNAVAILABLE';

const method = {
  world:
    'relay nodes (cloud/main.ts), redis-server (appendonly, everysec), HAProxy with deploy/haproxy/haproxy.cfg, one local Stream (cloud/local-stream/main.ts), all glasses in one process, each the agent of the product with an ffmpeg of its own; everything on this machine',
  media: `${shape.width}x${shape.height} at ${shape.framesPerSecond} a second, each picture with its number as a barcode`,
  apps: 'one for each stream, by turns one that tries to come back each 100 ms and one with the patience of @mentra/sdk (1 and 3 s after the loss), and beside them some of the real @mentra/sdk; all through HAProxy',
  served:
    'from the signal until an app is let in again, knows the state of its stream and hears a status that its glasses have just sent (each 500 ms); 0: it noticed nothing; later pauses of more than 1.5 s count too',
  'node killed': 'SIGKILL; it is started again when the window of --seconds is over',
  'Redis killed':
    'SIGKILL, started again on its data after 10 s; in the middle of it and at once afterwards one more user asks for a stream, afterwards again each 100 ms until it is not refused',
  'node restarted': 'SIGTERM, its program is started again as soon as it is gone',
  frames:
    'after the end each recording is decoded and every number between its first and last picture looked for, without those that the camera could not hand to the encoder (framesNotTaken)',
  plain:
    'as many bare ws clients and two bare ws servers behind the same HAProxy, one killed by SIGKILL: until a message is heard again, of those that were cut',
  calm: 'the same window with nothing killed: what the measuring itself shows; Redis counts its own commands, those inside of scripts too',
};

function servedOf({ name, apps, ...numbers }: PhaseResult) {
  const times = (which: readonly ServedApp[]) => summary(which.flatMap(({ ms }) => (ms === undefined ? [] : [ms])));
  const packages = [...new Set(apps.map(({ packageName }) => packageName))];
  return {
    name,
    servedMs: times(apps),
    byApp: Object.fromEntries(packages.map((name) => [name, times(apps.filter((app) => app.packageName === name))])),
    cut: apps.filter(({ wasCut }) => wasCut).length,
    notServed: apps.filter(({ ms }) => ms === undefined).map(({ packageName, userId }) => `${packageName} ${userId}`),
    wrongWords: apps.flatMap(({ wrongWords, userId }) => wrongWords.map((word) => `${userId}: ${word}`)),
    ...numbers,
  };
}

const worstMs = (phases: readonly PhaseResult[]) =>
  Math.max(...phases.flatMap(({ apps }) => apps.map(({ ms }) => ms ?? Number.POSITIVE_INFINITY)));

async function allPhases(bench: Bench, world: NodesWorld) {
  const watches = await startStreams(bench, world);
  const told = <Result extends PhaseResult>(result: Result): Result => {
    const { servedMs, notServed, cut } = servedOf(result);
    const late = notServed.length > 0 ? `, NOT SERVED: ${notServed.join(', ')}` : '';
    bench.progress(
      `${result.name}: ${cut} of ${result.apps.length} apps cut; served after ${servedMs?.p50} ms, at most ${servedMs?.max}${late}`,
    );
    return result;
  };
  const quiet = told(await calm(bench, world, watches));
  const kills: PhaseResult[] = [];
  for (const node of world.nodes) kills.push(told(await nodeKilled(bench, world, watches, node)));
  const redis: RedisPhase[] = [];
  if (world.redis) redis.push(told(await redisKilled(bench, world, watches, OUTAGE_MS)));
  const rolls = await rollingRestart(bench, world, watches);
  for (const roll of rolls) told(roll);
  return { quiet, kills, redis, rolls, recorded: await recordedStreams(bench, world, watches) };
}

async function measure(bench: Bench): Promise<BenchReport> {
  const streams = whole(bench, 'streams', 1, 200);
  const nodes = whole(bench, 'nodes', 1, 2) === 1 ? 1 : 2;
  const sdkApps = Math.min(streams, whole(bench, 'sdk-apps', 0, 20));
  const plain = await plainNodesKilled(bench, streams, 8_000);
  const world = await startNodesWorld(bench, {
    streams,
    nodes,
    sdkApps,
  });
  const { quiet, kills, redis, rolls, recorded } = await allPhases(bench, world);
  const phases = [...kills, ...redis, ...rolls];
  const ended = phases.flatMap(({ apps }) => apps.flatMap(({ wrongWords }) => wrongWords)).length;
  const most = (name: 'recordings' | 'starts') => Math.max(...recorded.map((stream) => stream[name]));
  const sum = (name: 'framesExposed' | 'framesMissing' | 'framesNotTaken') =>
    recorded.reduce((total, stream) => total + stream[name], 0);
  const isRefused = redis.every(({ startDuring }) => startDuring.code.includes(STORE_IS_AWAY));
  const killed = goal('apps served again after a node was killed, the last one', worstMs(kills), SERVED_GOAL_MS);
  const missing = goal('frames missing in all recordings', sum('framesMissing'), 0, 'frames');
  const restarted = goal('apps served again after a node was restarted, the last one', worstMs(rolls), SERVED_GOAL_MS);
  const plainMs = plain.flatMap((ms) => (ms === undefined ? [] : [rounded(ms)]));
  return {
    headline: [
      headline(killed, { peer: Math.max(...plainMs), peerName: 'bare ws behind the same HAProxy, the last one' }),
      headline(restarted, { peer: undefined, peerName: 'as above' }),
      headline(missing, { peer: undefined, peerName: 'bare ws has none' }),
    ],
    goals: [
      killed,
      ...redis.flatMap((phase) => [
        goal('apps served again after Redis was killed, the last one', worstMs([phase]), SERVED_GOAL_MS),
        goal('a start after the outage, until live', phase.startAfterMs, SERVED_GOAL_MS),
      ]),
      restarted,
      missing,
      goal('streams that ended, failed or became another', ended, 0, 'words'),
      goal('STARTs of one encoder, the most', most('starts'), 1, 'STARTs'),
      goal('recordings of one stream, the most', most('recordings'), 1, 'recordings'),
    ],
    broken: [
      ...(sum('framesMissing') > 0 ? ['frames are missing in a recording'] : []),
      ...(ended > 0 ? ['a stream ended'] : []),
      ...(isRefused ? [] : [`a start without Redis is refused with ${STORE_IS_AWAY}`]),
    ],
    streams,
    nodes,
    frames: { exposed: sum('framesExposed'), missing: sum('framesMissing'), notTaken: sum('framesNotTaken') },
    phases: [quiet, ...phases].map(servedOf),
    recorded,
    plain: summary(plainMs),
    method,
  };
}

/** @throws GlasscastError INVALID_CONFIG: not a whole number within these bounds */
function whole({ options }: Bench, name: string, least: number, most: number): number {
  const value = Number(options[name]);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  const reason = `--${name} must be a whole number from ${least} to ${most}, not "${options[name]}"`;
  throw new GlasscastError('INVALID_CONFIG', { reason });
}

await runBench({
  name: 'bench:nodes',
  about: 'Two relay nodes, Redis and HAProxy under live streams: each is killed, then the nodes are restarted in turn.',
  defaultRuns: 1,
  defaultSeconds: 15,
  options: [
    { name: 'streams', default: '20', help: 'live streams with real media' },
    { name: 'nodes', default: '2', help: 'relay nodes; with 1 there is no Redis' },
    { name: 'sdk-apps', default: '3', help: 'users whose second app is the real SDK' },
  ],
  measure,
});
