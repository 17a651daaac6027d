/** A Chromium of the test's own, and pages with one video element in which hls.js is at hand. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Browser, chromium, type Page } from 'playwright-core';
import { expect, inject, onTestFinished } from 'vitest';
import { until } from './local-stream-world.ts';

const hlsScript = () => readFileSync(createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js'), 'utf8');

/** Closed when the test is finished. A page may play with its sound. */
export async function openChromium(): Promise<Browser> {
  const args = ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'];
  const browser = await chromium.launch({ executablePath: inject('chromium'), args });
  onTestFinished(() => browser.close());
  return browser;
}

export interface VideoPage<Seen> {
  /** Waits for it; any error that the page tells of fails the test. */
  plays(fits: (now: Seen) => boolean): Promise<Seen>;
  page: Page;
}

/** @param script finds the element as `video`, lets it play, and defines `window.seen()`. @param prepare before any of it. */
export async function openVideoPage<Seen extends { errors: string[] }>(
  browser: Browser,
  script: string,
  prepare: (page: Page) => void = () => {},
): Promise<VideoPage<Seen>> {
  const page = await browser.newPage();
  prepare(page);
  await page.setContent('<video muted playsinline width="640"></video>');
  await page.addScriptTag({ content: hlsScript() });
  await page.addScriptTag({
    content: `const video = document.querySelector('video'); ${script}; video.play().catch(() => {});`,
  });
  const plays = (fits: (now: Seen) => boolean) =>
    until(async () => {
      const now = await page.evaluate<Seen>('window.seen()');
      expect(now.errors).toEqual([]);
      return fits(now) && now;
    });
  return { page, plays };
}

/** Plays the address in `video`, with what is fatal in `window.fatal`. @param settings of hls.js, as source. */
export const hlsPlayer = (url: string, settings: string) => `
  window.fatal = [];
  const hls = new Hls({ enableWorker: false, ${settings} });
  hls.on(Hls.Events.ERROR, (_, { fatal, details }) => { if (fatal) window.fatal.push(details); });
  hls.loadSource(${JSON.stringify(url)});
  hls.attachMedia(video);`;
