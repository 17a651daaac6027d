/**
 * What must outlive a process. Asynchronous, so that a networked store fits the same interface; one test suite serves
 * every implementation.
 */
import type { z } from 'zod';
import type { recordKinds } from './records.ts';

/**
 * Records of one kind, by the key that each carries. Every call is atomic and lasting when it has settled.
 * Errors: STORE_UNAVAILABLE of a networked store that does not answer, or of a disk that is full; SESSION_MOVED from a write about a user whose
 * session another node has taken over.
 */
export interface Collection<T> {
  /** In the order of their keys. */
  all(): Promise<T[]>;
  /** Those of one user, in the order of their keys; of a kind whose records name no user there are none. */
  of(userId: string): Promise<T[]>;
  get(key: string): Promise<T | undefined>;
  /** Replaces the record with the same key. */
  put(record: T): Promise<void>;
  /** False, and nothing has changed, when there is one with the same key: of two that add the same, one hears true. */
  add(record: T): Promise<boolean>;
  /** True when there was one: of two that delete the same record, one hears true. */
  delete(key: string): Promise<boolean>;
}

export type Store = {
  readonly [Kind in keyof typeof recordKinds]: Collection<z.output<(typeof recordKinds)[Kind]['schema']>>;
} & { close(): Promise<void> };
