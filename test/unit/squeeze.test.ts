/** A squeeze made of arithmetic: what the judgement says of a publisher that falls behind, and of one that steps down. */
import { describe, expect, it } from 'vitest';
import { type Arrival, type ArrivedPicture, firstArrivals } from '../../scripts/bench/arrivals.ts';
import { judgeSqueeze, worstAge } from '../../scripts/bench/squeeze.ts';

const FRAME_MS = 1000 / 30;
const [squeezeMs, releaseMs, endMs] = [10_000, 40_000, 60_000];

interface Scripted {
  /** Of the frame exposed at this time; undefined: never arrives. */
  delayMs: (exposedMs: number) => number | undefined;
  bytes: (exposedMs: number) => number;
  dropped?: number[];
}

function judged({ delayMs, bytes, dropped = [] }: Scripted) {
  const pictures: ArrivedPicture[] = [];
  const arrivals: Arrival[] = [];
  for (let frame = 0; frame * FRAME_MS < endMs; frame += 1) {
    const exposedMs = frame * FRAME_MS;
    const delay = delayMs(exposedMs);
    if (delay === undefined || exposedMs + delay >= endMs) continue;
    const atMs = exposedMs + delay;
    pictures.push({ frame, connection: 0, atMs, delayMs: delay });
    const tag = { kind: 'video' as const, timestampMs: exposedMs, body: Buffer.alloc(bytes(exposedMs)) };
    arrivals.push({ tag, connection: 0, atMs, wallMs: atMs, bytes: 0 });
  }
  pictures.sort((a, b) => a.atMs - b.atMs);
  return judgeSqueeze({ arrivals, pictures, squeezeMs, releaseMs, endMs, camera: { dropped } });
}

const FULL = 8_000;

it('a publisher that steps down: a short delay once, all pictures, the rate back a while after the release', () => {
  const result = judged({
    delayMs: (atMs) => (atMs >= squeezeMs && atMs < squeezeMs + 1_000 ? 600 : 40),
    bytes: (atMs) => (atMs >= squeezeMs && atMs < releaseMs + 4_000 ? 2_500 : FULL),
  });
  expect(result).toMatchObject({
    worstDelayFirst5sMs: 600,
    delayP50Ms: 40,
    delayP95Ms: 40,
    framesPerSecond: 30,
    framesMissing: 0,
    rateBackMs: 4_000,
  });
  expect(result.delayBackMs).toBeLessThan(FRAME_MS);
  expect(result.bitsPerSecondBefore).toBe(FULL * 8 * 30);
});

it('a publisher that falls behind: delay, a third of the pictures, and late back', () => {
  const isSqueezed = (atMs: number) => atMs >= squeezeMs && atMs < releaseMs;
  const result = judged({
    delayMs: (atMs) => {
      if (!isSqueezed(atMs)) return 40;
      return Math.round(atMs / FRAME_MS) % 3 === 0 ? Math.min(3_600, (atMs - squeezeMs) / 2) : undefined;
    },
    bytes: () => FULL,
    dropped: [301],
  });
  expect(result.worstDelayFirst5sMs).toBeGreaterThan(1_500);
  expect(result.delayP50Ms).toBe(3_600);
  expect(result.framesPerSecond).toBeGreaterThan(9);
  expect(result.framesPerSecond).toBeLessThanOrEqual(10);
  expect(result.framesMissing).toBe(600);
  expect(result.framesNotTaken).toBe(1);
  expect(result.delayBackMs).toBeGreaterThan(3_000);
});

describe('age of the newest picture', () => {
  const picture = (exposedMs: number, atMs: number) => ({
    ...{ frame: exposedMs, connection: 0, atMs },
    delayMs: atMs - exposedMs,
  });

  it('grows until the next one comes, whether or not that one is late', () => {
    expect(worstAge([picture(0, 40), picture(2_000, 2_040), picture(2_033, 2_073)], 0, 2_080)).toBe(2_040);
  });
  it('counts what never comes, and only the time between the bounds', () => {
    expect(worstAge([picture(0, 40)], 1_000, 3_000)).toBe(3_000);
    expect(worstAge([picture(0, 900), picture(1_000, 1_040), picture(1_033, 1_070)], 1_050, 1_080)).toBe(70);
  });
});

it('what is sent again is no news', () => {
  const pictures = [7, 8, 7].map((frame, index) => ({ frame, connection: index, atMs: index, delayMs: index }));
  expect(firstArrivals(pictures).map(({ atMs }) => atMs)).toEqual([0, 1]);
});
