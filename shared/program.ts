/** What our programs share at their outermost edge: how they begin, and how a signal ends them. */
import type { Clock } from './clock.ts';
import { asGlasscastError } from './errors.ts';
import type { Settings } from './settings.ts';

/** One key press can arrive twice: from the terminal, and passed on by npm. */
const SAME_KEY_PRESS_MS = 1000;

/**
 * Resolves when SIGINT, SIGTERM or `end()` has been followed by a complete `close`. A second signal that is not the first
 * one's echo means impatience: the process exits at once with code 1 (its children die with it).
 */
export function untilSignal(
  clock: Clock,
  close: () => Promise<void>,
): { ended: Promise<void>; end: () => void; isEnding: () => boolean } {
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
  return { ended, end, isEnding: () => firstMs !== undefined };
}

/** Reads the settings and runs; `--help` only tells. Exit code 0 after a clean end, 1 with one line on standard error. */
export async function runProgram<Config>(
  settings: Pick<Settings<Config>, 'read' | 'help'>,
  run: (config: Config) => Promise<void>,
): Promise<never> {
  try {
    const config = settings.read(process.argv.slice(2), process.env);
    if (config === 'help') process.stdout.write(settings.help());
    else await run(config);
    // Signal listeners and idle keep-alive connections must not hold the process.
    process.exit();
  } catch (error) {
    process.stderr.write(`${asGlasscastError(error).message}\n`);
    process.exit(1);
  }
}
