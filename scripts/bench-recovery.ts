/**
 * `npm run bench:recovery`: the ingest is killed under a running stream and listens again after 4 s. How many pictures are
 * lost and how soon the next one is there; beside it plain ffmpeg, started again by a supervisor. Measures only.
 */
import { recordArrivals } from './bench/arrivals.ts';
import { goal, headline, median, summaries } from './bench/measuring.ts';
import { killIngest, type OutageResult } from './bench/outage.ts';
import { plainBarcode } from './bench/plain-ffmpeg.ts';
import { superviseFfmpeg } from './bench/plain-supervisor.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { stopProduct, testAudio, testVideo } from './bench/start-run.ts';
import { createLiveInput, deleteLiveInput } from './bench/stream-process.ts';
import { startWorld, until, type World } from './bench/world.ts';

const method = {
  fault:
    'SIGKILL to the local Stream; its RTMP door (a TCP proxy) stops listening and resets all connections in the same moment; after 3 s the process is started again with its data, and after 4 s, or when it is ready, the door listens',
  pictureMs: 'from the door listening to the last byte of the first key frame through it',
  framesLost:
    'barcode numbers between the first and the last decoded picture that passed the door neither before nor after; what passed in the last 100 ms before the kill counts as not arrived, unless the ingest had acknowledged it',
  framesNotTaken: 'frames that the camera dropped because the encoder did not take them in time: counted apart',
  plain:
    'ffmpeg with frames on stdin and a tone, -f flv; it exits on the loss and is started again after 500 ms, and so on',
  order: 'interleaved: product, plain ffmpeg, and again',
};

async function productOutage(bench: Bench, world: World): Promise<OutageResult> {
  const arrivals = recordArrivals(bench, world);
  const askedMs = world.app.request({ video: testVideo, audio: testAudio });
  await world.app.status(['active'], askedMs);
  const result = await killIngest(bench, world, {
    arrivals,
    beforeMs: bench.seconds * 1000,
    notTaken: async () => (await world.agent.cameraStats()).dropped,
  });
  await stopProduct(bench, world);
  return result;
}

async function plainOutage(bench: Bench, world: World): Promise<OutageResult> {
  const input = await createLiveInput(world.stream);
  const args = plainBarcode('fast', {
    publishUrl: world.publishUrl(input.publishKey.reveal()),
    videoBitrateBps: testVideo.bitrate,
    audioBitrateBps: testAudio.bitrate,
  });
  const arrivals = recordArrivals(bench, world);
  const plain = superviseFfmpeg(bench, { args });
  try {
    await until(bench, 'plain ffmpeg sent nothing', () => arrivals.all.length > 0);
    return await killIngest(bench, world, {
      arrivals,
      beforeMs: bench.seconds * 1000,
      notTaken: async () => plain.cameraStats().dropped,
    });
  } finally {
    await plain.close();
    await deleteLiveInput(world.stream, input.uid);
  }
}

async function measure(bench: Bench): Promise<BenchReport> {
  const world = await startWorld(bench, 'barcode');
  const product: OutageResult[] = [];
  const plain: OutageResult[] = [];
  for (let run = 1; run <= bench.runs; run += 1) {
    for (const [name, results, outage] of [
      ['product', product, productOutage],
      ['plain ffmpeg', plain, plainOutage],
    ] as const) {
      const result = await outage(bench, world);
      results.push(result);
      const picture =
        result.pictureMs === undefined ? 'no picture' : `picture after ${Math.round(result.pictureMs)} ms`;
      bench.progress(`run ${run} of ${bench.runs}, ${name}: ${picture}, ${result.framesLost} frames lost`);
    }
  }
  const pictureOf = (results: OutageResult[]) => median(results.flatMap(({ pictureMs }) => pictureMs ?? []));
  const worstOf = (results: OutageResult[]) => Math.max(...results.map(({ framesLost }) => framesLost));
  const frames = goal('frames lost, worst run', worstOf(product), 0, 'frames');
  const picture = goal('picture after the ingest listens, median', pictureOf(product), 150);
  const peerName = 'plain ffmpeg under a supervisor';
  return {
    goals: [frames, picture],
    headline: [
      headline(frames, { peer: worstOf(plain), peerName }),
      headline(picture, { peer: pictureOf(plain), peerName }),
    ],
    product: summaries(product.map(numbersOf)),
    plain: summaries(plain.map(numbersOf)),
    productDetail: product.map(({ detail }) => detail),
    method,
  };
}

function numbersOf({ detail: _, ...numbers }: OutageResult): Record<string, number | undefined> {
  return numbers;
}

await runBench({
  name: 'bench:recovery',
  about: 'The ingest is killed under a running stream and listens again after 4 s: what is lost, how soon it is back.',
  defaultRuns: 3,
  defaultSeconds: 5,
  measure,
});
