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

export interface SerialInboxOptions {
  clock: Clock;
  /** For whatever is thrown inside; the inbox goes on. */
  onDefect: (error: GlasscastError) => void;
}

export function createSerialInbox(options: SerialInboxOptions): SerialInbox {
  return new Inbox(options);
}

/** A class: made of closures each stream's would take 600 B more. */
class Inbox implements SerialInbox {
  readonly #clock: Clock;
  readonly #onDefect: (error: GlasscastError) => void;
  readonly #waiting: (() => void)[] = [];
  readonly #timers = new Map<string, Timer>();
  #isBusy = false;
  #generation = 0;

  constructor({ clock, onDefect }: SerialInboxOptions) {
    this.#clock = clock;
    this.#onDefect = onDefect;
  }

  do(run: () => void): void {
    this.#waiting.push(run);
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) this.#guarded(next);
    this.#isBusy = false;
  }

  current<Args extends unknown[]>(run: (...args: Args) => void): (...args: Args) => void {
    const born = this.#generation;
    return (...args) =>
      this.do(() => {
        if (born === this.#generation) run(...args);
      });
  }

  arm(name: string, ms: number, run: () => void): void {
    this.disarm(name);
    const fire = this.current(run);
    this.#timers.set(
      name,
      this.#clock.after(name, ms, () => {
        this.#timers.delete(name);
        fire();
      }),
    );
  }

  disarm(name: string): void {
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
  }

  isArmed(name: string): boolean {
    return this.#timers.has(name);
  }

  supersede(): void {
    this.#generation += 1;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #guarded(run: () => void): void {
    try {
      run();
    } catch (thrown) {
      this.#onDefect(asGlasscastError(thrown));
    }
  }
}
