/**
 * How far behind the newest picture to play: as near as the stream's jitter lets it. Plays a little faster or slower, jumps
 * when it is far behind, and keeps more distance after each time it ran dry. Pure: told what is, says what to do.
 */

export interface LiveEdge {
  /** Seconds of media ahead of what is shown. @returns the rate to play at, and where to jump to, in seconds before the end. */
  advise(aheadS: number, nowMs: number): { rate: number; jumpToS?: number };
  /** It ran dry. */
  starved(nowMs: number): void;
  /** Seconds that it wants ahead. */
  readonly targetS: number;
}

const TARGET_S = { first: 0.2, least: 0.16, most: 1 };
const MORE_AFTER_STARVING_S = 0.08;
/** Starvations of one moment count once. */
const ONE_MOMENT_MS = 1000;
const CALM_MS = 20_000;
const LESS_AFTER_CALM_S = 0.04;
/** Farther behind than this is not worth the time it takes to catch up: 5 s at 1.1. */
const JUMP_S = 0.5;
const FASTEST = 1.1;
const SLOWEST = 0.95;
/** So far from the target nothing is changed: each change of rate can be heard. */
const TOLERANCE_S = 0.06;

export function createLiveEdge(): LiveEdge {
  let targetS = TARGET_S.first;
  let calmSinceMs: number | undefined;
  let starvedMs = Number.NEGATIVE_INFINITY;
  let rate = 1;

  return {
    advise(aheadS, nowMs) {
      calmSinceMs ??= nowMs;
      if (nowMs - calmSinceMs >= CALM_MS) {
        targetS = Math.max(TARGET_S.least, targetS - LESS_AFTER_CALM_S);
        calmSinceMs = nowMs;
      }
      const overS = aheadS - targetS;
      if (overS > JUMP_S) {
        rate = 1;
        return { rate, jumpToS: targetS };
      }
      if (overS > TOLERANCE_S) rate = FASTEST;
      else if (aheadS < targetS / 3) rate = SLOWEST;
      else if ((rate > 1 && overS <= 0) || (rate < 1 && aheadS >= targetS * 0.75)) rate = 1;
      return { rate };
    },
    starved(nowMs) {
      if (nowMs - starvedMs < ONE_MOMENT_MS) return;
      starvedMs = nowMs;
      calmSinceMs = nowMs;
      targetS = Math.min(TARGET_S.most, targetS + MORE_AFTER_STARVING_S);
    },
    get targetS() {
      return targetS;
    },
  };
}
