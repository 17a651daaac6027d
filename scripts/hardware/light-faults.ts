/** The privacy light, whose other end is outside the board: what QEMU's keyboard was told is what a bystander would see. */
import type { Bench } from '../bench/program.ts';
import { type BoardWorld, OVER, type StreamWish } from './board-world.ts';
import { expectThat, inSeconds, liveStream, stopped, until } from './fault-steps.ts';
import { LIGHT } from './flashing.ts';

const LED = `/sys/class/leds/${LIGHT}`;
const OUT_TIMEOUT_MS = 20_000;

/** Promised: lit before the first picture, lit again when somebody puts it out, out when the capture is over. */
export async function lightIsTruthful(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { board } = world;
  expectThat(!board.isLit, 'no light without a stream');
  const [tagsBefore, changesBefore] = [world.tags.length, board.lightChanges.length];
  const streamId = await liveStream(world, wish);
  const first = world.tags.slice(tagsBefore).find(({ kind }) => kind !== 'script');
  const lit = board.lightChanges.slice(changesBefore).find(({ isLit }) => isLit);
  expectThat(lit !== undefined && board.isLit, 'the light is lit while anything is captured');
  const aheadMs = (first?.atMs ?? 0) - (lit?.atMs ?? 0);
  expectThat(aheadMs > 0, `lit before anything is sent; it was ${aheadMs} ms ahead`);
  const before = board.lightChanges.length;
  await board.shell.must(`echo 0 > ${LED}/brightness`);
  // The agent may have been quicker than the answer of the shell.
  await until(bench, () => board.lightChanges.length >= before + 2, 'it was not lit again', OUT_TIMEOUT_MS);
  const [out, relit] = board.lightChanges.slice(before);
  expectThat(relit?.isLit === true, 'it is lit again');
  const relitMs = (relit?.atMs ?? 0) - (out?.atMs ?? 0);
  await stopped(world, streamId);
  const outMs = await until(bench, () => !board.isLit, 'it stayed lit after the stream', OUT_TIMEOUT_MS);
  return `lit ${inSeconds(aheadMs)} before the first picture or sound was sent, put out by force and lit again ${inSeconds(relitMs)} later, out ${inSeconds(outMs)} after the stream`;
}

/** Promised: nothing is captured, and the app hears why. */
export async function lightThatCannotBeLit(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { shell } = world.board;
  await shell.must(`chgrp root ${LED}/brightness && chmod 600 ${LED}/brightness`);
  const before = world.tags.length;
  try {
    await world.awaitNoStream();
    const streamId = await world.start(wish);
    const { errorCode, message } = await world.awaitState(streamId, OVER);
    expectThat(errorCode === 'PRIVACY_LIGHT_FAILED', `it says that the light failed; it said ${errorCode}`);
    const sent = world.tags.slice(before).filter(({ kind }) => kind === 'video').length;
    expectThat(sent === 0, `no picture is sent; there were ${sent}`);
    expectThat(!world.board.isLit, 'the light is out');
    return `no picture was sent; the relay says: ${message}`;
  } finally {
    await shell.must(`chgrp video ${LED}/brightness && chmod 664 ${LED}/brightness`);
    bench.note('the light may be written to again');
  }
}
