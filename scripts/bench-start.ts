/**
 * `npm run bench:start`: from an app's request to a picture that is proven playable, step by step, and beside it plain
 * ffmpeg pushing to the same ingest. Measures; changes nothing in the product.
 */
import { goal, headline, median, rounded, summaries } from './bench/measuring.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { plainStart, productStart, type StartMoments } from './bench/start-run.ts';
import { startWorld } from './bench/world.ts';

const method = {
  clock: 'performance.now() of the bench process; every moment is seen there, by proxies on the sockets',
  zero: 'product: managed_stream_request given to the /app-ws socket; plain ffmpeg: its spawn',
  startMs: 'START given to the socket of the agent (WebSocket proxy between agent and relay)',
  providerMs:
    "the relay's create call: first byte asked to last byte answered (TCP proxy before the local Stream's API)",
  startWithoutProviderMs: 'startMs - providerMs',
  connectedMs: 'TCP connection accepted at the ingest (TCP proxy at its door, the same one for all)',
  firstByteMs: "the publisher's first byte there (RTMP handshake)",
  firstMediaMs: 'last byte of the first audio or video message there',
  firstKeyFrameMs: 'last byte of the first key frame there, sequence headers not counted',
  deviceStreamingMs: 'the device says `streaming`',
  activeMs: '`active` at the app: the relay has seen the newest HLS segment advance, and DASH',
  plainDefault:
    'ffmpeg -re testsrc2 + sine, libx264 and aac with their defaults at the same size and bit rate, -f flv rtmp://',
  plainFast: 'the same with -preset ultrafast -tune zerolatency -profile baseline -g 30',
  order: 'interleaved: product, plainDefault, plainFast, and again; one warm-up round of each is not counted',
};

async function measure(bench: Bench): Promise<BenchReport> {
  const world = await startWorld(bench, 'tsx');
  const product: StartMoments[] = [];
  const plainDefault: StartMoments[] = [];
  const plainFast: StartMoments[] = [];
  for (let run = 0; run <= bench.runs; run += 1) {
    const started = await productStart(bench, world);
    const byDefault = await plainStart(bench, world, 'default');
    const fast = await plainStart(bench, world, 'fast');
    const [keyFrame, active] = [started.firstKeyFrameMs, started.activeMs].map((ms) => Math.round(ms ?? Number.NaN));
    const peers = [byDefault, fast].map(({ firstKeyFrameMs }) => Math.round(firstKeyFrameMs ?? Number.NaN));
    const name = run === 0 ? 'warm-up' : `run ${run} of ${bench.runs}`;
    bench.progress(`${name}: key frame ${keyFrame} ms, active ${active} ms; plain ffmpeg ${peers.join(' and ')} ms`);
    if (run === 0) continue;
    product.push(started);
    plainDefault.push(byDefault);
    plainFast.push(fast);
  }
  const middle = (runs: StartMoments[], name: string) =>
    median(runs.flatMap((moments) => (moments[name] === undefined ? [] : [moments[name]])));
  const peerKeyFrameMs = middle(plainDefault, 'firstKeyFrameMs');
  const keyFrame = goal('request to first key frame', middle(product, 'firstKeyFrameMs'), peerKeyFrameMs);
  const active = goal('request to active', middle(product, 'activeMs'), 2000);
  return {
    goals: [
      goal('request to START, provider call excluded', middle(product, 'startWithoutProviderMs'), 10),
      goal('request to START, provider call included', middle(product, 'startMs'), 40),
      { ...keyFrame, name: `${keyFrame.name}, against plain ffmpeg` },
      active,
    ],
    headline: [
      headline(keyFrame, { peer: peerKeyFrameMs, peerName: 'plain ffmpeg, from its spawn' }),
      headline(active, { peer: undefined, peerName: 'plain ffmpeg proves nothing' }),
    ],
    product: summaries(product),
    plainDefault: summaries(plainDefault),
    plainFast: summaries(plainFast),
    raw: {
      product: product.map(roundedMoments),
      plainDefault: plainDefault.map(roundedMoments),
      plainFast: plainFast.map(roundedMoments),
    },
    method,
  };
}

function roundedMoments(moments: StartMoments): StartMoments {
  return Object.fromEntries(Object.entries(moments).map(([name, ms]) => [name, ms === undefined ? ms : rounded(ms)]));
}

await runBench({
  name: 'bench:start',
  about: 'From request to live picture, step by step, beside plain ffmpeg at the same ingest.',
  defaultRuns: 10,
  defaultSeconds: 1,
  measure,
});
