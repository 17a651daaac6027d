/**
 * Requests that wait for what a live window does not have yet (blocking reload, a hinted part): bounded in number, per window
 * and in all, and in time; one that is given up leaves nothing behind. Knows no HTTP.
 */
import type { Clock } from '../../../shared/clock.ts';
import type { LiveWindow } from '../packaging/live-window.ts';

/** `ended`: the window will have no more news. `full`: too many wait already. `gone`: the one who asked left. */
export type WaitOutcome = 'there' | 'late' | 'ended' | 'full' | 'gone';

export interface NewsWait {
  window: Pick<LiveWindow, 'onNews' | 'isClosed'>;
  isThere: () => boolean;
  timeoutMs: number;
  /** Aborted when whoever asked has left. */
  signal: AbortSignal;
}

export interface NewsWaits {
  /** Never rejects. Resolves in a later turn, when all that came together is there. */
  until(wait: NewsWait): Promise<WaitOutcome>;
  /** How many wait now. */
  count(): number;
}

export interface NewsWaitsOptions {
  clock: Clock;
  /** One viewer waits for picture and sound at once, so two each. Default 512. */
  maxPerWindow?: number;
  /** Default 2048. */
  maxInAll?: number;
}

export function createNewsWaits({ clock, maxPerWindow = 512, maxInAll = 2048 }: NewsWaitsOptions): NewsWaits {
  const counts = new Map<NewsWait['window'], number>();
  let inAll = 0;

  function count(window: NewsWait['window'], change: 1 | -1): void {
    inAll += change;
    const ofWindow = (counts.get(window) ?? 0) + change;
    if (ofWindow > 0) counts.set(window, ofWindow);
    else counts.delete(window);
  }

  return {
    async until({ window, isThere, timeoutMs, signal }) {
      if (signal.aborted) return 'gone';
      if (isThere()) return 'there';
      if (window.isClosed()) return 'ended';
      if (inAll >= maxInAll || (counts.get(window) ?? 0) >= maxPerWindow) return 'full';
      count(window, 1);
      return new Promise((resolve) => {
        let isSettled = false;
        const timer = clock.after('news-wait', timeoutMs, () => settle('late'));
        const leave = window.onNews(() => {
          if (isThere()) settle('there');
          else if (window.isClosed()) settle('ended');
        });
        const abandon = () => settle('gone');
        signal.addEventListener('abort', abandon, { once: true });
        function settle(outcome: WaitOutcome): void {
          if (isSettled) return;
          isSettled = true;
          timer.cancel();
          leave();
          signal.removeEventListener('abort', abandon);
          count(window, -1);
          resolve(outcome);
        }
      });
    },
    count: () => inAll,
  };
}
