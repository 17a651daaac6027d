/**
 * The local Stream's player page in Chromium: WebRTC where it gets through, else WS-FLV, with pictures that are decoded and move,
 * through what publishers do.
 */
import { type Browser, chromium, type Page } from 'playwright-core';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { advances, createLocalStreamWorld, type InputJson, until } from '../support/local-stream-world.ts';

const executablePath = inject('chromium');

/** What a user sees. */
interface Seen {
  /** Of the pixels that are shown; changes when the picture moves, -1 without one. */
  pixels: number;
  widthPx: number;
  message: string;
  badge: string;
  hasSound: boolean;
  currentTimeS: number;
  /** A recording has an end. */
  durationS: number;
}

const look = `(() => {
  const video = document.querySelector('video');
  const canvas = document.createElement('canvas');
  canvas.width = 64;
  canvas.height = 36;
  const context = canvas.getContext('2d');
  let pixels = -1;
  if (video.videoWidth > 0) {
    context.drawImage(video, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    pixels = data.reduce((sum, value, i) => (sum * 31 + value * (i % 4 === 3 ? 0 : 1)) % 1000000007, 7);
    if (data.every((value, i) => i % 4 === 3 || value === data[i % 4])) pixels = -1;
  }
  const shown = (id) => { const one = document.getElementById(id); return one.hidden ? '' : one.textContent; };
  return {
    pixels, widthPx: video.videoWidth, message: shown('message'), badge: shown('badge'),
    hasSound: video.webkitAudioDecodedByteCount > 0, currentTimeS: video.currentTime, durationS: video.duration,
  };
})()`;

const pageUrl = (input: Pick<InputJson, 'playback'>, query = '') =>
  input.playback.hls.replace('manifest/video.m3u8', `iframe${query}`);

async function openBrowser(): Promise<Browser> {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  onTestFinished(() => browser.close());
  return browser;
}

/** As on a network that lets no WebRTC through. */
const withoutWebRtc = (page: Page) => page.route(/\/webRTC\//, (route) => route.fulfill({ status: 503 }));

async function watch(browser: Browser, url: string, prepare: (page: Page) => Promise<unknown> = withoutWebRtc) {
  const page: Page = await browser.newPage();
  await prepare(page);
  const errors: string[] = [];
  page.on('pageerror', (error) => void errors.push(String(error)));
  page.on('console', (line) => {
    if (/content security policy/i.test(line.text())) errors.push(line.text());
  });
  await page.goto(url);
  const seen = () => page.evaluate<Seen>(look);
  const sees = (fits: (now: Seen) => boolean) =>
    until(async () => {
      const now = await seen();
      expect(errors).toEqual([]);
      return fits(now) && now;
    });
  return {
    sees,
    /** The picture changes, more than once. */
    async moves() {
      for (let i = 0; i < 3; i += 1) {
        const { pixels } = await seen();
        await sees((now) => now.pixels !== -1 && now.pixels !== pixels);
      }
    },
  };
}

describe.skipIf(!executablePath)('the player page in Chromium', () => {
  it('waits for a broadcast, shows it with sound, and goes on over a cut and a change of size', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput(20);
    const viewer = await watch(await openBrowser(), pageUrl(input));
    await viewer.sees(({ message }) => message === 'Live broadcast not started yet');
    const first = world.push(input);
    await viewer.sees(({ widthPx, badge, message }) => widthPx === 640 && badge.includes('FLV') && message === '');
    await viewer.moves();
    const delay = await viewer.sees(({ badge, hasSound }) => hasSound && /[\d.]+ s behind/.test(badge));
    expect(Number(/([\d.]+) s behind/.exec(delay.badge)?.[1])).toBeLessThan(3);
    await first.stop();
    await viewer.sees(({ message }) => message === 'The broadcast is interrupted');
    world.push(input, { size: '320x240' });
    await viewer.sees(({ widthPx, message, badge }) => widthPx === 320 && message === '' && badge.includes('FLV'));
    await viewer.moves();
  });

  it('plays a stream without sound, and hears sound that comes later', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput(20);
    const mute = world.push(input, { hasAudio: false });
    const viewer = await watch(await openBrowser(), pageUrl(input));
    await viewer.sees(({ badge }) => badge.includes('FLV'));
    await viewer.moves();
    await mute.stop();
    const loud = world.push(input);
    await viewer.sees(({ hasSound, badge }) => hasSound && badge.includes('FLV'));
    await viewer.moves();
    await loud.stop();
    world.push(input, { hasAudio: false, size: '320x240' });
    // No longer the player that waits for sound.
    await viewer.sees(({ widthPx, hasSound, badge }) => widthPx === 320 && !hasSound && badge.includes('FLV'));
    await viewer.moves();
  });

  it('plays by WebRTC where that gets through', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    const publisher = world.push(input);
    const viewer = await watch(await openBrowser(), pageUrl(input), async () => {});
    await viewer.sees(({ badge, message }) => badge.includes('WebRTC') && message === '');
    await viewer.moves();
    await publisher.stop();
  });

  it('shows the recording of a broadcast that is over', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    const publisher = world.push(input);
    const browser = await openBrowser();
    const viewer = await watch(browser, pageUrl(input));
    await viewer.sees(({ badge, currentTimeS }) => badge.includes('FLV') && currentTimeS > 2);
    await publisher.stop();
    await viewer.sees(({ message }) => message === 'Live broadcast not started yet');
    const video = await until(async () => {
      const { result } = await world.call<{ status: { state: string }; playback: InputJson['playback'] }[]>('GET', '');
      return result[0]?.status.state === 'ready' && result[0];
    });
    const later = await watch(browser, pageUrl(video, '?loop=true'));
    await later.moves();
    await later.sees(({ durationS, message }) => durationS > 1 && durationS < 60 && message === '');
  });

  it('plays HLS where WebSockets do not get through', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    world.push(input);
    await advances(input.playback.hls);
    const viewer = await watch(await openBrowser(), pageUrl(input), async (page) => {
      await withoutWebRtc(page);
      await page.routeWebSocket(/live\.flv/, (ws) => ws.close({ code: 1011 }));
    });
    await viewer.sees(({ badge }) => /by HLS, [\d.]+ s behind/.test(badge));
    await viewer.moves();
  });

  it('says so when there is nothing at its address any more', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    const browser = await openBrowser();
    const answer = await (await browser.newPage()).goto(pageUrl(input).replace(input.uid, 'unknown'));
    expect(answer?.status()).toBe(404);
  });
});
