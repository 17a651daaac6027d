/**
 * Memory and descriptors of the soak's processes, sampled in moments that can be compared: everybody has left, and it was
 * quiet for a while. Says whether they grow; reads the kernel's books only.
 */
import { rounded, type Slope, slope } from '../bench/measuring.ts';
import { descriptorsOf, processUse } from '../bench/process-use.ts';

export interface ProcessSample {
  atMs: number;
  /** A new process is another series. */
  pid: number;
  rssMb: number;
  descriptors: number;
  threads: number;
  /** As it was found, before its garbage was collected. */
  rssFoundMb: number;
  /** Of V8's heap; undefined where it could not be collected. */
  heapUsedMb: number | undefined;
  /** What it keeps up to a bound was filled, and some time ago. */
  isWarm: boolean;
}

/** As it is, then as it is without its garbage. @param collect undefined: it is left as it is */
export async function sampleOf(
  { pid, atMs, isWarm }: Pick<ProcessSample, 'pid' | 'atMs' | 'isWarm'>,
  collect?: () => Promise<{ heapUsedMb: number } | undefined>,
): Promise<ProcessSample> {
  const { rssMb: rssFoundMb } = await processUse(pid);
  const collected = await collect?.();
  const [{ rssMb, threads }, descriptors] = await Promise.all([processUse(pid), descriptorsOf(pid)]);
  return { atMs, pid, isWarm, rssMb, rssFoundMb, descriptors, threads, heapUsedMb: collected?.heapUsedMb };
}

export interface Trend {
  samples: number;
  minutes: number;
  /** Least squares; undefined with fewer than three samples. */
  rssMbPerHour: number | undefined;
  /** Standard error of it: a slope below twice this cannot be told from none. */
  errorMbPerHour: number | undefined;
  /** By the same line, from the first sample to the last. */
  descriptorGrowth: number | undefined;
  descriptorError: number | undefined;
  heapMbPerHour: number | undefined;
  /** Of RSS as it was found, garbage and all. */
  foundMbPerHour: number | undefined;
  course: {
    minute: number;
    isWarm: boolean;
    rssMb: number;
    rssFoundMb: number;
    descriptors: number;
    heapUsedMb?: number;
  }[];
}

/** Connections that are kept for the next request come and go. */
export const SPARE_DESCRIPTORS = 2;

/** Of the process that was warm for longest: what one grows by before, as V8 compiles and memories fill, is no leak. */
export function trendOf(samples: readonly ProcessSample[]): Trend {
  const pids = [...new Set(samples.map(({ pid }) => pid))];
  const lives = pids.map((pid) => samples.filter((sample) => sample.pid === pid && sample.isWarm));
  const counted = lives.reduce((longest, one) => (lengthOf(one) > lengthOf(longest) ? one : longest), []);
  const of: Slope | undefined = slope(counted.map(({ atMs, rssMb }) => ({ atMs, value: rssMb })));
  const heap = slope(
    counted.flatMap(({ atMs, heapUsedMb }) => (heapUsedMb === undefined ? [] : [{ atMs, value: heapUsedMb }])),
  );
  const found = slope(counted.map(({ atMs, rssFoundMb }) => ({ atMs, value: rssFoundMb })));
  const descriptors = slope(counted.map(({ atMs, descriptors: value }) => ({ atMs, value })));
  const hours = lengthOf(counted) / 3_600_000;
  return {
    samples: counted.length,
    minutes: rounded(lengthOf(counted) / 60_000),
    rssMbPerHour: of && hundredths(of.perHour),
    errorMbPerHour: of && hundredths(of.errorPerHour),
    heapMbPerHour: heap && hundredths(heap.perHour),
    foundMbPerHour: found && hundredths(found.perHour),
    descriptorGrowth: descriptors && hundredths(descriptors.perHour * hours),
    descriptorError: descriptors && hundredths(descriptors.errorPerHour * hours),
    course: samples.map(({ atMs, isWarm, rssMb, rssFoundMb, descriptors: open, heapUsedMb }) => ({
      ...{
        minute: rounded(atMs / 60_000),
        isWarm,
        rssMb: rounded(rssMb),
        rssFoundMb: rounded(rssFoundMb),
        descriptors: open,
      },
      ...(heapUsedMb === undefined ? {} : { heapUsedMb: rounded(heapUsedMb) }),
    })),
  };
}

const lengthOf = (life: readonly ProcessSample[]) => (life.at(-1)?.atMs ?? 0) - (life[0]?.atMs ?? 0);
const hundredths = (value: number) => Math.round(value * 100) / 100;
