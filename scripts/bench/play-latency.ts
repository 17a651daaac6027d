/**
 * Glass to glass for one source: plays it by RTMP or in Chromium for a while and gives the latency of each picture.
 * Owns warm-up and the peer's push; knows nothing of goals.
 */
import { isKeyFrame } from '../../shared/rtmp/flv.ts';
import { createFrameSource } from './frame-source.ts';
import type { HlsPlayer } from './hls-play.ts';
import { type Summary, summary } from './measuring.ts';
import { plainBarcode } from './plain-ffmpeg.ts';
import type { Bench } from './program.ts';
import { playRtmp } from './rtmp-play.ts';
import { testAudio, testVideo } from './start-run.ts';
import { createLiveInput, deleteLiveInput, type LiveInput } from './stream-process.ts';
import { until, type World } from './world.ts';

export interface Watched {
  /** Of each picture after the warm-up. */
  latenciesMs: number[];
  unreadable: number;
  /** Frames that the encoder did not take from the camera meanwhile: many say that the machine was too busy to measure. */
  notTaken?: number;
  /** HLS only. */
  stalls?: number;
  firstPictureMs?: number | undefined;
}

/** A joining player first works off what the ingest and itself have buffered: not what a viewer sees for long. */
const WARM_UP_MS = 3_000;

export async function watchRtmp(bench: Bench, url: string): Promise<Watched> {
  const { clock, spawn, ffmpeg, signal } = bench;
  const latenciesMs: number[] = [];
  let unreadable = 0;
  let firstMs: number | undefined;
  const player = playRtmp({
    ...{ clock, spawn, ffmpeg, url },
    onFrame({ latencyMs, atMs }) {
      firstMs ??= atMs;
      if (atMs - firstMs >= WARM_UP_MS) latenciesMs.push(latencyMs);
    },
    onUnreadable() {
      unreadable += 1;
    },
  });
  await until(bench, 'the RTMP player shows nothing', () => firstMs !== undefined);
  await clock.sleep(WARM_UP_MS + bench.seconds * 1000, { signal });
  await player.stop();
  return { latenciesMs, unreadable };
}

export async function watchHls(bench: Bench, player: HlsPlayer, hlsUrl: string): Promise<Watched> {
  const { frames, unreadable, stalls, firstPictureMs, failure } = await player.watch(
    hlsUrl,
    WARM_UP_MS + bench.seconds * 1000,
  );
  if (failure) bench.progress(`hls.js: ${failure}`);
  const firstMs = frames[0]?.atMs ?? 0;
  const counted = frames.filter(({ atMs }) => atMs - firstMs >= WARM_UP_MS);
  return { latenciesMs: counted.map(({ latencyMs }) => latencyMs), unreadable, stalls, firstPictureMs };
}

/** The naive command pushes barcode frames to a live input of its own while `watch` looks. */
export async function withPlainPush<T>(
  bench: Bench,
  world: Pick<World, 'stream' | 'listeners' | 'publishUrl'>,
  watch: (input: LiveInput, notTaken: () => number) => Promise<T>,
): Promise<T> {
  const input = await createLiveInput(world.stream);
  const camera = createFrameSource({ clock: bench.clock });
  let hasPicture = false;
  Object.assign(world.listeners, {
    onTag: (tag: Parameters<typeof isKeyFrame>[0]) => {
      hasPicture ||= isKeyFrame(tag);
    },
  });
  const args = plainBarcode('fast', {
    publishUrl: world.publishUrl(input.publishKey.reveal()),
    videoBitrateBps: testVideo.bitrate,
    audioBitrateBps: testAudio.bitrate,
  });
  const child = bench.spawn({
    name: 'plain-ffmpeg',
    file: bench.ffmpeg.file,
    args,
    stdin: 'pipe',
    onStderrLine: bench.note,
  });
  try {
    if (child.stdin) camera.attach(child.stdin);
    camera.start();
    await until(bench, 'plain ffmpeg sent no picture', () => hasPicture);
    return await watch(input, () => camera.stats().dropped.length);
  } finally {
    camera.close();
    await child.stop();
    await deleteLiveInput(world.stream, input.uid);
  }
}

export interface LatencyReport extends Partial<Summary> {
  unreadable: number;
  notTaken: number;
  stalls?: number;
  firstPictureMs?: Summary | undefined;
}

/** All rounds together. */
export function latencyReport(rounds: readonly Watched[]): LatencyReport {
  const firsts = rounds.flatMap(({ firstPictureMs }) => (firstPictureMs === undefined ? [] : [firstPictureMs]));
  const stalls = rounds.reduce((sum, round) => sum + (round.stalls ?? 0), 0);
  return {
    ...summary(rounds.flatMap(({ latenciesMs }) => latenciesMs)),
    unreadable: rounds.reduce((sum, { unreadable }) => sum + unreadable, 0),
    notTaken: rounds.reduce((sum, { notTaken = 0 }) => sum + notTaken, 0),
    ...(firsts.length > 0 ? { firstPictureMs: summary(firsts), stalls } : {}),
  };
}
