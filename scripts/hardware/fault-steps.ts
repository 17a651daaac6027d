/** What all faults do: a stream that runs, some time of watching, and a promise that was not kept as one sentence. */
import { GlasscastError } from '../../shared/errors.ts';
import type { Bench } from '../bench/program.ts';
import { type BoardWorld, OVER, type StreamWish } from './board-world.ts';
import { type PassedStretch, passedStretch } from './passed-media.ts';

/** @throws GlasscastError INTERNAL unless it is so */
export function expectThat(isSo: boolean, promise: string): void {
  if (!isSo) throw new GlasscastError('INTERNAL', { reason: `promised: ${promise}` });
}

/** A new one. Resolves when viewers can see it. */
export async function liveStream(world: BoardWorld, wish: StreamWish): Promise<string> {
  await world.awaitNoStream();
  const streamId = await world.start(wish);
  await world.awaitState(streamId, ['active']);
  return streamId;
}

export async function stopped(world: BoardWorld, streamId: string): Promise<void> {
  await world.stop();
  await world.awaitState(streamId, OVER);
}

/** What passes from now on for so long. */
export async function watched({ clock, signal }: Bench, world: BoardWorld, ms: number): Promise<PassedStretch> {
  const fromMs = clock.monotonicMs();
  await clock.sleep(ms, { signal });
  return passedStretch(world.tags, fromMs, clock.monotonicMs());
}

/** @throws GlasscastError START_TIMEOUT: it did not become so */
export async function until(
  { clock, signal }: Bench,
  isSo: () => boolean,
  otherwise: string,
  timeoutMs: number,
): Promise<number> {
  const fromMs = clock.monotonicMs();
  while (!isSo()) {
    if (clock.monotonicMs() - fromMs > timeoutMs) throw new GlasscastError('START_TIMEOUT', { reason: otherwise });
    await clock.sleep(50, { signal });
  }
  return clock.monotonicMs() - fromMs;
}

/** How long until the next picture passes. */
export function untilPicture(bench: Bench, world: BoardWorld, timeoutMs: number): Promise<number> {
  const before = world.tags.length;
  const isThere = () => world.tags.slice(before).some(({ kind }) => kind === 'video');
  return until(bench, isThere, 'no picture came', timeoutMs);
}

/** Decoded as a viewer does. @throws GlasscastError INTERNAL: no H.264 and AAC, or with complaints */
export async function expectPlayable(world: BoardWorld, streamId: string, seconds: number): Promise<string> {
  const { videoCodec, audioCodec, frames, differentFrames, complaints, widthPx, heightPx } = await world.play(
    streamId,
    seconds,
  );
  expectThat(videoCodec === 'h264' && audioCodec === 'aac', `H.264 and AAC; there was ${videoCodec} and ${audioCodec}`);
  expectThat(complaints.length === 0, `decoded without a complaint; there was: ${complaints[0]}`);
  expectThat(differentFrames > 1, `a moving picture; ${differentFrames} of ${frames} frames differ`);
  return `${frames} frames of ${widthPx}x${heightPx} decoded`;
}

export const inSeconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
