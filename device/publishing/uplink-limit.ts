/**
 * How much video the uplink takes: down at once when the push has dropped because it is narrow, up again by cautious trials.
 * Pure: fed with samples of the push, no clock. What the picture then looks like is the ladder's.
 */

export interface UplinkSample {
  isPublishing: boolean;
  /** Send queue of the connection, in Node and the kernel. */
  queuedBytes: number;
  /** Waiting, not yet given to the connection. */
  backlogBytes: number;
  backlogMs: number;
  /** What the peer's TCP acknowledged over the last second or so; undefined before a connection's second measurement. */
  deliveredBps: number | undefined;
  /** After an outage what was missed is sent as fast as it goes: the queue is full on purpose. */
  isCatchingUp: boolean;
  /** How often the push has dropped to the next key frame because the uplink was narrow. */
  skips: number;
  /** What the uplink takes, measured since the last of them while the queue drained; undefined before that is known. */
  narrowBps: number | undefined;
}

export interface UplinkLimitOptions {
  askedBps: number;
  floorBps: number;
  audioBitrateBps: number;
  keyFrameIntervalMs: number;
}

/** What the encoder makes now, and since when that was decided. */
export interface InUse {
  videoBitrateBps: number;
  changedAtMs: number;
}

export interface UplinkStep {
  code: 'UPLINK_NARROW' | 'UPLINK_RECOVERED';
  /** With UPLINK_NARROW: what was delivered. */
  uplinkBps: number | undefined;
}

export interface UplinkLimit {
  /** `isFree`: a step may be taken now. Without, the sample is only kept. */
  sample(atMs: number, uplink: UplinkSample, inUse: InUse, isFree: boolean): UplinkStep | undefined;
  readonly videoBitrateBps: number;
}

/** Of RTMP, TCP and IP. */
const OVERHEAD = 0.05;
/** Leaves room to empty the queue and for the next key frame. */
const STEP_DOWN = 0.75;
/** More than this share of the room does not fit: it leaves none for a key frame. */
const FITS = 0.9;
const STEP_UP = 1.4;
/** Less than this short of the asked bitrate is not worth another swap. */
const NEARLY_ASKED = 0.92;
/** Less moves in an outage too, in packets sent again: it tells of no bandwidth that one could use. */
const OUTAGE_BPS = 30_000;
/** A queue that no key frame explains, when it has not been shorter for a whole key frame interval. */
const STANDING_MS = 200;
const QUIET_MS = 120;
const LOUD_MS = 500;
/** An encoder swap with the time the change needs to show in the queue. */
const ACT_MS = 2_500;
const CATCH_UP_MS = 5_000;
/** A step up has held after the first, has failed when the uplink is narrow again within the second: a small excess shows late. */
const HELD_MS = 10_000;
const TRIAL_MS = 30_000;
const MIN_WAIT_MS = 8_000;
/** Not longer, or three minutes would not always be enough to be back at what was asked. */
const MAX_WAIT_MS = 60_000;
/** So much time `deliveredBps` covers, with the way back of acknowledgements. Until then it remembers better times. */
const MEMORY_MS = 1_250;
const SETTLED = 0.1;
/** While a queue drains the next measurement is near: a rate that still falls a little is worth waiting for it. */
const STILL = 0.02;
/** Sooner it is the same measurement, read once more. The push measures each 100 ms then. */
const NEXT_MS = 90;
/** A rate falls like this into an outage. */
const STEEP = 0.3;
/** The way's own time is looked for anew this often, and believed to have grown by so much at most: a queue looks the same. */
const BASE_EVERY_MS = 40_000;
const BASE_GROWTH_MS = 50;
/** A satellite's. */
const MAX_BASE_MS = 600;
/** A queue that is as long in time after a step down was none: it is the way that is long. */
const SAME_DELAY = 0.15;

interface Reading {
  atMs: number;
  /** How long the encoder takes to make what waits. */
  waitingMs: number;
  /** That, or less: what is on its way waits for its acknowledgement too, and does not count here. */
  excessMs: number;
  /** What waits by what is delivered. */
  delayMs: number;
  deliveredBps: number | undefined;
}

export function createUplinkLimit(options: UplinkLimitOptions): UplinkLimit {
  const { askedBps, floorBps, audioBitrateBps, keyFrameIntervalMs } = options;
  const windowMs = Math.max(3_000, keyFrameIntervalMs + 1_000);
  let limitBps = askedBps;
  /** Since the last change or outage, oldest first. */
  let readings: Reading[] = [];
  let lastChangeMs: number | undefined;
  let lastSkips: number | undefined;
  let catchUp: { sinceMs: number; bytes: number } | undefined;
  let quietAtMs: number | undefined;
  let calmSinceMs: number | undefined;
  let waitMs = MIN_WAIT_MS;
  /** The last step up: from when, with which wait for failed ones. */
  let trial: { atMs: number; waitMs: number; hasHeld: boolean } | undefined;
  /** A bitrate that was tried and failed. Only this one and more have to wait for long. */
  let failedBps: number | undefined;
  /** How long bytes waited when a standing queue last led to a step down. */
  let stoodMs: number | undefined;
  /** The push has dropped, and what the uplink takes was not known for sure yet: as last told. */
  let drop: { last: { atMs: number; bps: number } | undefined } | undefined;
  let base = createBaseDelay();
  let unevenUntilMs = 0;

  function sentBps({ videoBitrateBps }: InUse): number {
    return (videoBitrateBps + audioBitrateBps) * (1 + OVERHEAD);
  }
  function keep(atMs: number, uplink: UplinkSample, inUse: InUse): void {
    const hasSkipped = lastSkips !== undefined && uplink.skips > lastSkips;
    lastSkips = uplink.skips;
    if (hasSkipped) drop = { last: undefined };
    if (inUse.changedAtMs !== lastChangeMs || !uplink.isPublishing || uplink.isCatchingUp) readings = [];
    lastChangeMs = inUse.changedAtMs;
    if (!uplink.isPublishing) {
      // The next connection may take another way.
      base = createBaseDelay();
      drop = undefined;
      return;
    }
    const { deliveredBps } = uplink;
    const waitingBits = 8 * (uplink.queuedBytes + uplink.backlogBytes);
    const waitingMs = (1000 * waitingBits) / sentBps(inUse);
    const isMoving = deliveredBps !== undefined && deliveredBps >= OUTAGE_BPS;
    const delayMs = isMoving ? (1000 * waitingBits) / deliveredBps : waitingMs;
    const reading = { atMs, waitingMs, excessMs: waitingMs, delayMs, deliveredBps };
    readings.push(reading);
    if (hasSkipped) unevenUntilMs = atMs + windowMs;
    // What was put in and what has come out balance only while the rate is even, and a skip leaves a gap.
    const isEven = isMoving && atMs >= unevenUntilMs && isSettled(readings, reading, readings.at(-2)?.deliveredBps);
    if (isEven) base.learn(atMs, delayMs);
    if (isMoving) reading.excessMs = Math.min(waitingMs, Math.max(0, delayMs - base.ms));
    while (readings[1] && atMs - readings[1].atMs >= windowMs) readings.shift();
  }
  function judgeCalm(atMs: number, isPublishing: boolean): void {
    const { waitingMs, excessMs } = readings.at(-1) ?? { waitingMs: 0, excessMs: 0 };
    if (excessMs <= QUIET_MS) quietAtMs = atMs;
    const isQuiet = quietAtMs !== undefined && atMs - quietAtMs <= keyFrameIntervalMs + 500;
    if (!isPublishing || !isQuiet || Math.min(waitingMs, excessMs + QUIET_MS) > LOUD_MS) calmSinceMs = undefined;
    else calmSinceMs ??= atMs;
  }
  /** While catching up only a backlog that does not shrink tells of a narrow uplink. */
  function isCatchUpStuck(atMs: number, uplink: UplinkSample, { changedAtMs }: InUse): boolean {
    const bytes = uplink.queuedBytes + uplink.backlogBytes;
    if (!uplink.isPublishing || !uplink.isCatchingUp) catchUp = undefined;
    else if (!catchUp || changedAtMs > catchUp.sinceMs) catchUp = { sinceMs: atMs, bytes };
    else if (atMs - catchUp.sinceMs >= CATCH_UP_MS) {
      const isStuck = bytes > 0.98 * catchUp.bytes;
      catchUp = { sinceMs: atMs, bytes };
      return isStuck && (uplink.deliveredBps ?? OUTAGE_BPS) >= OUTAGE_BPS;
    }
    return false;
  }
  /**
   * The queue was drained by all that the uplink takes: the one measurement that needs no patience, once it has settled.
   * At first it may remember better times, for as long as the way is, or a pause.
   */
  function judgeDrop(atMs: number, { narrowBps }: UplinkSample, { videoBitrateBps }: InUse): boolean {
    if (!drop || narrowBps === undefined) return false;
    const { last } = drop;
    if (last && atMs - last.atMs < NEXT_MS) return false;
    const hasSettled = last && narrowBps >= (1 - STILL) * last.bps && narrowBps <= (1 + SETTLED) * last.bps;
    drop = hasSettled ? undefined : { last: { atMs, bps: narrowBps } };
    return hasSettled === true && videoBitrateBps > FITS * roomOf(narrowBps);
  }
  function roomOf(uplinkBps: number): number {
    return uplinkBps * (1 - OVERHEAD) - audioBitrateBps;
  }
  function isNarrow(atMs: number, inUse: InUse): boolean {
    if (atMs - inUse.changedAtMs < ACT_MS) return false;
    if (!isStanding(readings, windowMs, isTrial(atMs) ? QUIET_MS : STANDING_MS)) return false;
    const leastMs = Math.min(...readings.map(({ delayMs }) => delayMs));
    if (stoodMs !== undefined && Math.abs(leastMs - stoodMs) <= SAME_DELAY * stoodMs && base.grow(leastMs))
      return false;
    stoodMs = leastMs;
    return true;
  }
  function isTrial(atMs: number): boolean {
    return trial !== undefined && atMs - trial.atMs < TRIAL_MS;
  }
  function stepDown(atMs: number, uplinkBps: number | undefined, { videoBitrateBps }: InUse): UplinkStep | undefined {
    if (uplinkBps === undefined) return undefined;
    if (trial && isTrial(atMs)) {
      waitMs = Math.min(MAX_WAIT_MS, trial.waitMs * 2);
      failedBps = videoBitrateBps;
    }
    trial = undefined;
    calmSinceMs = undefined;
    const wantedBps = Math.min(STEP_DOWN * roomOf(uplinkBps), STEP_UP ** -1 * videoBitrateBps);
    const nextBps = Math.floor(Math.max(floorBps, wantedBps));
    if (nextBps >= videoBitrateBps) return undefined;
    limitBps = nextBps;
    return { code: 'UPLINK_NARROW', uplinkBps };
  }
  function stepUp(atMs: number, inUse: InUse): UplinkStep | undefined {
    // What heat or battery hold down was not tried: it tells nothing of the uplink.
    if (limitBps >= askedBps || inUse.videoBitrateBps < limitBps) return undefined;
    if (trial && !trial.hasHeld && atMs - trial.atMs >= HELD_MS) held();
    const raisedBps = Math.floor(limitBps * STEP_UP);
    const nextBps = raisedBps >= NEARLY_ASKED * askedBps ? askedBps : raisedBps;
    const needsMs = hasFailed(nextBps) ? waitMs : MIN_WAIT_MS;
    if (calmSinceMs === undefined || atMs - Math.max(calmSinceMs, inUse.changedAtMs) < needsMs) return undefined;
    if (trial && !trial.hasHeld) held();
    limitBps = nextBps;
    trial = { atMs, waitMs, hasHeld: false };
    stoodMs = undefined;
    return { code: 'UPLINK_RECOVERED', uplinkBps: undefined };
  }
  function hasFailed(bitrateBps: number): boolean {
    return failedBps !== undefined && bitrateBps >= NEARLY_ASKED * failedBps;
  }
  /** A step up that held disproves an earlier failure only where it went as far. */
  function held(): void {
    if (trial) trial.hasHeld = true;
    if (failedBps !== undefined && !hasFailed(limitBps)) return;
    failedBps = undefined;
    waitMs = Math.max(MIN_WAIT_MS, waitMs / 2);
  }

  return {
    sample(atMs, uplink, inUse, isFree) {
      keep(atMs, uplink, inUse);
      judgeCalm(atMs, uplink.isPublishing && !uplink.isCatchingUp);
      const isStuck = isCatchUpStuck(atMs, uplink, inUse);
      if (!isFree || !uplink.isPublishing) return undefined;
      if (uplink.isCatchingUp) return isStuck ? stepDown(atMs, uplink.deliveredBps, inUse) : undefined;
      if (judgeDrop(atMs, uplink, inUse)) return stepDown(atMs, uplink.narrowBps, inUse);
      if (isNarrow(atMs, inUse)) return stepDown(atMs, uplink.deliveredBps, inUse);
      return stepUp(atMs, inUse);
    },
    get videoBitrateBps() {
      return limitBps;
    },
  };
}

/** A rate that still falls remembers better times, one that rises an outage. */
function isSettled(readings: Reading[], { atMs, deliveredBps = 0 }: Reading, beforeBps = deliveredBps): boolean {
  const remembered = readings.filter((reading) => atMs - reading.atMs < MEMORY_MS);
  if (remembered.some(isOutage) || deliveredBps > (1 + SETTLED) * beforeBps) return false;
  if (deliveredBps >= (1 - SETTLED) * beforeBps) return true;
  if (deliveredBps < (1 - STEEP) * beforeBps) return false;
  const lastQuiet = readings.findLastIndex(({ excessMs }) => excessMs <= QUIET_MS);
  return atMs - (readings[lastQuiet + 1]?.atMs ?? atMs) >= MEMORY_MS;
}

function isOutage({ deliveredBps = OUTAGE_BPS }: Reading): boolean {
  return deliveredBps < OUTAGE_BPS;
}

/** Something has waited for the whole window, and not less in its later half than in its earlier one. */
function isStanding(readings: Reading[], windowMs: number, leastMs: number): boolean {
  const first = readings[0];
  const last = readings.at(-1);
  if (!first || !last || last.atMs - first.atMs < windowMs || readings.length < 4) return false;
  if (readings.some(isOutage)) return false;
  const middleMs = last.atMs - windowMs / 2;
  const leastOf = (half: Reading[]) => Math.min(...half.map(({ excessMs }) => excessMs));
  const later = leastOf(readings.filter(({ atMs }) => atMs >= middleMs));
  const earlier = leastOf(readings.filter(({ atMs }) => atMs < middleMs));
  return Math.min(earlier, later) > leastMs && later > 0.95 * earlier;
}

/**
 * The least time that bytes have waited for their acknowledgement on this connection: the way's own round trip.
 * Little's law: what is unacknowledged, divided by what is acknowledged per second.
 */
function createBaseDelay() {
  let baseMs: number | undefined;
  let leastMs = MAX_BASE_MS;
  let sinceMs: number | undefined;
  return {
    get ms() {
      return baseMs ?? 0;
    },
    learn(atMs: number, delayMs: number): void {
      sinceMs ??= atMs;
      baseMs = Math.min(baseMs ?? MAX_BASE_MS, delayMs);
      leastMs = Math.min(leastMs, delayMs);
      if (atMs - sinceMs < BASE_EVERY_MS) return;
      baseMs = Math.min(leastMs, baseMs + BASE_GROWTH_MS);
      leastMs = MAX_BASE_MS;
      sinceMs = atMs;
    },
    /** False where no way is so long. */
    grow(delayMs: number): boolean {
      if (delayMs > MAX_BASE_MS) return false;
      baseMs = Math.max(baseMs ?? 0, delayMs);
      leastMs = MAX_BASE_MS;
      return true;
    },
  };
}
