/**
 * The relay's parts with somebody who looks on: what is called, how long it took, how it ended. Each behaves as the one
 * it is made of. Names calls by a bounded set of words; keeps no argument.
 */
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode } from '../../shared/errors.ts';
import type { AppWebhook, WebhookOutcome } from '../apps/app-webhook.ts';
import type { Playback } from '../provider/playback.ts';
import type { ApiCall, StreamApi } from '../provider/stream-api.ts';
import { recordKinds } from '../store/records.ts';
import type { Collection, Store } from '../store/store.ts';

export const storeOperations = ['all', 'of', 'get', 'put', 'add', 'delete'] as const;
export type StoreOperation = (typeof storeOperations)[number];
export type StoreKind = keyof typeof recordKinds;
export const storeKinds = Object.keys(recordKinds) as StoreKind[];

export const providerOperations = [
  ...['live_input_create', 'live_input_read', 'live_input_change', 'live_input_delete', 'live_inputs_list'],
  ...['outputs_list', 'output_create', 'output_change', 'output_delete'],
  ...['videos_list', 'video_read', 'video_delete', 'storage_usage'],
] as const;

export const webhookOperations = ['start', 'stop', 'photo_failed'] as const;
export const webhookOutcomes = ['accepted', 'refused', 'rejected', 'unclear'] as const;

export interface CallEnd {
  ms: number;
  /** Undefined: it went well. */
  code: ErrorCode | undefined;
}

/** @param onEnd once, also when it fails. */
async function timed<T>(clock: Clock, call: () => Promise<T>, onEnd: (end: CallEnd) => void): Promise<T> {
  const sinceMs = clock.monotonicMs();
  try {
    const result = await call();
    onEnd({ ms: clock.monotonicMs() - sinceMs, code: undefined });
    return result;
  } catch (thrown) {
    onEnd({ ms: clock.monotonicMs() - sinceMs, code: asGlasscastError(thrown).code });
    throw thrown;
  }
}

export function observedStore(
  store: Store,
  clock: Clock,
  onCall: (kind: StoreKind, operation: StoreOperation, end: CallEnd) => void,
): Store {
  function observed<T>(kind: StoreKind, collection: Collection<T>): Collection<T> {
    const on = (operation: StoreOperation) => (end: CallEnd) => onCall(kind, operation, end);
    const [all, of, get, put, add, remove] = storeOperations.map(on);
    const nobody = () => {};
    return {
      all: () => timed(clock, () => collection.all(), all ?? nobody),
      of: (userId) => timed(clock, () => collection.of(userId), of ?? nobody),
      get: (key) => timed(clock, () => collection.get(key), get ?? nobody),
      put: (record) => timed(clock, () => collection.put(record), put ?? nobody),
      add: (record) => timed(clock, () => collection.add(record), add ?? nobody),
      delete: (key) => timed(clock, () => collection.delete(key), remove ?? nobody),
    };
  }
  const collections = storeKinds.map((kind) => [kind, observed(kind, store[kind] as Collection<unknown>)]);
  return { ...Object.fromEntries(collections), close: () => store.close() } as Store;
}

export function observedApi(
  api: StreamApi,
  clock: Clock,
  onCall: (operation: string, end: CallEnd) => void,
): StreamApi {
  return {
    call: (asked) =>
      timed(
        clock,
        () => api.call(asked),
        (end) => onCall(providerOperationOf(asked), end),
      ),
    close: () => api.close(),
  };
}

/** Of any call one word of `providerOperations`, or `other`. */
export function providerOperationOf({ method, path }: Pick<ApiCall, 'method' | 'path'>): string {
  const [route = ''] = path.split('?');
  const parts = route.split('/').filter(Boolean);
  const verb = { GET: 'read', POST: 'create', PUT: 'change', DELETE: 'delete' }[method];
  if (parts.length === 0) return 'videos_list';
  if (route === '/storage-usage') return 'storage_usage';
  if (parts[0] !== 'live_inputs') return oneOf(`video_${verb}`);
  if (parts[2] === 'outputs') return method === 'GET' ? 'outputs_list' : oneOf(`output_${verb}`);
  // The recordings of an input.
  if (parts[2] === 'videos') return 'videos_list';
  return parts.length === 1 && method === 'GET' ? 'live_inputs_list' : oneOf(`live_input_${verb}`);
}

function oneOf(word: string): string {
  return (providerOperations as readonly string[]).includes(word) ? word : 'other';
}

export function observedWebhook(
  webhook: AppWebhook,
  clock: Clock,
  onCall: (operation: (typeof webhookOperations)[number], ms: number, outcome: WebhookOutcome['kind']) => void,
): AppWebhook {
  async function observed(operation: (typeof webhookOperations)[number], call: () => Promise<WebhookOutcome>) {
    const sinceMs = clock.monotonicMs();
    const outcome = await call();
    onCall(operation, clock.monotonicMs() - sinceMs, outcome.kind);
    return outcome;
  }
  return {
    start: (...args) => observed('start', () => webhook.start(...args)),
    stop: (...args) => observed('stop', () => webhook.stop(...args)),
    photoFailed: (...args) => observed('photo_failed', () => webhook.photoFailed(...args)),
  };
}

/** @param onProof how long it took from the moment when media was expected; undefined: nobody had said so. */
export function observedPlayback<P extends Playback>(
  playback: P,
  clock: Clock,
  onProof: (outcome: 'proven' | 'given_up', ms: number | undefined) => void,
): P {
  return {
    ...playback,
    watch(target, events) {
      let hurriedAtMs: number | undefined;
      let isOver = false;
      const end = (outcome: 'proven' | 'given_up') => {
        if (isOver) return;
        isOver = true;
        onProof(outcome, hurriedAtMs === undefined ? undefined : clock.monotonicMs() - hurriedAtMs);
      };
      const live = () => {
        end('proven');
        events.live();
      };
      const watch = playback.watch(target, { live, advanced: () => events.advanced() });
      return {
        hurry() {
          hurriedAtMs ??= clock.monotonicMs();
          watch.hurry();
        },
        close() {
          // Nothing was expected: nothing was given up.
          if (hurriedAtMs !== undefined) end('given_up');
          watch.close();
        },
      };
    },
  };
}
