/**
 * `npm run bench:outages`: every way in which the ingest fails, for the product and for plain ffmpeg under a restart loop in the
 * same run; and the ways in which ffmpeg fails, for the product. Measures only.
 */
import { isKeyFrame } from '../shared/rtmp/flv.ts';
import { recordArrivals } from './bench/arrivals.ts';
import { type EncoderFault, type EncoderFaultResult, encoderFaults, playEncoderFault } from './bench/encoder-faults.ts';
import { type FaultResult, type IngestFault, ingestFaults, playFault } from './bench/ingest-faults.ts';
import { type ToldStatus, toldSince } from './bench/lone-relay.ts';
import {
  type Leftovers,
  type LoneWorld,
  type Publishing,
  startLoneWorld,
  startPlain,
  startProduct,
} from './bench/lone-world.ts';
import { type Goal, goal } from './bench/measuring.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { until } from './bench/world.ts';

const method = {
  ingest:
    'the local Stream (node-media-server) behind a TCP proxy, the door; faults are played at the door, arrival is the last byte of a message through it',
  stream:
    '1280x720, 30 a second, 2 Mbit/s, key frame each second, 64 kbit/s sound; barcode camera with clock and number in each picture',
  backMs:
    'from the door listening again (serving again) to the last byte of the first key frame through it; the worst return',
  framesMissing:
    'barcode numbers exposed between the first picture that arrived and 1 s before the end of the watch that never arrived; framesNotTaken of these the camera could not hand over',
  darkMs:
    'longest time after the fault in which no picture arrived that had not arrived before; darkBeyondMs: what of it is longer than the outage itself',
  worstDelayMs: 'arrival minus exposure, one machine and one clock; delayAfterMs: p50 of the last 3 s of the watch',
  told: 'each status of the device after the fault, with milliseconds since the fault, as it stood in the relay’s socket',
  encoderFaults:
    'pictureMs: from the signal (or START) to the picture that ended the first darkness of at least 150 ms, 0 when there was none; framesMissing and darkMs as above; left: processes ever seen below the agent that still ran 3.5 s after the stream’s end and after the agent’s end',
  relay: 'acknowledges the line, sends START, keep-alives each 15 s and STOP, and nothing else; a new agent each time',
  plain:
    'ffmpeg with frames on stdin and a tone, -f flv; whenever it ends it is started again after 500 ms; the camera runs on',
  order: 'fault by fault, product before plain ffmpeg',
};

interface ToldResult extends FaultResult {
  toldMs?: number | undefined;
  told?: ToldStatus[];
  left?: Leftovers;
}

interface Design {
  name: string;
  start: (bench: Bench, world: LoneWorld) => Promise<Publishing>;
}

const product: Design = { name: 'product', start: (bench, world) => startProduct(bench, world) };
const plain: Design = { name: 'plain ffmpeg', start: (bench, world) => startPlain(bench, world) };
const patient: Design = {
  name: 'product, backlog 30 s',
  start: (bench, world) => startProduct(bench, world, { maxBacklogMs: 30_000 }),
};

async function playFor(bench: Bench, world: LoneWorld, fault: IngestFault, design: Design): Promise<ToldResult> {
  const arrivals = recordArrivals(bench, world);
  const publishing = await design.start(bench, world);
  await until(bench, `${design.name} sent no picture`, () => arrivals.all.some(({ tag }) => isKeyFrame(tag)));
  const { outages, ...result } = await playFault(bench, world, fault, { arrivals, publishing });
  const told = toldSince(world.relay, outages[0]?.downMs ?? 0);
  const left = await publishing.stop();
  const words = `back after ${result.backMs ?? '—'} ms, ${result.framesMissing} frames missing, dark ${Math.round(result.darkMs)} ms`;
  bench.progress(`${fault.name}, ${design.name}: ${words}`);
  if (design === plain) return result;
  return { ...result, toldMs: told.find(({ status }) => status !== 'streaming')?.afterMs, told, left };
}

/** Of several runs the one with most missing pictures stands for all: promises are about the worst. */
function worst(results: readonly ToldResult[]): ToldResult | undefined {
  const badness = ({ backMs = Number.POSITIVE_INFINITY, framesMissing }: ToldResult) =>
    framesMissing * 1e6 + Math.min(backMs, 1e5);
  return [...results].sort((a, b) => badness(b) - badness(a))[0];
}

function goalsOf(name: string, result: ToldResult): Goal[] {
  const lost = result.framesMissing - result.framesNotTaken;
  return [
    goal(`${name}: media back, worst`, result.backMs, 500),
    // The first key frame back may be one that was sent before: dark is what no new picture lights.
    goal(`${name}: dark beyond the outage, worst`, result.darkBeyondMs, 500),
    goal(`${name}: told by a status`, result.toldMs, 5_000),
    ...(name === ingestFaults.killed3.name ? [goal(`${name}: frames missing`, lost, 0, 'frames')] : []),
  ];
}

function encoderGoals({ name, from, neverStarts = false }: EncoderFault, result: EncoderFaultResult): Goal[] {
  const { left, pictureMs, toldMs, starts, gaveUpMs, darkMs, framesMissing } = result;
  const orphans = goal(`${name}: processes left`, left.afterStream.length + left.afterEnd.length, 0, 'processes');
  // A flood is no fault of the picture's: it must not be noticed at all.
  if (from === 'picture') {
    return [
      goal(`${name}: longest time without a picture`, darkMs, 500),
      goal(`${name}: frames missing`, framesMissing, 0, 'frames'),
      orphans,
    ];
  }
  const told = goal(`${name}: told by a status`, toldMs, PICTURE_BACK_MS);
  if (!neverStarts) return [goal(`${name}: picture back`, pictureMs, PICTURE_BACK_MS), told, orphans];
  return [
    told,
    goal(`${name}: starts until it gives up`, starts, MAX_STARTS, 'starts'),
    goal(`${name}: gives up`, gaveUpMs, GIVE_UP_MS),
    orphans,
  ];
}

/** Several encoders may be tried, each a few times, and no more. */
const MAX_STARTS = 20;
const GIVE_UP_MS = 60_000;
/** No promise names a number for the encoder: a start may take seconds, so a stall cannot be called one much sooner. */
const PICTURE_BACK_MS = 10_000;

async function measure(bench: Bench): Promise<BenchReport> {
  const { runs, options } = bench;
  const isAsked = (key: string) => !options.only || options.only.split(',').includes(key);
  const world = await startLoneWorld(bench);
  const goals: Goal[] = [];
  const faults: Record<string, object> = {};
  for (const [key, fault] of Object.entries(ingestFaults)) {
    if (!isAsked(key)) continue;
    const designs = key === 'killed20' ? [product, patient, plain] : [product, plain];
    const results = new Map<Design, ToldResult[]>(designs.map((design) => [design, []]));
    for (let run = 1; run <= runs; run += 1) {
      for (const design of designs) results.get(design)?.push(await playFor(bench, world, fault, design));
    }
    const worsts = [...results].map(([design, each]) => [design, worst(each)] as const);
    faults[fault.name] = {
      about: fault.about,
      ...Object.fromEntries(worsts.map(([{ name }, result]) => [name, result])),
    };
    for (const [design, result] of worsts) {
      if (design !== plain && result)
        goals.push(...goalsOf(design === patient ? `${fault.name}, backlog 30 s` : fault.name, result));
    }
  }
  const ofEncoder: Record<string, object> = {};
  for (const [key, fault] of Object.entries(encoderFaults)) {
    if (!isAsked(key)) continue;
    const result = await playEncoderFault(bench, world, fault);
    bench.progress(
      `${fault.name}: picture after ${result.pictureMs ?? '—'} ms, dark ${Math.round(result.darkMs)} ms, told after ${result.toldMs ?? '—'} ms`,
    );
    ofEncoder[fault.name] = { about: fault.about, ...result };
    goals.push(...encoderGoals(fault, result));
  }
  return { goals, ingestFaults: faults, encoderFaults: ofEncoder, method };
}

await runBench({
  name: 'bench:outages',
  about:
    'Every way in which ingest and ffmpeg fail: what is lost, how long it is dark, how soon it is back; beside plain ffmpeg.',
  defaultRuns: 1,
  defaultSeconds: 5,
  options: [
    {
      name: 'only',
      default: '',
      help: `of ${[...Object.keys(ingestFaults), ...Object.keys(encoderFaults)].join(',')}`,
    },
  ],
  measure,
});
