/** Low-latency HLS in a real browser: hls.js plays it from parts, close to the edge, over a publisher that comes back. */
import { describe, expect, inject, it } from 'vitest';
import { advances, createLocalStreamWorld } from '../support/local-stream-world.ts';
import { hlsPlayer, openChromium, openVideoPage } from '../support/video-page.ts';

/** What the page tells of its player. */
interface Seen {
  currentTimeS: number;
  widthPx: number;
  hasSound: boolean;
  /** Of the picture, so that one that stands still is told from one that moves. */
  fingerprint: number;
  /** Seconds behind the newest part; 0 when the player does not know. */
  latencyS: number;
  errors: string[];
}

const player = (url: string) => `
  const context = Object.assign(document.createElement('canvas'), { width: 64, height: 36 }).getContext('2d');
  ${hlsPlayer(url, 'lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.25, liveDurationInfinity: true')}
  window.seen = () => {
    context.drawImage(video, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    return {
      currentTimeS: video.currentTime, widthPx: video.videoWidth, hasSound: video.webkitAudioDecodedByteCount > 0,
      fingerprint: data.reduce((sum, level, at) => (sum * 31 + level * (at % 7)) % 1000003, 0),
      latencyS: hls.latency, errors: window.fatal,
    };
  };`;

describe.skipIf(!inject('chromium'))('hls.js in Chromium, low latency', () => {
  it('plays parts with sound, moves, stays near the edge, and goes on when the publisher comes back', async () => {
    const world = await createLocalStreamWorld();
    const browser = await openChromium();
    const input = await world.createInput(30, { preferLowLatency: true });
    const first = world.push(input, { keyFrameEveryS: 1 });
    await advances(input.playback.hls);

    const parts = { video: 0, audio: 0, refused: 0 };
    const address = `${input.playback.hls}?protocol=llhls`;
    const { plays } = await openVideoPage<Seen>(browser, player(address), (page) => {
      page.on('response', (response) => {
        const [, track] = /\/(video|audio)-\d+\.\d+\.m4s$/.exec(response.url()) ?? [];
        if (response.status() >= 400) parts.refused += 1;
        else if (track === 'video' || track === 'audio') parts[track] += 1;
      });
    });

    const early = await plays(({ currentTimeS, widthPx }) => currentTimeS > 0 && widthPx === 640);
    const later = await plays(({ currentTimeS, hasSound }) => hasSound && currentTimeS > early.currentTimeS + 2);
    expect(later.fingerprint).not.toBe(early.fingerprint);
    // Plain HLS cannot be nearer than one segment of a second and its upload; parts are.
    expect((await plays(({ latencyS }) => latencyS > 0 && latencyS < 1.5)).latencyS).toBeLessThan(1.5);
    expect(parts.refused).toBe(0);
    expect(parts.video).toBeGreaterThan(5);
    expect(parts.audio).toBeGreaterThan(5);

    await first.stop();
    const second = world.push(input, { size: '320x240', keyFrameEveryS: 1 });
    const small = await plays(({ widthPx }) => widthPx === 320);
    const onward = await plays(({ currentTimeS }) => currentTimeS > small.currentTimeS + 1);
    expect(onward.fingerprint).not.toBe(small.fingerprint);
    await second.stop();
  });
});
