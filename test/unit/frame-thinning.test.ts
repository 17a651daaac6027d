/** With each real ffmpeg: what is left of 25 frames a second that do not come evenly. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { parseCaptureSource, pictureGraph } from '../../device/capture/capture-source.ts';
import { resolveSettings } from '../../shared/stream.ts';
import { ffmpegFiles } from '../support/fake-cameras.ts';

const SECONDS = 60;
/** Up to 16 of the 40 ms between two frames too soon or too late. */
const JITTERED = "setpts='(N/25+0.1+(random(1)-0.5)*0.032)/TB'";

async function framesLeft(file: string, frameRate: number, feedFrameRate?: number): Promise<number> {
  const { filters } = pictureGraph({
    ...{ source: parseCaptureSource('v4l2:auto'), hasAudio: true, epochMs: 0, nowMs: 0, feedFrameRate },
    settings: resolveSettings({ frameRate }),
  });
  const thinned = filters.filter((filter) => filter.startsWith('select='));
  const { stderr } = await promisify(execFile)(file, [
    ...['-hide_banner', '-nostdin', '-f', 'lavfi', '-i', `testsrc=size=32x32:rate=25:duration=${SECONDS}`],
    ...['-vf', ['settb=1/1000', JITTERED, ...thinned].join(), '-vsync', 'passthrough', '-f', 'null', '-'],
  ]);
  return Number([...stderr.matchAll(/frame=\s*(\d+)/g)].at(-1)?.[1]);
}

for (const file of ffmpegFiles) {
  test.each([
    [5, 25],
    [10, 25],
    [15, 25],
    [20, 25],
    [24, 25],
    [24, undefined],
  ])(`${file}: %d a second asked for`, async (frameRate, feedFrameRate) => {
    const rate = (await framesLeft(file, frameRate, feedFrameRate)) / SECONDS;
    expect(rate).toBeGreaterThan(frameRate * 0.98);
    expect(rate).toBeLessThan(frameRate * 1.02);
  });

  test(`${file}: no more than asked for, all are taken`, async () => {
    expect(await framesLeft(file, 25, 25)).toBe(SECONDS * 25);
    // Not known to be as many: a few may be spent on finding the beat.
    expect(await framesLeft(file, 25)).toBeGreaterThan(SECONDS * 25 * 0.99);
    expect(await framesLeft(file, 30)).toBeGreaterThan(SECONDS * 25 * 0.99);
  });
}
