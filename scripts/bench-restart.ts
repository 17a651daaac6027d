/**
 * `npm run bench:restart`: the relay's program is killed in the middle of a stream and started again at once. What the
 * recording lacks, and how soon everybody is served again; beside it a relay that ends its streams and whose app asks anew.
 * Measures only.
 */
import { goal, median, missingFrames, summaries } from './bench/measuring.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { type RestartWorld, startRestartWorld } from './bench/restart-world.ts';
import { testAudio, testVideo } from './bench/start-run.ts';
import { until } from './bench/world.ts';

const method = {
  fault: 'SIGKILL to the relay half-way through the stream; its program is started again as soon as it is gone',
  zero: 'all times from the spawn of the new program, by the clock of the bench',
  readyMs: 'its line on standard output; coldReadyMs: the same of the first relay, which has nothing to resume',
  glassesBackMs: 'until the operator REST says that the glasses are connected, asked each 20 ms',
  appServedMs: 'acknowledgement at an app that tries ten times a second',
  statusHeardMs: '`active` with the same streamId at that app',
  patientAppServedMs: 'the same at an app with the SDK’s schedule: 1 and 3 s after its loss',
  framesLost:
    'barcode numbers between the first and the last picture decoded from the recording that are not in it, without those the camera could not hand over (framesNotTaken)',
  plain:
    'SIGINT instead: the relay ends the stream; the app comes back at once and asks again; lost is what neither of the two recordings has; pictureMs: until `active` of the new stream',
};

/** The peer needs no long stream. */
const PLAIN_HALF_MS = 3_000;

interface RestartResult extends Record<string, number | undefined> {
  readyMs: number;
  framesLost: number;
}

/** A stream that runs; gives its id. */
async function goLive({ app }: RestartWorld): Promise<string | undefined> {
  const askedMs = app.request({ video: testVideo, audio: testAudio });
  return (await app.status(['active'], askedMs)).streamId;
}

async function killed(bench: Bench, world: RestartWorld): Promise<RestartResult> {
  const { clock, signal } = bench;
  const { app, patientApp } = world;
  const known = new Set(await world.recordings());
  const streamId = await goLive(world);
  const joinedMs = patientApp.request({});
  await patientApp.status(['active'], joinedMs);
  const halfMs = (bench.seconds * 1000) / 2;
  await clock.sleep(halfMs, { signal });

  await world.endRelay('SIGKILL');
  const { spawnedMs, readyMs } = await world.startRelay();
  await until(bench, 'the glasses did not come back', world.areGlassesThere);
  const glassesBackMs = clock.monotonicMs() - spawnedMs;
  const heard = await app.status(['active'], spawnedMs);
  const isSame = streamId !== undefined && heard.streamId === streamId;
  await until(bench, 'the patient app did not come back', () => patientApp.acknowledgedSince(spawnedMs) !== undefined);
  await clock.sleep(Math.max(0, spawnedMs + halfMs - clock.monotonicMs()), { signal });
  await stop(bench, [app, patientApp]);

  const since = (atMs: number | undefined) => (atMs === undefined ? undefined : atMs - spawnedMs);
  return {
    readyMs: readyMs - spawnedMs,
    glassesBackMs,
    appServedMs: since(app.acknowledgedSince(spawnedMs)),
    statusHeardMs: isSame ? since(heard.atMs) : undefined,
    patientAppServedMs: since(patientApp.acknowledgedSince(spawnedMs)),
    ...(await framesSince(bench, world, { known, expected: 1 })),
  };
}

async function endedAndAskedAgain(bench: Bench, world: RestartWorld): Promise<RestartResult> {
  const { clock, signal } = bench;
  const { app } = world;
  const known = new Set(await world.recordings());
  await goLive(world);
  await clock.sleep(PLAIN_HALF_MS, { signal });
  await world.endRelay('SIGINT');
  const { spawnedMs, readyMs } = await world.startRelay();
  await until(bench, 'the app did not come back', () => app.acknowledgedSince(spawnedMs) !== undefined);
  await until(bench, 'the glasses did not come back', world.areGlassesThere);
  await goLive(world);
  const pictureMs = clock.monotonicMs() - spawnedMs;
  await clock.sleep(PLAIN_HALF_MS, { signal });
  await stop(bench, [app]);
  return {
    readyMs: readyMs - spawnedMs,
    pictureMs,
    ...(await framesSince(bench, world, { known, expected: 2 })),
  };
}

async function stop(bench: Bench, apps: readonly RestartWorld['app'][]): Promise<void> {
  const askedMs = bench.clock.monotonicMs();
  for (const app of apps) app.stop();
  for (const app of apps) await app.status(['stopped'], askedMs);
}

/** From the recordings that were not known before. */
async function framesSince(
  bench: Bench,
  world: RestartWorld,
  { known, expected }: { known: ReadonlySet<string>; expected: number },
): Promise<{ recordings: number; framesExposed: number; framesLost: number; framesNotTaken: number }> {
  const fresh = async () => (await world.recordings()).filter((url) => !known.has(url));
  await until(bench, 'the recording did not become ready', async () => (await fresh()).length >= expected);
  const frames = new Set<number>();
  const urls = await fresh();
  for (const url of urls) for (const frame of await world.frames(url)) frames.add(frame);
  const numbers = [...frames];
  const [first, last] = [Math.min(...numbers), Math.max(...numbers)];
  const notTaken = new Set((await world.agent.cameraStats()).dropped);
  const missing = missingFrames(frames, first, last);
  return {
    recordings: urls.length,
    framesExposed: last - first + 1,
    framesLost: missing.filter((frame) => !notTaken.has(frame)).length,
    framesNotTaken: missing.filter((frame) => notTaken.has(frame)).length,
  };
}

async function measure(bench: Bench): Promise<BenchReport> {
  const world = await startRestartWorld(bench);
  const product: RestartResult[] = [];
  const plain: RestartResult[] = [];
  for (let run = 1; run <= bench.runs; run += 1) {
    for (const [name, results, restart] of [
      ['killed', product, killed],
      ['ended and asked again', plain, endedAndAskedAgain],
    ] as const) {
      const result = await restart(bench, world);
      results.push(result);
      const { readyMs, framesLost } = result;
      bench.progress(
        `run ${run} of ${bench.runs}, ${name}: ready after ${Math.round(readyMs)} ms, ${framesLost} frames lost`,
      );
    }
  }
  const all = (name: string) => product.map((result) => result[name] ?? Number.NaN);
  return {
    goals: [
      goal('frames missing in the recording, worst run', Math.max(...all('framesLost')), 0, 'frames'),
      goal('recordings of one stream, worst run', Math.max(...all('recordings')), 1, 'recordings'),
      goal('apps served again, worst run', Math.max(...all('appServedMs')), 3_000),
      goal('`active` of the same stream heard, median', median(all('statusHeardMs')), 3_000),
    ],
    product: summaries(product),
    plain: summaries(plain),
    coldReadyMs: Math.round(world.coldReadyMs),
    method,
  };
}

await runBench({
  name: 'bench:restart',
  about: 'The relay is killed in the middle of a stream and started again: what is lost, how soon all are served.',
  defaultRuns: 3,
  defaultSeconds: 30,
  measure,
});
