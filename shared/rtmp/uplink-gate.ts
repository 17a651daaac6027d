/**
 * Judges from measurements of the send queue whether the uplink is too narrow for what is sent. Pure: no socket, no clock.
 * A burst (one key frame) and a long way to the ingest are not a narrow uplink; nor is a pause in which nothing moves.
 */

export interface QueueMeasured {
  /** Monotonic. */
  atMs: number;
  /** In Node and the kernel. */
  queuedBytes: number;
  /** What the peer's TCP acknowledged over the last quarter of a second or more; undefined with one measurement. */
  recentBps: number | undefined;
  /** How long ago the oldest of what waits was sent. */
  oldestMs: number;
  /** For how long nothing has moved although something waits. */
  stalledMs: number;
  /** To the ingest's program and back, while nothing waited. */
  roundTripMs: number;
}

export interface UplinkGateOptions {
  /** A bound in bytes instead of the one in time; the gate opens again as soon as the queue is below it. */
  maxQueuedBytes?: number | undefined;
}

export interface UplinkGate {
  /**
   * After each measurement. `narrow`: drop what waits and send nothing; `paused`: send nothing, the connection may be
   * dying; `drained`: the queue is nearly empty again, once after each of these; `open`: go on.
   */
  measured(measured: QueueMeasured): 'open' | 'narrow' | 'paused' | 'drained';
  /** The queue is higher than it should be, drains, or was narrow a moment ago: worth measuring often. */
  readonly isSuspicious: boolean;
  readonly isOpen: boolean;
  /** It was closed in the last 10 s. */
  readonly isWary: boolean;
  /** The longest time in which nothing moved since the gate was last open. */
  readonly pausedMs: number;
}

/** Below this a queue is nothing: a small key frame, or what is on its way. */
const LOW_BYTES = 40_000;
/** A queue that takes longer than this (and the round trip) to drain is high. */
const HIGH_MS = 350;
/** Later than the round trip by this: no longer just on its way. */
const LATE_MS = 50;
/** So long it has to be high: an uplink that pauses for a moment drains at once afterwards. */
const SUSTAINED_MS = 200;
/** An uplink that was narrow a moment ago probably still is: then half of that is enough. */
const WARY_MS = 10_000;
/** Nothing at all has moved between two measurements: not narrow, but interrupted. */
const PAUSED_MS = 100;
/** Nearly drained. */
const DRAINED_BYTES = 10_000;
const DRAINED_MS = 50;
/** A handshake in a jam takes longer than the way is. */
const MAX_ROUND_TRIP_MS = 600;
/** The rule in bytes: full for longer than one burst takes. */
const FIXED_SUSTAINED_MS = 400;

export function createUplinkGate({ maxQueuedBytes }: UplinkGateOptions = {}): UplinkGate {
  const isFixed = maxQueuedBytes !== undefined;
  let highSinceMs: number | undefined;
  let state: 'open' | 'narrow' | 'paused' = 'open';
  let pausedMs = 0;
  let lastStalledMs = 0;
  let lastAtMs = 0;
  let lowInARow = 0;
  let wasNarrowMs: number | undefined;

  function bytesIn(ms: number, { recentBps = 0, roundTripMs }: QueueMeasured): number {
    return ((ms + Math.min(roundTripMs, MAX_ROUND_TRIP_MS)) * recentBps) / 8000;
  }
  function isHigh(measured: QueueMeasured): boolean {
    if (maxQueuedBytes !== undefined) return measured.queuedBytes > maxQueuedBytes;
    // The first acknowledgement takes a round trip, however wide the uplink is.
    const isLate = measured.oldestMs > Math.min(measured.roundTripMs, MAX_ROUND_TRIP_MS) + LATE_MS;
    return isLate && measured.queuedBytes > Math.max(LOW_BYTES, bytesIn(HIGH_MS, measured));
  }
  function isDrained(measured: QueueMeasured): boolean {
    return measured.queuedBytes <= (maxQueuedBytes ?? Math.max(DRAINED_BYTES, bytesIn(DRAINED_MS, measured)));
  }
  function isWary(atMs: number): boolean {
    return wasNarrowMs !== undefined && atMs - wasNarrowMs < WARY_MS;
  }
  function isSustained({ atMs }: QueueMeasured, sinceMs: number): boolean {
    if (isFixed) return atMs - sinceMs >= FIXED_SUSTAINED_MS;
    return atMs - sinceMs >= (isWary(atMs) ? SUSTAINED_MS / 2 : SUSTAINED_MS);
  }

  return {
    measured(measured) {
      // How wide it is now shows at the next measurement.
      const hasJustResumed = !isFixed && lastStalledMs >= PAUSED_MS && measured.stalledMs === 0;
      lastStalledMs = measured.stalledMs;
      lastAtMs = measured.atMs;
      if (state !== 'open') wasNarrowMs = measured.atMs;
      if (state !== 'open') {
        pausedMs = Math.max(pausedMs, measured.stalledMs);
        if (!isDrained(measured)) return state;
        state = 'open';
        highSinceMs = undefined;
        return 'drained';
      }
      pausedMs = 0;
      if (!isHigh(measured)) {
        lowInARow += 1;
        // One alone may be a burst that a narrow uplink let through.
        if (isFixed || lowInARow > 1 || measured.queuedBytes <= LOW_BYTES) highSinceMs = undefined;
        return 'open';
      }
      lowInARow = 0;
      highSinceMs ??= measured.atMs;
      if (!isSustained(measured, highSinceMs) || hasJustResumed) return 'open';
      pausedMs = measured.stalledMs;
      state = !isFixed && measured.stalledMs >= PAUSED_MS ? 'paused' : 'narrow';
      return state;
    },
    get isSuspicious() {
      return highSinceMs !== undefined || isWary(lastAtMs);
    },
    get isWary() {
      return isWary(lastAtMs);
    },
    get isOpen() {
      return state === 'open';
    },
    get pausedMs() {
      return pausedMs;
    },
  };
}
