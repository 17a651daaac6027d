/**
 * People who come and go: apps are started, ask, stop asking, leave, for each user in turn by the seed. Nothing here fails:
 * what the product refuses in a storm is counted, and judged by what holds after it.
 */
import { createRandom } from '../../device/simulator/timeline.ts';
import type { Bench } from '../bench/program.ts';
import { pick } from './plan.ts';
import type { SoakWorld } from './soak-world.ts';

/** Small pictures: the soak is about the product, not about encoders. */
export const smallStream = {
  video: { width: 320, height: 180, frameRate: 10, bitrate: 150_000 },
  audio: { bitrate: 32_000, sampleRate: 48_000 },
} as const;

export interface ChurnCounts {
  started: number;
  asked: number;
  stopped: number;
  left: number;
  byOperator: number;
  refused: number;
}

export const noChurn = (): ChurnCounts => ({ started: 0, asked: 0, stopped: 0, left: 0, byOperator: 0, refused: 0 });

const PAUSE_MS = { least: 300, more: 2_500 };

/** Until the signal; resolves then. */
export async function churn(options: {
  bench: Bench;
  world: SoakWorld;
  userId: string;
  draw: { seed: number; index: number };
  signal: AbortSignal;
  counts: ChurnCounts;
}): Promise<void> {
  const { bench, world, userId, draw, signal, counts } = options;
  const random = createRandom(draw.seed, draw.index);
  while (!signal.aborted) {
    await step(world, userId, random, counts).catch(() => {
      counts.refused += 1;
    });
    const pauseMs = PAUSE_MS.least + random() * PAUSE_MS.more;
    await bench.clock.sleep(pauseMs, { signal }).catch(() => undefined);
  }
}

async function step(world: SoakWorld, userId: string, random: () => number, counts: ChurnCounts): Promise<void> {
  const { apps, relay } = world;
  const [whichApp, whichDeed] = [random(), random()];
  const app = pick(apps, whichApp);
  if (!app) return;
  if (!app.session(userId)) {
    counts.started += 1;
    await relay.startApp(app.packageName, userId);
    return;
  }
  if (whichDeed < 0.55) {
    counts.asked += 1;
    app.watch(userId, smallStream);
  } else if (whichDeed < 0.75) {
    counts.stopped += 1;
    app.unwatch(userId);
  } else if (whichDeed < 0.85) {
    counts.left += 1;
    app.leave(userId);
  } else if (whichDeed < 0.9) {
    counts.left += 1;
    await relay.ask('POST', `/api/apps/${app.packageName}/stop`, { userId });
  } else {
    counts.byOperator += 1;
    const method = random() < 0.5 ? 'POST' : 'DELETE';
    await relay.ask(method, `/api/users/${userId}/managed-stream`, method === 'POST' ? smallStream : undefined);
  }
}
