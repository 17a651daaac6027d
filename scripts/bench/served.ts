/**
 * Whether an app is served, from what it heard: it is let in, knows the state of its stream, and a status that the glasses have just
 * sent reaches it. Pure.
 */

export interface ViewerEvent {
  atMs: number;
  /** `device`: a status with the numbers of the glasses, which they send on and on; `told`: any other status of the stream. */
  kind: 'lost' | 'accepted' | 'told' | 'device';
  /** Of a status. */
  word?: string;
  streamId?: string | undefined;
  errorCode?: string | undefined;
}

export interface ServedWindow {
  /** The moment of the fault. */
  sinceMs: number;
  untilMs: number;
  /** How often the glasses say their numbers. */
  cadenceMs: number;
}

/** Beyond the cadence: on a busy machine two statuses may lie so far apart with nothing wrong. */
const JITTER_MS = 1_000;

/**
 * Milliseconds from the fault until the app was served for good; 0 when it noticed nothing. Undefined: at the end of the window it
 * was not.
 */
export function servedAgainMs(events: readonly ViewerEvent[], window: ServedWindow): number | undefined {
  const { sinceMs, untilMs, cadenceMs } = window;
  const seen = events.filter(({ atMs }) => atMs <= untilMs);
  const device = seen.filter(({ kind }) => kind === 'device').map(({ atMs }) => atMs);
  const afterLoss = servedAfterLossMs(seen, sinceMs);
  const newestMs = device.at(-1);
  const longestGapMs = cadenceMs + JITTER_MS;
  if (afterLoss === undefined || newestMs === undefined || untilMs - newestMs > longestGapMs) return undefined;
  const gapEnds = device.filter((atMs, index) => {
    const beforeMs = device[index - 1];
    return atMs > sinceMs && beforeMs !== undefined && atMs - beforeMs > longestGapMs;
  });
  return Math.max(0, afterLoss - sinceMs, ...gapEnds.map((atMs) => atMs - sinceMs));
}

/** When what the last loss took was there again; the fault's own moment when nothing was lost. */
function servedAfterLossMs(seen: readonly ViewerEvent[], sinceMs: number): number | undefined {
  const lost = seen.filter(({ kind, atMs }) => kind === 'lost' && atMs >= sinceMs).at(-1);
  if (!lost) return sinceMs;
  const later = seen.slice(seen.indexOf(lost) + 1);
  const accepted = later.findIndex(({ kind }) => kind === 'accepted');
  if (accepted < 0) return undefined;
  // Such a status names the state too.
  return later.slice(accepted).find(({ kind }) => kind === 'device')?.atMs;
}

/** What no app may hear while its stream goes on: an end, an error, or another stream in its place. */
export function wordsOfAnEnd(events: readonly ViewerEvent[], streamId: string, sinceMs: number): string[] {
  const since = events.filter(({ atMs, word }) => atMs >= sinceMs && word !== undefined);
  const isWrong = (event: ViewerEvent) =>
    ['stopped', 'error', 'timeout'].includes(event.word ?? '') ||
    (event.streamId !== undefined && event.streamId !== streamId);
  return since.filter(isWrong).map(({ word = '', errorCode }) => (errorCode ? `${word} ${errorCode}` : word));
}
