/** Network, clock, disk and power: what happens to the board as a whole. */
import type { Bench } from '../bench/program.ts';
import { type BoardWorld, OVER, type StreamWish } from './board-world.ts';
import { expectPlayable, expectThat, inSeconds, liveStream, stopped, untilPicture, watched } from './fault-steps.ts';
import { passedStretch } from './passed-media.ts';

const DOWN_MS = 5_000;
const BACK_TIMEOUT_MS = 60_000;

/** Promised: the same stream goes on, and what was missed is sent (up to 10 s of it). */
export async function networkDown(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { clock } = bench;
  const streamId = await liveStream(world, wish);
  const fromMs = clock.monotonicMs();
  await world.board.setLink(false);
  await clock.sleep(DOWN_MS, { signal: bench.signal });
  await world.board.setLink(true);
  const backMs = await untilPicture(bench, world, BACK_TIMEOUT_MS);
  const { longestSilenceMs } = await watched(bench, world, 5_000);
  await world.awaitState(streamId, ['active']);
  const { largestStepMs, backwards } = passedStretch(world.tags, fromMs, clock.monotonicMs());
  expectThat(backwards === 0, 'no time stamp goes back');
  const played = await expectPlayable(world, streamId, 4);
  await world.awaitAgent();
  await stopped(world, streamId);
  return `down for ${inSeconds(DOWN_MS)}: picture ${inSeconds(backMs)} after the cable was back, largest step in the media ${largestStepMs} ms, then never ${longestSilenceMs} ms without a picture; ${played}`;
}

/** Promised: no gap, no time stamp that goes back or below zero. */
export async function clockSetBack(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const streamId = await liveStream(world, wish);
  const fromMs = bench.clock.monotonicMs();
  await world.board.shell.must("date -s '-1 hour'");
  await watched(bench, world, 6_000);
  await world.board.shell.must("date -s '+1 hour'");
  await watched(bench, world, 6_000);
  const { backwards, longestSilenceMs, largestStepMs, pictures } = passedStretch(
    world.tags,
    fromMs,
    bench.clock.monotonicMs(),
  );
  const seen = `${pictures} pictures, largest step ${largestStepMs} ms, longest silence ${longestSilenceMs} ms, ${backwards} time stamps went back`;
  expectThat(backwards === 0, `no time stamp goes back; ${seen}`);
  expectThat(largestStepMs < GAP_MS, `no gap; ${seen}`);
  await expectPlayable(world, streamId, 4);
  await stopped(world, streamId);
  return `an hour back and an hour forward: ${seen}`;
}

/** Runs that stamp by the old clock give way; on an emulated processor another one takes seconds to start. */
const GAP_MS = 3_000;

/** Promised: the stream goes on; an agent that is started on a full disk is enrolled and streams. */
export async function diskFull(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { shell } = world.board;
  const streamId = await liveStream(world, wish);
  await shell.run(
    'dd if=/dev/zero of=/var/filler bs=1M 2>/dev/null; dd if=/dev/zero of=/var/filler2 bs=4k; sync',
    120_000,
  );
  const free = await shell.must('df --output=avail -B1 /var | tail -1');
  const { pictures } = await watched(bench, world, 6_000);
  expectThat(pictures > 0, 'the stream goes on while the disk is full');
  await stopped(world, streamId);
  await shell.must('systemctl restart glasscast-agent', 60_000);
  await world.awaitAgent();
  const again = await liveStream(world, wish);
  const played = await expectPlayable(world, again, 4);
  await stopped(world, again);
  await shell.must('rm -f /var/filler /var/filler2');
  return `${free.trim()} bytes free: ${pictures} pictures passed; started again there, it was enrolled and streamed: ${played}`;
}

/** Promised: it comes back by itself, and streams: the stream of before if its time has not run out, else the next one. */
export async function powerCut(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { clock } = bench;
  const streamId = await liveStream(world, wish);
  await world.board.powerCut();
  const fromMs = clock.monotonicMs();
  await world.boot();
  const bootMs = clock.monotonicMs() - fromMs;
  await world.awaitAgent();
  const thereMs = clock.monotonicMs() - fromMs;
  const before = await world.awaitState(streamId, ['active', ...OVER], 90_000);
  const id = before.state === 'active' ? streamId : await liveStream(world, wish);
  const played = await expectPlayable(world, id, 4);
  const pictureMs = clock.monotonicMs() - fromMs;
  await stopped(world, id);
  const which =
    id === streamId
      ? 'the same stream goes on'
      : `the stream had ended (${before.message ?? before.state}), the next one runs`;
  return `shell after ${inSeconds(bootMs)}, agent after ${inSeconds(thereMs)}, picture decoded after ${inSeconds(pictureMs)}: ${which}; ${played}`;
}
