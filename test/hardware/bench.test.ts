/** One virtual board for all of it: flashed, booted, streaming, done to what can happen to a board, and powered off. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BoardWorld, openBoardWorld } from '../../scripts/hardware/board-world.ts';
import { liveStream, stopped } from '../../scripts/hardware/fault-steps.ts';
import { faults } from '../../scripts/hardware/faults.ts';
import { createPhases, faultWish } from '../../scripts/hardware/measured-board.ts';
import { piecesFolder } from '../../scripts/hardware/pieces.ts';
import { canRunVirtualBoard, openTestBench, type TestBench } from '../support/board-bench.ts';

const BOOT_MS = 15 * 60_000;
const FAULT_MS = 6 * 60_000;

describe.skipIf(!canRunVirtualBoard())('a whole board in a virtual machine', () => {
  let bench: TestBench;
  let world: BoardWorld;

  beforeAll(async () => {
    bench = await openTestBench((line) => process.stderr.write(`board: ${line}\n`));
    const piecesAt = piecesFolder(process.env);
    world = await openBoardWorld(bench, createPhases(bench), { piecesAt, isFresh: false });
  }, BOOT_MS);
  afterAll(() => bench?.close(), 60_000);

  it(
    'streams H.264 and AAC with the size and the rate that were asked for',
    async () => {
      const streamId = await liveStream(world, faultWish);
      const played = await world.play(streamId, 8);
      expect(played).toMatchObject({
        videoCodec: 'h264',
        audioCodec: 'aac',
        widthPx: 320,
        heightPx: 180,
        complaints: [],
      });
      expect(played.framesPerSecond).toBeGreaterThan(4);
      expect(played.framesPerSecond).toBeLessThan(6);
      expect(played.differentFrames).toBeGreaterThan(10);
      expect(played.soundSeconds).toBeGreaterThan(5);
      await stopped(world, streamId);
    },
    FAULT_MS,
  );

  it.each(faults)(
    'keeps its promises: $name',
    async ({ run }) => {
      expect(await run(bench, world, faultWish)).not.toBe('');
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
