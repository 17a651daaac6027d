/** Who watches: a viewer is an address and a user agent that asked for a manifest lately. Counts only, keeps no history. */
import type { Clock } from '../../../shared/clock.ts';

export interface Viewers {
  seen(videoUid: string, viewer: string): void;
  count(videoUid: string): number;
}

/** Players ask at least once per target duration; this forgives a few. */
const REMEMBERED_MS = 15_000;
/** Of all videos together, and of a viewer's name: the memory that a crowd, or somebody who plays one, can claim. */
const MAX_VIEWERS = 10_000;
const MAX_NAME_CHARS = 200;

export function createViewers({ clock }: { clock: Clock }): Viewers {
  /** Who was seen last comes last, so that the front is what has to be forgotten. */
  const seen = new Map<string, { videoUid: string; atMs: number }>();

  function forgetOld(): void {
    const oldestMs = clock.monotonicMs() - REMEMBERED_MS;
    for (const [key, { atMs }] of seen) {
      if (atMs >= oldestMs) break;
      seen.delete(key);
    }
  }
  return {
    seen(videoUid, viewer) {
      forgetOld();
      const key = `${videoUid} ${viewer.slice(0, MAX_NAME_CHARS)}`;
      if (!seen.delete(key) && seen.size >= MAX_VIEWERS) return;
      seen.set(key, { videoUid, atMs: clock.monotonicMs() });
    },
    count(videoUid) {
      forgetOld();
      let viewers = 0;
      for (const one of seen.values()) if (one.videoUid === videoUid) viewers += 1;
      return viewers;
    },
  };
}
