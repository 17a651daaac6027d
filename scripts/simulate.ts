/**
 * `npm run simulate`: a fleet of simulated glasses and apps against a relay, after a scenario, and a report of what they
 * saw. The entry: options, environment, progress, signals, exit code.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createChildSpawner, type SpawnChild } from '../shared/child-process.ts';
import { type Clock, createSystemClock } from '../shared/clock.ts';
import { asGlasscastError } from '../shared/errors.ts';
import { findFfmpeg } from '../shared/ffmpeg-binary.ts';
import { silentLog } from '../shared/log.ts';
import { onFirstSignal } from '../shared/program.ts';
import { createRedactor, Secret } from '../shared/secrets.ts';
import { createFleet, type Fleet } from './fleet/fleet.ts';
import { type FleetReport, reportText, troubles } from './fleet/fleet-report.ts';
import { planOf } from './fleet/fleet-scenarios.ts';
import { type FleetTarget, openTarget } from './fleet/fleet-target.ts';
import { createLoopedMedia } from './fleet/looped-media.ts';
import { createProgress, type Progress } from './fleet/progress.ts';
import {
  checkDescriptors,
  readLimits,
  readSimulationOptions,
  type SimulationOptions,
  simulationUsage,
} from './fleet/simulation-options.ts';

/** For whoever was cut at the very end. */
const LAST_RETURN_MS = 20_000;
const STOP_MS = 2_000;

interface World {
  clock: Clock;
  spawn: SpawnChild;
  folder: string;
  progress: Progress;
  signal: AbortSignal;
}

async function main(): Promise<number> {
  const options = await readSimulationOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(simulationUsage);
    return 0;
  }
  checkDescriptors(options, await readLimits());
  const clock = createSystemClock();
  const redactor = createRedactor();
  const children = createChildSpawner({ clock, log: silentLog(), redactor });
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-fleet-'));
  const abort = new AbortController();
  onFirstSignal(clock, () => abort.abort(), 130);
  const progress = createProgress({ clock, output: process.stderr });
  try {
    const world = { clock, spawn: children.spawn, folder, progress, signal: abort.signal };
    const report = await simulate(options, world);
    progress.end();
    process.stdout.write(options.isJson ? `${JSON.stringify(asJson(report), null, 2)}\n` : `${reportText(report)}\n`);
    return troubles(report).length === 0 ? 0 : 1;
  } finally {
    progress.end();
    await children.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function simulate(options: SimulationOptions, world: World): Promise<FleetReport> {
  const { clock, folder, progress, signal, spawn } = world;
  progress.say(options.relayUrl === undefined ? 'starting a relay' : `going to ${options.relayUrl}`);
  const secretOf = (text: string | undefined) => (text ? new Secret(text) : undefined);
  const target = await openTarget(options.relayUrl, {
    ...{ clock, spawn, folder, environment: process.env },
    adminToken: secretOf(process.env.GLASSCAST_ADMIN_TOKEN),
    coreTokenSecret: secretOf(process.env.GLASSCAST_CORE_TOKEN_SECRET),
    onLine: (line) => void (options.isVerbose && progress.say(line)),
  });
  try {
    const fleet = await createFleet(
      { ...options, clock, relay: target.relay, ...(await media(options, world)) },
      signal,
    );
    try {
      return await lived(fleet, { options, target, world });
    } finally {
      await fleet.close();
    }
  } finally {
    await target.close();
  }
}

async function media({ media }: SimulationOptions, { clock, folder, spawn }: World) {
  if (media === 0) return {};
  const ffmpeg = await findFfmpeg({ clock, spawn, explicitFile: process.env.FFMPEG_PATH });
  return { mediaSource: await createLoopedMedia({ clock, spawn, ffmpeg, folder }) };
}

async function lived(
  fleet: Fleet,
  { options, target, world }: { options: SimulationOptions; target: FleetTarget; world: World },
): Promise<FleetReport> {
  const { progress, signal, clock } = world;
  const { scenario, seconds, seed } = options;
  const before = await target.counts().catch(() => undefined);
  progress.begin(() => progressLine(fleet, options));
  await fleet.connect(scenario.connectPerSecond);
  await fleet.startStreams(scenario.startPerSecond);
  await fleet.live(scenario, planOf(scenario, options), seconds);
  const wasInterrupted = signal.aborted;
  const areAllThere = await fleet.allBack(LAST_RETURN_MS);
  const figures = fleet.figures();
  const after = await target.counts().catch(() => undefined);
  // A relay that was there before has a past of its own; one that was restarted counts anew.
  const relay = after && { acksMissed: Math.max(0, after.acksMissed - (before?.acksMissed ?? 0)) };
  progress.end();
  progress.say('stopping the streams');
  fleet.stopStreams();
  await clock.sleep(STOP_MS);
  return { scenario: options.scenarioName, seed, seconds, wasInterrupted, areAllThere, relay, figures };
}

function progressLine(fleet: Fleet, { glasses, streams }: SimulationOptions): string {
  const { connected, errors, keepAlives, statuses } = fleet.figures();
  const wrong = Object.values(errors).reduce((sum, count) => sum + count, 0);
  return `${connected} of ${glasses} connected, ${fleet.streaming} of ${streams} streaming, ${keepAlives.acked} keep-alives, ${statuses.delivered} statuses, ${wrong} errors`;
}

const asJson = (report: FleetReport) => ({ ...report, troubles: troubles(report) });

try {
  process.exitCode = await main();
} catch (error) {
  const { code, message } = asGlasscastError(error);
  process.stderr.write(`simulate: ${message}\n`);
  process.exitCode = code === 'INVALID_CONFIG' ? 2 : 1;
}
process.exit();
