/**
 * Lets a user go when nothing of the user's is left here, so that no node has to own the user. Looks a little later than it
 * is told to: what ends is often followed by what comes next.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Ownership } from './cluster.ts';

export interface UserLife {
  /** Something of this user's has ended. */
  look(userId: string): void;
  close(): void;
}

export interface UserLifeOptions {
  ownership: Pick<Ownership, 'isHere' | 'letGo'>;
  /** A session, a stream, an app, or something at the provider is left. */
  isNeeded: (userId: string) => boolean;
  /** While it is not, what still has to be written of a user is known here alone. */
  isStoreUp: () => boolean;
  clock: Clock;
}

const LOOK_MS = 1_000;

export function createUserLife({ ownership, isNeeded, isStoreUp, clock }: UserLifeOptions): UserLife {
  const waiting = new Set<string>();
  let timer: Timer | undefined;
  let isClosed = false;

  function lookAtAll(): void {
    timer = isStoreUp() ? undefined : clock.after('user-life', LOOK_MS, lookAtAll);
    if (timer) return;
    const users = [...waiting];
    waiting.clear();
    for (const userId of users) {
      if (!ownership.isHere(userId) || isNeeded(userId)) continue;
      if (!ownership.letGo(userId)) look(userId);
    }
  }
  function look(userId: string): void {
    if (isClosed) return;
    waiting.add(userId);
    timer ??= clock.after('user-life', LOOK_MS, lookAtAll);
  }

  return {
    look,
    close() {
      isClosed = true;
      timer?.cancel();
      timer = undefined;
    },
  };
}
