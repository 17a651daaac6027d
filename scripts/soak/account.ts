/**
 * Memory and descriptors of the soak's processes, sampled in moments that can be compared: everybody has left, and it was
 * quiet for a while. Says whether they grow; reads the kernel's books only.
 */
import { median, rounded, type Slope, slope } from '../bench/measuring.ts';
import { descriptorsOf, processUse } from '../bench/process-use.ts';

export interface ProcessSample {
  atMs: number;
  /** A new process is another series. */
  pid: number;
  rssMb: number;
  descriptors: number;
  threads: number;
}

export async function sampleOf(pid: number, atMs: number): Promise<ProcessSample> {
  const [{ rssMb, threads }, descriptors] = await Promise.all([processUse(pid), descriptorsOf(pid)]);
  return { atMs, pid, rssMb, descriptors, threads };
}

export interface Trend {
  samples: number;
  minutes: number;
  /** Least squares; undefined with fewer than three samples. */
  rssMbPerHour: number | undefined;
  /** Standard error of it: a slope below twice this cannot be told from none. */
  errorMbPerHour: number | undefined;
  /** Median of the last third less that of the first. */
  descriptorGrowth: number | undefined;
  course: { minute: number; rssMb: number; descriptors: number }[];
}

/** What a young process grows by is no leak: V8 compiles, caches fill. */
const WARM_UP_SHARE = 0.3;
/** Connections that are kept for the next request come and go. */
export const SPARE_DESCRIPTORS = 2;

/** Of the process that lived longest. */
export function trendOf(samples: readonly ProcessSample[]): Trend {
  const pids = [...new Set(samples.map(({ pid }) => pid))];
  const lives = pids.map((pid) => samples.filter((sample) => sample.pid === pid));
  const life = lives.reduce((longest, one) => (lengthOf(one) > lengthOf(longest) ? one : longest), []);
  const beganMs = life[0]?.atMs ?? 0;
  const warmMs = beganMs + WARM_UP_SHARE * lengthOf(life);
  const counted = life.filter(({ atMs }) => atMs >= warmMs);
  const of: Slope | undefined = slope(counted.map(({ atMs, rssMb }) => ({ atMs, value: rssMb })));
  const third = Math.floor(counted.length / 3);
  const descriptors = counted.map((sample) => sample.descriptors);
  return {
    samples: counted.length,
    minutes: rounded(lengthOf(counted) / 60_000),
    rssMbPerHour: of && hundredths(of.perHour),
    errorMbPerHour: of && hundredths(of.errorPerHour),
    descriptorGrowth: third > 0 ? median(descriptors.slice(-third)) - median(descriptors.slice(0, third)) : undefined,
    course: samples.map(({ atMs, rssMb, descriptors: open }) => ({
      ...{ minute: rounded(atMs / 60_000), rssMb: rounded(rssMb), descriptors: open },
    })),
  };
}

const lengthOf = (life: readonly ProcessSample[]) => (life.at(-1)?.atMs ?? 0) - (life[0]?.atMs ?? 0);
const hundredths = (value: number) => Math.round(value * 100) / 100;
