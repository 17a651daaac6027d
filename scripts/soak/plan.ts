/**
 * What the soak does and when, by its seed alone: which faults come in which cycle, at which moments, against whom. Pure: the
 * same seed draws the same faults for the same cycle, however long the others took.
 */
import { createRandom } from '../../device/simulator/timeline.ts';

/** Each against one part of the product, as it happens to it outside. `redis-killed` where several nodes share one. */
export const faultNames = [
  'agent-killed',
  'agent-frozen',
  'encoder-killed',
  'ingest-reset',
  'ingest-away',
  'control-cut',
  'app-cut',
  'webhook-down',
  'relay-restarted',
  'relay-killed',
  'stream-killed',
  'provider-failing',
  'provider-slow',
  'provider-limited',
  'creation-lost',
  'storage-full',
  'delivery-away',
  'disk-full',
  'redis-killed',
] as const;
export type FaultName = (typeof faultNames)[number];

/** With them a process begins anew, and with it its memory and its descriptors. */
const restarts: readonly FaultName[] = ['relay-restarted', 'relay-killed', 'stream-killed'];

export interface PlannedFault {
  name: FaultName;
  /** From the begin of the storm. */
  atMs: number;
  /** 0…1: whom it hits, among those that there are. */
  whom: number;
  /** How long it lasts, where it lasts. */
  lastsMs: number;
}

export interface StormOptions {
  seed: number;
  /** From 0. */
  cycle: number;
  /** No more than there are kinds. */
  faults: number;
  lengthMs: number;
  /** Whether processes of the relay and the local Stream may be ended. */
  mayRestart: boolean;
  /** Whether there is a Redis, and it may be killed. */
  hasRedis: boolean;
}

const SHORTEST_MS = 800;
const LONGEST_MS = 5_000;

/** In the order of their moments. Every kind comes once before one comes again. */
export function planStorm({ seed, cycle, faults, lengthMs, mayRestart, hasRedis }: StormOptions): PlannedFault[] {
  const random = createRandom(seed, cycle);
  const allowed = faultNames.filter(
    (name) => (mayRestart || !restarts.includes(name)) && (hasRedis || name !== 'redis-killed'),
  );
  const count = Math.min(faults, allowed.length);
  const offset = cycle * count;
  return Array.from({ length: count }, (_, index): PlannedFault => {
    const position = offset + index;
    const round = shuffled(allowed, createRandom(seed, 1_000_000 + Math.floor(position / allowed.length)));
    const name = round[position % allowed.length] ?? 'app-cut';
    // One after the other, so that each is seen by itself as well as in company.
    const atMs = Math.round(((index + random()) * lengthMs) / count);
    return { name, atMs, whom: random(), lastsMs: Math.round(SHORTEST_MS + random() * (LONGEST_MS - SHORTEST_MS)) };
  });
}

export function shuffled<Item>(items: readonly Item[], random: () => number): Item[] {
  return items
    .map((item) => ({ item, draw: random() }))
    .sort((one, other) => one.draw - other.draw)
    .map(({ item }) => item);
}

/** The one that a draw of 0…1 means. */
export function pick<Item>(items: readonly Item[], draw: number): Item | undefined {
  return items[Math.min(items.length - 1, Math.floor(draw * items.length))];
}

/** Processes are restarted in the first sixth of each hour, or of the whole when that is shorter: memory is measured in the rest. */
export function mayRestartAt(atMs: number, totalMs: number): boolean {
  if (totalMs <= 0) return true;
  // The cycle that is finished after that is part of the last hour.
  if (atMs >= totalMs) return false;
  const hourMs = Math.min(totalMs, 3_600_000);
  return atMs % hourMs < hourMs / 6;
}
