/** What our programs share at their outermost edge: how they begin, and how a signal ends them. */
import type { Clock } from './clock.ts';
import { asGlasscastError } from './errors.ts';
import type { EffectiveSettings, Settings } from './settings.ts';

/** One key press can arrive twice: from the terminal, and passed on by npm. */
const SAME_KEY_PRESS_MS = 1000;

/** `end`: for good (Ctrl-C). `restart`: another process takes over soon; what it can take over is left as it is. */
export type Ending = 'end' | 'restart';

/**
 * Calls `begin` at the first SIGINT or SIGTERM. A second signal that is not the first one's echo means impatience: the process
 * exits at once with this code (its children die with it). Gives what does the same as a signal from outside.
 */
export function onFirstSignal(
  clock: Pick<Clock, 'monotonicMs'>,
  begin: (signal: 'SIGINT' | 'SIGTERM') => void,
  impatientCode: number,
): (signal: 'SIGINT' | 'SIGTERM') => void {
  let firstMs: number | undefined;
  const take = (signal: 'SIGINT' | 'SIGTERM') => {
    if (firstMs === undefined) {
      firstMs = clock.monotonicMs();
      begin(signal);
    } else if (clock.monotonicMs() - firstMs > SAME_KEY_PRESS_MS) {
      process.exit(impatientCode);
    }
  };
  process.on('SIGINT', () => take('SIGINT'));
  process.on('SIGTERM', () => take('SIGTERM'));
  return take;
}

/**
 * `ended` settles as `close` does, which a signal or `end()` begins: SIGINT and `end()` end, SIGTERM restarts, as service
 * managers send it. Impatience ends with code 1.
 */
export function untilSignal(
  clock: Clock,
  close: (ending: Ending) => Promise<void>,
): { ended: Promise<Ending>; end: () => void; isEnding: () => boolean } {
  let finish = (_ending: Promise<Ending>) => {};
  const ended = new Promise<Ending>((resolve) => {
    finish = resolve;
  });
  // It may fail before anybody waits for it.
  ended.catch(() => {});
  let isEnding = false;
  function begin(signal: 'SIGINT' | 'SIGTERM'): void {
    isEnding = true;
    const ending = signal === 'SIGINT' ? 'end' : 'restart';
    finish(close(ending).then(() => ending));
  }
  const take = onFirstSignal(clock, begin, 1);
  return { ended, end: () => take('SIGINT'), isEnding: () => isEnding };
}

/**
 * Reads the settings and runs; `--help` only tells. `run` also gets the account of the settings in effect, for its log.
 * Exit code 0 after a clean end or restart, 1 with one line on standard error.
 */
export async function runProgram<Config>(
  settings: Pick<Settings<Config>, 'read' | 'describe' | 'help'>,
  run: (config: Config, effective: EffectiveSettings) => Promise<void>,
): Promise<never> {
  const args = process.argv.slice(2);
  try {
    const config = settings.read(args, process.env);
    if (config === 'help') process.stdout.write(settings.help());
    else await run(config, settings.describe(args, process.env));
    // Signal listeners and idle keep-alive connections must not hold the process.
    process.exit();
  } catch (error) {
    process.stderr.write(`${asGlasscastError(error).message}\n`);
    process.exit(1);
  }
}
