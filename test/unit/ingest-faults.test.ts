/** The judgement over an outage: lost, twice, dark, late and back, from a scripted record. */
import { expect, it } from 'vitest';
import { judge } from '../../scripts/bench/ingest-faults.ts';

const FRAME_MS = 1000 / 30;
const frames = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
const live = (frame: number) => ({ frame, connection: 0, atMs: frame * FRAME_MS + 40, delayMs: 40 });
const outages = [{ downMs: 5_000, upMs: 8_000 }];
const lasting = { outages, endMs: 16_000, camera: { exposed: 480, dropped: [] } };

it('what waited is sent after the outage: nothing is missing, some came twice, the delay is that of the outage', () => {
  const backlog = frames(140, 242).map((frame) => ({
    ...{ frame, connection: 1, atMs: 8_050 },
    delayMs: 8_050 - frame * FRAME_MS,
  }));
  const pictures = [...frames(0, 148).map(live), ...backlog, ...frames(242, 480).map(live)];
  const result = judge({ ...lasting, pictures, keyFramesMs: [4_040, 8_050, 9_040] });
  expect(result).toMatchObject({ backMs: 50, eachBackMs: [50], framesMissing: 0, framesTwice: 8, delayAfterMs: 40 });
  expect(result.worstDelayMs).toBeCloseTo(8_050 - 148 * FRAME_MS, 0);
  expect(result.darkBeyondMs).toBe(50);
});

it('what was exposed meanwhile is missing, and what the camera kept is counted apart', () => {
  const pictures = [...frames(0, 148).map(live), ...frames(260, 480).map(live)];
  const camera = { exposed: 480, dropped: [200, 201] };
  const result = judge({ ...lasting, camera, pictures, keyFramesMs: [4_040, 8_707] });
  expect(result).toMatchObject({
    backMs: 707,
    framesMissing: 112,
    framesNotTaken: 2,
    framesTwice: 0,
    worstDelayMs: 40,
  });
});

it('a publisher that never comes back has lost all to the end, and is dark to the end', () => {
  const result = judge({ ...lasting, pictures: frames(0, 148).map(live), keyFramesMs: [4_040] });
  expect(result).toMatchObject({ backMs: undefined, eachBackMs: [undefined], darkMs: 11_000, delayAfterMs: undefined });
  expect(result.framesMissing).toBe(480 - 30 - 148);
});
