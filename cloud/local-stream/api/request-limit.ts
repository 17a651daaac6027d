/**
 * How often the API may be called, as Cloudflare limits it: so many calls in five minutes, and past that none for the next five.
 * Source: Cloudflare, "Rate limits" of the API (2025-09). Counts only; whoever asks answers.
 */
import type { Clock } from '../../../shared/clock.ts';

export interface RequestLimit {
  /** Counts a call. `headers` are to be sent with the answer, whatever it is. */
  take(): { isAllowed: boolean; headers: Record<string, string> };
}

const WINDOW_MS = 5 * 60_000;

/** @param requestsPerWindow in five minutes; Cloudflare's is 1,200. */
export function createRequestLimit(options: { clock: Clock; requestsPerWindow: number }): RequestLimit {
  const { clock, requestsPerWindow: quota } = options;
  let left = quota;
  let endsMs = clock.monotonicMs() + WINDOW_MS;
  let isBlocked = false;

  return {
    take() {
      const nowMs = clock.monotonicMs();
      if (nowMs >= endsMs) {
        left = quota;
        endsMs = nowMs + WINDOW_MS;
        isBlocked = false;
      }
      if (left > 0) {
        left -= 1;
      } else if (!isBlocked) {
        isBlocked = true;
        endsMs = nowMs + WINDOW_MS;
      }
      const seconds = Math.ceil((endsMs - nowMs) / 1000);
      const headers = {
        ratelimit: `"default";r=${left};t=${seconds}`,
        'ratelimit-policy': `"default";q=${quota};w=${WINDOW_MS / 1000}`,
        ...(isBlocked ? { 'retry-after': String(seconds) } : {}),
      };
      return { isAllowed: !isBlocked, headers };
    },
  };
}
