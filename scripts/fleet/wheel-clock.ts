/**
 * A clock whose timers all hang on one interval: ten thousand simulated glasses have several each, and none has to be
 * exact. Late by one tick at most, never early.
 */
import { type Clock, sleepOn, type Timer } from '../../shared/clock.ts';

export interface WheelClock extends Clock {
  /** Nothing of it fires any more. */
  close(): void;
}

interface Entry {
  name: string;
  fire: () => void;
}

/** @param tickMs how late a timer may be. Default 20. */
export function createWheelClock(clock: Clock, tickMs = 20): WheelClock {
  const originMs = clock.monotonicMs();
  /** By the number of the tick that is due. */
  const slots = new Map<number, Set<Entry>>();
  let doneTick = 0;
  const tickOf = (atMs: number) => Math.max(doneTick + 1, Math.ceil((atMs - originMs) / tickMs));

  function put(entry: Entry, atMs: number): Set<Entry> {
    const tick = tickOf(atMs);
    const slot = slots.get(tick) ?? new Set();
    slots.set(tick, slot);
    slot.add(entry);
    return slot;
  }
  function turn(): void {
    const now = Math.floor((clock.monotonicMs() - originMs) / tickMs);
    while (doneTick < now) {
      doneTick += 1;
      const slot = slots.get(doneTick);
      if (!slot) continue;
      slots.delete(doneTick);
      for (const entry of slot) {
        slot.delete(entry);
        entry.fire();
      }
    }
  }
  const wheel = clock.every('wheel', tickMs, turn);

  function after(name: string, ms: number, fire: () => void): Timer {
    const entry: Entry = { name, fire };
    const slot = put(entry, clock.monotonicMs() + ms);
    return { cancel: () => void slot.delete(entry) };
  }
  function every(name: string, ms: number, fire: () => void): Timer {
    let timer: Timer = after(name, ms, beat);
    function beat(): void {
      timer = after(name, ms, beat);
      fire();
    }
    return { cancel: () => timer.cancel() };
  }
  return {
    now: clock.now,
    monotonicMs: clock.monotonicMs,
    after,
    every,
    sleep: (ms, options = {}) => sleepOn(after, ms, options),
    pending: () => [...slots.values()].flatMap((slot) => [...slot].map(({ name }) => name)),
    close() {
      wheel.cancel();
      slots.clear();
    },
  };
}
