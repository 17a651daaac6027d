/**
 * What a board is done to on the bench, and what is then promised: seen from outside, by the relay's timeline, by what passes the
 * door of the ingest and by decoded pictures. Each leaves the board as it was and may use the stream that runs.
 */
import type { Bench } from '../bench/program.ts';
import type { BoardWorld, StreamWish } from './board-world.ts';
import { cameraTaken, microphoneTaken } from './device-faults.ts';
import { lightIsTruthful, lightThatCannotBeLit } from './light-faults.ts';
import { batteryRunsLow, boardIsHot } from './power-faults.ts';
import { clockSetBack, diskFull, networkDown, powerCut } from './system-faults.ts';

export interface Fault {
  name: string;
  /** @returns what was seen. @throws Error: what was not as promised */
  run(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string>;
}

export const faults: readonly Fault[] = [
  { name: 'light', run: lightIsTruthful },
  { name: 'camera', run: cameraTaken },
  { name: 'microphone', run: microphoneTaken },
  { name: 'network', run: networkDown },
  { name: 'clock', run: clockSetBack },
  { name: 'disk', run: diskFull },
  { name: 'heat', run: boardIsHot },
  { name: 'battery', run: batteryRunsLow },
  { name: 'no light', run: lightThatCannotBeLit },
  { name: 'power cut', run: powerCut },
];
