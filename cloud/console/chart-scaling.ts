/** Samples to the points of a small chart: time to the right, values up from zero. Pure. */
import type { Sample } from './figure-history.ts';

export interface ChartFrame {
  widthPx: number;
  heightPx: number;
  fromMs: number;
  toMs: number;
  /** The top of the chart is at least this value, so that noise near zero stays small. */
  leastTop: number;
  /** Values start here and not at zero, for what is never near it. */
  bottom?: number;
}

export interface ChartPaths {
  /** Of an SVG path; empty without samples. */
  line: string;
  /** The same, closed down to the bottom. */
  area: string;
  /** Value at the upper edge. */
  top: number;
}

/** Longer without a sample, and the line breaks: nothing is known of the time between. */
export const GAP_MS = 15_000;

export function chartPaths(samples: readonly Sample[], frame: ChartFrame): ChartPaths {
  const { fromMs, toMs, leastTop, bottom = 0 } = frame;
  const inside = samples.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
  const top = roundTop(Math.max(leastTop, ...inside.map(({ value }) => value)));
  const point = (sample: Sample) => pointOf(sample, frame, top, bottom);
  const runs = runsOf(inside).map((run) => run.map(point));
  return {
    top,
    line: runs
      .map((run) => `M${run.map(([x, y]) => `${x} ${y}`).join('L')}${run.length === 1 ? 'h0.01' : ''}`)
      .join(''),
    area: runs.map((run) => areaOf(run, frame.heightPx)).join(''),
  };
}

/** The next of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 times a power of ten: the edge moves seldom. */
export function roundTop(value: number): number {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const steps = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
  const step = steps.find((candidate) => candidate * power >= value * (1 - 1e-9)) ?? 10;
  return Number((step * power).toPrecision(3));
}

function runsOf(samples: readonly Sample[]): Sample[][] {
  const runs: Sample[][] = [];
  let last: Sample | undefined;
  for (const sample of samples) {
    const run = runs.at(-1);
    if (run && last && sample.atMs - last.atMs <= GAP_MS) run.push(sample);
    else runs.push([sample]);
    last = sample;
  }
  return runs;
}

function pointOf({ atMs, value }: Sample, frame: ChartFrame, top: number, bottom: number): [number, number] {
  const { fromMs, toMs, widthPx, heightPx } = frame;
  const x = ((atMs - fromMs) / (toMs - fromMs)) * widthPx;
  const share = top > bottom ? Math.min(1, Math.max(0, (value - bottom) / (top - bottom))) : 0;
  return [round(x), round(heightPx - share * heightPx)];
}

function areaOf(run: readonly [number, number][], heightPx: number): string {
  const [first, last] = [run[0], run.at(-1)];
  if (!first || !last || run.length < 2) return '';
  return `M${first[0]} ${heightPx}L${run.map(([x, y]) => `${x} ${y}`).join('L')}L${last[0]} ${heightPx}Z`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
