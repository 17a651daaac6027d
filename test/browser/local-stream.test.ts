/** The local Stream's HLS in a real browser: hls.js plays it, sound and picture, over an encoder that changes its size. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { advances, createLocalStreamWorld, until } from '../support/local-stream-world.ts';

const executablePath = inject('chromium');
const hlsScript = () => readFileSync(createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js'), 'utf8');

/** What the page tells of its player. */
interface Seen {
  currentTimeS: number;
  widthPx: number;
  hasSound: boolean;
  errors: string[];
}

const player = (url: string) => `
  const video = document.querySelector('video');
  window.fatal = [];
  const hls = new Hls({ liveSyncDurationCount: 2, enableWorker: false });
  hls.on(Hls.Events.ERROR, (_, { fatal, details }) => { if (fatal) window.fatal.push(details); });
  hls.loadSource(${JSON.stringify(url)});
  hls.attachMedia(video);
  video.play().catch(() => {});
  window.seen = () => ({
    currentTimeS: video.currentTime, widthPx: video.videoWidth,
    hasSound: video.webkitAudioDecodedByteCount > 0, errors: window.fatal,
  });`;

describe.skipIf(!executablePath)('hls.js in Chromium', () => {
  it('plays the live stream, goes on over a change of size, and plays the recording', async () => {
    const world = await createLocalStreamWorld();
    const browser = await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'],
    });
    onTestFinished(() => browser.close());
    const watch = async (url: string) => {
      const page = await browser.newPage();
      await page.setContent('<video muted playsinline width="640"></video>');
      await page.addScriptTag({ content: hlsScript() });
      await page.addScriptTag({ content: player(url) });
      const seen = () => page.evaluate<Seen>('window.seen()');
      const plays = (fits: (now: Seen) => boolean) =>
        until(async () => {
          const now = await seen();
          expect(now.errors).toEqual([]);
          return fits(now) && now;
        });
      return { plays };
    };

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
