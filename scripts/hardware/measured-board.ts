/** The course of the bench: world, streams of the sizes asked for, faults, power off; and the report. */
import { GlasscastError } from '../../shared/errors.ts';
import { type Goal, goal, goalAtLeast, rounded } from '../bench/measuring.ts';
import type { Bench, BenchReport } from '../bench/program.ts';
import { type BoardWorld, OVER, openBoardWorld, type StreamWish, type WorldPhases } from './board-world.ts';
import { type Fault, faults } from './faults.ts';
import type { PlayedMedia } from './played-media.ts';
import { COOL_C } from './power-faults.ts';
import { updateScenario } from './update-scenario.ts';

export async function measureBoard(bench: Bench): Promise<BenchReport> {
  const sizes = (bench.options.sizes ?? '').split(',').map(wishOf);
  const phases = createPhases(bench);
  const startedMs = bench.clock.monotonicMs();
  const isFresh = bench.options.fresh === 'yes';
  const chosen = chosenFaults(bench);
  const world = await openBoardWorld(bench, phases, { piecesAt: bench.options.cache ?? '', isFresh });
  const streams: { wish: StreamWish; startMs: number; played: PlayedMedia }[] = [];
  for (const wish of sizes) streams.push(await measureStream(bench, world, phases, wish));
  const results = await runFaults(bench, world, phases, chosen);
  await phases.time('power off', () => world.board.powerOff());
  const totalMs = bench.clock.monotonicMs() - startedMs;
  bench.progress(`from an empty disk to the power off: ${seconds(totalMs)}`);
  return {
    goals: [...streams.flatMap(({ wish, played }) => goalsOf(wish, played)), ...results.map(goalOfFault)],
    broken: brokenOf(streams, results),
    phasesMs: phases.all(),
    totalMs: rounded(totalMs),
    streams,
    faults: results,
    method: {
      phases: "by this machine's clock: from the call to the proof, e.g. boot: until the board's root shell answers",
      startMs: "from the operator's order to the relay's word active, which the local Stream's API gives",
      played: 'HTTP-FLV of the local Stream, decoded by ffmpeg on this machine; rate by the times in the stream',
    },
  };
}

/** Rates are measured, and an emulated processor may be too slow for them; the rest is promised. */
function brokenOf(streams: readonly { wish: StreamWish; played: PlayedMedia }[], results: readonly FaultResult[]) {
  const goals = streams.flatMap(({ wish, played }) => goalsOf(wish, played).filter(({ unit }) => unit !== 'per s'));
  return [...goals.filter(({ met }) => !met), ...results.filter(({ isAsPromised }) => !isAsPromised)].map(
    ({ name }) => name,
  );
}

interface Phases extends WorldPhases {
  all(): Record<string, number>;
}

export function createPhases({ clock, progress }: Pick<Bench, 'clock' | 'progress'>): Phases {
  const done = new Map<string, number>();
  return {
    async time(name, work) {
      const fromMs = clock.monotonicMs();
      const result = await work();
      const ms = clock.monotonicMs() - fromMs;
      done.set(name, rounded(ms));
      progress(`${name}: ${seconds(ms)}`);
      return result;
    },
    all: () => Object.fromEntries(done),
  };
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

/** `320x180@5`. @throws GlasscastError INVALID_CONFIG */
export function wishOf(text: string): StreamWish {
  const [, width, height, rate] = /^(\d{2,4})x(\d{2,4})@(\d{1,2})$/.exec(text.trim()) ?? [];
  if (rate === undefined)
    throw new GlasscastError('INVALID_CONFIG', { reason: `--sizes: "${text}" is not as 320x180@5` });
  const [widthPx, heightPx, frameRate] = [Number(width), Number(height), Number(rate)];
  return { widthPx, heightPx, frameRate, videoBitrateBps: Math.max(200_000, widthPx * heightPx * frameRate) };
}

async function measureStream(bench: Bench, world: BoardWorld, phases: WorldPhases, wish: StreamWish) {
  const name = `${wish.widthPx}x${wish.heightPx}@${wish.frameRate}`;
  const askedMs = bench.clock.monotonicMs();
  const streamId = await phases.time(`start ${name}`, async () => {
    const id = await world.start(wish);
    await world.awaitState(id, ['active']);
    return id;
  });
  const startMs = rounded(bench.clock.monotonicMs() - askedMs);
  const played = await phases.time(`decode ${name}`, () => world.hear(streamId, bench.seconds));
  bench.progress(`${name}: ${JSON.stringify(played)}`);
  if (played.audioCodec === undefined) bench.note(await lastWords(world));
  for (const { text, code } of await world.timeline(streamId)) bench.note(`${code ?? ''} ${text}`);
  await world.stop();
  await world.awaitState(streamId, OVER);
  return { wish, startMs, played };
}

/** Silence has -91; the tone -20. */
const AUDIBLE_DB = -40;

function goalsOf({ widthPx, heightPx, frameRate }: StreamWish, played: PlayedMedia): Goal[] {
  const name = `${widthPx}x${heightPx}@${frameRate}`;
  const isWhole =
    played.videoCodec === 'h264' &&
    played.audioCodec === 'aac' &&
    played.widthPx === widthPx &&
    played.heightPx === heightPx &&
    played.complaints.length === 0;
  return [
    goalAtLeast(`${name}: H.264 of that size and AAC, decoded without a complaint`, isWhole ? 1 : 0, 1, 'yes'),
    goalAtLeast(`${name}: pictures per second`, played.framesPerSecond, frameRate * 0.9, 'per s'),
    goalAtLeast(`${name}: of 100 pictures differ`, (100 * played.differentFrames) / played.frames, 90, 'pictures'),
    goalAtLeast(`${name}: loudness of the tone played to the microphone`, played.peakDb, AUDIBLE_DB, 'dB'),
  ];
}

export interface FaultResult {
  name: string;
  isAsPromised: boolean;
  /** What was seen, or what was not as promised. */
  seen: string;
  ms: number;
}

/** Small enough for an emulated processor to spare some for what a fault costs. */
export const faultWish = wishOf('320x180@5');

/** @throws GlasscastError INVALID_CONFIG */
function chosenFaults({ options }: Bench): readonly Fault[] {
  const { faults: wanted, only = '', scenario } = options;
  if (scenario !== '' && scenario !== 'update') {
    throw new GlasscastError('INVALID_CONFIG', { reason: `--scenario: there is update, and no ${scenario}` });
  }
  const all = [...(wanted === 'yes' ? faults : []), ...(scenario === 'update' ? updateScenario : [])];
  const chosen = all.filter(({ name }) => name.includes(only));
  // Nothing done would be a bench that passes.
  if (all.length > 0 && chosen.length === 0) {
    throw new GlasscastError('INVALID_CONFIG', {
      reason: `--only: there are ${all.map(({ name }) => name).join(', ')}`,
    });
  }
  return chosen;
}

async function runFaults(
  bench: Bench,
  world: BoardWorld,
  phases: WorldPhases,
  chosen: readonly Fault[],
): Promise<FaultResult[]> {
  const results: FaultResult[] = [];
  for (const { name, run } of chosen) {
    const fromMs = bench.clock.monotonicMs();
    const [isAsPromised, seen] = await phases
      .time(name, () => run(bench, world, faultWish))
      .then((text): [boolean, string] => [true, text])
      .catch((error: Error): [boolean, string] => {
        if (bench.signal.aborted) throw error;
        return [false, error.message];
      });
    bench.progress(`${isAsPromised ? 'as promised' : 'NOT AS PROMISED'}: ${seen}`);
    results.push({ name, isAsPromised, seen, ms: rounded(bench.clock.monotonicMs() - fromMs) });
    if (!isAsPromised) {
      bench.note(await lastWords(world).catch(() => 'the board says nothing'));
      await asBefore(world).catch(() => {});
    }
  }
  return results;
}

/** A fault that broke off may have left heat, an empty battery or a pulled cable, which the next one would be blamed for. */
async function asBefore({ board, stop }: BoardWorld): Promise<void> {
  await stop().catch(() => {});
  await board.setLink(true);
  await board.setTemperature(COOL_C);
  await board.setBattery(100, false);
}

const lastWords = async ({ board }: BoardWorld) =>
  (await board.shell.run('journalctl -b --no-pager -n 40 -o cat -u glasscast-agent')).output;

const goalOfFault = ({ name, isAsPromised }: FaultResult): Goal =>
  goal(name, isAsPromised ? 0 : 1, 0, 'broken promises');
