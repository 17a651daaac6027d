/**
 * What must outlive a process. Asynchronous, so that a networked store fits the same interface; one test suite serves
 * every implementation.
 */
import type { z } from 'zod';
import type { recordKinds } from './records.ts';

/** Records of one kind, by the key that each carries. Every call is atomic and lasting when it has settled. */
export interface Collection<T> {
  /** In the order of their keys. */
  all(): Promise<T[]>;
  get(key: string): Promise<T | undefined>;
  /** Replaces the record with the same key. */
  put(record: T): Promise<void>;
  /** True when there was one: of two that delete the same record, one hears true. */
  delete(key: string): Promise<boolean>;
}

export type Store = {
  readonly [Kind in keyof typeof recordKinds]: Collection<z.output<(typeof recordKinds)[Kind]['schema']>>;
} & { close(): Promise<void> };
