/** The local Stream's HLS in a real browser: hls.js plays it, sound and picture, over an encoder that changes its size. */
import { describe, inject, it } from 'vitest';
import { advances, createLocalStreamWorld, until } from '../support/local-stream-world.ts';
import { hlsPlayer, openChromium, openVideoPage } from '../support/video-page.ts';

/** What the page tells of its player. */
interface Seen {
  currentTimeS: number;
  widthPx: number;
  hasSound: boolean;
  errors: string[];
}

const player = (url: string) => `
  ${hlsPlayer(url, 'liveSyncDurationCount: 2')}
  window.seen = () => ({
    currentTimeS: video.currentTime, widthPx: video.videoWidth,
    hasSound: video.webkitAudioDecodedByteCount > 0, errors: window.fatal,
  });`;

describe.skipIf(!inject('chromium'))('hls.js in Chromium', () => {
  it('plays the live stream, goes on over a change of size, and plays the recording', async () => {
    const world = await createLocalStreamWorld();
    const browser = await openChromium();
    const watch = (url: string) => openVideoPage<Seen>(browser, player(url));

    const input = await world.createInput(20);
    const first = world.push(input);
    await advances(input.playback.hls);
    const viewer = await watch(input.playback.hls);
    const early = await viewer.plays(({ currentTimeS, widthPx }) => currentTimeS > 0 && widthPx === 640);
    await viewer.plays(({ currentTimeS, hasSound }) => hasSound && currentTimeS > early.currentTimeS + 1);

    await first.stop();
    const second = world.push(input, { size: '320x240' });
    const small = await viewer.plays(({ widthPx }) => widthPx === 320);
    await viewer.plays(({ currentTimeS }) => currentTimeS > small.currentTimeS + 1);
    await second.stop();

    await world.call('DELETE', `/live_inputs/${input.uid}`);
    const video = await until(async () => {
      const { result } = await world.call<{ status: { state: string }; playback: { hls: string } }[]>('GET', '');
      return result[0]?.status.state === 'ready' && result[0];
    });
    const later = await watch(video.playback.hls);
    await later.plays(({ currentTimeS, widthPx, hasSound }) => currentTimeS > 0.5 && widthPx === 640 && hasSound);
  });
});
