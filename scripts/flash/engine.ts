/**
 * Flashing a board, step by step: look, package, code, upload, apply, hello, test stream. Owns the order, what is told of it
 * and the way back; knows nothing of how the board is reached.
 */
import type { Board } from './board.ts';

export interface FlashOptions {
  board: Board;
}
