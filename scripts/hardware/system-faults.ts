/** Network, clock, disk and power: what happens to the board as a whole. */
import type { Bench } from '../bench/program.ts';
import { awaitAgent, awaitSession, orderUpdate, publish, type Session } from './board-releases.ts';
import { type BoardWorld, OVER, type StreamWish } from './board-world.ts';
import { expectPlayable, expectThat, inSeconds, liveStream, stopped, untilPicture, watched } from './fault-steps.ts';
import { passedStretch } from './passed-media.ts';

const DOWN_MS = 5_000;
/** What was on its way when the cable was pulled. */
const ON_ITS_WAY_MS = 1_500;
const BACK_TIMEOUT_MS = 60_000;

/** Promised: the same stream goes on, and what was missed is sent (up to 10 s of it). */
export async function networkDown(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { clock } = bench;
  const streamId = await liveStream(world, wish);
  const fromMs = clock.monotonicMs();
  await world.board.setLink(false);
  await clock.sleep(ON_ITS_WAY_MS, { signal: bench.signal });
  const { pictures } = await watched(bench, world, DOWN_MS - ON_ITS_WAY_MS);
  await world.board.setLink(true);
  expectThat(pictures === 0, `nothing passes a cable that is pulled; there were ${pictures} pictures`);
  const backMs = await untilPicture(bench, world, BACK_TIMEOUT_MS);
  const { longestSilenceMs } = await watched(bench, world, 5_000);
  await world.awaitState(streamId, ['active']);
  const { largestStepMs, backwards } = passedStretch(world.tags, fromMs, clock.monotonicMs());
  expectThat(backwards === 0, 'no time stamp goes back');
  expectThat(largestStepMs < GAP_MS, `what was missed is sent; a step of ${largestStepMs} ms is left`);
  const played = await expectPlayable(world, streamId, 4);
  await world.awaitAgent();
  await stopped(world, streamId);
  return `down for ${inSeconds(DOWN_MS)}: picture ${inSeconds(backMs)} after the cable was back, largest step in the media ${largestStepMs} ms, then never ${longestSilenceMs} ms without a picture; ${played}`;
}

/** Promised: no gap, no time stamp that goes back or below zero. */
export async function clockSetBack(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const streamId = await liveStream(world, wish);
  const fromMs = bench.clock.monotonicMs();
  await turnClock(world, -3600);
  await watched(bench, world, 6_000);
  await turnClock(world, 3600);
  await watched(bench, world, 6_000);
  const { backwards, longestSilenceMs, largestStepMs, pictures } = passedStretch(
    world.tags,
    fromMs,
    bench.clock.monotonicMs(),
  );
  const seen = `${pictures} pictures, largest step ${largestStepMs} ms, longest silence ${longestSilenceMs} ms, ${backwards} time stamps went back`;
  expectThat(backwards === 0, `no time stamp goes back; ${seen}`);
  expectThat(pictures > 0 && largestStepMs < GAP_MS && longestSilenceMs < GAP_MS * 2, `no gap; ${seen}`);
  await expectPlayable(world, streamId, 4);
  await stopped(world, streamId);
  return `an hour back and an hour forward: ${seen}`;
}

async function turnClock({ board }: BoardWorld, seconds: number): Promise<void> {
  const times = await board.shell.must(`date +%s; date -s "${seconds} seconds" > /dev/null; date +%s`);
  const [before = 0, after = 0] = times.split('\n').map(Number);
  expectThat(Math.abs(after - before - seconds) < 30, `the clock is turned by ${seconds} s; it went ${after - before}`);
}

/** Runs that stamp by the old clock give way; on an emulated processor another one takes seconds to start. */
const GAP_MS = 3_000;

/** Promised: the stream goes on; an agent that is started on a full disk is enrolled, refuses an update with the reason, streams. */
export async function diskFull(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { shell } = world.board;
  const streamId = await liveStream(world, wish);
  try {
    await shell.run(
      'dd if=/dev/zero of=/var/filler bs=1M 2>/dev/null; dd if=/dev/zero of=/var/filler2 bs=4k; sync',
      FILL_TIMEOUT_MS,
    );
    const free = (await shell.must('df --output=avail -B1 /var | tail -1')).trim();
    expectThat(Number(free) === 0, `the disk is full; it has ${free} bytes`);
    const { pictures } = await watched(bench, world, 6_000);
    expectThat(pictures > 0, 'the stream goes on while the disk is full');
    await stopped(world, streamId);
    await shell.must('systemctl restart glasscast-agent', 60_000);
    await world.awaitAgent();
    const refusal = await refusedUpdate(bench, world);
    const again = await liveStream(world, wish);
    const played = await expectPlayable(world, again, 4);
    await stopped(world, again);
    return `${pictures} pictures passed; started again there, it was enrolled, refused an update (${refusal}) and streamed: ${played}`;
  } finally {
    await shell.must('rm -f /var/filler /var/filler2', FILL_TIMEOUT_MS);
  }
}

const FILL_TIMEOUT_MS = 180_000;

/** @returns why, as the board tells it */
async function refusedUpdate(bench: Bench, world: BoardWorld): Promise<string> {
  const version = '0.1.9';
  const before = await awaitAgent(bench, world, () => true);
  await publish(world, version, Buffer.from('process.exit(1);\n'));
  const order = await orderUpdate(world, version);
  const isOver = ({ update }: Session) => update?.version === version && update.state === 'failed';
  const { agent, update } = await awaitSession(bench, world, isOver);
  await order.cancel();
  expectThat(agent?.version === before.version, `${before.version} goes on; it is ${agent?.version}`);
  const reason = update?.reason ?? '';
  expectThat(/no room|full|space/i.test(reason), `it says that there is no room; it says: ${reason}`);
  return reason;
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
