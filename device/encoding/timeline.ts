/**
 * The one timeline of a stream. ffmpeg stamps by the wall clock, which is set while streams run (boards without a battery for
 * their clock get the time from the network); the stream's own time goes on. Owns the zero, no run and no timer.
 */
import type { Clock } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import { type FlvTag, timestampDiffMs } from '../../shared/rtmp/flv.ts';

export interface Timeline {
  /** Wall clock at time stamp 0, as that clock goes now: for a run that begins. */
  epochMs(): number;
  /** Each tag of each run passes here. One that a set clock has thrown into the future is put at the present. */
  placed(tag: FlvTag): FlvTag;
  /** Calls it whenever the clock was set: each run that goes by the old one has to give way to another. */
  watch(onSet: () => void): void;
}

/** Less is noise of the two clocks, or too little to hear and see. */
const SET_BY_MS = 100;
/** No encoder is so far ahead of its source. */
const MAX_AHEAD_MS = 1_000;

export function createTimeline({ clock, log }: { clock: Pick<Clock, 'now' | 'monotonicMs'>; log: Log }): Timeline {
  const beganMs = clock.monotonicMs();
  const watchers: (() => void)[] = [];
  let heldEpochMs = clock.now();

  function measuredMs(): number {
    return Math.round(clock.now() - (clock.monotonicMs() - beganMs));
  }
  function epochMs(): number {
    const byMs = measuredMs() - heldEpochMs;
    // Twice, since we may have been held up between the two clocks.
    if (Math.abs(byMs) <= SET_BY_MS || Math.abs(measuredMs() - heldEpochMs - byMs) > SET_BY_MS) return heldEpochMs;
    heldEpochMs += byMs;
    log.warn({ byMs }, 'wall-clock-set');
    for (const onSet of watchers) onSet();
    return heldEpochMs;
  }

  return {
    epochMs,
    placed(tag) {
      epochMs();
      const presentMs = Math.round(clock.monotonicMs() - beganMs);
      return timestampDiffMs(tag.timestampMs, presentMs) > MAX_AHEAD_MS ? { ...tag, timestampMs: presentMs } : tag;
    },
    watch: (onSet) => void watchers.push(onSet),
  };
}
