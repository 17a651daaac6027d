/**
 * One start from request to proven picture, seen from outside, and its clean end; and the same for plain ffmpeg.
 * Owns the moments of a run; knows nothing of goals.
 */
import type { Clock } from '../../shared/clock.ts';
import { type FlvTag, isKeyFrame } from '../../shared/rtmp/flv.ts';
import type { ApiCall } from './api-tap.ts';
import { type PlainEncoding, plainTestPattern } from './plain-ffmpeg.ts';
import type { Bench } from './program.ts';
import { createLiveInput, deleteLiveInput } from './stream-process.ts';
import { until, type World, type WorldListeners } from './world.ts';

/** Milliseconds since the request (of the product) or the spawn (of ffmpeg). */
export interface StartMoments extends Record<string, number | undefined> {
  /** The START stands in the agent's socket. */
  startMs?: number;
  /** Of that, waiting for the provider's create call. */
  providerMs?: number;
  /** `startMs` without `providerMs`. */
  startWithoutProviderMs?: number;
  /** TCP connection at the ingest. */
  connectedMs?: number;
  firstByteMs?: number;
  firstMediaMs?: number;
  firstKeyFrameMs?: number;
  /** The device says that it is streaming. */
  deviceStreamingMs?: number;
  /** `active` at the app. */
  activeMs?: number;
}

export const testVideo = { width: 1280, height: 720, frameRate: 30, bitrate: 2_000_000 } as const;
export const testAudio = { bitrate: 64_000, sampleRate: 48_000 } as const;

/** Notes the first of each moment at the ingest. */
function watchIngest(clock: Clock, zeroMs: number, moments: StartMoments): WorldListeners {
  const since = () => clock.monotonicMs() - zeroMs;
  return {
    onConnected() {
      moments.connectedMs ??= since();
    },
    onFirstByte() {
      moments.firstByteMs ??= since();
    },
    onTag(tag: FlvTag) {
      if (tag.kind !== 'script') moments.firstMediaMs ??= since();
      if (isKeyFrame(tag)) moments.firstKeyFrameMs ??= since();
    },
  };
}

export async function productStart(bench: Bench, world: World): Promise<StartMoments> {
  const { clock } = bench;
  const moments: StartMoments = {};
  const calls: ApiCall[] = [];
  await world.app.clearOfTimers(2_500);
  const zeroMs = world.app.request({ video: testVideo, audio: testAudio });
  Object.assign(world.listeners, watchIngest(clock, zeroMs, moments), {
    onApiCall: (call: ApiCall) => void calls.push(call),
    onStart: () => {
      moments.startMs ??= clock.monotonicMs() - zeroMs;
    },
    onDeviceStatus: (status: string) => {
      if (status === 'streaming') moments.deviceStreamingMs ??= clock.monotonicMs() - zeroMs;
    },
  });
  const active = await world.app.status(['active'], zeroMs);
  moments.activeMs = active.atMs - zeroMs;
  const create = calls.find(({ method, path }) => method === 'POST' && path.endsWith('/live_inputs'));
  if (create && moments.startMs !== undefined) {
    moments.providerMs = create.answeredMs - create.askedMs;
    moments.startWithoutProviderMs = moments.startMs - moments.providerMs;
  }
  await stopProduct(bench, world);
  return moments;
}

/** Ends the app's stream and waits until the relay has nothing left of it. */
export async function stopProduct(bench: Bench, world: World): Promise<void> {
  const askedMs = bench.clock.monotonicMs();
  world.app.stop();
  await world.app.status(['stopped'], askedMs);
  await until(bench, 'the stream did not end', async () => (await world.relay.streams()).length === 0);
}

export async function plainStart(
  bench: Bench,
  world: Pick<World, 'stream' | 'listeners' | 'publishUrl'>,
  encoding: PlainEncoding,
): Promise<StartMoments> {
  const moments: StartMoments = {};
  const input = await createLiveInput(world.stream);
  const args = plainTestPattern(encoding, {
    publishUrl: world.publishUrl(input.publishKey.reveal()),
    videoBitrateBps: testVideo.bitrate,
    audioBitrateBps: testAudio.bitrate,
  });
  const zeroMs = bench.clock.monotonicMs();
  Object.assign(world.listeners, watchIngest(bench.clock, zeroMs, moments));
  const child = bench.spawn({ name: 'plain-ffmpeg', file: bench.ffmpeg.file, args, onStderrLine: bench.note });
  await until(bench, 'plain ffmpeg sent no key frame', () => moments.firstKeyFrameMs !== undefined);
  await child.stop();
  await deleteLiveInput(world.stream, input.uid);
  return moments;
}
