/**
 * `npm run bench:agent`: what the agent costs beside its ffmpeg while it streams, bundled as it is flashed and by tsx as the
 * simulator runs it. Reads the kernel's books; changes nothing.
 */
import type { AgentKind } from './bench/agent-process.ts';
import { goal, median, percentile, summaries } from './bench/measuring.ts';
import { childrenOf, type ProcessUse, processUse } from './bench/process-use.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { stopProduct, testAudio, testVideo } from './bench/start-run.ts';
import { startWorld, type World } from './bench/world.ts';

const method = {
  cpu: 'user and system time in /proc/PID/stat over the measured seconds, as a share of one core',
  rss: '/proc/PID/stat once a second; the highest value of a measurement counts',
  load: '1280x720, 30 a second, 2 Mbit/s and 64 kbit/s sound from the test pattern, published to the local Stream',
  warmUp: 'the first 60 s of each stream are not counted: until then Node still compiles what it will run for hours',
  bundle: 'esbuild, one file, minified, run by node',
  tsx: 'device/main.ts run by tsx',
  order: 'interleaved: bundle, tsx, and again; a new process each time',
};

const WARM_UP_MS = 60_000;

type Use = Record<'agentCpuPercent' | 'agentRssMb' | 'ffmpegCpuPercent' | 'ffmpegRssMb', number>;

async function measureAgent(bench: Bench, world: World, kind: AgentKind): Promise<Use> {
  const { clock, signal } = bench;
  await world.changeAgent(kind);
  const askedMs = world.app.request({ video: testVideo, audio: testAudio });
  await world.app.status(['active'], askedMs);
  await clock.sleep(WARM_UP_MS, { signal });
  world.agent.mustRun();
  const { pid } = world.agent;
  // One of the picture, one of the sound.
  const encoders = await childrenOf(pid);
  const both = async () => [await processUse(pid), together(await Promise.all(encoders.map(processUse)))] as const;
  const samples = [await both()];
  const beganMs = clock.monotonicMs();
  while (clock.monotonicMs() - beganMs < bench.seconds * 1000) {
    await clock.sleep(1000, { signal });
    samples.push(await both());
  }
  const elapsedMs = clock.monotonicMs() - beganMs;
  await stopProduct(bench, world);
  const share = (which: 0 | 1) =>
    (100 * ((samples.at(-1)?.[which].cpuMs ?? 0) - (samples[0]?.[which].cpuMs ?? 0))) / elapsedMs;
  const highest = (which: 0 | 1) =>
    percentile(
      samples.map((sample) => sample[which].rssMb),
      1,
    );
  return {
    agentCpuPercent: share(0),
    agentRssMb: highest(0),
    ffmpegCpuPercent: share(1),
    ffmpegRssMb: highest(1),
  };
}

function together(uses: readonly ProcessUse[]): Pick<ProcessUse, 'cpuMs' | 'rssMb'> {
  const sum = (name: 'cpuMs' | 'rssMb') => uses.reduce((total, use) => total + use[name], 0);
  return { cpuMs: sum('cpuMs'), rssMb: sum('rssMb') };
}

async function measure(bench: Bench): Promise<BenchReport> {
  const world = await startWorld(bench, 'tsx');
  const uses: Record<'bundle' | 'tsx', Use[]> = { bundle: [], tsx: [] };
  for (let run = 1; run <= bench.runs; run += 1) {
    for (const kind of ['bundle', 'tsx'] as const) {
      const use = await measureAgent(bench, world, kind);
      uses[kind].push(use);
      const words = `${use.agentCpuPercent.toFixed(2)} % of a core, ${use.agentRssMb.toFixed(0)} MB`;
      bench.progress(`run ${run} of ${bench.runs}, ${kind}: ${words}; its ffmpeg ${use.ffmpegCpuPercent.toFixed(1)} %`);
    }
  }
  const shipped = (name: keyof Use) => median(uses.bundle.map((use) => use[name]));
  return {
    goals: [
      goal('CPU of the agent, as flashed', shipped('agentCpuPercent'), 1, '% of a core'),
      goal('RSS of the agent, as flashed', shipped('agentRssMb'), 70, 'MB'),
    ],
    bundle: summaries(uses.bundle),
    tsx: summaries(uses.tsx),
    method,
  };
}

await runBench({
  name: 'bench:agent',
  about: 'What the agent costs beside its ffmpeg while it streams, bundled and by tsx.',
  defaultRuns: 3,
  defaultSeconds: 20,
  measure,
});
