/** What passed the door of the ingest in a stretch of time, judged: gaps, and time stamps that go back or below zero. Pure. */
import type { PassedTag } from './board-world.ts';

export interface PassedStretch {
  pictures: number;
  sounds: number;
  /** Longest time between two arrivals of pictures, the ends of the stretch included. */
  longestSilenceMs: number;
  /** Largest step between two pictures' time stamps: what is missing in the media itself. */
  largestStepMs: number;
  /** Pictures or sounds whose time stamp is below that of the one before on the same connection. */
  backwards: number;
}

export function passedStretch(tags: readonly PassedTag[], fromMs: number, toMs: number): PassedStretch {
  const within = tags.filter(({ atMs, kind }) => kind !== 'script' && atMs >= fromMs && atMs <= toMs);
  const pictures = within.filter(({ kind }) => kind === 'video');
  const arrivals = [fromMs, ...pictures.map(({ atMs }) => atMs), toMs];
  // After a loss some are sent again: their own order counts, not that of arrival.
  const stamps = [...new Set(pictures.map(({ timestampMs }) => timestampMs))].sort((one, other) => one - other);
  return {
    pictures: stamps.length,
    sounds: within.length - pictures.length,
    longestSilenceMs: Math.round(Math.max(...steps(arrivals))),
    largestStepMs: Math.max(0, ...steps(stamps)),
    backwards: (['video', 'audio'] as const).reduce((sum, kind) => sum + backwardsOf(within, kind), 0),
  };
}

const steps = (values: readonly number[]) => values.slice(1).map((value, index) => value - (values[index] ?? 0));

function backwardsOf(tags: readonly PassedTag[], wanted: PassedTag['kind']): number {
  const ofKind = tags.filter(({ kind }) => kind === wanted);
  return ofKind.filter(({ timestampMs, connection }, index) => {
    const before = ofKind[index - 1];
    return timestampMs > NEGATIVE_MS || (before?.connection === connection && before.timestampMs > timestampMs);
  }).length;
}

/** A negative 32-bit time stamp looks like weeks. */
const NEGATIVE_MS = 0x7fffffff;
