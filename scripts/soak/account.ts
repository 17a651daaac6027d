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
  /** The least that was seen as its garbage was collected several times. */
  rssMb: number;
  descriptors: number;
  /** Of those the ones it holds for long; undefined: it was not waited for the end of the others. */
  heldDescriptors?: number;
  threads: number;
  /** As it was found, before its garbage was collected. */
  rssFoundMb: number;
  /** Of V8's heap; undefined where it could not be collected. */
  heapUsedMb: number | undefined;
  /** What it keeps up to a bound was filled, and some time ago. */
  isWarm: boolean;
}

/**
 * As it is, then as it is without its garbage. @param collect undefined: it is left as it is; calls its argument after each time
 */
export async function sampleOf(
  { pid, atMs, isWarm }: Pick<ProcessSample, 'pid' | 'atMs' | 'isWarm'>,
  collect?: (look: () => Promise<void>) => Promise<{ heapUsedMb: number } | undefined>,
): Promise<ProcessSample> {
  const { rssMb: rssFoundMb } = await processUse(pid);
  const seenMb: number[] = [];
  const collected = await collect?.(async () => {
    seenMb.push((await processUse(pid)).rssMb);
  });
  const [{ threads }, descriptors] = await Promise.all([processUse(pid), descriptorsOf(pid)]);
  const rssMb = seenMb.length > 0 ? Math.min(...seenMb) : rssFoundMb;
  return { atMs, pid, isWarm, rssMb, rssFoundMb, descriptors, threads, heapUsedMb: collected?.heapUsedMb };
}

/** For a line of progress. */
export function trendWords(trend: Trend): string {
  const { samples, rssMbPerHour, errorMbPerHour, descriptorGrowth } = trend;
  if (samples < LEAST_SAMPLES) return `not judged by ${samples} samples`;
  const descriptorWords = descriptorGrowth === undefined ? '' : ` and ${descriptorGrowth} descriptors`;
  return `${rssMbPerHour} ± ${errorMbPerHour} MB/h${descriptorWords}`;
}

export interface Trend {
  samples: number;
  minutes: number;
  /** Least squares; undefined with fewer than three samples. */
  rssMbPerHour: number | undefined;
  /** Standard error of it: a slope below twice this cannot be told from none. */
  errorMbPerHour: number | undefined;
  /** A slope below this may be two pages that V8 happened to need: they come one by one, which the standard error does not know. */
  resolutionMbPerHour: number | undefined;
  /** Those held at last less those held at first; undefined: they were not counted twice. */
  descriptorGrowth: number | undefined;
  heapMbPerHour: number | undefined;
  /** Of RSS as it was found, garbage and all. */
  foundMbPerHour: number | undefined;
  course: {
    minute: number;
    isWarm: boolean;
    rssMb: number;
    rssFoundMb: number;
    descriptors: number;
    heldDescriptors?: number;
    heapUsedMb?: number;
  }[];
}

/** The soak asks the relay once a second. */
export const SPARE_DESCRIPTORS = 2;
export const MB_PER_HOUR = 1;
/** V8 takes its heap from the system by pages of this size. */
const PAGE_MB = 0.25;
/** Fewer say nothing of noise. */
const LEAST_SAMPLES = 8;

/**
 * What can be told from noise, in words: a line that passes its limit by more than two standard errors and by more than
 * the resolution; or descriptors that are held.
 */
export function growthOf(trend: Trend): string[] {
  const { samples, rssMbPerHour = 0, errorMbPerHour = 0, resolutionMbPerHour = 0, descriptorGrowth = 0 } = trend;
  if (samples < LEAST_SAMPLES) return [];
  return [
    ...(rssMbPerHour - Math.max(2 * errorMbPerHour, resolutionMbPerHour) > MB_PER_HOUR
      ? [`RSS by ${rssMbPerHour} ± ${errorMbPerHour} MB/h`]
      : []),
    ...(descriptorGrowth > SPARE_DESCRIPTORS ? [`descriptors by ${descriptorGrowth}`] : []),
  ];
}

/** Of the process that was warm for longest: what one grows by before, as V8 compiles and memories fill, is no leak. */
export function trendOf(samples: readonly ProcessSample[]): Trend {
  const pids = [...new Set(samples.map(({ pid }) => pid))];
  // One that could not be collected is another kind of figure.
  const isCollected = ({ heapUsedMb }: ProcessSample) => heapUsedMb !== undefined;
  const comparable = samples.some(isCollected) ? samples.filter(isCollected) : samples;
  const lives = pids.map((pid) => comparable.filter((sample) => sample.pid === pid && sample.isWarm));
  const counted = lives.reduce((longest, one) => (lengthOf(one) > lengthOf(longest) ? one : longest), []);
  const of: Slope | undefined = slope(counted.map(({ atMs, rssMb }) => ({ atMs, value: rssMb })));
  const heap = slope(
    counted.flatMap(({ atMs, heapUsedMb }) => (heapUsedMb === undefined ? [] : [{ atMs, value: heapUsedMb }])),
  );
  const found = slope(counted.map(({ atMs, rssFoundMb }) => ({ atMs, value: rssFoundMb })));
  const held = counted.flatMap(({ heldDescriptors = [] }) => heldDescriptors);
  const hours = lengthOf(counted) / 3_600_000;
  return {
    samples: counted.length,
    minutes: rounded(lengthOf(counted) / 60_000),
    rssMbPerHour: of && hundredths(of.perHour),
    errorMbPerHour: of && hundredths(of.errorPerHour),
    resolutionMbPerHour: hours > 0 ? hundredths((2 * PAGE_MB) / hours) : undefined,
    heapMbPerHour: heap && hundredths(heap.perHour),
    foundMbPerHour: found && hundredths(found.perHour),
    descriptorGrowth: held.length > 1 ? (held.at(-1) ?? 0) - (held[0] ?? 0) : undefined,
    course: comparable.map(({ atMs, isWarm, rssMb, rssFoundMb, descriptors, heldDescriptors, heapUsedMb }) => ({
      ...{
        minute: rounded(atMs / 60_000),
        isWarm,
        rssMb: rounded(rssMb),
        rssFoundMb: rounded(rssFoundMb),
        descriptors,
      },
      ...(heldDescriptors === undefined ? {} : { heldDescriptors }),
      ...(heapUsedMb === undefined ? {} : { heapUsedMb: rounded(heapUsedMb) }),
    })),
  };
}

const lengthOf = (life: readonly ProcessSample[]) => (life.at(-1)?.atMs ?? 0) - (life[0]?.atMs ?? 0);
const hundredths = (value: number) => Math.round(value * 100) / 100;
