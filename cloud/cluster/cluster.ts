/**
 * One relay among several that share a store: what the relay's parts know of it. Any node takes any socket; the node that
 * has the glasses' socket owns the user's session; every other node forwards to it. A node alone is a cluster of one.
 */

/** Where a user's session is. */
export type Place = 'here' | { nodeId: string };

/** Messages between nodes, over lines of their own: an outage of Redis does not touch them. Bodies are JSON. */
export interface Mesh {
  readonly nodeId: string;
  /** The other nodes that can be reached now. */
  others(): string[];
  /**
   * Asks a node; answers what its `answer` gave.
   * @throws GlasscastError NODE_UNREACHABLE when it cannot be reached or is late; else what was thrown there, by its code.
   */
  call(nodeId: string, subject: string, body: unknown, options?: { timeoutMs?: number }): Promise<unknown>;
  /** Between two nodes in order. False when it certainly did not go out. */
  tell(nodeId: string, subject: string, body: unknown): boolean;
  /** To all others that can be reached. */
  broadcast(subject: string, body: unknown): void;
  /** One for each subject: what others ask and tell. The body is as the other node sent it, and not checked. */
  answer(subject: string, take: (body: unknown, fromNodeId: string) => unknown): void;
  /** A node's lines are down: it has ended, or cannot be reached. Returns the way to stop listening. */
  onLost(take: (nodeId: string) => void): () => void;
  /** A node can be reached, the first time or again. */
  onFound(take: (nodeId: string) => void): () => void;
}

/**
 * Which node owns which user's session: one owner at a time, by a fenced lease. A node that lost a lease can write nothing
 * of that user any more (SESSION_MOVED). Knows nothing of what a session is.
 */
export interface Ownership {
  /**
   * The user's glasses are here: the session comes here from wherever it was, and has been adopted when this settles.
   * At once, and without Redis, when it is here. Errors: STORE_UNAVAILABLE.
   */
  take(userId: string): Promise<void>;
  /**
   * Where the session is. When no node that lives has it, it comes here and has been adopted when this settles.
   * Errors: STORE_UNAVAILABLE, unless the answer is known without Redis.
   */
  place(userId: string): Promise<Place>;
  /** Without claiming it; undefined: nobody has it. */
  whereIs(userId: string): Promise<Place | undefined>;
  isHere(userId: string): boolean;
  /** Of what is owned here. */
  count(): number;
  /** Nothing is left of the user's session: nobody needs to own it. False: not while the user comes or goes. */
  letGo(userId: string): boolean;
}

/** What a node does when a session comes or goes. Calls about one user never overlap. */
export interface Carrier {
  /** The user is owned here from now on: what the store keeps of the session goes on here. */
  adopt(userId: string): Promise<void>;
  /**
   * Another node goes on with it: what it needs is saved, the sockets are told to come back, nobody is told of an end.
   * @param isLost it was taken away already: nothing may be written, and nothing can be.
   */
  handOver(userId: string, why: { isLost: boolean }): Promise<void>;
}

/** One node at a time does what must be done once: sweeps, roll-outs, sessions of nodes that died. */
export interface Leadership {
  isLeader(): boolean;
  /** Undefined while there is none. */
  leaderId(): string | undefined;
  /** Called when `isLeader` or `leaderId` has changed. Returns the way to stop listening. */
  onChange(take: () => void): () => void;
}

export interface Cluster {
  readonly nodeId: string;
  readonly mesh: Mesh;
  readonly ownership: Ownership;
  readonly leadership: Leadership;
  /** Once the server listens. @param address where other nodes reach this one: `http://HOST:PORT`. */
  start(address: string, carrier: Carrier): Promise<void>;
  /** Takes no new sessions and hands over those it owns, so that others adopt them at once. Idempotent. */
  drain(): Promise<void>;
  close(): Promise<void>;
}
