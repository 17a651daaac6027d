/** What a narrow uplink did to a stream, from what arrived: delay, frame rate, pictures lost, and when the rate was back. Pure. */
import { type Arrival, type ArrivedPicture, firstArrivals } from './arrivals.ts';
import { median, missingFrames, percentile, rounded } from './measuring.ts';
import { delayPerSecond, longestGap, rateBackMs, type SecondOfDelay } from './timeline.ts';

export interface SqueezeRecord {
  arrivals: readonly Arrival[];
  /** In order of arrival. */
  pictures: readonly ArrivedPicture[];
  squeezeMs: number;
  releaseMs: number;
  endMs: number;
  camera: { dropped: readonly number[] };
}

export interface SqueezeResult {
  /** Arriving sound and picture in the 5 s before. */
  bitsPerSecondBefore: number;
  /** Of the pictures that arrived in the first 5 s of the squeeze. */
  worstDelayFirst5sMs: number | undefined;
  /** Age of the newest picture at the ingest, just before the next one came, in the same time: what a viewer sees. */
  worstAgeFirst5sMs: number;
  /** From then until the release. */
  delayP50Ms: number | undefined;
  delayP95Ms: number | undefined;
  framesPerSecond: number;
  longestGapMs: number;
  /** Exposed from the squeeze to 1 s before the end of the watch and never arrived; of these not taken from the camera. */
  framesMissing: number;
  framesNotTaken: number;
  /** From the release until two whole seconds with 90 % of the bits before. */
  rateBackMs: number | undefined;
  /** From the release until the delay is at most twice that before plus 50 ms, for a second. */
  delayBackMs: number | undefined;
  perSecond: (SecondOfDelay & { kilobitsPerSecond: number })[];
}

/** The first seconds, in which the encoder is changed. */
export const STEP_DOWN_MS = 5_000;
const BEFORE_MS = 5_000;
/** A second of pictures; the last of them may still be on their way. */
const SECOND_OF_FRAMES = 30;

export function judgeSqueeze(record: SqueezeRecord): SqueezeResult {
  const { squeezeMs, releaseMs, endMs } = record;
  const pictures = firstArrivals(record.pictures);
  const between = (fromMs: number, toMs: number) => pictures.filter(({ atMs }) => atMs >= fromMs && atMs < toMs);
  const delays = (fromMs: number, toMs: number) => between(fromMs, toMs).map(({ delayMs }) => delayMs);
  const rate = record.arrivals.map(({ atMs, tag }) => ({ atMs, bits: tag.body.length * 8 }));
  const bitsIn = (fromMs: number, toMs: number) =>
    rate.reduce((sum, { atMs, bits }) => sum + (atMs >= fromMs && atMs < toMs ? bits : 0), 0);
  const bitsPerSecondBefore = (bitsIn(squeezeMs - BEFORE_MS, squeezeMs) * 1000) / BEFORE_MS;
  const steppedMs = squeezeMs + STEP_DOWN_MS;
  const after = delays(steppedMs, releaseMs);
  const gap = longestGap(
    pictures.map(({ atMs }) => atMs),
    squeezeMs,
    releaseMs,
  );
  const usualMs = median(delays(squeezeMs - BEFORE_MS, squeezeMs));
  const perSecond = delayPerSecond(pictures, squeezeMs, -2, Math.floor((endMs - squeezeMs) / 1000));
  return {
    bitsPerSecondBefore: Math.round(bitsPerSecondBefore),
    worstDelayFirst5sMs: atMost(delays(squeezeMs, steppedMs)),
    worstAgeFirst5sMs: rounded(worstAge(pictures, squeezeMs, steppedMs)),
    delayP50Ms: after.length > 0 ? rounded(median(after)) : undefined,
    delayP95Ms: after.length > 0 ? rounded(percentile(after, 0.95)) : undefined,
    framesPerSecond: rounded((after.length * 1000) / (releaseMs - steppedMs)),
    longestGapMs: rounded(gap.ms),
    ...missingSince(pictures, record),
    rateBackMs: rateBackMs(rate, { bitsPerSecond: 0.9 * bitsPerSecondBefore, fromMs: releaseMs, toMs: endMs }),
    delayBackMs: delayBack(between(releaseMs, endMs), releaseMs, 2 * usualMs + 50),
    perSecond: perSecond.map((second) => {
      const fromMs = squeezeMs + second.second * 1000;
      return { ...second, kilobitsPerSecond: Math.round(bitsIn(fromMs, fromMs + 1000) / 1000) };
    }),
  };
}

const atMost = (values: readonly number[]) => (values.length > 0 ? rounded(Math.max(...values)) : undefined);

/** Looked at just before each arrival and at the end: between arrivals the newest picture only grows older. */
export function worstAge(pictures: readonly ArrivedPicture[], fromMs: number, toMs: number): number {
  let newestExposedMs = Number.NEGATIVE_INFINITY;
  let worst = 0;
  const look = (atMs: number) => {
    if (atMs > fromMs && newestExposedMs > Number.NEGATIVE_INFINITY) worst = Math.max(worst, atMs - newestExposedMs);
  };
  for (const { atMs, delayMs } of pictures) {
    if (atMs >= toMs) break;
    look(atMs);
    newestExposedMs = Math.max(newestExposedMs, atMs - delayMs);
  }
  look(toMs);
  return worst;
}

function missingSince(
  pictures: readonly ArrivedPicture[],
  { squeezeMs, camera }: SqueezeRecord,
): Pick<SqueezeResult, 'framesMissing' | 'framesNotTaken'> {
  const frames = pictures.map(({ frame }) => frame);
  const first = Math.min(...pictures.filter(({ atMs }) => atMs >= squeezeMs).map(({ frame }) => frame));
  if (!Number.isFinite(first)) return { framesMissing: Number.NaN, framesNotTaken: 0 };
  const missing = missingFrames(new Set(frames), first, Math.max(...frames) - SECOND_OF_FRAMES);
  const notTaken = new Set(camera.dropped);
  return { framesMissing: missing.length, framesNotTaken: missing.filter((frame) => notTaken.has(frame)).length };
}

/** The first picture of a second's worth of them of which none was late. */
function delayBack(pictures: readonly ArrivedPicture[], releaseMs: number, usualMs: number): number | undefined {
  let late = -1;
  for (const [index, { delayMs }] of pictures.entries()) {
    if (delayMs > usualMs) late = index;
    else if (index - late >= SECOND_OF_FRAMES) return rounded((pictures[late + 1]?.atMs ?? releaseMs) - releaseMs);
  }
  return undefined;
}
