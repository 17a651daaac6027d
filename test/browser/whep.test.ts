/** WHEP in a real browser: picture and sound in real time, viewers that vanish, publishers that change, and the end of it all. */
import { build } from 'esbuild';
import type { Browser, Page } from 'playwright-core';
import { describe, expect, inject, it } from 'vitest';
import { type Child, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createLocalStreamWorld, type PushOptions, until } from '../support/local-stream-world.ts';
import { isRunning } from '../support/processes.ts';
import { openChromium } from '../support/video-page.ts';

const executablePath = inject('chromium');
const PLAYER = new URL('../../cloud/player/whep-player.ts', import.meta.url).pathname;

/** What the page tells of its player. */
interface Seen {
  hasPlayed: boolean;
  failures: string[];
  widthPx: number;
  /** Sum over a few pixels of the picture: another one for another picture. */
  picture: number;
  currentTimeS: number;
  /** Of the sound as it is played, 0…1. */
  peak: number;
  latencyMs: number | null;
}

const PAGE = (url: string) => `
  const video = document.querySelector('video');
  const canvas = new OffscreenCanvas(64, 36);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const told = { hasPlayed: false, failures: [] };
  const player = Whep.createWhepPlayer(video, ${JSON.stringify(url)}, {
    playing() { told.hasPlayed = true; },
    failed(reason) { told.failures.push(reason); },
  });
  const audio = new AudioContext();
  const analyser = audio.createAnalyser();
  let heard;
  window.leave = () => player.close();
  window.seen = () => {
    const stream = video.srcObject;
    if (stream && stream !== heard && stream.getAudioTracks().length > 0) {
      heard = stream;
      audio.createMediaStreamSource(stream).connect(analyser);
    }
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    context.drawImage(video, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    return {
      ...told, widthPx: video.videoWidth, currentTimeS: video.currentTime, latencyMs: player.latencyMs() ?? null,
      picture: data.reduce((sum, value, index) => (sum * 31 + value * (index + 1)) % 1000000007, 7),
      peak: samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0),
    };
  };`;

async function createWorld({ holdSeconds = 20, maxWebRtcViewers = 100, pushes = {} as PushOptions } = {}) {
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const transcoders: Child[] = [];
  const world = await createLocalStreamWorld({
    maxWebRtcViewers,
    spawn(spec) {
      const child = children.spawn(spec);
      if (spec.name === 'opus') transcoders.push(child);
      return child;
    },
  });
  const script = await build({ entryPoints: [PLAYER], bundle: true, write: false, format: 'iife', globalName: 'Whep' });
  const browser = await openChromium();
  const input = await world.createInput(holdSeconds);
  const address = `${new URL(world.address.apiBaseUrl).origin}/${input.uid}/webRTC/play`;
  const push = world.push(input, pushes);
  await until(async () => (await post(address, 'nothing')).status === 400);
  const watch = () => openViewer(browser, script.outputFiles[0]?.text ?? '', address);
  const running = () => transcoders.filter(({ pid }) => pid !== undefined && isRunning(pid)).length;
  return {
    ...world,
    input,
    address,
    push,
    browser,
    watch,
    running,
    pushAgain: (how: PushOptions) => world.push(input, how),
  };
}

const post = (url: string, body: string) =>
  fetch(url, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body });

async function openViewer(browser: Browser, script: string, address: string) {
  const page: Page = await browser.newPage();
  await page.setContent('<video muted playsinline width="640"></video>');
  await page.addScriptTag({ content: script });
  await page.addScriptTag({ content: PAGE(address) });
  const seen = () => page.evaluate<Seen>('window.seen()');
  const shows = (fits: (now: Seen) => boolean) =>
    until(async () => {
      const now = await seen();
      expect(now.failures).toEqual([]);
      return fits(now) && now;
    });
  return {
    page,
    seen,
    shows,
    /** The picture is another one, twice. */
    async moves() {
      const first = await shows(({ hasPlayed, widthPx }) => hasPlayed && widthPx > 0);
      const second = await shows(({ picture }) => picture !== first.picture);
      return shows(({ picture }) => picture !== second.picture && picture !== first.picture);
    },
  };
}

describe.skipIf(!executablePath)('WHEP in Chromium', () => {
  it('shows a moving picture with its sound; one ffmpeg for all viewers, none when the last has left', async () => {
    const { watch, running } = await createWorld();
    expect(running()).toBe(0);
    const first = await watch();
    const second = await watch();
    for (const viewer of [first, second]) {
      await viewer.moves();
      await viewer.shows(({ peak, latencyMs }) => peak > 0.01 && latencyMs !== null && latencyMs < 1000);
    }
    expect(running()).toBe(1);
    await first.page.evaluate('window.leave()');
    await second.moves();
    expect(running()).toBe(1);
    await second.page.close();
    await until(async () => running() === 0);
  });

  it('a viewer that vanishes without a word disturbs nobody, and its place is free again', async () => {
    const { watch, running, address, browser } = await createWorld({ maxWebRtcViewers: 2 });
    const stays = await watch();
    const vanishes = await watch();
    await stays.moves();
    await vanishes.moves();
    const offer = await stays.page.evaluate<string>(
      `(async () => { const c = new RTCPeerConnection(); c.addTransceiver('video'); return (await c.createOffer()).sdp; })()`,
    );
    const full = await post(address, offer);
    expect([full.status, full.headers.get('retry-after')]).toEqual([503, '5']);
    const session = await browser.newBrowserCDPSession();
    const { targetInfos } = await session.send('Target.getTargets');
    expect(targetInfos.length).toBeGreaterThan(1);
    const crashing = await vanishes.page.context().newCDPSession(vanishes.page);
    void crashing.send('Page.crash').catch(() => {});
    const later = await until(async () => {
      const answer = await post(address, offer);
      return answer.status === 201 && answer;
    });
    expect(later.headers.get('content-type')).toContain('application/sdp');
    await stays.moves();
    expect(running()).toBe(1);
  });

  it('goes on in the same session with the publisher that comes back, of another size, within the hold window', async () => {
    const { watch, push, pushAgain } = await createWorld();
    const viewer = await watch();
    await viewer.shows(({ widthPx }) => widthPx === 640);
    await viewer.moves();
    await push.stop();
    const second = pushAgain({ size: '320x240' });
    await viewer.shows(({ widthPx }) => widthPx === 320);
    await viewer.moves();
    await viewer.shows(({ peak }) => peak > 0.01);
    await second.stop();
  });

  it('the end of the broadcast ends it, and so does a session that is deleted', async () => {
    const { watch, running, input, push, call, address } = await createWorld({ holdSeconds: 1 });
    const deleted = await watch();
    await deleted.moves();
    const location = await new Promise<string>((resolve) => {
      deleted.page.on('request', (request) => request.method() === 'DELETE' && resolve(request.url()));
      void deleted.page.evaluate('window.leave()');
    });
    expect(location.startsWith(`${address}/`)).toBe(true);
    await until(async () => (await fetch(location, { method: 'DELETE' })).status === 404);
    const viewer = await watch();
    await viewer.moves();
    await push.stop();
    await call('DELETE', `/live_inputs/${input.uid}`);
    await until(async () => (await viewer.seen()).failures.length === 1);
    await until(async () => running() === 0);
    const late = await watch();
    await until(async () => (await late.seen()).failures[0]?.startsWith('404'));
    expect((await late.seen()).failures).toEqual(['404 NotFound']);
  });

  it('plays without sound what has none', async () => {
    const { watch, running } = await createWorld({ pushes: { hasAudio: false } satisfies PushOptions });
    const viewer = await watch();
    const { peak } = await viewer.moves();
    expect([peak, running()]).toEqual([0, 0]);
  });
});
