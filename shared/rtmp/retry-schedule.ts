/**
 * When to try again. An outage begins with the first failure and ends when a connection has lasted;
 * in its first seconds we knock often, so that an ingest that listens again has media at once. Pure.
 */
import { type BackoffPolicy, backoffMs } from '../clock.ts';
import type { ErrorCode } from '../errors.ts';

export interface RetrySchedule {
  /** A connection or an attempt at one failed; gives the delay before the next attempt. */
  failed(code: ErrorCode, nowMs: number): number;
  /** A publication that lived this long ends the outage if it was long enough. */
  lived(ms: number): void;
  /** In the first minute of an outage (or of our life). */
  isEager(nowMs: number): boolean;
}

const EAGER_MS = 10_000;
const LASTING_MS = 5_000;
const EAGER: BackoffPolicy = { firstMs: 60, factor: 1, maxMs: 60, jitter: 0.5 };
/** For a minute still so often that media is back within half a second. */
const BRISK_MS = 60_000;
const BRISK: BackoffPolicy = { firstMs: 400, factor: 1, maxMs: 400, jitter: 0.5 };
const PATIENT: BackoffPolicy = { firstMs: 400, factor: 1.6, maxMs: 5_000, jitter: 0.3 };
/** A refused key or certificate rarely becomes right by asking again, and asking costs the ingest. */
const REFUSED: BackoffPolicy = { firstMs: 1_500, factor: 2, maxMs: 15_000, jitter: 0.3 };

export function createRetrySchedule({ random }: { random: () => number }): RetrySchedule {
  let outageSinceMs: number | undefined;
  let patientAttempts = 0;
  let refusals = 0;

  return {
    failed(code, nowMs) {
      outageSinceMs ??= nowMs;
      if (!isNetworkCause(code)) {
        refusals += 1;
        return backoffMs(REFUSED, refusals - 1, random);
      }
      refusals = 0;
      if (nowMs - outageSinceMs < EAGER_MS) return backoffMs(EAGER, 0, random);
      if (nowMs - outageSinceMs < BRISK_MS) return backoffMs(BRISK, 0, random);
      patientAttempts += 1;
      return backoffMs(PATIENT, patientAttempts - 1, random);
    },
    lived(ms) {
      if (ms < LASTING_MS) return;
      outageSinceMs = undefined;
      patientAttempts = 0;
      refusals = 0;
    },
    isEager: (nowMs) => outageSinceMs === undefined || nowMs - outageSinceMs < BRISK_MS,
  };
}

function isNetworkCause(code: ErrorCode): boolean {
  return code === 'INGEST_UNREACHABLE' || code === 'INGEST_DROPPED' || code === 'INGEST_SILENT';
}
