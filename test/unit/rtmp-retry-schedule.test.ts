import { describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../shared/errors.ts';
import { createRetrySchedule } from '../../shared/rtmp/retry-schedule.ts';

/** Delays of an outage in which each attempt fails at once. */
function delays(code: ErrorCode, count: number, random = () => 0): number[] {
  const schedule = createRetrySchedule({ random });
  let nowMs = 0;
  return Array.from({ length: count }, () => {
    const delayMs = schedule.failed(code, nowMs);
    nowMs += delayMs;
    return delayMs;
  });
}

describe('retry schedule', () => {
  it('knocks at most 100 ms apart for ten seconds, 400 ms for a minute, then grows to five', () => {
    for (const code of ['INGEST_UNREACHABLE', 'INGEST_DROPPED', 'INGEST_SILENT'] as const) {
      const all = delays(code, 320);
      const eager = all.filter((delayMs) => delayMs <= 60);
      expect(eager.reduce((sum, delayMs) => sum + delayMs, 0)).toBeGreaterThanOrEqual(10_000);
      expect(Math.max(...eager)).toBeLessThanOrEqual(100);
      const brisk = all.filter((delayMs) => delayMs <= 400);
      expect(brisk.reduce((sum, delayMs) => sum + delayMs, 0)).toBeGreaterThanOrEqual(60_000);
      expect(all.at(-1)).toBe(5_000);
    }
  });
  it('spreads its delays', () => {
    expect(delays('INGEST_DROPPED', 1, () => 0)).toEqual([60]);
    expect(delays('INGEST_DROPPED', 1, () => 1)).toEqual([30]);
  });
  it.each(['INGEST_REFUSED_KEY', 'INGEST_TLS_FAILED', 'INGEST_PROTOCOL'] as const)(
    'is slow from the start on %s',
    (code) => {
      const all = delays(code, 6, () => 1);
      expect(all[0]).toBeGreaterThanOrEqual(1_000);
      expect(all).toEqual([...all].sort((a, b) => a - b));
      expect(all.at(-1)).toBe(10_500);
    },
  );
  it('begins anew only after a connection that lasted', () => {
    const schedule = createRetrySchedule({ random: () => 0 });
    schedule.failed('INGEST_DROPPED', 0);
    schedule.lived(1_000);
    expect(schedule.isEager(60_001)).toBe(false);
    expect(schedule.failed('INGEST_DROPPED', 10_001)).toBe(400);
    schedule.lived(5_000);
    expect(schedule.isEager(80_000)).toBe(true);
    expect(schedule.failed('INGEST_DROPPED', 80_000)).toBe(60);
  });
});
