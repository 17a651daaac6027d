/**
 * `npm run bench:agent`: what the agent costs beside its ffmpeg while it streams, bundled as it is flashed and by tsx as the
 * simulator runs it, and plain ffmpeg that pushes the same by itself. Reads the kernel's books; changes nothing.
 */
import type { AgentKind } from './bench/agent-process.ts';
import { goal, headline, median, percentile, rounded, summaries } from './bench/measuring.ts';
import { plainTestPattern } from './bench/plain-ffmpeg.ts';
import { childrenOf, type ProcessUse, processUse } from './bench/process-use.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { stopProduct, testAudio, testVideo } from './bench/start-run.ts';
import { createLiveInput, deleteLiveInput } from './bench/stream-process.ts';
import { startWorld, type World } from './bench/world.ts';

const method = {
  cpu: 'user and system time in /proc/PID/stat over the measured seconds, as a share of one core',
  rss: '/proc/PID/stat once a second; the highest value of a measurement counts',
  load: '1280x720, 30 a second, 2 Mbit/s and 64 kbit/s sound from the test pattern, published to the local Stream',
  warmUp:
    'the first 60 s of each stream (--warm-up) are not counted: until then Node still compiles what it will run for hours',
  bundle: 'esbuild, one file, minified, run by node',
  tsx: 'device/main.ts run by tsx',
  plain:
    'ffmpeg alone, encoding and pushing the same picture and sound by -f flv to the same ingest, with the encoder settings that the agent uses',
  overhead:
    'agent and its ffmpeg together, less plain ffmpeg: what it costs that somebody supervises, mends and steers',
  order: 'interleaved: bundle, tsx, plain ffmpeg, and again; a new process each time',
};

const PLAIN_WARM_UP_MS = 10_000;

type Use = Record<'agentCpuPercent' | 'agentRssMb' | 'ffmpegCpuPercent' | 'ffmpegRssMb', number>;

type PlainUse = Pick<Use, 'ffmpegCpuPercent' | 'ffmpegRssMb'>;

async function measureAgent(bench: Bench, world: World, kind: AgentKind): Promise<Use> {
  const { clock, signal } = bench;
  await world.changeAgent(kind);
  const askedMs = world.app.request({ video: testVideo, audio: testAudio });
  await world.app.status(['active'], askedMs);
  await clock.sleep(Number(bench.options['warm-up']) * 1000, { signal });
  world.agent.mustRun();
  const { pid } = world.agent;
  // One of the picture, one of the sound.
  const encoders = await childrenOf(pid);
  const [agent, ffmpeg] = await useOver(bench, [[pid], encoders]);
  await stopProduct(bench, world);
  return {
    agentCpuPercent: agent?.cpuPercent ?? Number.NaN,
    agentRssMb: agent?.rssMb ?? Number.NaN,
    ffmpegCpuPercent: ffmpeg?.cpuPercent ?? Number.NaN,
    ffmpegRssMb: ffmpeg?.rssMb ?? Number.NaN,
  };
}

async function measurePlain(bench: Bench, world: World): Promise<PlainUse> {
  const input = await createLiveInput(world.stream);
  const publishUrl = world.publishUrl(input.publishKey.reveal());
  const push = { publishUrl, videoBitrateBps: testVideo.bitrate, audioBitrateBps: testAudio.bitrate };
  const args = plainTestPattern('fast', push);
  const child = bench.spawn({ name: 'plain-ffmpeg', file: bench.ffmpeg.file, args, onStderrLine: bench.note });
  await bench.clock.sleep(PLAIN_WARM_UP_MS, { signal: bench.signal });
  const [use] = await useOver(bench, [[child.pid ?? 0]]);
  await child.stop();
  await deleteLiveInput(world.stream, input.uid);
  return { ffmpegCpuPercent: use?.cpuPercent ?? Number.NaN, ffmpegRssMb: use?.rssMb ?? Number.NaN };
}

/** Of each group of processes over the bench's seconds: time on a processor, and the highest memory. */
async function useOver(bench: Bench, groups: readonly number[][]): Promise<{ cpuPercent: number; rssMb: number }[]> {
  const { clock, signal, seconds } = bench;
  const look = () => Promise.all(groups.map(async (pids) => together(await Promise.all(pids.map(processUse)))));
  const samples = [await look()];
  const beganMs = clock.monotonicMs();
  while (clock.monotonicMs() - beganMs < seconds * 1000) {
    await clock.sleep(1000, { signal });
    samples.push(await look());
  }
  const elapsedMs = clock.monotonicMs() - beganMs;
  return groups.map((_, which) => {
    const own = samples.flatMap((sample) => sample[which] ?? []);
    return {
      cpuPercent: (100 * ((own.at(-1)?.cpuMs ?? 0) - (own[0]?.cpuMs ?? 0))) / elapsedMs,
      rssMb: percentile(
        own.map(({ rssMb }) => rssMb),
        1,
      ),
    };
  });
}

function together(uses: readonly ProcessUse[]): Pick<ProcessUse, 'cpuMs' | 'rssMb'> {
  const sum = (name: 'cpuMs' | 'rssMb') => uses.reduce((total, use) => total + use[name], 0);
  return { cpuMs: sum('cpuMs'), rssMb: sum('rssMb') };
}

async function measure(bench: Bench): Promise<BenchReport> {
  const world = await startWorld(bench, 'tsx');
  const uses: Record<'bundle' | 'tsx', Use[]> = { bundle: [], tsx: [] };
  const plain: PlainUse[] = [];
  for (let run = 1; run <= bench.runs; run += 1) {
    for (const kind of ['bundle', 'tsx'] as const) {
      const use = await measureAgent(bench, world, kind);
      uses[kind].push(use);
      const words = `${use.agentCpuPercent.toFixed(2)} % of a core, ${use.agentRssMb.toFixed(0)} MB`;
      bench.progress(`run ${run} of ${bench.runs}, ${kind}: ${words}; its ffmpeg ${use.ffmpegCpuPercent.toFixed(1)} %`);
    }
    const use = await measurePlain(bench, world);
    plain.push(use);
    bench.progress(`run ${run} of ${bench.runs}, plain ffmpeg: ${use.ffmpegCpuPercent.toFixed(1)} % of a core`);
  }
  const shipped = (name: keyof Use) => median(uses.bundle.map((use) => use[name]));
  const alone = (name: keyof PlainUse) => median(plain.map((use) => use[name]));
  const cpu = goal('CPU of the agent, as flashed', shipped('agentCpuPercent'), 1, '% of a core');
  const rss = goal('RSS of the agent, as flashed', shipped('agentRssMb'), 70, 'MB');
  const peerName = 'plain ffmpeg, all of it';
  return {
    goals: [cpu, rss],
    headline: [
      headline(cpu, { peer: alone('ffmpegCpuPercent'), peerName }),
      headline(rss, { peer: alone('ffmpegRssMb'), peerName }),
    ],
    overhead: {
      cpuPercent: rounded(shipped('agentCpuPercent') + shipped('ffmpegCpuPercent') - alone('ffmpegCpuPercent')),
      rssMb: rounded(shipped('agentRssMb') + shipped('ffmpegRssMb') - alone('ffmpegRssMb')),
    },
    plainFfmpeg: summaries(plain),
    bundle: summaries(uses.bundle),
    tsx: summaries(uses.tsx),
    method,
  };
}

await runBench({
  name: 'bench:agent',
  about: 'What the agent costs beside its ffmpeg while it streams, bundled and by tsx, and beside plain ffmpeg.',
  defaultRuns: 3,
  defaultSeconds: 20,
  options: [{ name: 'warm-up', default: '60', help: 'seconds of each stream that are not counted' }],
  measure,
});
