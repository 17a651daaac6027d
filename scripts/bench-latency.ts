/**
 * `npm run bench:latency`: glass to glass by a barcode of the wall clock in every picture, with sound: played by RTMP and,
 * through HLS, in Chromium; beside it the naive ffmpeg command into the same ingest. Measures; changes nothing.
 */
import { chromiumHint, findChromium, type HlsPlayer, openHlsPlayer } from './bench/hls-play.ts';
import { goal, median } from './bench/measuring.ts';
import { latencyReport, type Watched, watchHls, watchRtmp, withPlainPush } from './bench/play-latency.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { stopProduct, testAudio, testVideo } from './bench/start-run.ts';
import { liveInputOf } from './bench/stream-process.ts';
import { startWorld } from './bench/world.ts';

const method = {
  picture:
    '1280x720, 30 a second by the wall clock; 32 bit clock, 24 bit number and checksum drawn into each at its exposure',
  latency:
    'Date.now() at the reader minus the clock in the picture; one machine, one clock; the first 3 s are not counted',
  rtmp: 'ffmpeg -fflags nobuffer -flags low_delay plays from the ingest, scales the strip to 32x2 gray, the bench reads it',
  hls: 'headless Chromium, hls.js set as in the console; read in requestVideoFrameCallback, before composition to a screen',
  product:
    'agent with the barcode camera and a tone; encoder pipe, own RTMP client; all through the TCP proxy at the ingest',
  plain:
    'ffmpeg with two live inputs (frames on stdin, -re sine), ultrafast zerolatency baseline, -f flv to the same ingest',
  notTaken:
    'frames that the encoder left in the camera (its queue holds half a second): many say the machine was too busy to measure',
  order: 'interleaved, each round: product RTMP, product HLS, plain RTMP, plain HLS; all rounds pooled',
};

interface Source {
  playUrl: string;
  hlsUrl: string;
  /** Frames so far that the encoder did not take. */
  notTaken: () => Promise<number>;
}

interface Rounds {
  rtmp: Watched[];
  hls: Watched[];
}

async function measure(bench: Bench): Promise<BenchReport> {
  const chromium = findChromium();
  if (!chromium) bench.progress(`${chromiumHint}. HLS is left out.`);
  const player = chromium ? await openHlsPlayer(bench.clock, chromium) : undefined;
  if (player) bench.defer(player.close);
  const world = await startWorld(bench, 'barcode');
  const product: Rounds = { rtmp: [], hls: [] };
  const plain: Rounds = { rtmp: [], hls: [] };

  async function round(rounds: Rounds, name: string, source: Source): Promise<void> {
    const { playUrl, hlsUrl, notTaken } = source;
    rounds.rtmp.push(await counting(notTaken, () => watchRtmp(bench, playUrl)));
    tell(bench, `${name} RTMP`, rounds.rtmp.at(-1));
    if (!player) return;
    rounds.hls.push(await counting(notTaken, () => watchHls(bench, player, hlsUrl)));
    tell(bench, `${name} HLS`, rounds.hls.at(-1));
  }
  for (let run = 1; run <= bench.runs; run += 1) {
    bench.progress(`round ${run} of ${bench.runs}`);
    const askedMs = world.app.request({ video: testVideo, audio: testAudio });
    const { hlsUrl = '' } = await world.app.status(['active'], askedMs);
    const { playbackKey } = await liveInputOf(world.stream, hlsUrl);
    await round(product, 'product', {
      playUrl: world.playUrl(playbackKey.reveal()),
      hlsUrl,
      notTaken: async () => (await world.agent.cameraStats()).dropped.length,
    });
    await stopProduct(bench, world);
    await withPlainPush(bench, world, ({ playbackKey: key, hlsUrl: plainHlsUrl }, notTaken) => {
      const playUrl = world.playUrl(key.reveal());
      return round(plain, 'plain ffmpeg', { playUrl, hlsUrl: plainHlsUrl, notTaken: async () => notTaken() });
    });
  }
  const middle = (rounds: Watched[]) => median(rounds.flatMap(({ latenciesMs }) => latenciesMs));
  return {
    goals: [goal('RTMP play, glass to glass, p50 with sound', middle(product.rtmp), 70)],
    product: describe(product, player),
    plain: describe(plain, player),
    method,
  };
}

function describe({ rtmp, hls }: Rounds, player: HlsPlayer | undefined) {
  return { rtmp: latencyReport(rtmp), hls: player ? latencyReport(hls) : { skipped: chromiumHint } };
}

async function counting(notTaken: () => Promise<number>, watch: () => Promise<Watched>): Promise<Watched> {
  const before = await notTaken();
  const watched = await watch();
  return { ...watched, notTaken: (await notTaken()) - before };
}

function tell(bench: Bench, what: string, watched: Watched | undefined): void {
  const { p50, p95, n, notTaken } = latencyReport(watched ? [watched] : []);
  bench.progress(`${what}: p50 ${p50} ms, p95 ${p95} ms of ${n} pictures, ${notTaken} not taken from the camera`);
}

await runBench({
  name: 'bench:latency',
  about: 'Glass to glass by a barcode in the picture: RTMP play, and HLS in Chromium, beside the naive ffmpeg command.',
  defaultRuns: 3,
  defaultSeconds: 10,
  measure,
});
