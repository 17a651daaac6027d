/**
 * What is known of the provider before a stream is asked for: does it answer, is there storage left. Asked in the
 * background, so that no start waits for it; an unknown answer refuses nobody.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { LiveInputs } from './live-inputs.ts';

export interface ProviderHealth {
  /** Asks now and then every minute. */
  start(): void;
  /** PROVIDER_STORAGE_FULL when no new broadcast would be let in: the input is made, the encoder refused. */
  admit(): void;
  /** `unknown` until the first answer. */
  state(): 'unknown' | 'ok' | ErrorCode;
  close(): Promise<void>;
}

export function createProviderHealth({
  inputs,
  clock,
  log,
  intervalMs = 60_000,
}: {
  inputs: Pick<LiveInputs, 'storageUsage'>;
  clock: Clock;
  log: Log;
  intervalMs?: number;
}): ProviderHealth {
  let state: 'unknown' | 'ok' | ErrorCode = 'unknown';
  let isFull = false;
  let timer: Timer | undefined;
  let asking: Promise<void> = Promise.resolve();

  async function ask(): Promise<void> {
    const before = state;
    try {
      const { totalStorageMinutes, totalStorageMinutesLimit } = await inputs.storageUsage();
      isFull = totalStorageMinutesLimit > 0 && totalStorageMinutes >= totalStorageMinutesLimit;
      state = isFull ? 'PROVIDER_STORAGE_FULL' : 'ok';
    } catch (thrown) {
      state = asGlasscastError(thrown).code;
    }
    if (state !== before) log[state === 'ok' ? 'info' : 'warn']({ state }, 'provider-state-changed');
  }

  return {
    start() {
      timer?.cancel();
      asking = ask();
      timer = clock.every('provider-health', intervalMs, () => {
        asking = ask();
      });
    },
    admit() {
      if (isFull) throw new GlasscastError('PROVIDER_STORAGE_FULL');
    },
    state: () => state,
    async close() {
      timer?.cancel();
      timer = undefined;
      await asking;
    },
  };
}
