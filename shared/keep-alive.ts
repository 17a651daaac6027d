/**
 * Liveness over a link that may be silent. The sender asks and counts misses, also when it cannot ask;
 * the watchdog is touched or expires. Timers: mentraos-compatible 15 s / 5 s / 3 misses and 60 s.
 */
import type { Clock, Timer } from './clock.ts';

export interface KeepAliveSenderOptions {
  clock: Clock;
  /** Between two questions. Default 15000. */
  intervalMs?: number;
  /** For the answer. Default 5000. */
  ackTimeoutMs?: number;
  /** Unanswered questions in a row that mean the peer is gone. Default 3. */
  maxMisses?: number;
  newAckId: () => string;
  /** Returns false when the question could not even be sent: that is a miss as well. */
  send: (ackId: string) => boolean;
  /** One more is unanswered in time, or could not be sent. */
  onMiss?: (() => void) | undefined;
  /** Called once; the sender has stopped by then. */
  onLost: (misses: number) => void;
}

export interface KeepAliveSender {
  /** First question at once, then each interval. Starting again starts anew. */
  start(): void;
  /** True when this ack answers an open question. Duplicates and strangers change nothing. */
  acked(ackId: string): boolean;
  /** Anything that proves the peer lives: forgives all misses. */
  signOfLife(): void;
  /** Asks now, outside the rhythm, e.g. when the peer has just come back. */
  askNow(): void;
  readonly misses: number;
  close(): void;
}

export function createKeepAliveSender(options: KeepAliveSenderOptions): KeepAliveSender {
  return new Sender(options);
}

class Sender implements KeepAliveSender {
  readonly #options: KeepAliveSenderOptions;
  /** Questions that wait for their answer; mostly none, or one. */
  readonly #open = new Map<string, Timer>();
  #rhythm: Timer | undefined;
  #misses = 0;

  constructor(options: KeepAliveSenderOptions) {
    this.#options = options;
  }

  get misses(): number {
    return this.#misses;
  }

  start(): void {
    const { clock, intervalMs = 15_000 } = this.#options;
    this.close();
    this.#rhythm = clock.every('keep-alive', intervalMs, () => this.#ask());
    this.#ask();
  }

  acked(ackId: string): boolean {
    if (!this.#open.has(ackId)) return false;
    this.signOfLife();
    return true;
  }

  signOfLife(): void {
    this.#misses = 0;
    for (const waiting of this.#open.values()) waiting.cancel();
    this.#open.clear();
  }

  askNow(): void {
    if (this.#rhythm) this.#ask();
  }

  close(): void {
    this.#rhythm?.cancel();
    this.#rhythm = undefined;
    this.signOfLife();
  }

  #miss(): void {
    const { maxMisses = 3, onLost, onMiss } = this.#options;
    this.#misses += 1;
    onMiss?.();
    if (this.#misses < maxMisses) return;
    const total = this.#misses;
    this.close();
    onLost(total);
  }

  #ask(): void {
    const { ackTimeoutMs = 5_000, clock, newAckId, send } = this.#options;
    const ackId = newAckId();
    if (!send(ackId)) {
      this.#miss();
      return;
    }
    const waiting = clock.after('keep-alive-ack', ackTimeoutMs, () => {
      this.#open.delete(ackId);
      this.#miss();
    });
    this.#open.set(ackId, waiting);
  }
}

export interface Watchdog {
  /** Starts or restarts the countdown. */
  touch(): void;
  close(): void;
}

/** Calls `onExpired` once when it is not touched for `timeoutMs`; the countdown begins with the first touch. */
export function createWatchdog(options: {
  clock: Clock;
  name: string;
  timeoutMs: number;
  onExpired: () => void;
}): Watchdog {
  let countdown: Timer | undefined;
  return {
    touch() {
      countdown?.cancel();
      countdown = options.clock.after(options.name, options.timeoutMs, options.onExpired);
    },
    close() {
      countdown?.cancel();
      countdown = undefined;
    },
  };
}
