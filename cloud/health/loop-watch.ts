/**
 * How late the event loop of this process is, measured by Node itself while the loop stands still: over the last second
 * and over the last ten. Judges nothing.
 */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import type { Clock, Timer } from '../../shared/clock.ts';

export interface LoopLag {
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

export interface LoopWatch {
  /** Of the last whole second. */
  lag(): LoopLag;
  /** The worst of the last ten seconds. */
  worstMs(): number;
  close(): void;
}

/** Between two looks of Node: what is measured holds it, and is told without it. */
const RESOLUTION_MS = 20;
const WINDOW_MS = 1_000;
const WINDOWS = 10;

export function createLoopWatch({
  clock,
  histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS }),
}: {
  clock: Clock;
  histogram?: Pick<IntervalHistogram, 'enable' | 'disable' | 'reset' | 'percentile' | 'max' | 'count'>;
}): LoopWatch {
  const windows: LoopLag[] = [];
  const ms = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);

  function read(): LoopLag {
    if (histogram.count === 0) return { p50Ms: 0, p99Ms: 0, maxMs: 0 };
    return { p50Ms: ms(histogram.percentile(50)), p99Ms: ms(histogram.percentile(99)), maxMs: ms(histogram.max) };
  }
  histogram.enable();
  let reading: Timer | undefined;
  const rhythm = clock.every('loop-watch', WINDOW_MS, () => {
    // A moment later: after a standstill our timer may come before Node's own look, which a reset would make it forget.
    reading?.cancel();
    reading = clock.after('loop-watch-reading', RESOLUTION_MS, () => {
      windows.push(read());
      if (windows.length > WINDOWS) windows.shift();
      histogram.reset();
    });
  });

  return {
    lag: () => windows.at(-1) ?? read(),
    // What stands still now is in no whole window yet.
    worstMs: () => Math.max(read().maxMs, ...windows.map(({ maxMs }) => maxMs)),
    close() {
      rhythm.cancel();
      reading?.cancel();
      histogram.disable();
    },
  };
}
