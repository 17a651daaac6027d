import { describe, expect, it } from 'vitest';
import type { PassedTag } from '../../scripts/hardware/board-world.ts';
import { passedStretch } from '../../scripts/hardware/passed-media.ts';

const picture = (atMs: number, timestampMs: number, connection = 0): PassedTag => ({
  ...{ atMs, timestampMs, connection, kind: 'video' },
});

describe('what passed the door', () => {
  it('finds the longest silence, the ends of the stretch included', () => {
    const tags = [picture(100, 0), picture(300, 200), picture(1_000, 400)];
    expect(passedStretch(tags, 0, 1_200)).toMatchObject({ pictures: 3, longestSilenceMs: 700, largestStepMs: 200 });
    expect(passedStretch(tags, 0, 3_000).longestSilenceMs).toBe(2_000);
    expect(passedStretch([], 0, 500)).toMatchObject({ pictures: 0, longestSilenceMs: 500, largestStepMs: 0 });
  });

  it('counts what goes back on one connection, and what is below zero on any', () => {
    expect(passedStretch([picture(1, 200), picture(2, 100)], 0, 10).backwards).toBe(1);
    expect(passedStretch([picture(1, 200), picture(2, 100, 1)], 0, 10).backwards).toBe(0);
    expect(passedStretch([picture(1, 0xfffffff0)], 0, 10).backwards).toBe(1);
  });

  it('takes what was sent again after a loss for no gap', () => {
    const tags = [picture(1, 0), picture(2, 200), picture(900, 200, 1), picture(901, 400, 1), picture(902, 600, 1)];
    expect(passedStretch(tags, 0, 1_000)).toMatchObject({ pictures: 4, largestStepMs: 200, backwards: 0 });
  });
});
