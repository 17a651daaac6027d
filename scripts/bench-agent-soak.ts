/**
 * `npm run bench:agent-soak`: the agent as it is flashed, alone, for an hour, its ingest reset once a minute: whether memory and file
 * descriptors stay flat, its own and its ffmpeg's. Runs unattended; reads the kernel's books. Measures only.
 */
import { isKeyFrame } from '../shared/rtmp/flv.ts';
import { type LoneWorld, type ProductRun, startLoneWorld, startProduct } from './bench/lone-world.ts';
import { goal, median, rounded, slope, summary } from './bench/measuring.ts';
import { descendantsOf, descriptorsOf, processUse } from './bench/process-use.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { until } from './bench/world.ts';

const method = {
  agent:
    'esbuild, one file, minified, run by node, as it is flashed; test pattern, 1280x720, 30 a second, 2 Mbit/s and 64 kbit/s sound',
  ingest:
    'the local Stream behind a TCP proxy that resets all connections each --every seconds; the proxy counts what passes and keeps nothing',
  relay: 'acknowledges the line, sends START and a keep-alive each 15 s, and nothing else',
  samples:
    'each 10 s, 5 s off the resets: RSS from /proc/PID/stat, descriptors counted in /proc/PID/fd; ffmpeg: the sum over all processes below the agent',
  slope:
    'least squares over the samples after the first tenth, per hour; errorPerHour: its standard error, beneath twice of which it cannot be told from 0',
  growth: 'median of the last tenth of the samples minus median of the first tenth after the warm-up',
  frames: 'video messages that passed the ingest’s door, with what was sent again after a reset',
};

const SAMPLE_MS = 10_000;
const PROGRESS_MS = 60_000;

interface Sample {
  atMs: number;
  rssMb: number;
  descriptors: number;
  threads: number;
  ffmpegRssMb: number;
  ffmpegDescriptors: number;
  ffmpegProcesses: number;
}

async function look(pid: number, atMs: number): Promise<Sample> {
  const below = await descendantsOf(pid);
  const [own, descriptors] = await Promise.all([processUse(pid), descriptorsOf(pid)]);
  // One that ends meanwhile is not counted.
  const uses = await Promise.all(
    below.map(async ({ pid: each }) => {
      const [use, count] = await Promise.all([processUse(each), descriptorsOf(each)]).catch(() => []);
      return { rssMb: use?.rssMb ?? 0, descriptors: count ?? 0 };
    }),
  );
  return {
    atMs,
    rssMb: own.rssMb,
    threads: own.threads,
    descriptors,
    ffmpegRssMb: uses.reduce((sum, { rssMb }) => sum + rssMb, 0),
    ffmpegDescriptors: uses.reduce((sum, use) => sum + use.descriptors, 0),
    ffmpegProcesses: uses.length,
  };
}

/** What has passed the door. */
interface Passed {
  frames: number;
  keyFrames: number;
  connections: number;
}

function count({ listeners }: LoneWorld): Passed {
  const passed: Passed = { frames: 0, keyFrames: 0, connections: 0 };
  listeners.onConnected = () => {
    passed.connections += 1;
  };
  listeners.onTag = (tag) => {
    if (tag.kind === 'video') passed.frames += 1;
    if (isKeyFrame(tag)) passed.keyFrames += 1;
  };
  return passed;
}

interface Soak {
  samples: Sample[];
  resets: number;
  passed: Passed;
}

async function soak(bench: Bench, world: LoneWorld, product: ProductRun, passed: Passed): Promise<Soak> {
  const { clock, signal, options } = bench;
  const totalMs = Number(options.minutes) * 60_000;
  const everyMs = Number(options.every) * 1_000;
  const beganMs = clock.monotonicMs();
  const sinceMs = () => clock.monotonicMs() - beganMs;
  const samples: Sample[] = [];
  let resets = 0;
  let toldMs = 0;
  for (let nextMs = SAMPLE_MS / 2; nextMs < totalMs; nextMs += SAMPLE_MS) {
    await clock.sleep(Math.max(0, nextMs - sinceMs()), { signal });
    product.agent.mustRun();
    samples.push(await look(product.agent.pid, sinceMs()));
    // Halfway to the next sample, so that none sees a reconnect.
    await clock.sleep(Math.max(0, nextMs + SAMPLE_MS / 2 - sinceMs()), { signal });
    if (sinceMs() >= (resets + 1) * everyMs) {
      world.rtmpTap.reset();
      resets += 1;
    }
    if (sinceMs() - toldMs < PROGRESS_MS) continue;
    toldMs = sinceMs();
    bench.progress(progressLine(samples, toldMs, resets, passed));
  }
  return { samples, resets, passed };
}

function progressLine(samples: readonly Sample[], atMs: number, resets: number, { frames }: Passed): string {
  const last = samples.at(-1);
  const of = slope(afterWarmUp(samples).map(({ atMs: at, rssMb }) => ({ atMs: at, value: rssMb })));
  const trend = of ? `, ${of.perHour.toFixed(2)} ± ${of.errorPerHour.toFixed(2)} MB/h` : '';
  return `${Math.round(atMs / 60_000)} min: ${last?.rssMb.toFixed(1)} MB${trend}, ${last?.descriptors} descriptors, ffmpeg ${last?.ffmpegRssMb.toFixed(1)} MB, ${resets} resets, ${frames} frames`;
}

const afterWarmUp = (samples: readonly Sample[]) => samples.slice(Math.floor(samples.length / 10));

function trend(samples: readonly Sample[], name: Exclude<keyof Sample, 'atMs'>) {
  const counted = afterWarmUp(samples);
  const values = counted.map((sample) => sample[name]);
  const tenth = Math.max(1, Math.floor(values.length / 10));
  const of = slope(counted.map(({ atMs, [name]: value }) => ({ atMs, value })));
  return {
    ...summary(values),
    perHour: of && Math.round(of.perHour * 100) / 100,
    errorPerHour: of && Math.round(of.errorPerHour * 100) / 100,
    growth: rounded(median(values.slice(-tenth)) - median(values.slice(0, tenth))),
  };
}

/** About twenty samples over the whole time, the warm-up with them: a slope alone does not say whether it ends. */
function courseOf(
  samples: readonly Sample[],
): { minute: number; rssMb: number; descriptors: number; ffmpegRssMb: number }[] {
  const step = Math.max(1, Math.ceil(samples.length / 20));
  return samples
    .filter((_, index) => index % step === 0)
    .map(({ atMs, rssMb, descriptors, ffmpegRssMb }) => ({
      minute: rounded(atMs / 60_000),
      ...{ rssMb: rounded(rssMb), descriptors, ffmpegRssMb: rounded(ffmpegRssMb) },
    }));
}

async function measure(bench: Bench): Promise<BenchReport> {
  const world = await startLoneWorld(bench);
  const passed = count(world);
  const product = await startProduct(bench, world, { kind: 'bundle' });
  await until(bench, 'no picture arrived', () => passed.keyFrames > 0);
  const { samples, resets } = await soak(bench, world, product, passed);
  const { frames, connections } = passed;
  const errors = world.relay.statuses.filter(({ status }) => status === 'error').map(({ errorCode }) => errorCode);
  const left = await product.stop();
  const rss = trend(samples, 'rssMb');
  const descriptors = trend(samples, 'descriptors');
  const ffmpegRss = trend(samples, 'ffmpegRssMb');
  const ffmpegDescriptors = trend(samples, 'ffmpegDescriptors');
  const goals = [
    goal('RSS of the agent, slope', rss.perHour, 1, 'MB/h'),
    goal('file descriptors of the agent, growth', descriptors.growth, 0, 'descriptors'),
    goal('RSS of its ffmpeg, slope', ffmpegRss.perHour, 1, 'MB/h'),
    goal('file descriptors of its ffmpeg, growth', ffmpegDescriptors.growth, 0, 'descriptors'),
    goal('resets without a reconnect', resets - (connections - 1), 0, 'resets'),
    goal('streams that failed', errors.length, 0, 'streams'),
    goal('processes left', left.afterStream.length + left.afterEnd.length, 0, 'processes'),
  ];
  return {
    verdict: goals.every(({ met }) => met) ? 'flat' : 'not flat',
    goals,
    minutes: Number(bench.options.minutes),
    ...{ resets, reconnects: connections - 1, frames, errors, left },
    agent: { rssMb: rss, descriptors, threads: trend(samples, 'threads') },
    course: courseOf(samples),
    itsFfmpeg: { rssMb: ffmpegRss, descriptors: ffmpegDescriptors, processes: trend(samples, 'ffmpegProcesses') },
    method,
  };
}

await runBench({
  name: 'bench:agent-soak',
  about:
    'The agent alone for an hour, its ingest reset each minute: memory and file descriptors, its own and its ffmpeg’s.',
  defaultRuns: 1,
  defaultSeconds: 1,
  options: [
    { name: 'minutes', default: '60', help: 'how long' },
    { name: 'every', default: '60', help: 'seconds between resets of the ingest' },
  ],
  measure,
});
