/**
 * `npm run bench:deaf-viewers`: what viewers cost who connect and never read, at 6 Mbit/s for a minute: the memory of the local
 * Stream, over HTTP-FLV, WS-FLV and RTMP. Each figure is of a process of its own. Measures only.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import WebSocket from 'ws';
import { goal, rounded } from './bench/measuring.ts';
import { processUse } from './bench/process-use.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { createLiveInput, type LiveInput, type StreamProcess, startStreamProcess } from './bench/stream-process.ts';

const method = {
  stream:
    '1280x720, 30 a second, 6 Mbit/s, key frame each second; encoded once, pushed by ffmpeg -c copy; no recording',
  viewers:
    'HTTP-FLV: the request is written, the socket is never read. WS-FLV: paused after the upgrade. RTMP: ffmpeg, stopped by SIGSTOP once it plays',
  memory:
    'RSS of the local Stream each half second: highest while they are there, minus mean of the 5 s before they came',
  control: 'the same with no viewer: what the process grows by itself in that time',
};

const SAMPLE_MS = 500;
const WARM_UP_MS = 12_000;
const BEFORE_MS = 5000;
const BITRATE = '6M';

type Way = 'none' | 'http-flv' | 'ws-flv' | 'rtmp';

/** Ends what it opened. */
type Leave = () => Promise<unknown> | unknown;

async function encode(bench: Bench): Promise<string> {
  const file = join(bench.folder, 'busy.flv');
  const { code } = await bench.spawn({
    name: 'encode',
    file: bench.ffmpeg.file,
    args: [
      ...['-hide_banner', '-loglevel', 'error', '-f', 'lavfi', '-i', 'testsrc2=size=1280x720:rate=30'],
      ...['-vf', 'noise=alls=60:allf=t', '-t', '10', '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p'],
      ...['-g', '30', '-b:v', BITRATE, '-minrate', BITRATE, '-maxrate', BITRATE, '-bufsize', '3M', file],
    ],
  }).exited;
  if (code !== 0) throw new Error('the picture could not be encoded');
  return file;
}

async function watchDeaf(bench: Bench, way: Way, stream: StreamProcess, input: LiveInput): Promise<Leave> {
  const path = `/${input.uid}/live.flv`;
  switch (way) {
    case 'none':
      return () => undefined;
    case 'http-flv': {
      const socket = connect(stream.httpPort, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.pause();
      socket.write(`GET ${path} HTTP/1.1\r\nhost: bench\r\n\r\n`);
      return () => socket.destroy();
    }
    case 'ws-flv': {
      const ws = new WebSocket(`ws://127.0.0.1:${stream.httpPort}${path}`);
      ws.on('error', () => undefined);
      await once(ws, 'open');
      ws.pause();
      return () => ws.terminate();
    }
    case 'rtmp': {
      const url = `rtmp://127.0.0.1:${stream.rtmpPort}/live/${input.playbackKey.reveal()}`;
      const args = ['-loglevel', 'error', '-i', url, '-c', 'copy', '-f', 'null', '-'];
      const child = bench.spawn({ name: 'player', file: bench.ffmpeg.file, args, stopTimeoutMs: 1000 });
      await bench.clock.sleep(2000);
      if (child.pid !== undefined) process.kill(child.pid, 'SIGSTOP');
      return () => {
        if (child.pid !== undefined) process.kill(child.pid, 'SIGCONT');
        return child.stop();
      };
    }
    default: {
      const never: never = way;
      return never;
    }
  }
}

async function sample(bench: Bench, pid: number, ms: number): Promise<number[]> {
  const samples: number[] = [];
  for (let passedMs = 0; passedMs < ms; passedMs += SAMPLE_MS) {
    await bench.clock.sleep(SAMPLE_MS, { signal: bench.signal });
    samples.push((await processUse(pid)).rssMb);
  }
  return samples;
}

interface Growth {
  way: Way;
  viewers: number;
  beforeMb: number;
  highestMb: number;
  lastMb: number;
}

async function grow(bench: Bench, file: string, way: Way, viewers: number): Promise<Growth> {
  const stream = await startStreamProcess(bench, { dataDir: join(bench.folder, `${way}-${viewers}`) });
  const input = await createLiveInput(stream, { mode: 'off' });
  const url = `rtmp://127.0.0.1:${stream.rtmpPort}/live/${input.publishKey.reveal()}`;
  const args = ['-loglevel', 'error', '-re', '-stream_loop', '-1', '-i', file, '-c', 'copy', '-f', 'flv', url];
  const publisher = bench.spawn({ name: 'push', file: bench.ffmpeg.file, args, stopTimeoutMs: 2000 });
  const leaves: Leave[] = [];
  try {
    await bench.clock.sleep(WARM_UP_MS, { signal: bench.signal });
    const before = await sample(bench, stream.pid, BEFORE_MS);
    for (let i = 0; i < viewers; i += 1) leaves.push(await watchDeaf(bench, way, stream, input));
    const during = await sample(bench, stream.pid, bench.seconds * 1000);
    const beforeMb = rounded(before.reduce((sum, mb) => sum + mb, 0) / before.length);
    const found = {
      way,
      viewers,
      beforeMb,
      highestMb: rounded(Math.max(...during)),
      lastMb: rounded(during.at(-1) ?? 0),
    };
    bench.progress(`${viewers} x ${way}: ${beforeMb} MB, then at most ${found.highestMb} MB`);
    return found;
  } finally {
    await Promise.all(leaves.map((leave) => leave()));
    await publisher.stop();
    await stream.stop();
  }
}

async function measure(bench: Bench): Promise<BenchReport> {
  const file = await encode(bench);
  const control = await grow(bench, file, 'none', 0);
  const growths: Growth[] = [];
  for (const way of bench.options.ways?.split(',') ?? []) {
    for (const viewers of [1, 10]) growths.push(await grow(bench, file, way as Way, viewers));
  }
  const costs = growths.map(({ way, viewers, beforeMb, highestMb }) => ({
    way,
    viewers,
    mbEach: rounded((highestMb - beforeMb) / viewers),
  }));
  return {
    goals: costs.map(({ way, viewers, mbEach }) => goal(`${viewers} deaf by ${way}, each`, mbEach, 10, 'MB')),
    ...{ control, growths, method },
  };
}

await runBench({
  name: 'bench:deaf-viewers',
  about: 'Memory of the local Stream with viewers who never read, at 6 Mbit/s.',
  defaultRuns: 1,
  defaultSeconds: 60,
  options: [{ name: 'ways', default: 'http-flv,ws-flv,rtmp', help: 'which, by commas' }],
  measure,
});
