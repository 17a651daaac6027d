/** The console in Chromium with a scripted relay: what real glasses seldom do, every size and colour, keys alone. */
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import type { StreamView } from '../../cloud/console/relay-shapes.ts';
import { becomes, faintTexts, nameless, overflow, stateIs, textOf, useBrowser } from '../support/console-page.ts';
import { CONSOLE_TOKEN, startConsoleRelay } from '../support/console-relay.ts';

const open = useBrowser();

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

describe.skipIf(!inject('chromium'))('the console', () => {
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

  it('takes the printed address in a tab that has the page already', async () => {
    const { origin, url } = await scriptedRelay();
    const page = await open(origin);
    await page.waitForSelector('#login:not([hidden])');
    await page.goto(url);
    await page.waitForSelector('#console:not([hidden])');
    expect(page.url()).not.toContain(CONSOLE_TOKEN);
  });

  it('says why there is no list of recordings, and promises none', async () => {
    const relay = await scriptedRelay();
    relay.world.recordings = new Error('The provider cannot be reached');
    const page = await open(relay.url);
    await becomes(page, "document.querySelector('#recordings-problem').textContent.includes('provider cannot')");
    expect(await page.isHidden('#recordings-empty')).toBe(true);
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
    // As after a login: a part of the page has the focus, and no control of it.
    await page.focus('#console');
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

  it('takes a viewer off a stream after a question, and keeps one live that only an app watches', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [{ userId: ada, connected: true }];
    relay.world.streams = [stream({ viewers: ['com.example.captions'] })];
    relay.world.refusals = {
      'DELETE /api/streams/m1/viewers/glasscast.console': { status: 404, message: 'Nobody of this name watches' },
    };
    const page = await open(relay.url);
    await page.waitForSelector('#join:not([hidden])');
    await page.click('#join-button');
    await expect.poll(() => relay.asked.at(-1)?.path).toBe(`/api/users/${encodeURIComponent(ada)}/managed-stream`);
    relay.tell({ type: 'stream', stream: stream({ viewers: ['com.example.captions', 'glasscast.console'] }) });
    await page.waitForSelector('#join', { state: 'hidden' });
    await page.click('#viewers [aria-label="Remove the viewer com.example.captions"]');
    await becomes(page, "document.querySelector('#question').textContent.includes('goes on for the others')");
    await page.keyboard.press('Escape');
    await page.click('#viewers [aria-label="Remove the viewer com.example.captions"]');
    await page.click('#question .danger');
    await expect.poll(() => relay.asked.at(-1)?.path).toBe('/api/streams/m1/viewers/com.example.captions');
    expect(relay.asked.map(({ method }) => method)).toEqual(['POST', 'DELETE']);
    relay.tell({ type: 'stream', stream: stream() });
    await becomes(page, "document.querySelectorAll('#viewers li').length === 1");
    await page.click('#viewers button');
    await becomes(page, "document.querySelector('#question').textContent.includes('the stream ends')");
    await page.click('#question .danger');
    await becomes(page, "document.querySelector('#viewers-problem').textContent.includes('Nobody of this name')");
  });

  it('forgets what was typed for other glasses', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [
      { userId: ada, connected: true },
      { userId: 'grace@example.com', connected: true },
    ];
    relay.world.streams = [stream(), stream({ streamId: 'm2', userId: 'grace@example.com' })];
    const page = await open(relay.url);
    await page.click('#output-add summary');
    await page.fill('#output-server', 'rtmp://there/live');
    await page.fill('#output-key', 'the key of Ada');
    await page.click('[data-user="grace@example.com"]');
    await becomes(page, "document.querySelector('#who').textContent === 'grace@example.com'");
    expect(await page.inputValue('#output-key')).toBe('');
    expect(await page.inputValue('#output-server')).toBe('');
  });

  it('misses nothing that happens while a timeline is on its way', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [{ userId: ada, connected: true }];
    relay.world.streams = [stream()];
    relay.world.timelines = { m1: [{ atMs: 1, kind: 'state', state: 'active', text: 'Live' }] };
    let answer = () => {};
    relay.world.timelineDelay = new Promise((resolve) => {
      answer = resolve;
    });
    const page = await open(relay.url);
    await becomes(page, "document.querySelector('#timeline-empty').textContent.includes('Asking')");
    relay.tell({
      type: 'stream-entry',
      streamId: 'm1',
      entry: { atMs: 2, kind: 'viewer', text: 'com.example watches' },
    });
    relay.tell({ type: 'stream', stream: stream({ viewers: ['com.example'] }) });
    await becomes(page, "document.querySelector('#viewers').textContent.includes('com.example')");
    answer();
    await becomes(page, "document.querySelectorAll('#timeline li').length === 2");
    expect(await textOf(page, '#timeline')).toMatch(/com\.example watches.*Live/);
  });

  it('is no larger after 20,000 events than after 1,000', { timeout: 60_000 }, async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [{ userId: ada, connected: true }];
    relay.world.streams = [stream()];
    const page = await open(relay.url);
    await becomes(page, "document.querySelector('#timeline-empty').textContent.includes('nothing')");
    const size = async (from: number, to: number) => {
      for (let at = from; at < to; at += 1) {
        const entry = { atMs: at, kind: 'notice' as const, text: `Notice ${at}` };
        relay.tell({ type: 'stream-entry', streamId: 'm1', entry });
        if (at % 4 === 0) relay.tell({ type: 'stream', stream: stream({ stats: { bitrate: at, fps: at % 30 } }) });
      }
      await becomes(page, `document.querySelector('#timeline li').textContent.includes('Notice ${to - 1}')`, 40_000);
      return page.evaluate<number>("document.querySelectorAll('*').length");
    };
    const first = await size(0, 1000);
    expect(await size(1000, 20_000)).toBe(first);
  });

  it('says that the relay is away, and shows what is new when it is back', async () => {
    const relay = await scriptedRelay();
    relay.world.sessions = [{ userId: ada, connected: true }];
    const page = await open(relay.url);
    await becomes(page, "document.querySelector('#link-text').textContent === 'Connected to the relay'");
    relay.world.isDown = true;
    relay.cut();
    await becomes(page, '/away since [0-9:]+/.test(document.querySelector("#link-text").textContent)');
    expect(await page.evaluate("document.querySelector('#console').dataset.link")).toBe('away');
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
    await becomes(page, "document.querySelector('#verdict').textContent === 'all well'");
    expect(await textOf(page, '#service-record')).toMatch(
      /First picture\s*900 ms.*Stalls\s*2, 4.2 s.*Frames lost\s*3/s,
    );
    relay.world.verdicts = { m0: 'the camera was gone from 10:00:00' };
    relay.tell({
      type: 'stream-entry',
      streamId: 'm1',
      entry: { atMs: 3, kind: 'notice', text: 'The picture is smaller' },
    });
    await becomes(page, "document.querySelector('#timeline li').textContent.includes('smaller')");
    await page.selectOption('#timeline-of', 'm0');
    await becomes(page, "document.querySelector('#timeline').textContent.includes('The camera was not found')");
    await becomes(page, "document.querySelector('#verdict').textContent.startsWith('the camera was gone')");
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
