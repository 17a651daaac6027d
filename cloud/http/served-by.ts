/**
 * Which node of a cluster serves a route: stands in the route's config as `servedBy`, beside what it does. What follows
 * from it is done by http-forwarding; a node alone serves everything.
 */
import type { FastifyRequest } from 'fastify';

/** Checks what a caller shows, and throws what it is refused with: of strangers nothing goes to another node. */
type Proof = (request: FastifyRequest) => Promise<unknown>;

export type ServedBy =
  /** Any node: what it needs is in the store, in the request, or in every node. */
  | { by: 'here' }
  /**
   * The owner of a user's session. `userOf` has to prove the caller where no hook before it does; undefined: nobody's, and it
   * is refused here.
   * @param isLasting it needs no session: without an owner any node serves it, and none becomes one.
   */
  | {
      by: 'owner';
      userOf: (request: FastifyRequest) => string | undefined | Promise<string | undefined>;
      isLasting?: boolean;
      timeoutMs?: number;
    }
  /** The node that has the stream of the route's `streamId`, or has had it. */
  | { by: 'stream'; proof?: Proof; timeoutMs?: number }
  /** All nodes: their lists in one, by `list`'s name; `key` names what an entry is known by. */
  | { by: 'all'; list: string; key: string; newestFirst?: string }
  /** Here, and when it went well also by all others: each does its own part. */
  | { by: 'each' }
  /** The node that does what must be done once. */
  | { by: 'leader' };

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Default: here. */
    servedBy?: ServedBy;
  }
}

/** A route's options: who serves it. */
export function servedBy(served: ServedBy): { config: { servedBy: ServedBy } } {
  return { config: { servedBy: served } };
}

/** Behind the admin token: the owner of the user whom the address names. */
export const byOwnerOfNamed = servedBy({ by: 'owner', userOf: ({ params }) => userNamedIn(params) });

/** As the routes read it; what they refuse is nobody's. */
export function userNamedIn(params: unknown): string | undefined {
  const userId = textIn(params, 'userId')?.trim().toLowerCase();
  return userId && userId.length <= 320 ? userId : undefined;
}

export function textIn(fields: unknown, name: string): string | undefined {
  const value = typeof fields === 'object' && fields !== null ? (fields as Record<string, unknown>)[name] : undefined;
  return typeof value === 'string' ? value : undefined;
}
