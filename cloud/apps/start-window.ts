/**
 * When a start must be answered at the latest. The SDK (2.1.29, 3.0.0) gives each start 30 s and never clears that timer:
 * when it fires it forgets whichever start is pending by then, whose promise would never settle (protocol §3.1).
 */
import type { Clock, Timer } from '../../shared/clock.ts';

const SDK_START_TIMEOUT_MS = 30_000;
/** For the answer's way to the app. */
const MARGIN_MS = 250;

export interface StartWindow {
  /** The app has asked for a managed stream. */
  asked(): void;
  /** It has heard how that came out. */
  answered(): void;
  close(): void;
}

/** @param onClosing the start that is pending is about to be forgotten: answer it now. */
export function createStartWindow({ clock, onClosing }: { clock: Clock; onClosing: () => void }): StartWindow {
  /** Monotonic, oldest first: the starts whose timers run in the app. */
  let askedMs: number[] = [];
  let closing: Timer | undefined;
  return {
    asked() {
      const nowMs = clock.monotonicMs();
      askedMs = askedMs.filter((earlierMs) => earlierMs + SDK_START_TIMEOUT_MS > nowMs);
      const [oldestMs] = askedMs;
      askedMs.push(nowMs);
      closing?.cancel();
      if (oldestMs === undefined) return;
      const leftMs = oldestMs + SDK_START_TIMEOUT_MS - MARGIN_MS - nowMs;
      closing = clock.after('start-window', Math.max(0, leftMs), onClosing);
    },
    answered() {
      closing?.cancel();
      closing = undefined;
    },
    close() {
      closing?.cancel();
    },
  };
}
