/**
 * What is known of the provider before a stream is asked for: does it answer, is there storage left. Asked in the
 * background, so that hardly a start waits for it; an unknown answer refuses nobody.
 */
import { type Clock, type Timer, withTimeout } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { LiveInputs } from './live-inputs.ts';

export interface ProviderHealth {
  /** Asks now and then every minute; every five seconds while it does not answer. */
  start(): void;
  /**
   * PROVIDER_STORAGE_FULL when no new broadcast would be let in: the input is made, the encoder refused. When it is a near
   * thing and the last answer is older than 5 s, or was "full" and is older than a second, asks again first, for 2 s at most.
   * A provider that answers with an error then refuses nobody: whoever starts hears what is wrong with it.
   */
  admit(): Promise<void>;
  /** Asks now. True: no storage is left. Undefined: no answer. */
  isFull(): Promise<boolean | undefined>;
  /** `unknown` until the first answer. */
  state(): 'unknown' | 'ok' | ErrorCode;
  close(): Promise<void>;
}

/** A broadcast of an hour may begin in the time between two answers, and weighs nothing until it has landed. */
const SMALL_MARGIN_MINUTES = 60;
const FRESH_MS = 5_000;
/** Who has made room tries again at once; and all who try must leave the provider's pace to those who delete. */
const FULL_FRESH_MS = 1_000;
/** Who is told that nothing can start is not to be told so for long after it can. */
const AGAIN_MS = 5_000;
const PATIENCE_MS = 2_000;

export function createProviderHealth({
  inputs,
  clock,
  log,
  intervalMs = 60_000,
}: {
  inputs: Pick<LiveInputs, 'storageUsage'>;
  clock: Clock;
  log: Log;
  intervalMs?: number | undefined;
}): ProviderHealth {
  let state: 'unknown' | 'ok' | ErrorCode = 'unknown';
  let marginMinutes = Number.POSITIVE_INFINITY;
  let answeredAtMs = Number.NEGATIVE_INFINITY;
  let timer: Timer | undefined;
  let again: Timer | undefined;
  let isRunning = false;
  let asking: Promise<void> | undefined;

  async function ask(isUrgent: boolean): Promise<void> {
    const before = state;
    try {
      const { totalStorageMinutes, totalStorageMinutesLimit } = await inputs.storageUsage(isUrgent);
      // Who has bought none is told so by the first creation.
      marginMinutes = totalStorageMinutesLimit > 0 ? totalStorageMinutesLimit - totalStorageMinutes : Infinity;
      answeredAtMs = clock.monotonicMs();
      state = marginMinutes <= 0 ? 'PROVIDER_STORAGE_FULL' : 'ok';
    } catch (thrown) {
      state = asGlasscastError(thrown).code;
    }
    if (state !== before) log[state === 'ok' ? 'info' : 'warn']({ state }, 'provider-state-changed');
  }
  /** One question at a time serves all who ask. */
  function askOnce(isUrgent: boolean): Promise<void> {
    asking ??= ask(isUrgent).finally(() => {
      asking = undefined;
      again?.cancel();
      again = undefined;
      // Whether it is full is asked by each start.
      if (!isRunning || state === 'ok' || state === 'PROVIDER_STORAGE_FULL') return;
      again = clock.after('provider-health-again', Math.min(AGAIN_MS, intervalMs), () => void askOnce(false));
    });
    return asking;
  }

  return {
    start() {
      isRunning = true;
      timer?.cancel();
      timer = clock.every('provider-health', intervalMs, () => void askOnce(false));
      void askOnce(false);
    },
    async admit() {
      const freshMs = marginMinutes > 0 ? FRESH_MS : FULL_FRESH_MS;
      if (clock.monotonicMs() - answeredAtMs > freshMs && marginMinutes < SMALL_MARGIN_MINUTES) {
        const late = () => new GlasscastError('PROVIDER_UNREACHABLE');
        await withTimeout(clock, 'provider-admission', PATIENCE_MS, askOnce(true), late).catch(() => {});
      }
      if (state === 'PROVIDER_STORAGE_FULL') throw new GlasscastError('PROVIDER_STORAGE_FULL');
    },
    async isFull() {
      const sinceMs = clock.monotonicMs();
      await askOnce(true);
      return answeredAtMs < sinceMs ? undefined : marginMinutes <= 0;
    },
    state: () => state,
    async close() {
      isRunning = false;
      timer?.cancel();
      again?.cancel();
      timer = undefined;
      await asking;
    },
  };
}
