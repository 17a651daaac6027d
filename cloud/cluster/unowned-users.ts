/**
 * Users of whom the store keeps something and whom nobody owns: a Redis that lost its last second may have lost the owner's
 * entry with its node. The leader takes them up, or their live inputs would stay for as long as they stay away. Looks only
 * when there is a reason to, and long after it: those who come by themselves, and orphans, are served by then.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Leadership, Ownership } from './cluster.ts';

export interface UnownedUsers {
  /** Something may have been lost, or this node may lead now. */
  lookSoon(): void;
  close(): void;
}

export interface UnownedUsersOptions {
  ownership: Pick<Ownership, 'place' | 'whereIs'>;
  leadership: Pick<Leadership, 'isLeader'>;
  /** Of whom the store keeps something that an owner has to go on with. */
  users: () => Promise<string[]>;
  clock: Clock;
  log: Log;
}

const SOON_MS = 15_000;
/** Asked about at once, and the pause after each lot. */
const LOT = 20;
const PAUSE_MS = 50;

export function createUnownedUsers({ ownership, leadership, users, clock, log }: UnownedUsersOptions): UnownedUsers {
  const ended = new AbortController();
  let timer: Timer | undefined;
  let isLooking = false;

  async function takeUp(userId: string): Promise<void> {
    if ((await ownership.whereIs(userId)) !== undefined) return;
    log.info({ userId }, 'unowned-user-found');
    await ownership.place(userId);
  }
  async function look(): Promise<void> {
    const all = await users();
    for (let at = 0; at < all.length && leadership.isLeader(); at += LOT) {
      const failed = (error: unknown) => log.debug({ reason: errorText(error) }, 'unowned-user-not-taken-up');
      await Promise.all(all.slice(at, at + LOT).map((userId) => takeUp(userId).catch(failed)));
      await clock.sleep(PAUSE_MS, { signal: ended.signal, name: 'unowned-users' });
    }
  }
  function lookSoon(): void {
    if (ended.signal.aborted) return;
    timer?.cancel();
    timer = clock.after('unowned-users', SOON_MS, () => {
      timer = undefined;
      if (!leadership.isLeader()) return;
      if (isLooking) return lookSoon();
      isLooking = true;
      void look()
        .catch((error: unknown) => {
          log.debug({ reason: errorText(error) }, 'unowned-users-not-found');
          lookSoon();
        })
        .finally(() => {
          isLooking = false;
        });
    });
  }
  return {
    lookSoon,
    close() {
      ended.abort(new Error('closed'));
      timer?.cancel();
    },
  };
}
