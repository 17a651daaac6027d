/**
 * What is done to a cluster while all its streams run: a node killed, Redis killed, nodes restarted one after the other. Tells for
 * each app when it was served again; knows nothing of goals.
 */
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Viewer } from './crowd-app.ts';
import { type NodesWorld, STATS_EVERY_MS, streamSettings } from './nodes-world.ts';
import type { Bench } from './program.ts';
import type { RelayNode } from './relay-node.ts';
import { servedAgainMs, wordsOfAnEnd } from './served.ts';
import { until } from './world.ts';

/** Each app with the stream that it watches. */
export interface Watch {
  viewer: Viewer;
  streamId: string;
}

export interface ServedApp {
  packageName: string;
  userId: string;
  /** 0: noticed nothing. Undefined: not served at the end of the window. */
  ms: number | undefined;
  /** Of an end, an error or another stream. */
  wrongWords: string[];
  /** Its connection broke. */
  wasCut: boolean;
}

export interface PhaseResult {
  name: string;
  apps: ServedApp[];
  [number: string]: unknown;
}

/** Asks for all streams, a few at a time: starting encoders is the heaviest moment. */
export async function startStreams(bench: Bench, world: NodesWorld): Promise<Watch[]> {
  const watches: Watch[] = [];
  const waiting = [...world.owners];
  async function startNext(): Promise<void> {
    for (let viewer = waiting.shift(); viewer; viewer = waiting.shift()) {
      watches.push({ viewer, streamId: await viewer.live(streamSettings) });
      bench.progress(`${watches.length} of ${world.owners.length} streams are live`);
    }
  }
  await Promise.all([startNext(), startNext()]);
  for (const viewer of world.guests) {
    const streamId = await viewer.live({});
    const own = watches.find((watch) => watch.viewer.userId === viewer.userId);
    if (own?.streamId !== streamId) throw new GlasscastError('INTERNAL', { reason: 'a second app got another stream' });
    watches.push({ viewer, streamId });
  }
  return watches;
}

/** Waits for the rest of the window, then looks at what each app heard in it. */
async function lookAt(
  bench: Bench,
  watches: readonly Watch[],
  sinceMs: number,
  windowMs: number,
): Promise<ServedApp[]> {
  const { clock, signal } = bench;
  await clock.sleep(Math.max(0, sinceMs + windowMs - clock.monotonicMs()), { signal });
  const untilMs = clock.monotonicMs();
  return watches.map(({ viewer: { events, packageName, userId }, streamId }) => ({
    ...{ packageName, userId },
    ms: servedAgainMs(events, { sinceMs, untilMs, cadenceMs: STATS_EVERY_MS }),
    wrongWords: wordsOfAnEnd(events, streamId, sinceMs),
    wasCut: events.some(({ kind, atMs }) => kind === 'lost' && atMs >= sinceMs),
  }));
}

/** Nothing happens: what the measuring itself shows, and what Redis has to do meanwhile. */
export async function calm(bench: Bench, world: NodesWorld, watches: readonly Watch[]): Promise<PhaseResult> {
  const before = await world.redis?.use();
  const sinceMs = bench.clock.monotonicMs();
  const apps = await lookAt(bench, watches, sinceMs, bench.seconds * 1000);
  const after = await world.redis?.use();
  const seconds = (bench.clock.monotonicMs() - sinceMs) / 1000;
  const redis = before && after && { commandsPerSecond: (after.commands - before.commands) / seconds, ...after };
  return { name: 'nothing killed', apps, ...(redis ? { redis } : {}) };
}

/** SIGKILL; when its window is over, the node comes back. With one node it comes back at once, for there is no other. */
export async function nodeKilled(
  bench: Bench,
  world: NodesWorld,
  watches: readonly Watch[],
  node: RelayNode,
): Promise<PhaseResult> {
  const { clock } = bench;
  const isAlone = world.nodes.length === 1;
  const sinceMs = clock.monotonicMs();
  await node.end('SIGKILL');
  if (isAlone) await node.start();
  const apps = await lookAt(bench, watches, sinceMs, bench.seconds * 1000);
  const { spawnedMs, readyMs } = isAlone ? { spawnedMs: sinceMs, readyMs: sinceMs } : await node.start();
  return { name: `${node.name} killed`, apps, restartMs: readyMs - spawnedMs };
}

/** SIGTERM, started again as soon as it is gone; the next one when it is ready. */
export async function rollingRestart(
  bench: Bench,
  world: NodesWorld,
  watches: readonly Watch[],
): Promise<PhaseResult[]> {
  const results: PhaseResult[] = [];
  for (const node of world.nodes) {
    const sinceMs = bench.clock.monotonicMs();
    const { code, ms: drainedMs } = await node.end('SIGTERM');
    await node.start();
    const apps = await lookAt(bench, watches, sinceMs, bench.seconds * 1000);
    results.push({ name: `${node.name} restarted`, apps, drainedMs, exitCode: code });
  }
  return results;
}

export interface RedisPhase extends PhaseResult {
  /** How a start in the middle of the outage ended, and how soon. */
  startDuring: { code: string; ms: number };
  /** From Redis that listens again to a stream that was asked for and is live. */
  startAfterMs: number;
  /** Attempts until one was not refused. */
  attempts: number;
}

const RETRY_MS = 100;

/** SIGKILL to Redis; started again on its data. Beside the running streams somebody wants another one, during and after. */
export async function redisKilled(
  bench: Bench,
  world: NodesWorld,
  watches: readonly Watch[],
  outageMs: number,
): Promise<RedisPhase> {
  const { clock, signal } = bench;
  const { redis, latecomer } = world;
  if (!redis) throw new GlasscastError('INTERNAL', { reason: 'there is no Redis to kill' });
  const sinceMs = clock.monotonicMs();
  await redis.kill();
  await clock.sleep(outageMs / 2, { signal });
  const startDuring = await refusal(bench, latecomer);
  await clock.sleep(Math.max(0, sinceMs + outageMs - clock.monotonicMs()), { signal });
  await redis.start();
  const backMs = clock.monotonicMs();
  let attempts = 0;
  let isLive = false;
  await until(bench, 'no stream could be started after the outage', async () => {
    attempts += 1;
    isLive = await latecomer.live(streamSettings).then(
      () => true,
      () => false,
    );
    if (!isLive) await clock.sleep(RETRY_MS, { signal });
    return isLive;
  });
  const startAfterMs = clock.monotonicMs() - backMs;
  await latecomer.stop();
  const apps = await lookAt(bench, watches, sinceMs, outageMs + bench.seconds * 1000);
  return { name: 'Redis killed', apps, startDuring, startAfterMs, attempts };
}

async function refusal({ clock }: Bench, viewer: Viewer): Promise<{ code: string; ms: number }> {
  const askedMs = clock.monotonicMs();
  const code = await viewer.live(streamSettings).then(
    () => 'none: it was started',
    // The relay's code, out of the sentence around it.
    (error: unknown) => /\b[A-Z]+(_[A-Z]+)+\b/.exec(errorText(error))?.[0] ?? errorText(error),
  );
  return { code, ms: clock.monotonicMs() - askedMs };
}

export interface RecordedStream {
  userId: string;
  recordings: number;
  framesExposed: number;
  framesMissing: number;
  /** Frames that the camera could not hand to the encoder: the machine was too slow. */
  framesNotTaken: number;
  /** STARTs after which an encoder began: one. */
  starts: number;
  reconnects: number;
}

/** Ends all streams, then reads every picture of every recording. */
export async function recordedStreams(
  bench: Bench,
  world: NodesWorld,
  watches: readonly Watch[],
): Promise<RecordedStream[]> {
  const agents = new Map((await world.agents.facts()).map((facts) => [facts.userId, facts]));
  await Promise.all(watches.map(({ viewer }) => viewer.stop()));
  const owned = watches.filter(({ viewer }) => world.owners.includes(viewer));
  const ids = new Set(owned.map(({ streamId }) => streamId));
  const finished = async () => (await world.recordings()).filter(({ streamId }) => ids.has(streamId));
  await until(bench, 'not all recordings became ready', async () => {
    const ready = new Set((await finished()).map(({ streamId }) => streamId));
    return ready.size === ids.size;
  });
  const recordings = await finished();
  const results: RecordedStream[] = [];
  for (const { viewer, streamId } of owned) {
    const own = recordings.filter((recording) => recording.streamId === streamId);
    const frames = new Set<number>();
    for (const recording of own) for (const frame of await world.frames(recording)) frames.add(frame);
    const facts = agents.get(viewer.userId);
    results.push({
      ...{ userId: viewer.userId, recordings: own.length, ...countFrames(frames, new Set(facts?.notTaken)) },
      ...{ starts: facts?.starts ?? 0, reconnects: facts?.reconnects ?? 0 },
    });
    bench.progress(`recording ${results.length} of ${owned.length}: ${results.at(-1)?.framesMissing} frames missing`);
  }
  return results;
}

/** Between the first and the last picture that are there. */
export function countFrames(frames: ReadonlySet<number>, notTaken: ReadonlySet<number>) {
  const numbers = [...frames].sort((a, b) => a - b);
  const [first = 0, last = -1] = [numbers[0], numbers.at(-1)];
  const skipped = [...notTaken].filter((frame) => frame > first && frame < last && !frames.has(frame)).length;
  const framesExposed = last - first + 1;
  return { framesExposed, framesMissing: framesExposed - frames.size - skipped, framesNotTaken: skipped };
}
