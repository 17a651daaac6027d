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
  const { clock, newAckId, send, onLost } = options;
  const { intervalMs = 15_000, ackTimeoutMs = 5_000, maxMisses = 3 } = options;
  const open = new Map<string, Timer>();
  let rhythm: Timer | undefined;
  let misses = 0;

  function miss(): void {
    misses += 1;
    options.onMiss?.();
    if (misses < maxMisses) return;
    const total = misses;
    close();
    onLost(total);
  }
  function ask(): void {
    const ackId = newAckId();
    if (!send(ackId)) {
      miss();
      return;
    }
    const waiting = clock.after('keep-alive-ack', ackTimeoutMs, () => {
      open.delete(ackId);
      miss();
    });
    open.set(ackId, waiting);
  }
  function forgive(): void {
    misses = 0;
    for (const waiting of open.values()) waiting.cancel();
    open.clear();
  }
  function close(): void {
    rhythm?.cancel();
    rhythm = undefined;
    forgive();
  }

  return {
    start() {
      close();
      rhythm = clock.every('keep-alive', intervalMs, ask);
      ask();
    },
    acked(ackId) {
      if (!open.has(ackId)) return false;
      forgive();
      return true;
    },
    signOfLife: forgive,
    askNow() {
      if (rhythm) ask();
    },
    get misses() {
      return misses;
    },
    close,
  };
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
