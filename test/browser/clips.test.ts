/** Clips and whole broadcasts in a real browser: a plain video element plays and seeks clip.mp4, hls.js goes back to the beginning. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import {
  advances,
  createLocalStreamWorld,
  listedSegments,
  until,
  type VideoJson,
} from '../support/local-stream-world.ts';

const executablePath = inject('chromium');
const hlsScript = () => readFileSync(createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js'), 'utf8');

interface Seen {
  currentTimeS: number;
  durationS: number;
  seekableFromS: number;
  widthPx: number;
  hasSound: boolean;
  error: string;
}

const look = `
  const video = document.querySelector('video');
  window.seen = () => ({
    currentTimeS: video.currentTime, durationS: video.duration, widthPx: video.videoWidth,
    seekableFromS: video.seekable.length ? video.seekable.start(0) : -1,
    hasSound: video.webkitAudioDecodedByteCount > 0, error: video.error ? video.error.message : '',
  });`;

describe.skipIf(!executablePath)('in Chromium', () => {
  it('a clip plays and seeks as a file, and a broadcast goes back to its beginning', async () => {
    const world = await createLocalStreamWorld();
    const browser = await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'],
    });
    onTestFinished(() => browser.close());
    const open = async (script: string) => {
      const page = await browser.newPage();
      await page.setContent('<video muted playsinline width="640"></video>');
      await page.addScriptTag({ content: hlsScript() });
      await page.addScriptTag({ content: `${look}; ${script}; video.play().catch(() => {});` });
      const plays = (fits: (now: Seen) => boolean) =>
        until(async () => {
          const now = await page.evaluate<Seen>('window.seen()');
          expect(now.error).toBe('');
          return fits(now) && now;
        });
      return { plays, seek: (toS: number) => page.evaluate(`video.currentTime = ${toS}`) };
    };
    const input = await world.createInput(5);
    const push = world.push(input);
    await advances(input.playback.hls);
    const dvrUrl = `${input.playback.hls}?dvrEnabled=true`;
    await until(async () => {
      const listed = await listedSegments(dvrUrl);
      return typeof listed !== 'number' && listed.names.length > 14;
    });
    const live = await open(
      `const hls = new Hls({ enableWorker: false }); hls.loadSource(${JSON.stringify(dvrUrl)}); hls.attachMedia(video)`,
    );
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
