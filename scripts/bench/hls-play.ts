/**
 * Reader (b): headless Chromium plays HLS through hls.js, set as in the console, and reads the barcode off the screen.
 * Owns the browser and the little server of the page; the page decodes nothing, it hands over gray levels.
 */
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import { type Browser, chromium } from 'playwright-core';
import { findOnPath } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { ageMs, readBarcode } from './barcode.ts';
import type { PlayedFrame } from './rtmp-play.ts';

export const chromiumHint = 'No Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM_PATH';

export function findChromium(): string | undefined {
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  return process.env.CHROMIUM_PATH ?? names.map((name) => findOnPath(name)).find(Boolean);
}

interface Taken {
  pictures: { atMs: number; levels: number[] }[];
  stalls: number;
  failure: string;
}

export interface HlsPlayed {
  frames: PlayedFrame[];
  /** Pictures whose checksum does not fit. */
  unreadable: number;
  /** How often the player ran dry, the start included. */
  stalls: number;
  /** From opening the page to the first picture; undefined when none came. */
  firstPictureMs: number | undefined;
  failure: string;
}

export interface HlsPlayer {
  /** Opens the page on this manifest, watches for `ms` from the first picture on, closes the page. */
  watch(hlsUrl: string, ms: number): Promise<HlsPlayed>;
  close(): Promise<void>;
}

const FIRST_PICTURE_TIMEOUT_MS = 15_000;

export async function openHlsPlayer(clock: Clock, executablePath: string): Promise<HlsPlayer> {
  const { server, port } = await servePage();
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--disable-dev-shm-usage'],
    // The bench closes it itself, in order.
    handleSIGINT: false,
    handleSIGTERM: false,
  });
  return {
    watch: (hlsUrl, ms) => watch(browser, `http://127.0.0.1:${port}/?src=${encodeURIComponent(hlsUrl)}`, ms, clock),
    async close() {
      await browser.close();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function watch(browser: Browser, pageUrl: string, ms: number, clock: Clock): Promise<HlsPlayed> {
  const page = await browser.newPage();
  const frames: PlayedFrame[] = [];
  const openedMs = clock.now();
  let unreadable = 0;
  let last: Taken = { pictures: [], stalls: 0, failure: '' };
  try {
    await page.goto(pageUrl);
    let untilMs = openedMs + FIRST_PICTURE_TIMEOUT_MS;
    while (clock.now() < untilMs) {
      await clock.sleep(250);
      last = await page.evaluate<Taken>('window.take()');
      if (frames.length === 0 && last.pictures.length > 0) untilMs = clock.now() + ms;
      for (const { atMs, levels } of last.pictures) {
        const code = readBarcode(levels);
        if (code) frames.push({ frame: code.frame, latencyMs: ageMs(code, atMs), atMs });
        else unreadable += 1;
      }
    }
  } finally {
    await page.close();
  }
  const first = frames[0];
  const firstPictureMs = first ? first.atMs - openedMs : undefined;
  return { frames, unreadable, stalls: last.stalls, failure: last.failure, firstPictureMs };
}

async function servePage(): Promise<{ server: Server; port: number }> {
  const page = await readFile(new URL('hls-player.html', import.meta.url));
  const script = await readFile(createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js'));
  const server = createServer((request, response) => {
    const isScript = request.url === '/hls.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(isScript ? script : page);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { server, port: typeof address === 'object' && address ? address.port : 0 };
}
