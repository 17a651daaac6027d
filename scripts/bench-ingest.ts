/**
 * `npm run bench:ingest`: what a publisher and a viewer cost the local Stream, beside nginx-rtmp and bare
 * node-media-server in the same run, with the same publisher and the same light viewers. Reads the kernel's books; changes nothing.
 */
import { join } from 'node:path';
import type { Child } from '../shared/child-process.ts';
import { GlasscastError } from '../shared/errors.ts';
import { type IngestPeer, startBareServer, startLocalPeer, startNginx } from './bench/ingest-peers.ts';
import { goal, headline, summaries } from './bench/measuring.ts';
import { nginxHint } from './bench/nginx-peer.ts';
import { processUse, scheduledMs } from './bench/process-use.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import type { ViewerKind } from './bench/viewer-program.ts';
import { startViewers } from './bench/viewers.ts';

const method = {
  content:
    '1280x720, 30 a second, key frame each second, H.264 at a constant 2 Mbit/s and AAC at 128 kbit/s, encoded once',
  publisher: 'ffmpeg -re -stream_loop -1 -c copy -f flv: the same file for every server',
  viewers: 'sockets of one Node process that count bytes and decode nothing; the process is not measured',
  cpu: 'time on a processor of all threads (/proc/PID/task/*/schedstat) over the measured seconds, as a share of one core',
  rss: '/proc/PID/stat at the end of the measured seconds',
  perPublisher: 'CPU and memory with one publisher and no viewer, less those of the idle server',
  perViewer:
    'CPU and memory with so many viewers, less those with none, by their number; negative memory is given back',
  servers:
    'a new process in each round; local: nothing packaged, as nginx; localPackaging: HLS, DASH and recording as well',
  loader: 'the local Stream runs as npm run local-stream does; nginx is one process, master and worker in one',
  bare: 'node-media-server as it comes, run by node: the package that the local Stream’s ingest stands on',
  warmUp: 'the first 3 s of each step are not counted',
  order:
    'interleaved, each round: local, bare, nginx, localPackaging; steps in each: idle, publisher, 1, 10, 25 viewers of each kind',
};

const VIDEO_BPS = 2_000_000;
const VIEWERS = [1, 10, 25];
const KINDS: readonly ViewerKind[] = ['rtmp', 'ws-flv', 'http-flv'];
const WARM_UP_MS = 3000;

type Numbers = Record<string, number>;

/** Encoded once: the publisher then costs next to nothing, and every server gets the same bytes. */
async function encodeContent(bench: Bench): Promise<string> {
  const file = join(bench.folder, 'content.flv');
  const args = [
    ...['-hide_banner', '-nostats', '-loglevel', 'error', '-f', 'lavfi', '-i', 'testsrc2=size=1280x720:rate=30'],
    ...[
      '-f',
      'lavfi',
      '-i',
      'sine=frequency=1000:sample_rate=48000',
      '-t',
      '20',
      '-c:v',
      'libx264',
      '-preset',
      'ultrafast',
    ],
    ...['-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '30', '-b:v', `${VIDEO_BPS}`, '-maxrate', `${VIDEO_BPS}`],
    ...['-bufsize', `${VIDEO_BPS}`, '-x264-params', 'nal-hrd=cbr', '-c:a', 'aac', '-b:a', '128k', '-f', 'flv', file],
  ];
  const { code, lastLines } = await bench.spawn({ name: 'encode', file: bench.ffmpeg.file, args }).exited;
  if (code !== 0) throw new GlasscastError('ENCODER_FAILED', { reason: lastLines.at(-1) });
  return file;
}

function publish(bench: Bench, content: string, { publishUrl }: IngestPeer): Child {
  const loop = ['-hide_banner', '-nostats', '-loglevel', 'error', '-re', '-stream_loop', '-1', '-i', content];
  const args = [...loop, '-c', 'copy', '-f', 'flv', publishUrl];
  return bench.spawn({ name: 'publisher', file: bench.ffmpeg.file, args, onStderrLine: bench.note });
}

/** Over the bench's seconds, after the warm-up. */
async function use({ clock, signal, seconds }: Bench, pid: number): Promise<{ cpuPercent: number; rssMb: number }> {
  await clock.sleep(WARM_UP_MS, { signal });
  const [before, sinceMs] = [await scheduledMs(pid), clock.monotonicMs()];
  await clock.sleep(seconds * 1000, { signal });
  const cpuMs = (await scheduledMs(pid)) - before;
  return { cpuPercent: (100 * cpuMs) / (clock.monotonicMs() - sinceMs), rssMb: (await processUse(pid)).rssMb };
}

/** What so many viewers cost more than none. Undefined: the address does not play. */
async function measureViewers(
  bench: Bench,
  peer: IngestPeer,
  kind: ViewerKind,
  count: number,
  alone: { cpuPercent: number; rssMb: number },
): Promise<Numbers | undefined> {
  const viewers = startViewers(bench, kind, peer.playUrls[kind] ?? '', count);
  try {
    await bench.clock.sleep(1000, { signal: bench.signal });
    await viewers.count();
    const used = await use(bench, peer.pid);
    const { bytes, open } = await viewers.count();
    const expected = (VIDEO_BPS / 8) * (bench.seconds + WARM_UP_MS / 1000);
    const starved = bytes.filter((got) => got < 0.9 * expected).length;
    const name = `${kind} ${count}`;
    return {
      [`${name}: cpuPercent`]: used.cpuPercent,
      [`${name}: cpuPercentPerViewer`]: (used.cpuPercent - alone.cpuPercent) / count,
      [`${name}: rssMb`]: used.rssMb,
      [`${name}: rssMbPerViewer`]: (used.rssMb - alone.rssMb) / count,
      [`${name}: viewersServed`]: Math.min(open, count - starved),
    };
  } catch (error) {
    if (!(error instanceof GlasscastError) || error.code !== 'PROVIDER_REJECTED') throw error;
    bench.progress(`not offered here: ${error.details.reason}`);
    return undefined;
  } finally {
    await viewers.stop();
  }
}

async function measurePeer(
  bench: Bench,
  peer: IngestPeer,
  content: string,
  kinds: readonly ViewerKind[],
): Promise<Numbers> {
  const idle = await use(bench, peer.pid);
  const publisher = publish(bench, content, peer);
  const alone = await use(bench, peer.pid);
  const numbers: Numbers = {
    'idle: cpuPercent': idle.cpuPercent,
    'idle: rssMb': idle.rssMb,
    'publisher: cpuPercent': alone.cpuPercent,
    'publisher: cpuPercentMore': alone.cpuPercent - idle.cpuPercent,
    'publisher: rssMb': alone.rssMb,
    'publisher: rssMbMore': alone.rssMb - idle.rssMb,
  };
  for (const kind of kinds.filter((one) => peer.playUrls[one])) {
    for (const count of VIEWERS) {
      const measured = await measureViewers(bench, peer, kind, count, alone);
      // What is not offered is not offered to ten either.
      if (!measured) break;
      Object.assign(numbers, measured);
    }
  }
  const end = await publisher.stop();
  if (end.end !== 'stopped')
    throw new GlasscastError('ENCODER_FAILED', { reason: `publisher: ${end.lastLines.at(-1)}` });
  return numbers;
}

/** More decimals than elsewhere: a light server takes tenths of a percent. */
function medians(runs: readonly Numbers[]): Record<string, number | undefined> {
  const scaled = runs.map((run) => Object.fromEntries(Object.entries(run).map(([name, value]) => [name, value * 100])));
  return Object.fromEntries(
    Object.entries(summaries(scaled)).map(([name, found]) => [name, found && Math.round(found.p50) / 100]),
  );
}

type Server = 'local' | 'bare' | 'nginx' | 'localPackaging';

const servers: Record<Server, (bench: Bench, folder: string) => Promise<IngestPeer | undefined>> = {
  local: (bench, folder) => startLocalPeer(bench, folder, 'off'),
  bare: startBareServer,
  nginx: startNginx,
  localPackaging: (bench, folder) => startLocalPeer(bench, folder, 'automatic'),
};

/** A budget: who checks, meters, keeps and repairs each stream may cost as much again as the package that it stands on. */
const TIMES_BARE = 2;

function judged(
  local: Record<string, number | undefined>,
  bare: Record<string, number | undefined>,
): Pick<BenchReport, 'goals' | 'headline'> {
  const rows = [
    { what: 'CPU of the ingest with one publisher', name: 'publisher: cpuPercent', unit: '% of a core' },
    { what: 'CPU of the ingest with 25 RTMP players', name: 'rtmp 25: cpuPercent', unit: '% of a core' },
    { what: 'RSS of the ingest with one publisher', name: 'publisher: rssMb', unit: 'MB' },
  ].map(({ what, name, unit }) => {
    const peer = bare[name];
    const of = goal(what, local[name], TIMES_BARE * (peer ?? Number.NaN), unit);
    return { of, row: headline(of, { peer, peerName: 'node-media-server as it comes' }) };
  });
  return { goals: rows.map(({ of }) => of), headline: rows.map(({ row }) => row) };
}

async function measure(bench: Bench): Promise<BenchReport> {
  const content = await encodeContent(bench);
  const runs: Record<Server, Numbers[]> = { local: [], bare: [], nginx: [], localPackaging: [] };
  async function round(name: Server, run: number, kinds: readonly ViewerKind[]): Promise<void> {
    const peer = await servers[name](bench, `${name}-${run}`);
    if (!peer) {
      bench.progress(`${nginxHint}; it is left out`);
      return;
    }
    runs[name].push(await measurePeer(bench, peer, content, kinds));
    await peer.stop();
    const { 'publisher: cpuPercent': alone, 'rtmp 25: cpuPercent': watched } = medians(runs[name].slice(-1));
    bench.progress(`${name}: publisher ${alone} %${watched === undefined ? '' : `, with 25 players ${watched} %`}`);
  }
  for (let run = 1; run <= bench.runs; run += 1) {
    bench.progress(`round ${run} of ${bench.runs}`);
    await round('local', run, KINDS);
    await round('bare', run, KINDS);
    await round('nginx', run, KINDS);
    await round('localPackaging', run, []);
  }
  const isMissing = runs.nginx.length === 0;
  return {
    ...judged(medians(runs.local), medians(runs.bare)),
    medians: {
      local: medians(runs.local),
      bare: medians(runs.bare),
      nginx: isMissing ? { skipped: nginxHint } : medians(runs.nginx),
      localPackaging: medians(runs.localPackaging),
    },
    repeats: runs,
    method,
  };
}

await runBench({
  name: 'bench:ingest',
  about:
    'What a publisher and 1, 10 and 25 viewers cost the local Stream, beside nginx-rtmp and bare node-media-server: processor and memory.',
  defaultRuns: 3,
  defaultSeconds: 10,
  measure,
});
