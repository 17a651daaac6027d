/** Does to the product what a planned fault means, and undoes it. Knows the parts and nothing of what must hold. */
import type { Bench } from '../bench/program.ts';
import { type FaultName, type PlannedFault, pick } from './plan.ts';
import type { SoakWorld } from './soak-world.ts';

/** Resolves when the fault is over. What it hits may be gone meanwhile: then nothing happens. */
export async function inject(bench: Bench, world: SoakWorld, fault: PlannedFault): Promise<void> {
  await deeds[fault.name](bench, world, fault);
}

type Deed = (bench: Bench, world: SoakWorld, fault: PlannedFault) => Promise<void> | void;

/** A provider that is ill answers again after so many calls at the latest. */
const MANY = 1_000;

const deeds: Readonly<Record<FaultName, Deed>> = {
  async 'agent-killed'({ clock, signal }, { glasses }, { whom, lastsMs }) {
    const one = pick(glasses, whom);
    await one?.kill();
    await clock.sleep(lastsMs, { signal });
    one?.start();
  },
  'agent-frozen': (_bench, { glasses }, { whom, lastsMs }) => pick(glasses, whom)?.freeze(lastsMs),
  async 'encoder-killed'(_bench, { glasses }, { whom }) {
    const all = (await Promise.all(glasses.map((one) => one.encoders()))).flat();
    const mark = pick(all, whom);
    if (!mark) return;
    try {
      process.kill(mark.pid, 'SIGKILL');
    } catch {
      // gone meanwhile
    }
  },
  'ingest-reset': (_bench, { stream }) => stream.ingest.reset(),
  async 'ingest-away'({ clock, signal }, { stream }, { lastsMs }) {
    await stream.ingest.drop();
    await clock.sleep(lastsMs, { signal });
    await stream.ingest.listen(stream.ingestPort);
  },
  'control-cut': (_bench, { glasses }, { whom }) => pick(glasses, whom)?.cutLine(),
  'app-cut'(_bench, { apps, glasses }, { whom }) {
    const sessions = apps.flatMap((app) =>
      glasses.flatMap(({ userId }) => (app.session(userId) ? [{ app, userId }] : [])),
    );
    const one = pick(sessions, whom);
    one?.app.cut(one.userId);
  },
  async 'webhook-down'({ clock, signal }, { apps }, { whom, lastsMs }) {
    const app = pick(apps, whom);
    await app?.setWebhook(false);
    await clock.sleep(lastsMs, { signal });
    await app?.setWebhook(true);
  },
  'disk-full': (_bench, world, { lastsMs }) => world.fillDisk(lastsMs),
  'relay-restarted': (_bench, world, { whom }) => restart(world, whom, 'SIGTERM'),
  'relay-killed': (_bench, world, { whom }) => restart(world, whom, 'SIGKILL'),
  'stream-killed': (_bench, { stream }, { lastsMs }) => stream.killAndRestart(lastsMs),
  'provider-failing': providerFault('failing', {}),
  'provider-slow': providerFault('slow-replies', { delayMs: 1_500 }),
  'provider-limited': providerFault('rate-limited', { retryAfterSeconds: 1 }),
  'creation-lost': providerFault('lost-creation', { times: 1 }),
  'storage-full': providerFault('storage-exhausted', {}),
  'redis-killed': (_bench, { killRedis }, { lastsMs }) => killRedis?.(lastsMs),
  async 'delivery-away'({ clock, signal }, { stream }, { lastsMs }) {
    await stream.delivery.drop();
    await clock.sleep(lastsMs, { signal });
    await stream.delivery.listen(stream.deliveryPort);
  },
};

async function restart({ nodes, restartNode }: SoakWorld, whom: number, how: NodeJS.Signals): Promise<void> {
  const node = pick(nodes, whom);
  if (node) await restartNode(node, how);
}

function providerFault(name: string, settings: object): Deed {
  return async ({ clock, signal }, { stream }, { lastsMs }) => {
    // One that is away has no fault but that.
    await stream.fault(name, { times: MANY, ...settings }).catch(() => undefined);
    await clock.sleep(lastsMs, { signal });
    // The one that was killed with its faults has forgotten them.
    await stream.faultsOff().catch(() => undefined);
  };
}
