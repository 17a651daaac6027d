/**
 * One thing at a time: what is asked from within waits until the present one is done. Holds the generation and the
 * named timers of its owner, so that nothing begun earlier acts later. Knows no domain.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, type GlasscastError } from '../../shared/errors.ts';

export interface SerialInbox {
  /** At once, or after the thing that is being done. */
  do(run: () => void): void;
  /** A continuation that counts only while the present generation lasts. */
  current<Args extends unknown[]>(run: (...args: Args) => void): (...args: Args) => void;
  /** A timer of the present generation; the same name again replaces it. */
  arm(name: string, ms: number, run: () => void): void;
  disarm(name: string): void;
  isArmed(name: string): boolean;
  /** A new generation: continuations and timers of the old one are void. */
  supersede(): void;
}

/** @param onDefect for whatever is thrown inside; the inbox goes on. */
export function createSerialInbox({
  clock,
  onDefect,
}: {
  clock: Clock;
  onDefect: (error: GlasscastError) => void;
}): SerialInbox {
  const waiting: (() => void)[] = [];
  const timers = new Map<string, Timer>();
  let isBusy = false;
  let generation = 0;

  function guarded(run: () => void): void {
    try {
      run();
    } catch (thrown) {
      onDefect(asGlasscastError(thrown));
    }
  }

  const inbox: SerialInbox = {
    do(run) {
      waiting.push(run);
      if (isBusy) return;
      isBusy = true;
      for (let next = waiting.shift(); next; next = waiting.shift()) guarded(next);
      isBusy = false;
    },
    current(run) {
      const born = generation;
      return (...args) =>
        inbox.do(() => {
          if (born === generation) run(...args);
        });
    },
    arm(name, ms, run) {
      inbox.disarm(name);
      const fire = inbox.current(run);
      timers.set(
        name,
        clock.after(name, ms, () => {
          timers.delete(name);
          fire();
        }),
      );
    },
    disarm(name) {
      timers.get(name)?.cancel();
      timers.delete(name);
    },
    isArmed: (name) => timers.has(name),
    supersede() {
      generation += 1;
      for (const timer of timers.values()) timer.cancel();
      timers.clear();
    },
  };
  return inbox;
}
