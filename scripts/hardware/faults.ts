/** What a board is done to, and what has then been promised. */
import type { Bench } from '../bench/program.ts';
import type { BoardWorld } from './board-world.ts';

export interface Fault {
  name: string;
  /** @returns what was seen. @throws Error: what was not as promised */
  run(bench: Bench, world: BoardWorld): Promise<string>;
}

export const faults: readonly Fault[] = [];
