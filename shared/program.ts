/** What our programs share at their outermost edge: how a signal ends them. */
import type { Clock } from './clock.ts';

/** One key press can arrive twice: from the terminal, and passed on by npm. */
const SAME_KEY_PRESS_MS = 1000;

/**
 * Resolves when SIGINT, SIGTERM or `end()` has been followed by a complete `close`. A second signal that is not the first
 * one's echo means impatience: the process exits at once with code 1 (its children die with it).
 */
export function untilSignal(clock: Clock, close: () => Promise<void>): { ended: Promise<void>; end: () => void } {
  let finish = () => {};
  const ended = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let firstMs: number | undefined;
  const end = () => {
    if (firstMs === undefined) {
      firstMs = clock.monotonicMs();
      void close().finally(finish);
    } else if (clock.monotonicMs() - firstMs > SAME_KEY_PRESS_MS) {
      process.exit(1);
    }
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
  return { ended, end };
}
