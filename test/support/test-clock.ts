/** A clock that moves only when told. Due timers fire in deadline order; promises settle between them. */
import { type Clock, sleepOn } from '../../shared/clock.ts';

export interface TestClock extends Clock {
  /** Moves time forward, firing what falls due, and lets promises settle after each firing. */
  advance(ms: number): Promise<void>;
}

interface Waiting {
  name: string;
  dueMs: number;
  everyMs: number | undefined;
  order: number;
  fire: () => void;
}

export function createTestClock(startMs = 1_700_000_000_000): TestClock {
  const waiting = new Set<Waiting>();
  let nowMs = startMs;
  let order = 0;

  function add(name: string, ms: number, everyMs: number | undefined, fire: () => void) {
    order += 1;
    const entry: Waiting = { name, dueMs: nowMs + Math.max(0, ms), everyMs, order, fire };
    waiting.add(entry);
    return { cancel: () => void waiting.delete(entry) };
  }
  const after: Clock['after'] = (name, ms, fire) => add(name, ms, undefined, fire);

  return {
    now: () => nowMs,
    monotonicMs: () => nowMs - startMs,
    after,
    every: (name, ms, fire) => add(name, ms, ms, fire),
    sleep: (ms, options = {}) => sleepOn(after, ms, options),
    pending: () => [...waiting].map(({ name }) => name),
    async advance(ms) {
      const untilMs = nowMs + ms;
      await settle();
      for (;;) {
        const due = [...waiting]
          .filter(({ dueMs }) => dueMs <= untilMs)
          .sort((a, b) => a.dueMs - b.dueMs || a.order - b.order)[0];
        if (!due) break;
        nowMs = due.dueMs;
        if (due.everyMs === undefined) waiting.delete(due);
        else due.dueMs += Math.max(1, due.everyMs);
        due.fire();
        await settle();
      }
      nowMs = untilMs;
      await settle();
    },
  };
}

/** Lets every promise that can settle do so; setImmediate runs after the microtask queue is empty. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
