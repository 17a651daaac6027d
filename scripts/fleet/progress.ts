/** What somebody who waits sees: one line that changes on a terminal, a line now and then elsewhere. */
import type { Clock, Timer } from '../../shared/clock.ts';

export interface Progress {
  /** From now on this is shown, again and again. */
  begin(line: () => string): void;
  /** A line that stays. */
  say(line: string): void;
  /** Idempotent. */
  end(): void;
}

export interface ProgressOutput {
  isTTY?: boolean;
  write(text: string): unknown;
}

const TERMINAL_EVERY_MS = 500;
const PLAIN_EVERY_MS = 5_000;
const ERASE_LINE = '\r\u001b[K';

export function createProgress({ clock, output }: { clock: Clock; output: ProgressOutput }): Progress {
  const isTerminal = Boolean(output.isTTY);
  let timer: Timer | undefined;
  let isShown = false;

  function erase(): void {
    if (isShown) output.write(ERASE_LINE);
    isShown = false;
  }
  return {
    begin(line) {
      timer?.cancel();
      const show = () => {
        if (!isTerminal) {
          output.write(`simulate: ${line()}\n`);
          return;
        }
        output.write(`${ERASE_LINE}${line()}`);
        isShown = true;
      };
      show();
      timer = clock.every('progress', isTerminal ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS, show);
    },
    say(line) {
      erase();
      output.write(`simulate: ${line}\n`);
    },
    end() {
      timer?.cancel();
      timer = undefined;
      erase();
    },
  };
}
