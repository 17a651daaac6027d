/** Clips and whole broadcasts in a real browser: a plain video element plays and seeks clip.mp4, hls.js goes back to the beginning. */
import { describe, expect, inject, it } from 'vitest';
import {
  advances,
  createLocalStreamWorld,
  listedSegments,
  until,
  type VideoJson,
} from '../support/local-stream-world.ts';

import { hlsPlayer, openChromium, openVideoPage } from '../support/video-page.ts';

interface Seen {
  currentTimeS: number;
  durationS: number;
  seekableFromS: number;
  widthPx: number;
  hasSound: boolean;
  errors: string[];
}

const look = `
  window.seen = () => ({
    currentTimeS: video.currentTime, durationS: video.duration, widthPx: video.videoWidth,
    seekableFromS: video.seekable.length ? video.seekable.start(0) : -1,
    hasSound: video.webkitAudioDecodedByteCount > 0, errors: [...(window.fatal ?? []), ...(video.error ? [video.error.message] : [])],
  });`;

describe.skipIf(!inject('chromium'))('in Chromium', () => {
  it('a clip plays and seeks as a file, and a broadcast goes back to its beginning', async () => {
    const world = await createLocalStreamWorld();
    const browser = await openChromium();
    async function open(script: string) {
      const { page, plays } = await openVideoPage<Seen>(browser, `${look} ${script}`);
      return { plays, seek: (toS: number) => page.evaluate(`video.currentTime = ${toS}`) };
    }
    const input = await world.createInput(5);
    const push = world.push(input);
    await advances(input.playback.hls);
    const dvrUrl = `${input.playback.hls}?dvrEnabled=true`;
    await until(async () => {
      const listed = await listedSegments(dvrUrl);
      return typeof listed !== 'number' && listed.names.length > 14;
    });
    const live = await open(hlsPlayer(dvrUrl, ''));
    const atEdge = await live.plays(({ currentTimeS }) => currentTimeS > 6);
    expect(atEdge.seekableFromS).toBeLessThan(0.5);
    await live.seek(1);
    await live.plays(({ currentTimeS }) => currentTimeS > 1.5 && currentTimeS < 5);

    const { result } = await world.call<VideoJson[]>('GET', `/live_inputs/${input.uid}/videos`);
    const clipUrl = `${result[0]?.playback.hls.replace('manifest/video.m3u8', 'clip.mp4')}?time=2s&duration=8s`;
    const clip = await open(`video.src = ${JSON.stringify(clipUrl)}`);
    const playing = await clip.plays(
      ({ currentTimeS, widthPx, hasSound }) => currentTimeS > 0.5 && widthPx === 640 && hasSound,
    );
    expect(playing.durationS).toBeGreaterThan(7.5);
    expect(playing.durationS).toBeLessThan(11);
    await clip.seek(6);
    await clip.plays(({ currentTimeS }) => currentTimeS > 6.5);
    await push.stop();
  });
});
