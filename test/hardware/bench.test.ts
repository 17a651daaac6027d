/** One virtual board for all of it: flashed, booted, streaming, done to what can happen to a board, and powered off. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BoardWorld, openBoardWorld } from '../../scripts/hardware/board-world.ts';
import { liveStream, stopped } from '../../scripts/hardware/fault-steps.ts';
import { faults } from '../../scripts/hardware/faults.ts';
import { createPhases, faultWish, wishOf } from '../../scripts/hardware/measured-board.ts';
import { piecesFolder } from '../../scripts/hardware/pieces.ts';
import { canRunVirtualBoard, openTestBench, type TestBench } from '../support/board-bench.ts';

const BOOT_MS = 15 * 60_000;
const FAULT_MS = 10 * 60_000;

describe.skipIf(!canRunVirtualBoard())('a whole board in a virtual machine', () => {
  let bench: TestBench;
  let world: BoardWorld;

  beforeAll(async () => {
    bench = await openTestBench((line) => process.stderr.write(`board: ${line}\n`));
    const piecesAt = piecesFolder(process.env);
    world = await openBoardWorld(bench, createPhases(bench), { piecesAt, isFresh: false });
  }, BOOT_MS);
  afterAll(() => bench?.close(), 60_000);

  it.each(['320x180@5', '480x270@3'])(
    'streams H.264 and AAC with the size and the rate that were asked for: %s',
    async (text) => {
      const wish = wishOf(text);
      const streamId = await liveStream(world, wish);
      const played = await world.hear(streamId, 8);
      bench.progress(`${text}: ${JSON.stringify(played)}`);
      const { widthPx, heightPx, frameRate } = wish;
      const coded = { videoCodec: 'h264', audioCodec: 'aac', widthPx, heightPx, complaints: [] };
      expect(played).toMatchObject(coded);
      expect(played.framesPerSecond).toBeGreaterThan(frameRate * 0.8);
      expect(played.framesPerSecond).toBeLessThan(frameRate * 1.2);
      expect(played.differentFrames).toBeGreaterThan(played.frames * 0.9);
      expect(played.soundSeconds).toBeGreaterThan(5);
      // A tone at the other end of the sound card, not the silence that stands in for a microphone.
      expect(played.peakDb).toBeGreaterThan(-40);
      await stopped(world, streamId);
    },
    FAULT_MS,
  );

  it.each(faults)(
    'keeps its promises: $name',
    async ({ name, run }) => {
      const seen = await run(bench, world, faultWish);
      bench.progress(`${name}: ${seen}`);
      expect(seen).not.toBe('');
    },
    FAULT_MS,
  );

  it(
    'powers off by its button',
    async () => {
      await world.board.powerOff();
    },
    FAULT_MS,
  );
});
