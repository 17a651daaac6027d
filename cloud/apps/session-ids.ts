/**
 * Ids of apps' sessions: MentraOS' form with an end of its own, which names user and app in a way that nobody can make up.
 * So any node reads from it whose session is meant, without asking a store. Pure.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Secret } from '../../shared/secrets.ts';
import { keyedHash } from '../access/credentials.ts';

export interface SessionIds {
  /** The same each time for the same user and app. */
  of(userId: string, packageName: string): string;
  /** Whose session it is. Undefined: it was not made for this app, or not by us. */
  userOf(sessionId: string, packageName: string): string | undefined;
}

/** Of a keyed hash: 128 bits in base64url. */
const HASH_CHARS = 22;
/** A user's name of 320 and an app's of as many. */
const MAX_CHARS = 700;

export function createSessionIds(secret: Secret): SessionIds {
  // A package name has no space.
  const hashOf = (userId: string, packageName: string) => keyedHash(secret, `${userId} ${packageName}`);

  return {
    of: (userId, packageName) => `${userId}-${packageName}-${hashOf(userId, packageName)}`,
    userOf(sessionId, packageName) {
      if (sessionId.length > MAX_CHARS) return undefined;
      // What tells two sessions apart that would have one id.
      const id = sessionId.replace(/\++$/, '');
      const [names, hash] = [id.slice(0, -(HASH_CHARS + 1)), id.slice(-HASH_CHARS)];
      const userId = names.slice(0, Math.max(0, names.length - packageName.length - 1));
      const isOurs = userId !== '' && id === `${userId}-${packageName}-${hash}`;
      return isOurs && isSame(hashOf(userId, packageName), hash) ? userId : undefined;
    },
  };
}

function isSame(made: string, given: string): boolean {
  const [ours, theirs] = [Buffer.from(made), Buffer.from(given)];
  return ours.length === theirs.length && timingSafeEqual(ours, theirs);
}
