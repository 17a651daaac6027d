/** How near to the end of the buffer a live picture is played. */
import { describe, expect, it } from 'vitest';
import { createLiveEdge } from '../../cloud/player/live-edge.ts';

/** Plays a second of media for each second of time, in steps of 100 ms. @param feedS media that comes in each step. */
function play({
  aheadS,
  steps,
  feedS = () => 0.1,
}: {
  aheadS: number;
  steps: number;
  feedS?: (step: number) => number;
}) {
  const edge = createLiveEdge();
  let [jumps, starved] = [0, 0];
  for (let step = 0; step < steps; step += 1) {
    const { rate, jumpToS } = edge.advise(aheadS, step * 100);
    if (jumpToS !== undefined) {
      aheadS = jumpToS;
      jumps += 1;
    }
    aheadS += feedS(step) - 0.1 * rate;
    if (aheadS > 0) continue;
    aheadS = 0;
    starved += 1;
    edge.starved(step * 100);
  }
  return { aheadS, jumps, starved, targetS: edge.targetS };
}

describe('the live edge', () => {
  it('is jumped to by who joins late, once', () => {
    const { aheadS, jumps, targetS } = play({ aheadS: 2, steps: 100 });
    expect(jumps).toBe(1);
    expect(Math.abs(aheadS - targetS)).toBeLessThan(0.1);
  });

  it('is caught up with without a jump by who is a little behind', () => {
    const { aheadS, jumps } = play({ aheadS: 0.65, steps: 100 });
    expect(jumps).toBe(0);
    expect(aheadS).toBeLessThan(0.3);
  });

  it('is kept at more distance when the stream comes in lumps, and that ends the starving', () => {
    const lumps = (step: number) => (step % 5 === 0 ? 0.5 : 0);
    const early = play({ aheadS: 0.2, steps: 200, feedS: lumps });
    const all = play({ aheadS: 0.2, steps: 600, feedS: lumps });
    expect(early.starved).toBeGreaterThan(0);
    expect(all.starved - early.starved).toBeLessThanOrEqual(2);
    expect(all.targetS).toBeGreaterThan(0.2);
    expect(all.targetS).toBeLessThanOrEqual(1);
  });

  it('comes nearer again in calm, to its least distance', () => {
    expect(play({ aheadS: 0.2, steps: 10_000 }).targetS).toBeCloseTo(0.16);
  });
});
