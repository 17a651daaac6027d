/** The console in Chromium: with the demo behind it, and with a scripted relay for what real glasses seldom do. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import type { StreamView } from '../../cloud/console/relay-shapes.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { becomes, faintTexts, moves, nameless, overflow, stateIs, textOf } from '../support/console-page.ts';
import { CONSOLE_TOKEN, startConsoleRelay } from '../support/console-relay.ts';
import { launchDemo } from '../support/demo.ts';
import { descendantsOf, processesWith } from '../support/processes.ts';
import { startRtmpSink } from '../support/rtmp-sink.ts';

const executablePath = inject('chromium');

let browser: Browser;
beforeAll(async () => {
  if (!executablePath) return;
  const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
  browser = await chromium.launch({ executablePath, args });
});
afterAll(() => browser?.close());

let problems: string[] = [];
afterEach(() => {
  const found = problems;
  problems = [];
  expect(found).toEqual([]);
});

async function open(url: string, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext(options);
  onTestFinished(() => context.close());
  const page = await context.newPage();
  page.on('pageerror', ({ message }) => problems.push(message));
  page.on('console', (line) => {
    if (/content security policy/i.test(line.text())) problems.push(line.text());
  });
  page.on('dialog', (dialog) => {
    problems.push(`a script opened: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.goto(url);
  return page;
}

/** The demo, whose relay may push to this machine. */
async function startDemo() {
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-test-'));
  onTestFinished(async () => {
    await children.close();
    await rm(folder, { recursive: true, force: true });
  });
  const { address, demo } = launchDemo({ children, folder, env: { GLASSCAST_RESTREAM_PRIVATE_TARGETS: 'yes' } });
  const { hash, origin } = new URL(await address);
  /** The agent and its encoders, which fall silent and stay connected: what a lost network looks like from outside. */
  const family = descendantsOf(demo.pid ?? 0);
  const signal = (name: NodeJS.Signals) => {
    const [agent] = processesWith('device/main.ts').filter((pid) => family.includes(pid));
    if (agent === undefined) throw new Error('no agent runs');
    for (const pid of [agent, ...descendantsOf(agent)]) process.kill(pid, name);
  };
  return { demo, origin, token: hash.replace('#token=', ''), signal };
}

async function logIn(page: Page, token: string): Promise<void> {
  await page.fill('#token', token);
  await page.click('#login button');
  await page.waitForSelector('#console:not([hidden])');
}

describe.skipIf(!executablePath)('with the demo behind it', () => {
  it('leads from the token to a picture, its figures, an output, a replay', { timeout: 150_000 }, async () => {
    const { origin, token } = await startDemo();
    const sink = await startRtmpSink();
    onTestFinished(() => sink.close());
    const page = await open(origin);
    await logIn(page, token);
    await stateIs(page, 'active');
    await page.click('#live');
    await stateIs(page, 'stopped');
    await page.click('#settings summary');
    await page.selectOption('#size', '640x360');
    await page.selectOption('#rate', '15');
    await page.click('#live');
    await stateIs(page, 'active');
    await moves(page);
    await becomes(page, "document.querySelector('#video').videoWidth === 640");
    await becomes(page, "/^≈ .+ behind$/.test(document.querySelector('#delay').textContent)");

    await page.selectOption('#way', 'hls');
    await becomes(page, "!document.querySelector('#video').seeking && document.querySelector('#last-picture').hidden");
    await moves(page);
    await page.selectOption('#way', '');
    await moves(page);

    const chart = () => page.getAttribute('[data-figure=bitrate] .line', 'd');
    await becomes(page, "document.querySelector('[data-figure=bitrate] .value').textContent.includes('bit/s')");
    const before = await chart();
    await expect.poll(chart, { timeout: 20_000 }).not.toBe(before);
    expect(await textOf(page, '#timeline')).toMatch(/Live/);

    await page.click('#output-add summary');
    await page.fill('#output-server', `rtmp://127.0.0.1:${sink.port}/live`);
    await page.fill('#output-key', 'a-key-that-nobody-sees');
    await page.fill('#output-name', 'Second server');
    await page.click('#output-submit');
    await sink.until(() => sink.tags.some(({ kind }) => kind === 'video'));
    await becomes(page, "document.querySelector('#outputs .badge')?.textContent === 'Sending'", 40_000);
    expect(await page.content()).not.toContain('a-key-that-nobody-sees');
    expect(await page.inputValue('#output-key')).toBe('');
    await page.click('#outputs button');
    await becomes(page, "document.querySelectorAll('#outputs li').length === 0");

    await page.click('#live');
    await stateIs(page, 'stopped');
    const play = '#recordings .actions button:not([hidden])[aria-label^=Play]';
    await page.waitForSelector(play, { timeout: 30_000 });
    const count = await page.locator('#recordings li').count();
    await page.click(play);
    await moves(page, '#replay-video');
    await page.click('#replay .head button');
    await page.click('#recordings [aria-label^=Delete]');
    await page.click('#question .danger');
    await expect.poll(() => page.locator('#recordings li').count(), { timeout: 20_000 }).toBe(count - 1);
  });

  it('says when the network of the glasses is cut, and recovers by itself', { timeout: 150_000 }, async () => {
    const { origin, signal, token } = await startDemo();
    const page = await open(`${origin}/#token=${token}`);
    await stateIs(page, 'active');
    await moves(page);
    await page.evaluate('window.isTheSamePage = true');
    signal('SIGSTOP');
    try {
      const banner = () => textOf(page, '#banner');
      await expect.poll(banner, { timeout: 30_000 }).toMatch(/^The picture stopped at \d\d:\d\d:\d\d\./);
      await expect.poll(banner, { timeout: 50_000 }).toMatch(/^The glasses are away since \d\d:\d\d:\d\d; waiting/);
      expect(await banner()).toContain('The picture is the last one');
      expect(await page.isDisabled('#live')).toBe(false);
    } finally {
      signal('SIGCONT');
    }
    await stateIs(page, 'active', 40_000);
    await becomes(page, "document.querySelector('#banner').textContent === ''", 30_000);
    await moves(page, '#video', 30_000);
    expect(await page.evaluate('window.isTheSamePage')).toBe(true);
    expect(await textOf(page, '#timeline')).toMatch(/The picture is back/);
  });
});

const ada = 'ada@example.com';
const stream = (fields: Partial<StreamView> = {}): StreamView => ({
  ...{ streamId: 'm1', userId: ada, kind: 'managed', state: 'active', viewers: ['glasscast.console'] },
  stats: { bitrate: 1_900_000, fps: 29.8, droppedFrames: 3, duration: 61, width: 1280, height: 720, queuedBytes: 4000 },
  temperatureC: 61.5,
  // Nobody answers there.
  playback: { hlsUrl: 'http://127.0.0.1:1/video.m3u8' },
  ...fields,
});

async function scriptedRelay() {
  const relay = await startConsoleRelay();
  onTestFinished(() => relay.close());
  return relay;
}

describe.skipIf(!executablePath)('with any relay', () => {
  it('asks for a token, says that one is refused, keeps the right one in the tab, and forgets it', async () => {
    const { origin, world } = await scriptedRelay();
    const page = await open(origin);
    await page.waitForSelector('#login:not([hidden])');
    await page.fill('#token', 'wrong');
    await page.click('#login button');
    await becomes(page, "document.querySelector('#login-error').textContent.includes('refused')");
    world.isDown = true;
    await page.fill('#token', CONSOLE_TOKEN);
    await page.click('#login button');
    await becomes(page, "document.querySelector('#login-error').textContent.includes('503')");
    world.isDown = false;
    await page.waitForSelector('#console:not([hidden])');
    expect(await page.evaluate('document.activeElement.id')).toBe('console');
    await page.reload();
    await page.waitForSelector('#console:not([hidden])');
    await page.click('#logout');
    await page.waitForSelector('#login:not([hidden])');
    await page.reload();
    await page.waitForSelector('#login:not([hidden])');
    expect(await page.evaluate('JSON.stringify([{ ...sessionStorage }, { ...localStorage }])')).not.toContain(
      CONSOLE_TOKEN,
    );
  });

  it('tells a newcomer without glasses what to do, and shows them as they come', async () => {
    const relay = await scriptedRelay();
    relay.world.recordings = { recordings: [], keepsRecordings: false };
    const page = await open(relay.url);
    await page.waitForSelector('#first-steps:not([hidden])');
    const port = new URL(relay.origin).port;
    expect(await textOf(page, '#simulate-command')).toContain(`--relay-url ws://127.0.0.1:${port}/glasses-ws`);
    expect(await textOf(page, '#recordings-empty')).toContain('--keep-recordings');
    relay.tell({ type: 'session', session: { userId: ada, connected: true } });
    await becomes(page, "document.querySelector('#first-steps').hidden && !document.querySelector('#live').disabled");
    expect(await textOf(page, '#placeholder')).toContain('Press Go live');
  });

  it('shows markup in what strangers say as text', async () => {
    const relay = await scriptedRelay();
    const markup = '<img src=x onerror=alert(1)><b>bold</b>';
    relay.world.sessions = [{ userId: markup, connected: true, modelName: markup, batteryLevel: 50 }];
    relay.world.streams = [
      stream({
        ...{ userId: markup, state: 'interrupted', message: markup, viewers: [markup] },
        outputs: [{ outputId: 'o1', name: markup, url: markup, addedBy: markup, status: markup, error: markup }],
        playback: { hlsUrl: `http://127.0.0.1:1/${markup}`, previewUrl: markup },
      }),
    ];
    relay.world.timelines = { m1: [{ atMs: 1, kind: 'state', code: markup, text: markup, numbers: { [markup]: 1 } }] };
    relay.world.recordings = { recordings: [{ uid: markup, userId: markup, state: markup, createdAt: markup }] };
    relay.world.refusals = { 'DELETE /api/streams/m1': { status: 409, message: markup } };
    const page = await open(relay.url);
    const places = ['#glasses', '#who', '#banner', '#viewers', '#outputs', '#timeline', '#recordings'];
    for (const place of places)
      await becomes(page, `document.querySelector('${place}').textContent.includes('<img src=x')`);
    await page.click('#live');
    expect(await textOf(page, '#question')).toContain('<img');
    await page.click('#question .danger');
    await becomes(page, "document.querySelector('#failure').textContent.includes('<img src=x')");
    await page.click('#snippet-tab-page');
    expect(await page.locator('b, img[src=x]').count()).toBe(1);
    expect(await page.locator('#first-steps b').count()).toBe(1);
  });

  it('finds one of 200 glasses, and goes from one to the next by keys', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = Array.from({ length: 200 }, (_, at) => ({
      ...{
        userId: `user${String(at).padStart(3, '0')}@example.com`,
        connected: at % 3 !== 0,
        modelName: 'Mentra Live',
      },
    }));
    const page = await open(relay.url);
    await becomes(page, "document.querySelectorAll('#glasses li').length === 200");
    const who = () => textOf(page, '#who');
    expect(await who()).toBe('user001@example.com');
    await page.keyboard.press('j');
    await expect.poll(who).toBe('user002@example.com');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('k');
    await expect.poll(who).toBe('user198@example.com');
    await page.keyboard.press('/');
    await page.keyboard.type('user15 away');
    await becomes(page, "document.querySelector('#glasses-count').textContent === '4 of 200'");
    await page.keyboard.type(' nobody');
    await page.waitForSelector('#nothing-found:not([hidden])');
    await page.keyboard.press('Escape');
    await becomes(page, "document.querySelectorAll('#glasses li').length === 200");
  });

  it('is used by keys alone', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [{ userId: ada, connected: true }];
    const page = await open(relay.url);
    await becomes(page, "!document.querySelector('#live').disabled");
    await page.keyboard.press('?');
    await page.waitForSelector('#shortcuts[open]');
    await page.keyboard.press('Escape');
    await page.waitForSelector('#shortcuts', { state: 'hidden' });
    await page.keyboard.press(' ');
    await expect.poll(() => relay.asked.map(({ method }) => method)).toEqual(['POST']);
    relay.tell({ type: 'stream', stream: stream() });
    await stateIs(page, 'active');
    await page.keyboard.press('m');
    await becomes(page, "document.querySelector('#sound').getAttribute('aria-pressed') === 'true'");
    await page.keyboard.press(' ');
    await page.waitForSelector('#question[open]');
    expect(relay.asked).toHaveLength(1);
    await page.keyboard.press('Enter');
    await expect.poll(() => relay.asked.map(({ method }) => method)).toEqual(['POST', 'DELETE']);
    // Every control is reached by Tab, and shows where the focus is.
    await page.evaluate('document.activeElement.blur()');
    const reached = new Set<string>();
    for (let at = 0; at < 60; at += 1) {
      await page.keyboard.press('Tab');
      const seen = await page.evaluate<string>(
        `(({ id, textContent, dataset }) => [id || dataset.user || textContent, getComputedStyle(document.activeElement).outlineStyle].join(' '))(document.activeElement)`,
      );
      if (seen.endsWith(' auto') || seen.endsWith(' solid')) reached.add(seen.replace(/ \w+$/, ''));
    }
    const wanted = ['theme', 'keys', 'logout', ada, 'live', 'sound', 'full', 'snippet-tab-app', 'add-glasses'];
    expect(wanted.filter((name) => !reached.has(name))).toEqual([]);
  });

  it('shows errors in the relay’s words beside their cause', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [{ userId: ada, connected: true }];
    relay.world.streams = [
      stream({ outputs: [{ outputId: 'o1', url: 'rtmp://there', addedBy: 'com.x', status: 'active' }] }),
    ];
    const path = `/api/users/${encodeURIComponent(ada)}/managed-stream`;
    relay.world.refusals = {
      [`POST ${path}/outputs`]: { status: 409, message: 'The stream is pushed to this URL already' },
      [`DELETE ${path}/outputs/o1`]: { status: 429, message: 'Too many requests; slow down' },
      [`DELETE ${path}`]: { status: 409, message: 'Not now' },
    };
    const page = await open(relay.url);
    await page.click('#output-add summary');
    await page.click('#output-submit');
    await becomes(page, "document.querySelector('#output-problem').textContent.includes('rtmp')");
    await page.fill('#output-server', 'rtmp://there/live');
    await page.fill('#output-key', 'key');
    await page.click('#output-submit');
    await becomes(page, "document.querySelector('#output-problem').textContent.includes('already')");
    await page.click('#outputs button');
    await becomes(page, "document.querySelector('#outputs .problem').textContent.includes('slow down')");
    await page.click('#live');
    await becomes(page, "document.querySelector('#failure').textContent === 'Not now'");
  });

  it('says that the relay is away, and shows what is new when it is back', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [{ userId: ada, connected: true }];
    const page = await open(relay.url);
    await becomes(page, "document.querySelector('#link-text').textContent === 'Connected to the relay'");
    relay.world.isDown = true;
    relay.cut();
    await becomes(page, '/away since [0-9:]+/.test(document.querySelector("#link-text").textContent)');
    relay.world.sessions = [{ userId: 'grace@example.com', connected: true }];
    relay.world.isDown = false;
    await becomes(page, "document.querySelector('#link-text').textContent === 'Connected to the relay'");
    await becomes(page, "document.querySelector('#who').textContent === 'grace@example.com'");
  });

  it('tells what happened to streams that have ended', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [{ userId: ada, connected: true }];
    relay.world.streams = [stream()];
    relay.world.ended = [{ ...stream({ streamId: 'm0', state: 'failed', createdAt: '2026-11-27T10:00:00Z' }) }];
    relay.world.timelines = {
      m0: [{ atMs: 1, kind: 'state', state: 'failed', text: 'The camera was not found' }],
      m1: [{ atMs: 2, kind: 'state', state: 'active', text: 'Live' }],
    };
    const page = await open(relay.url);
    await becomes(page, "document.querySelector('#timeline').textContent.includes('Live')");
    relay.tell({
      type: 'stream-entry',
      streamId: 'm1',
      entry: { atMs: 3, kind: 'notice', text: 'The picture is smaller' },
    });
    await becomes(page, "document.querySelector('#timeline li').textContent.includes('smaller')");
    await page.selectOption('#timeline-of', 'm0');
    await becomes(page, "document.querySelector('#timeline').textContent.includes('The camera was not found')");
  });

  const sizes = {
    phone: { width: 360, height: 740 },
    tablet: { width: 900, height: 1000 },
    desk: { width: 1440, height: 900 },
  };
  const looks = Object.entries(sizes).flatMap(([name, viewport]) =>
    (['light', 'dark'] as const).map((colorScheme) => ({ name, viewport, colorScheme })),
  );
  it.each(looks)('is readable on a $name, $colorScheme', async ({ viewport, colorScheme }) => {
    const relay = await scriptedRelay();
    const long = `${'a-very-long-name'.repeat(6)}@example.com`;
    relay.world.sessions = [
      { userId: ada, connected: true, modelName: 'Mentra Live', batteryLevel: 80, charging: true },
      { userId: long, connected: false, modelName: long },
    ];
    relay.world.streams = [
      stream({
        viewers: [long],
        outputs: [{ outputId: 'o1', name: long, url: 'rtmp://there', status: 'error', error: long }],
      }),
    ];
    relay.world.timelines = { m1: [{ atMs: 1, kind: 'state', state: 'failed', text: long.repeat(2) }] };
    relay.world.recordings = {
      recordings: [
        {
          uid: 'r',
          userId: long,
          state: 'ready',
          createdAt: '2026-11-27T10:00:00Z',
          urls: { hlsUrl: 'http://127.0.0.1:1/' },
        },
      ],
    };
    const page = await open(relay.url, { viewport, colorScheme });
    await becomes(page, "document.querySelectorAll('#recordings li, #timeline li, #outputs li').length === 3");
    await page.click('#settings summary');
    await page.click('#output-add summary');
    expect([await overflow(page), await nameless(page), await faintTexts(page)]).toEqual([[], [], []]);
    const isDark = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches");
    const ground = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
    const first = await ground();
    expect(isDark).toBe(colorScheme === 'dark');
    // The switch goes auto, light, dark; the choice outlasts the page.
    for (let at = colorScheme === 'dark' ? 1 : 2; at > 0; at -= 1) await page.click('#theme');
    expect(await ground()).not.toBe(first);
    await page.reload();
    await page.waitForSelector('#console:not([hidden])');
    expect(await ground()).not.toBe(first);
  });
});
