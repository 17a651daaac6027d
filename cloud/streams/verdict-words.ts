/** Times and numbers as a verdict says them. Pure. */

/** 14:03:10, in UTC: operators and glasses are seldom in one place. */
export function clockTime(atMs: number): string {
  const isTime = Number.isFinite(atMs) && Math.abs(atMs) < 8.64e15;
  return isTime ? new Date(atMs).toISOString().slice(-13, -5) : '--:--:--';
}

/** 0.8 s, 34 s, 12 min, 3.2 h. */
export function spanText(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** 2.5, 0.8, 0.06: as many digits as say something. */
export function mbit(rateBps: number): string {
  const rate = rateBps / 1_000_000;
  return rate >= 0.1 ? String(Math.round(rate * 10) / 10) : rate.toFixed(2);
}

/** once, twice, 3 times. */
export function times(count: number): string {
  return ['never', 'once', 'twice'][count] ?? `${count} times`;
}
