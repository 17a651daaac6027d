/**
 * The ways in which ffmpeg fails under the agent: stopped, killed, flooding its standard error, not starting. Signals go to the
 * process that makes the picture; the rest is a wrapper script in ffmpeg's place. Knows no goals.
 */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GlasscastError } from '../../shared/errors.ts';
import { isKeyFrame } from '../../shared/rtmp/flv.ts';
import { firstArrivals, readPictures, recordArrivals, stopRecording } from './arrivals.ts';
import { judge } from './ingest-faults.ts';
import { type ToldStatus, toldSince } from './lone-relay.ts';
import { type Leftovers, type LoneWorld, type ProductRun, startProduct } from './lone-world.ts';
import { rounded } from './measuring.ts';
import { descendantsOf, processUse } from './process-use.ts';
import type { Bench } from './program.ts';
import { firstGap, type Gap } from './timeline.ts';
import { until } from './world.ts';

export interface EncoderFault {
  name: string;
  about: string;
  /** Shell lines that run in ffmpeg's place when it is to make the picture, before the real one. */
  wrapper?: string;
  /** Sent to the process that makes the picture. */
  signal?: NodeJS.Signals;
  /** Seen from START on, from the first picture on, or from the signal on, which comes --seconds after the first picture. */
  from: 'start' | 'picture' | 'signal';
  /** A stream that never comes up: watched until the device gives up. */
  neverStarts?: boolean;
}

/** A wrapper's runs are counted in a file beside it. */
const COUNT = 'echo run >> "$0.runs"';

export const encoderFaults = {
  stopped: {
    name: 'ffmpeg SIGSTOP',
    about: 'the process that makes the picture is stopped',
    signal: 'SIGSTOP',
    from: 'signal',
  },
  killed: {
    name: 'ffmpeg SIGKILL',
    about: 'the process that makes the picture is killed',
    signal: 'SIGKILL',
    from: 'signal',
  },
  flood: {
    name: 'stderr flood',
    from: 'picture',
    about: '64 kB of warnings each 50 ms on ffmpeg’s standard error, from its start on, as long as it lives',
    wrapper: [
      'line="[libx264 @ 0x55d0c0ffee00] [warning] non-existing PPS 0 referenced, decode_slice_header error, no frame"',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a shell's own substitution
      'text=""; n=0; while [ $n -lt 640 ]; do text="${text}${line} $n\n"; n=$((n + 1)); done',
      // The real ffmpeg takes this shell's place and number; the flood ends with it.
      '( while kill -0 $$ 2>/dev/null; do printf "$text" >&2; sleep 0.05; done ) &',
    ].join('\n'),
  },
  startsLate: {
    name: 'failing to start 3 times',
    from: 'start',
    about: 'ffmpeg ends with code 1 at once, the first three times',
    wrapper: 'if [ "$(wc -l < "$0.runs")" -le 3 ]; then echo "[error] Cannot allocate memory" >&2; exit 1; fi',
  },
  neverStarts: {
    name: 'failing to start for ever',
    from: 'start',
    about: 'ffmpeg ends with code 1 at once, each time',
    wrapper: 'echo "[error] Cannot allocate memory" >&2; exit 1',
    neverStarts: true,
  },
} satisfies Record<string, EncoderFault>;

export interface EncoderFaultResult {
  /** From the fault (or START) to the picture after the first darkness; 0 when nobody could notice any. Not of what has no moment. */
  pictureMs: number | undefined;
  framesMissing: number;
  framesNotTaken: number;
  darkMs: number;
  worstDelayMs: number | undefined;
  /** Until the first status that tells of it. */
  toldMs: number | undefined;
  told: ToldStatus[];
  /** Until the status `error`, after which nothing more is tried. */
  gaveUpMs: number | undefined;
  /** Of a wrapper: how often ffmpeg was started to make the picture. */
  starts: number | undefined;
  agentRssMb: number;
  agentCpuPercent: number;
  left: Leftovers;
}

const WATCH_MS = 15_000;
/** Longer than any budget of restarts should last. */
const GIVE_UP_MS = 90_000;
/** Three pictures: less is not noticed as darkness. */
const NOTICED_MS = 150;

export async function playEncoderFault(
  bench: Bench,
  world: LoneWorld,
  fault: EncoderFault,
): Promise<EncoderFaultResult> {
  const { clock, signal } = bench;
  const file = fault.wrapper === undefined ? undefined : await writeWrapper(bench, fault.wrapper);
  const arrivals = recordArrivals(bench, world);
  const product = await startProduct(bench, world, file === undefined ? {} : { ffmpegFile: file });
  const before = await processUse(product.agent.pid);
  const beganMs = clock.monotonicMs();
  const downMs = await strike(bench, fault, product, () => arrivals.all.some(({ tag }) => isKeyFrame(tag)));
  if (fault.neverStarts) await givenUp(bench, world, downMs);
  else await clock.sleep(WATCH_MS, { signal });
  const endMs = clock.monotonicMs();
  const camera = await product.cameraStats();
  const use = await processUse(product.agent.pid);
  const told = toldSince(world.relay, downMs);
  const left = await product.stop();
  stopRecording(world);

  const pictures = await readPictures(bench, arrivals.all);
  const keyFramesMs = arrivals.all.filter(({ tag }) => isKeyFrame(tag)).map(({ atMs }) => atMs);
  const outages = [{ downMs, upMs: downMs }];
  const { framesMissing, framesNotTaken, darkMs, worstDelayMs } = judge({
    pictures,
    keyFramesMs,
    outages,
    endMs,
    camera,
  });
  const gap = firstGap(
    firstArrivals(pictures).map(({ atMs }) => atMs),
    downMs,
    endMs,
    NOTICED_MS,
  );
  const toldOf = told.find(({ status, notice }) => !normal.has(status) || notice !== undefined);
  return {
    pictureMs: fault.from === 'picture' ? undefined : pictureAfter(gap, downMs, endMs),
    ...{ framesMissing, framesNotTaken, darkMs, worstDelayMs, told },
    toldMs: toldOf?.afterMs,
    gaveUpMs: told.find(({ status }) => status === 'error')?.afterMs,
    starts: file === undefined ? undefined : await startsOf(file),
    agentRssMb: rounded(use.rssMb),
    agentCpuPercent: rounded((100 * (use.cpuMs - before.cpuMs)) / (endMs - beganMs)),
    left,
  };
}

/** Gives the moment from which on the fault is looked at. */
async function strike(
  bench: Bench,
  { from, signal }: EncoderFault,
  { agent, askedMs }: ProductRun,
  hasPicture: () => boolean,
): Promise<number> {
  if (from === 'start') return askedMs;
  await until(bench, 'no picture arrived', hasPicture);
  if (from === 'picture') return bench.clock.monotonicMs();
  await bench.clock.sleep(bench.seconds * 1000, { signal: bench.signal });
  const pid = await pictureProcess(agent.pid);
  const atMs = bench.clock.monotonicMs();
  process.kill(pid, signal);
  return atMs;
}

/** Words of a start in which nothing went wrong. */
const normal = new Set(['initializing', 'streaming', 'active']);

function pictureAfter(gap: Gap | undefined, downMs: number, endMs: number): number | undefined {
  if (!gap) return 0;
  return gap.toMs >= endMs ? undefined : rounded(gap.toMs - downMs);
}

async function givenUp({ clock, signal }: Bench, { relay }: LoneWorld, sinceMs: number): Promise<void> {
  const isOver = () => relay.statuses.some(({ status, atMs }) => status === 'error' && atMs >= sinceMs);
  while (!isOver() && clock.monotonicMs() - sinceMs < GIVE_UP_MS) await clock.sleep(100, { signal });
}

/** Picture and sound may be two processes, and others may only look: this one names an H.264 encoder. */
async function pictureProcess(agentPid: number): Promise<number> {
  const family = await descendantsOf(agentPid);
  const encoder = family.find(({ command }) => /-(c:v|vcodec) \S*264/.test(command)) ?? family[0];
  if (!encoder) throw new GlasscastError('INTERNAL', { reason: 'the agent runs no ffmpeg' });
  return encoder.pid;
}

async function writeWrapper({ folder, ffmpeg }: Bench, lines: string): Promise<string> {
  const file = join(folder, `ffmpeg-${crypto.randomUUID().slice(0, 8)}`);
  // The camera's frames as input: what only tries an encoder has a source of its own, and succeeds.
  const isPicture = '*" -f rawvideo "*264*" -f flv "*';
  const script = ['#!/bin/sh', `case " $* " in ${isPicture})`, COUNT, lines, ';; esac', `exec '${ffmpeg.file}' "$@"`];
  await writeFile(file, `${script.join('\n')}\n`);
  await chmod(file, 0o755);
  return file;
}

async function startsOf(wrapper: string): Promise<number> {
  const runs = await readFile(`${wrapper}.runs`, 'utf8').catch(() => '');
  return runs.split('\n').filter(Boolean).length;
}
