/**
 * `npm run bench:latency`: glass to glass by a barcode of the wall clock in every picture, with sound, each way to watch in
 * turn: WHEP, WS-FLV, LL-HLS and HLS in Chromium and RTMP play here; HLS and RTMP play from nginx-rtmp, which the same agent
 * publishes to; and the naive ffmpeg command into our ingest. Measures; changes nothing.
 */
import {
  type BrowserPlayer,
  chromiumHint,
  findChromium,
  openBrowserPlayer,
  type SourceName,
} from './bench/browser-play.ts';
import { type LoneWorld, type Publishing, startLoneWorld, startPlain, startProduct } from './bench/lone-world.ts';
import { type Goal, goal, type Headline, headline } from './bench/measuring.ts';
import { type NginxPeer, nginxHint, startNginxPeer } from './bench/nginx-peer.ts';
import { glanceInBrowser, latencyReport, type Watched, watchInBrowser, watchRtmp } from './bench/play-latency.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { until } from './bench/world.ts';

const method = {
  picture:
    '1280x720, 30 a second by the wall clock; 32 bit clock, 24 bit number and checksum drawn into each at its exposure; tone beside it',
  latency:
    'Date.now() at the reader minus the clock in the picture; one machine, one clock; the first 3 s are not counted',
  browser:
    "headless Chromium, one page at a time, cloud/player with one way allowed; read in requestVideoFrameCallback, before composition to a screen; HLS of nginx-rtmp by the same player's HLS",
  firstPicture: 'afterOpening: from the navigation to the page; afterPlay: from the call that starts the player',
  rtmp: 'ffmpeg -fflags nobuffer -flags low_delay plays, scales the strip to 32x2 gray, the bench reads it',
  product: 'agent with the barcode camera and a tone, 2 Mbit/s, a key frame each second, over loopback',
  nginx: 'libnginx-mod-rtmp of Debian, hls_fragment 1s, the same agent with the same settings publishes to it',
  plain:
    'ffmpeg with two live inputs (frames on stdin, -re sine), ultrafast zerolatency baseline, -f flv to our ingest',
  notTaken:
    'frames that the encoder left in the camera (its queue holds half a second): many say the machine was too busy to measure',
  order: 'interleaved, each round: here by all ways, nginx-rtmp, plain ffmpeg; all rounds pooled',
};

interface Way {
  name: string;
  source: SourceName;
  p50Ms: number;
  p95Ms?: number;
  firstPictureMs?: number;
}

const ways: readonly Way[] = [
  { name: 'WHEP', source: 'webrtcUrl', p50Ms: 50, p95Ms: 120, firstPictureMs: 500 },
  { name: 'WS-FLV', source: 'flvUrl', p50Ms: 400, firstPictureMs: 500 },
  { name: 'LL-HLS', source: 'llHlsUrl', p50Ms: 1200 },
  { name: 'HLS', source: 'hlsUrl', p50Ms: 2500 },
];
/** Of each way in each round, beside the long watch: for the first picture alone. */
const GLANCES = 3;
/** So that nobody joins a stream that has only begun. */
const SETTLE_MS = 4_000;

type Series = Record<string, Watched[]>;

interface Parts {
  bench: Bench;
  world: LoneWorld;
  player: BrowserPlayer | undefined;
  nginx: NginxPeer | undefined;
}

async function measure(bench: Bench): Promise<BenchReport> {
  const chromium = findChromium();
  if (!chromium) bench.progress(`${chromiumHint}. All but RTMP play is left out.`);
  const player = chromium ? await openBrowserPlayer(bench.clock, chromium) : undefined;
  if (player) bench.defer(player.close);
  const nginx = await startNginxPeer(bench, { withHls: true });
  if (!nginx) bench.progress(`${nginxHint}. The peer is left out.`);
  const parts: Parts = { bench, nginx, player, world: await startLoneWorld(bench) };
  const [here, peer, plain]: [Series, Series, Series] = [{}, {}, {}];
  for (let run = 1; run <= bench.runs; run += 1) {
    bench.progress(`round ${run} of ${bench.runs}`);
    await watchHere(parts, here);
    await watchNginx(parts, peer);
    await watchPlain(parts, plain);
  }
  return {
    goals: player ? goalsOf(here) : [goal('RTMP play, p50', latencyReport(here.RTMP ?? []).p50, 70)],
    headline: headlineOf(here, peer, plain),
    here: reportOf(here),
    nginxRtmp: nginx ? reportOf(peer) : { skipped: nginxHint },
    plain: reportOf(plain),
    ...(player ? {} : { browser: { skipped: chromiumHint } }),
    method,
  };
}

async function watchHere({ bench, world, player }: Parts, series: Series): Promise<void> {
  const product = await startProduct(bench, world, { settings: { preferLowLatency: true } });
  await hasPicture(bench, product.input.hlsUrl);
  await note(bench, series, 'RTMP', product, () => watchRtmp(bench, product.playUrl));
  for (const { name, source } of player ? ways : []) {
    const watching = { player: player as BrowserPlayer, source, url: product.input[source] };
    await note(bench, series, name, product, () => watchInBrowser(bench, watching));
    for (let glance = 0; glance < GLANCES; glance += 1) series[name]?.push(await glanceInBrowser(watching));
  }
  await product.stop();
}

async function watchNginx({ bench, world, player, nginx }: Parts, series: Series): Promise<void> {
  if (!nginx) return;
  const name = crypto.randomUUID();
  const product = await startProduct(bench, world, { elsewhere: nginx.rtmpUrl(name) });
  await hasPicture(bench, nginx.hlsUrl(name));
  await note(bench, series, 'nginx-rtmp RTMP', product, () => watchRtmp(bench, product.playUrl));
  if (player) {
    const watching = { player, source: 'hlsUrl', url: nginx.hlsUrl(name) } as const;
    await note(bench, series, 'nginx-rtmp HLS', product, () => watchInBrowser(bench, watching));
    for (let glance = 0; glance < GLANCES; glance += 1) series['nginx-rtmp HLS']?.push(await glanceInBrowser(watching));
  }
  await product.stop();
}

async function watchPlain({ bench, world }: Parts, series: Series): Promise<void> {
  const plain = await startPlain(bench, world);
  await note(bench, series, 'plain ffmpeg RTMP', plain, () => watchRtmp(bench, plain.playUrl));
  await plain.stop();
}

async function hasPicture(bench: Bench, hlsUrl: string): Promise<void> {
  await until(bench, 'nothing was published', async () => {
    const answer = await fetch(hlsUrl).catch(() => undefined);
    await answer?.body?.cancel();
    return answer?.status === 200;
  });
  await bench.clock.sleep(SETTLE_MS, { signal: bench.signal });
}

async function note(
  bench: Bench,
  series: Series,
  name: string,
  { cameraStats }: Publishing,
  watch: () => Promise<Watched>,
): Promise<void> {
  const before = (await cameraStats()).dropped.length;
  const watched = await watch();
  const notTaken = (await cameraStats()).dropped.length - before;
  const noted = { ...watched, notTaken };
  series[name] = [...(series[name] ?? []), noted];
  const { p50, p95, n, firstPicture } = latencyReport([noted]);
  const first = firstPicture ? `, first picture ${firstPicture.afterOpening?.p50} ms` : '';
  bench.progress(
    `${name}: p50 ${p50} ms, p95 ${p95} ms of ${n} pictures${first}, ${notTaken} not taken from the camera`,
  );
}

function reportOf(series: Series): Record<string, unknown> {
  return Object.fromEntries(Object.entries(series).map(([name, rounds]) => [name, latencyReport(rounds)]));
}

function headlineOf(here: Series, peer: Series, plain: Series): Headline[] {
  const p50 = (series: Series, name: string) => (series[name] ? latencyReport(series[name]).p50 : undefined);
  const of = (name: string, atMost: number) => goal(`glass to glass by ${name}, p50`, p50(here, name), atMost);
  const browser = here.WHEP
    ? [
        headline(of('WHEP', 50), {
          peer: p50(plain, 'plain ffmpeg RTMP'),
          peerName: 'plain ffmpeg into our ingest, RTMP play',
        }),
        headline(of('HLS', 2500), { peer: p50(peer, 'nginx-rtmp HLS'), peerName: 'nginx-rtmp, HLS' }),
      ]
    : [];
  return [...browser, headline(of('RTMP', 70), { peer: p50(peer, 'nginx-rtmp RTMP'), peerName: 'nginx-rtmp, RTMP' })];
}

function goalsOf(here: Series): Goal[] {
  const rtmp = goal('RTMP play, p50', latencyReport(here.RTMP ?? []).p50, 70);
  const browser = ways.flatMap(({ name, p50Ms, p95Ms, firstPictureMs }) => {
    const { p50, p95, firstPicture } = latencyReport(here[name] ?? []);
    return [
      goal(`${name}, p50`, p50, p50Ms),
      ...(p95Ms === undefined ? [] : [goal(`${name}, p95`, p95, p95Ms)]),
      ...(firstPictureMs === undefined
        ? []
        : [
            goal(`${name}, first picture after opening the page, p50`, firstPicture?.afterOpening?.p50, firstPictureMs),
          ]),
    ];
  });
  return [...browser, rtmp];
}

await runBench({
  name: 'bench:latency',
  about:
    'Glass to glass by a barcode in the picture: WHEP, WS-FLV, LL-HLS, HLS and RTMP, beside nginx-rtmp and plain ffmpeg.',
  defaultRuns: 3,
  defaultSeconds: 10,
  measure,
});
