/**
 * What the benchmarks say: medians and percentiles, goals and whether they are met, and the machine they ran on.
 * Pure arithmetic plus facts read from the operating system; runs nothing.
 */
import { cpus, loadavg, release, totalmem } from 'node:os';

export interface Summary {
  /** How many samples. */
  n: number;
  min: number;
  p50: number;
  p95: number;
  max: number;
}

/** The value below which `share` (0…1) of the samples lie, by linear interpolation between neighbours; NaN without samples. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const position = (sorted.length - 1) * Math.min(1, Math.max(0, share));
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  if (below === undefined || above === undefined) return Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

export const median = (samples: readonly number[]): number => percentile(samples, 0.5);

/** One decimal is what these clocks can tell. */
export const rounded = (value: number): number => Math.round(value * 10) / 10;

/** Undefined without samples: a missing number must not look like a measured one. */
export function summary(samples: readonly number[]): Summary | undefined {
  if (samples.length === 0) return undefined;
  return {
    n: samples.length,
    min: rounded(percentile(samples, 0)),
    p50: rounded(median(samples)),
    p95: rounded(percentile(samples, 0.95)),
    max: rounded(percentile(samples, 1)),
  };
}

export interface Goal {
  name: string;
  /** Undefined when it could not be measured; then the goal is not met. */
  measured: number | undefined;
  /** One of the two. */
  atMost?: number;
  atLeast?: number;
  unit: string;
  met: boolean;
}

export function goal(name: string, measured: number | undefined, atMost: number, unit = 'ms'): Goal {
  const known = measured !== undefined && Number.isFinite(measured);
  return {
    name,
    measured: known ? rounded(measured) : undefined,
    atMost: rounded(atMost),
    unit,
    met: known && measured <= atMost,
  };
}

/** As `goal`, for what must not be less. */
export function goalAtLeast(name: string, measured: number | undefined, atLeast: number, unit: string): Goal {
  const { atMost: _, met: __, ...rest } = goal(name, measured, atLeast, unit);
  return { ...rest, atLeast: rounded(atLeast), met: measured !== undefined && measured >= atLeast };
}

/** Three digits say what these figures can say. */
export function readable(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

/** `≤ 2000` */
export const goalText = ({ atMost, atLeast }: { atMost?: number | undefined; atLeast?: number | undefined }): string =>
  atMost === undefined ? `≥ ${readable(atLeast ?? Number.NaN)}` : `≤ ${readable(atMost)}`;

/** A row of the table in README: what is ours beside what it stands against, in the same run. */
export interface Headline {
  what: string;
  /** Undefined when it could not be measured. */
  ours: number | undefined;
  /** Undefined: the peer has no such thing, or was not there. */
  peer: number | undefined;
  peerName: string;
  unit: string;
  /** `≤ 2000`, in the same unit; undefined: none was set. */
  goal: string | undefined;
  met: boolean | undefined;
}

/** @param beside what the peer needs for the same, and who that is. */
export function headline(
  { name, measured, atMost, atLeast, unit, met }: Goal,
  beside: { peer: number | undefined; peerName: string },
): Headline {
  const isKnown = beside.peer !== undefined && Number.isFinite(beside.peer);
  return {
    what: name,
    ours: measured,
    peer: isKnown ? rounded(beside.peer ?? 0) : undefined,
    peerName: beside.peerName,
    unit,
    goal: goalText({ atMost, atLeast }),
    met,
  };
}

export interface Slope {
  perHour: number;
  /** Standard error: a slope below twice this cannot be told from none. */
  errorPerHour: number;
}

/** Least squares through the samples; undefined for fewer than three, or all at one time. */
export function slope(samples: readonly { atMs: number; value: number }[]): Slope | undefined {
  const count = samples.length;
  if (count < 3) return undefined;
  const hours = samples.map(({ atMs }) => atMs / 3_600_000);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / count;
  const middleHour = mean(hours);
  const middleValue = mean(samples.map(({ value }) => value));
  const spread = hours.reduce((sum, hour) => sum + (hour - middleHour) ** 2, 0);
  if (spread === 0) return undefined;
  const values = samples.map(({ value }, index) => ({
    value: value - middleValue,
    hour: (hours[index] ?? 0) - middleHour,
  }));
  const perHour = values.reduce((sum, { value, hour }) => sum + value * hour, 0) / spread;
  const residue = values.reduce((sum, { value, hour }) => sum + (value - perHour * hour) ** 2, 0);
  return { perHour, errorPerHour: Math.sqrt(residue / (count - 2) / spread) };
}

/** Groups the numbers of many runs by their name and summarises each; a run may lack some. */
export function summaries(
  runs: readonly Readonly<Record<string, number | undefined>>[],
): Record<string, Summary | undefined> {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run)))];
  return Object.fromEntries(
    names.map((name) => [name, summary(runs.flatMap((run) => (run[name] === undefined ? [] : [run[name]])))]),
  );
}

export interface Machine {
  cpu: string;
  cores: number;
  memoryMb: number;
  kernel: string;
  node: string;
  /** One-minute load when the document was written; above `cores` the times are noise. */
  loadAverage: number;
}

export function describeMachine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryMb: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.version,
    loadAverage: rounded(loadavg()[0] ?? 0),
  };
}

/** Which of the frame numbers first…last (24 bit, counting up) are missing from `seen`. */
export function missingFrames(seen: ReadonlySet<number>, first: number, last: number): number[] {
  const missing: number[] = [];
  for (let frame = first; frame <= last; frame += 1) if (!seen.has(frame)) missing.push(frame);
  return missing;
}
