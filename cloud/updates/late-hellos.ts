/** Hellos of agents that come faster than they may be written: the last one of each, until it may be. Decides nothing. */
import type { Clock, Timer } from '../../shared/clock.ts';
import type { AgentFacts } from '../../shared/protocol/releases.ts';

export interface LateHellos {
  add(userId: string, facts: AgentFacts): void;
  /** They said something else since, or are gone. */
  forget(userId: string): void;
  close(): void;
}

const AGAIN_MS = 2_000;

/** @param hear gets them again; it may add them again */
export function createLateHellos(clock: Clock, hear: (userId: string, facts: AgentFacts) => void): LateHellos {
  const late = new Map<string, AgentFacts>();
  let timer: Timer | undefined;
  let isClosed = false;
  function hearAll(): void {
    timer = undefined;
    for (const [userId, facts] of [...late]) {
      late.delete(userId);
      hear(userId, facts);
    }
  }
  return {
    add(userId, facts) {
      if (isClosed) return;
      late.set(userId, facts);
      timer ??= clock.after('late-hellos', AGAIN_MS, hearAll);
    },
    forget: (userId) => void late.delete(userId),
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}
