/** Camera and microphone taken away from their drivers and given back, as a loose contact does. */
import type { Bench } from '../bench/program.ts';
import type { BoardWorld, StreamWish } from './board-world.ts';
import { expectPlayable, expectThat, inSeconds, liveStream, stopped, untilPicture, watched } from './fault-steps.ts';

const AWAY_MS = 6_000;
const BACK_TIMEOUT_MS = 40_000;

const unbind = (driver: string, device: string) => `echo ${device} > /sys/bus/platform/drivers/${driver}/unbind`;
const bind = (driver: string, device: string) => `echo ${device} > /sys/bus/platform/drivers/${driver}/bind`;

/** Promised: sound goes on, the same stream has pictures again by itself, nobody has to start anything. */
export async function cameraTaken(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { shell } = world.board;
  const streamId = await liveStream(world, wish);
  await shell.must(`${unbind('vivid', 'vivid.0')} && test ! -e /sys/class/video4linux/video0`);
  // What was on its way comes first: an emulated encoder is seconds behind.
  await bench.clock.sleep(AWAY_MS, { signal: bench.signal });
  const { pictures, sounds } = await watched(bench, world, AWAY_MS);
  expectThat(pictures === 0, `no pictures of a camera that is away; there were ${pictures}`);
  await shell.must(bind('vivid', 'vivid.0'));
  const backMs = await untilPicture(bench, world, BACK_TIMEOUT_MS);
  await world.awaitState(streamId, ['active']);
  const played = await expectPlayable(world, streamId, 4);
  expectThat(sounds > 0, 'sound goes on without a camera');
  await stopped(world, streamId);
  return `away: ${pictures} pictures, ${sounds} sounds in ${inSeconds(AWAY_MS)}; picture ${inSeconds(backMs)} after it was bound; ${played}`;
}

/** Promised: pictures go on with silence, the relay hears that it is lost and that it is back. */
export async function microphoneTaken(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { shell } = world.board;
  const streamId = await liveStream(world, wish);
  const sinceMs = bench.clock.now();
  await shell.must(unbind('snd_aloop', 'snd_aloop.0'));
  await world.awaitLine(streamId, 'MICROPHONE_LOST', sinceMs);
  const { pictures, sounds } = await watched(bench, world, AWAY_MS);
  const boundMs = bench.clock.monotonicMs();
  await shell.must(bind('snd_aloop', 'snd_aloop.0'));
  await world.awaitLine(streamId, 'MICROPHONE_BACK', sinceMs, BACK_TIMEOUT_MS);
  const backMs = bench.clock.monotonicMs() - boundMs;
  expectThat(pictures > 0 && sounds > 0, 'pictures go on with silence');
  const played = await expectPlayable(world, streamId, 4);
  await stopped(world, streamId);
  return `away: ${pictures} pictures and ${sounds} sounds of silence; back ${inSeconds(backMs)} after it was bound; ${played}`;
}
