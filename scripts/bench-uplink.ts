/**
 * `npm run bench:uplink`: the uplink becomes narrow for 30 s and wide again; the device's address changes. The product beside
 * plain ffmpeg in the same network namespace, one after the other. Root and Linux only. Measures only.
 */
import { readVideoConfig } from '../shared/codec-config.ts';
import { isKeyFrame, isSequenceHeader } from '../shared/rtmp/flv.ts';
import { type Arrivals, readPictures, recordArrivals, stopRecording } from './bench/arrivals.ts';
import { judge } from './bench/ingest-faults.ts';
import { type ToldStatus, toldSince } from './bench/lone-relay.ts';
import { type LoneWorld, type Publishing, startLoneWorld, startPlain, startProduct } from './bench/lone-world.ts';
import { type Goal, goal, goalAtLeast, type Headline, headline, rounded, summary } from './bench/measuring.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { playRtmp } from './bench/rtmp-play.ts';
import { judgeSqueeze, type SqueezeResult, STEP_DOWN_MS } from './bench/squeeze.ts';
import { createUplinkNamespace, type UplinkNamespace, uplinks } from './bench/uplink-namespace.ts';
import { until } from './bench/world.ts';

const method = {
  network: `a network namespace with a veth pair; publishers run inside, relay and ingest outside; free: ${uplinks.free}; narrow: ${uplinks.narrow} on what leaves the namespace`,
  stream:
    '1280x720, 30 a second, 2 Mbit/s, key frame each second, 64 kbit/s sound; barcode camera whose whole picture changes each frame, so that the bit rate is used up',
  delay: 'from exposure, by the barcode, to the last byte of the picture’s message at the ingest’s door outside',
  atPlayer:
    'the same pictures in an ffmpeg that plays the stream from the local Stream by RTMP outside, without delay of its own making: exposure to decoded; the wall clock of one machine',
  first5s:
    'pictures that arrived in the first 5 s of the squeeze; worstAge: of the newest picture there, just before the next came',
  afterStepDown:
    'pictures that arrived from 5 s after the squeeze began until the release, for every publisher, stepped down or not',
  framesMissing:
    'barcode numbers from the squeeze on that never arrived; framesNotTaken of these the camera could not hand over because nobody took them',
  rateBackMs:
    'from the release until two whole seconds bring 90 % of the bits per second that arrived in the 5 s before the squeeze',
  pictureSizes: 'from the decoder configurations that passed the door',
  address:
    'the address is deleted and one of another subnet with its own default route added at once; backMs: until the first picture on a new connection; watched 20 s',
  plain:
    'ffmpeg with frames on stdin and a tone, -f flv; whenever it ends it is started again after 500 ms; the camera runs on',
  told: 'each status or notice of the device, with milliseconds since the squeeze or the change',
  order: 'product, then plain ffmpeg',
};

interface Design {
  name: string;
  isProduct: boolean;
  start: (
    bench: Bench,
    world: LoneWorld,
    options: { launcher: readonly string[]; isBusyPicture: boolean },
  ) => Promise<Publishing>;
}

const product: Design = { name: 'product', isProduct: true, start: startProduct };
const plain: Design = { name: 'plain ffmpeg', isProduct: false, start: startPlain };
const plainWithTimeout: Design = {
  name: 'plain ffmpeg -rw_timeout 3000000',
  isProduct: false,
  start: (bench, world, options) => startPlain(bench, world, { ...options, outputOptions: ['-rw_timeout', '3000000'] }),
};

const SQUEEZE_MS = 30_000;
/** Plain ffmpeg changes nothing, so that there is less to wait for. */
const PLAIN_WATCH_MS = 20_000;
const ADDRESS_WATCH_MS = 20_000;

interface Parts {
  bench: Bench;
  world: LoneWorld;
  uplink: UplinkNamespace;
}

/** A publisher whose first picture has arrived, and what has arrived of it. */
async function streaming({ bench, world, uplink }: Parts, design: Design) {
  const arrivals = recordArrivals(bench, world);
  const { launcher } = uplink;
  const publishing = await design.start(bench, world, { launcher, isBusyPicture: true });
  await until(bench, `${design.name} sent no picture`, () => arrivals.all.some(({ tag }) => isKeyFrame(tag)));
  return { arrivals, publishing };
}

/** As somebody sees it who watches by RTMP. */
interface AtPlayer {
  worstDelayFirst5sMs: number | undefined;
  /** From 5 s after the squeeze began until the release. */
  delayP50Ms: number | undefined;
  delayP95Ms: number | undefined;
  framesPerSecond: number;
  unreadable: number;
}

/** Watches until it is asked. */
function watch({ clock, spawn, ffmpeg }: Bench, url: string) {
  const seen: { atMs: number; delayMs: number }[] = [];
  let unreadable = 0;
  const player = playRtmp({
    ...{ clock, spawn, ffmpeg, url },
    onFrame: ({ latencyMs }) => void seen.push({ atMs: clock.monotonicMs(), delayMs: latencyMs }),
    onUnreadable() {
      unreadable += 1;
    },
  });
  return async (squeezeMs: number, releaseMs: number): Promise<AtPlayer> => {
    await player.stop();
    const steppedMs = squeezeMs + STEP_DOWN_MS;
    const delays = (fromMs: number, toMs: number) =>
      seen.filter(({ atMs }) => atMs >= fromMs && atMs < toMs).map(({ delayMs }) => delayMs);
    const after = summary(delays(steppedMs, releaseMs));
    return {
      worstDelayFirst5sMs: summary(delays(squeezeMs, steppedMs))?.max,
      delayP50Ms: after?.p50,
      delayP95Ms: after?.p95,
      framesPerSecond: rounded(((after?.n ?? 0) * 1000) / (releaseMs - steppedMs)),
      unreadable,
    };
  };
}

type Squeezed = SqueezeResult & {
  atPlayer: AtPlayer;
  told?: ToldStatus[];
  pictureSizes: { afterMs: number; size: string }[];
};

async function squeeze(parts: Parts, design: Design): Promise<Squeezed> {
  const { bench, world, uplink } = parts;
  const { clock, signal } = bench;
  const { arrivals, publishing } = await streaming(parts, design);
  const seenBy = watch(bench, publishing.playUrl);
  await clock.sleep(bench.seconds * 1000, { signal });
  const squeezeMs = clock.monotonicMs();
  await uplink.shape('narrow');
  await clock.sleep(squeezeMs + SQUEEZE_MS - clock.monotonicMs(), { signal });
  await uplink.shape('free');
  const releaseMs = clock.monotonicMs();
  await clock.sleep(design.isProduct ? Number(bench.options.watch) * 1000 : PLAIN_WATCH_MS, { signal });
  const endMs = clock.monotonicMs();
  const camera = await publishing.cameraStats();
  stopRecording(world);
  const told = toldSince(world.relay, squeezeMs);
  const atPlayer = await seenBy(squeezeMs, releaseMs);
  await publishing.stop();
  const pictures = await readPictures(bench, arrivals.all);
  const result = judgeSqueeze({ arrivals: arrivals.all, pictures, squeezeMs, releaseMs, endMs, camera });
  const { worstDelayFirst5sMs, delayP50Ms, framesPerSecond } = result;
  bench.progress(
    `squeeze, ${design.name}: worst ${worstDelayFirst5sMs ?? '—'} ms in the first 5 s, then p50 ${delayP50Ms ?? '—'} ms at ${framesPerSecond} frames/s`,
  );
  return { ...result, atPlayer, pictureSizes: sizesSince(arrivals, squeezeMs), ...(design.isProduct ? { told } : {}) };
}

/** What was sent before stands with a negative time. */
function sizesSince({ all }: Arrivals, sinceMs: number): { afterMs: number; size: string }[] {
  return all
    .filter(({ tag }) => isSequenceHeader(tag) && tag.kind === 'video')
    .map(({ tag, atMs }) => {
      const config = readVideoConfig(tag.body.subarray(5));
      return { afterMs: Math.round(atMs - sinceMs), size: config ? `${config.width}x${config.height}` : 'unknown' };
    });
}

interface AddressChange {
  /** Until the first picture on a new connection; undefined: not while it was watched. */
  backMs: number | undefined;
  framesMissing: number;
  framesNotTaken: number;
  darkMs: number;
  worstDelayMs: number | undefined;
  told?: ToldStatus[];
}

async function changeAddress(parts: Parts, design: Design): Promise<AddressChange> {
  const { bench, world, uplink } = parts;
  const { clock, signal } = bench;
  const { arrivals, publishing } = await streaming(parts, design);
  await clock.sleep(bench.seconds * 1000, { signal });
  const downMs = clock.monotonicMs();
  await uplink.changeAddress();
  await clock.sleep(downMs + ADDRESS_WATCH_MS - clock.monotonicMs(), { signal });
  const endMs = clock.monotonicMs();
  const camera = await publishing.cameraStats();
  stopRecording(world);
  const told = toldSince(world.relay, downMs);
  await publishing.stop();
  const pictures = await readPictures(bench, arrivals.all);
  const old = new Set(arrivals.all.filter(({ atMs }) => atMs <= downMs).map(({ connection }) => connection));
  const keyFrames = arrivals.all.filter(({ tag, connection }) => isKeyFrame(tag) && !old.has(connection));
  const outages = [{ downMs, upMs: downMs }];
  const keyFramesMs = keyFrames.map(({ atMs }) => atMs);
  const { framesMissing, framesNotTaken, darkMs, worstDelayMs } = judge({
    pictures,
    keyFramesMs,
    outages,
    endMs,
    camera,
  });
  const backMs = keyFramesMs[0] === undefined ? undefined : rounded(keyFramesMs[0] - downMs);
  bench.progress(`address change, ${design.name}: back after ${backMs ?? '—'} ms, ${framesMissing} frames missing`);
  return { ...{ backMs, framesMissing, framesNotTaken, darkMs, worstDelayMs }, ...(design.isProduct ? { told } : {}) };
}

function squeezeGoals({
  worstDelayFirst5sMs,
  worstAgeFirst5sMs,
  delayP50Ms,
  framesPerSecond,
  rateBackMs,
  told,
  atPlayer,
}: Squeezed): Goal[] {
  const noticed = told?.find(({ notice, status }) => notice !== undefined || status !== 'streaming');
  return [
    goal('squeeze: worst delay in its first 5 s', worstDelayFirst5sMs, 1_500),
    goal('squeeze: worst age of the newest picture in its first 5 s', worstAgeFirst5sMs, 1_500),
    goal('squeeze: delay after the step-down, p50', delayP50Ms, 150),
    goal('squeeze: delay after the step-down at a player, p50', atPlayer.delayP50Ms, 150),
    goalAtLeast('squeeze: frames per second after the step-down', framesPerSecond, 29, 'frames/s'),
    goal('squeeze: told by a status', noticed?.afterMs, 5_000),
    goal('squeeze: asked bit rate again after the release', rateBackMs, 60_000),
  ];
}

function headlineOf(
  squeezes: Record<string, Squeezed | undefined>,
  changes: Record<string, AddressChange | undefined>,
): Headline[] {
  const [squeezed, changed] = [squeezes[product.name], changes[product.name]];
  const delay = goal('uplink a third of the bit rate: delay, p50', squeezed?.delayP50Ms, 150);
  const back = goal('address changed: picture back', changed?.backMs, 2_500);
  return [
    ...(squeezed ? [headline(delay, { peer: squeezes[plain.name]?.delayP50Ms, peerName: plain.name })] : []),
    ...(changed
      ? [headline(back, { peer: changes[plainWithTimeout.name]?.backMs, peerName: plainWithTimeout.name })]
      : []),
  ];
}

/** The run that was worst in the promise that is hardest to keep. */
const worstBy = <Result>(results: readonly Result[], badness: (result: Result) => number | undefined) =>
  [...results].sort((a, b) => (badness(b) ?? Number.POSITIVE_INFINITY) - (badness(a) ?? Number.POSITIVE_INFINITY))[0];

async function measure(bench: Bench): Promise<BenchReport> {
  const uplink = await createUplinkNamespace(bench);
  const parts = { bench, uplink, world: await startLoneWorld(bench, uplink.host) };
  const isAsked = (part: string) => !bench.options.only || bench.options.only.split(',').includes(part);
  const squeezes: Record<string, Squeezed | undefined> = {};
  const changes: Record<string, AddressChange | undefined> = {};
  for (const design of isAsked('squeeze') ? [product, plain] : []) {
    const results: Squeezed[] = [];
    for (let run = 1; run <= bench.runs; run += 1) results.push(await squeeze(parts, design));
    squeezes[design.name] = worstBy(results, ({ worstDelayFirst5sMs }) => worstDelayFirst5sMs);
  }
  for (const design of isAsked('address') ? [product, plain, plainWithTimeout] : []) {
    const results: AddressChange[] = [];
    for (let run = 1; run <= bench.runs; run += 1) results.push(await changeAddress(parts, design));
    changes[design.name] = worstBy(results, ({ backMs }) => backMs);
  }
  const [squeezed, changed] = [squeezes[product.name], changes[product.name]];
  return {
    goals: [
      ...(squeezed ? squeezeGoals(squeezed) : []),
      ...(changed ? [goal('address change: media back', changed.backMs, 2_500)] : []),
    ],
    headline: headlineOf(squeezes, changes),
    squeeze: squeezes,
    addressChange: changes,
    method,
  };
}

await runBench({
  name: 'bench:uplink',
  about:
    'A 2 Mbit/s stream on an uplink of 800 kbit/s for 30 s, then free; and a change of address; beside plain ffmpeg. Needs root.',
  defaultRuns: 1,
  defaultSeconds: 10,
  options: [
    { name: 'only', default: '', help: 'of squeeze,address' },
    { name: 'watch', default: '60', help: 'seconds watched after the release, for the product' },
  ],
  measure,
});
