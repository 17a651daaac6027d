/** Who watches: a viewer is an address and a user agent that asked for a manifest lately. Counts only, keeps no history. */
import type { Clock } from '../../shared/clock.ts';

export interface Viewers {
  seen(videoUid: string, viewer: string): void;
  count(videoUid: string): number;
}

/** Players ask at least once per target duration; this forgives a few. */
const REMEMBERED_MS = 15_000;
/** Bounds the memory that a crowd, or somebody who plays one, can claim. */
const MAX_VIEWERS = 10_000;

export function createViewers({ clock }: { clock: Clock }): Viewers {
  const seenMs = new Map<string, Map<string, number>>();

  function forgetOld(videoUid: string): Map<string, number> {
    const ofVideo = seenMs.get(videoUid) ?? new Map<string, number>();
    const oldestMs = clock.monotonicMs() - REMEMBERED_MS;
    for (const [viewer, ms] of ofVideo) if (ms < oldestMs) ofVideo.delete(viewer);
    if (ofVideo.size === 0) seenMs.delete(videoUid);
    return ofVideo;
  }
  return {
    seen(videoUid, viewer) {
      const ofVideo = seenMs.get(videoUid) ?? new Map<string, number>();
      seenMs.set(videoUid, ofVideo);
      if (ofVideo.size >= MAX_VIEWERS && !ofVideo.has(viewer)) forgetOld(videoUid);
      if (ofVideo.size < MAX_VIEWERS || ofVideo.has(viewer)) ofVideo.set(viewer, clock.monotonicMs());
    },
    count: (videoUid) => forgetOld(videoUid).size,
  };
}
