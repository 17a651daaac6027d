/**
 * Where a session is, also while the store does not answer: then the other nodes are asked, since each knows what it owns.
 * So an outage of Redis keeps nobody from a session that is there.
 */
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { Mesh, Ownership, Place } from './cluster.ts';

/** Errors of each: STORE_UNAVAILABLE, when no node that can be reached has it. */
export type SessionPlaces = Pick<Ownership, 'place' | 'whereIs' | 'isHere'>;

const SUBJECT = 'is-here';
const PATIENCE_MS = 1_000;

export function createSessionPlaces(
  mesh: Mesh,
  ownership: Pick<Ownership, 'place' | 'whereIs' | 'isHere'>,
): SessionPlaces {
  mesh.answer(SUBJECT, (userId) => typeof userId === 'string' && ownership.isHere(userId));

  async function asked(nodeId: string, userId: string): Promise<Place> {
    if ((await mesh.call(nodeId, SUBJECT, userId, { timeoutMs: PATIENCE_MS })) === true) return { nodeId };
    throw new GlasscastError('SESSION_MOVED');
  }
  function askAll(userId: string, error: unknown): Promise<Place> {
    if (!isGlasscastError(error) || error.code !== 'STORE_UNAVAILABLE') throw error;
    return Promise.any(mesh.others().map((nodeId) => asked(nodeId, userId))).catch(() => {
      throw error;
    });
  }
  return {
    isHere: ownership.isHere,
    place: (userId) => ownership.place(userId).catch((error: unknown) => askAll(userId, error)),
    whereIs: (userId) => ownership.whereIs(userId).catch((error: unknown) => askAll(userId, error)),
  };
}
