/**
 * Reader (b): headless Chromium plays by the product's own player, each way alone, and reads the barcode off the screen.
 * Owns the browser and the little server of the page; the page decodes nothing, it hands over gray levels.
 */
import { createServer, type Server } from 'node:http';
import { type Browser, chromium } from 'playwright-core';
import { findOnPath } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { bundled } from '../../shared/page-files.ts';
import { ageMs, readBarcode } from './barcode.ts';
import type { PlayedFrame } from './rtmp-play.ts';

export const chromiumHint = 'No Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM_PATH';

export function findChromium(): string | undefined {
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  return process.env.CHROMIUM_PATH ?? names.map((name) => findOnPath(name)).find(Boolean);
}

/** A field of the player's sources. */
export type SourceName = 'webrtcUrl' | 'flvUrl' | 'llHlsUrl' | 'hlsUrl';

interface Taken {
  pictures: { atMs: number; levels: number[] }[];
  stalls: number;
  /** Wall clock of the navigation's start, and of the player's. */
  openedAtMs: number;
  shownAtMs: number;
  /** `way` proves that it was played as asked; `latencyMs` is what the console would show. */
  state: { way?: string; latencyMs?: number; message?: string };
}

export interface BrowserPlayed {
  frames: PlayedFrame[];
  /** Pictures whose checksum does not fit. */
  unreadable: number;
  /** How often the player ran dry, the start included. */
  stalls: number;
  /** To the first picture, from the navigation's start and from the player's; undefined when none came. */
  firstPicture: { afterOpeningMs: number; afterPlayMs: number } | undefined;
  state: Taken['state'];
}

export interface BrowserPlayer {
  /** Opens the page on this source, watches for `ms` from the first picture on, closes the page. */
  watch(source: SourceName, url: string, ms: number): Promise<BrowserPlayed>;
  close(): Promise<void>;
}

const FIRST_PICTURE_TIMEOUT_MS = 15_000;

export async function openBrowserPlayer(clock: Clock, executablePath: string): Promise<BrowserPlayer> {
  const { server, port } = await servePage();
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--disable-dev-shm-usage'],
    // The bench closes it itself, in order.
    handleSIGINT: false,
    handleSIGTERM: false,
  });
  return {
    watch(source, url, ms) {
      const asked = new URLSearchParams({ way: source, src: url });
      return watch(browser, `http://127.0.0.1:${port}/?${asked}`, ms, clock);
    },
    async close() {
      await browser.close();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function watch(browser: Browser, pageUrl: string, ms: number, clock: Clock): Promise<BrowserPlayed> {
  const page = await browser.newPage();
  const frames: PlayedFrame[] = [];
  let unreadable = 0;
  let last: Taken | undefined;
  try {
    await page.goto(pageUrl);
    let untilMs = clock.now() + FIRST_PICTURE_TIMEOUT_MS;
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
  if (!last) throw new GlasscastError('INTERNAL', { reason: 'the page did not answer' });
  const { openedAtMs, shownAtMs, stalls, state } = last;
  const first = frames[0];
  const firstPicture = first && { afterOpeningMs: first.atMs - openedAtMs, afterPlayMs: first.atMs - shownAtMs };
  return { frames, unreadable, stalls, state, firstPicture };
}

const PAGE = `<!doctype html><meta charset="utf-8"><title>bench</title>
<video muted autoplay playsinline width="640" height="360"></video><script type="module" src="/page.js"></script>`;

async function servePage(): Promise<{ server: Server; port: number }> {
  const script = await bundled(new URL('page/player-page.ts', import.meta.url));
  const server = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(isScript ? script : PAGE);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { server, port: typeof address === 'object' && address ? address.port : 0 };
}
