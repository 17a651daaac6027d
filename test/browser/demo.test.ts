/** What a newcomer does first: the README's command, on a machine without ffmpeg, then the printed address, then Ctrl-C. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { type ChildSpawner, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { launchDemo } from '../support/demo.ts';
import { descendantsOf, isRunning } from '../support/processes.ts';

const executablePath = inject('chromium');

let children: ChildSpawner;
let folder: string;
let browser: Browser;

beforeEach(async () => {
  children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  folder = await mkdtemp(join(tmpdir(), 'glasscast-test-'));
  browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
});
afterEach(async () => {
  await browser.close();
  await children.close();
  await rm(folder, { recursive: true, force: true });
});

const startDemo = (...args: string[]) => launchDemo({ children, folder, args });

/** The TypeScript loader keeps a cache of its own in the temporary folder. */
const leftBehind = async () => (await readdir(folder)).filter((name) => !name.startsWith('tsx-'));

const currentTime = (page: Page) => page.evaluate<number>("document.querySelector('video').currentTime");
/** The clock's part of the picture, as text that differs when the picture does. */
const clockPicture = (page: Page) =>
  page.evaluate<string>(`(() => {
    const video = document.querySelector('video');
    const canvas = document.createElement('canvas');
    canvas.width = 160; canvas.height = 40;
    const { videoWidth: w, videoHeight: h } = video;
    canvas.getContext('2d').drawImage(video, 0, h * 0.7, w, h * 0.28, 0, 0, 160, 40);
    return canvas.toDataURL();
  })()`);
/** Asked from outside: the page's own policy forbids evaluating text inside it. */
const becomes = (page: Page, condition: string) =>
  expect.poll(() => page.evaluate<boolean>(condition), { timeout: 20_000 }).toBe(true);
const stateIs = (page: Page, state: string) =>
  becomes(page, `document.querySelector('#state').dataset.state === '${state}'`);

describe.skipIf(!executablePath)('the demo', () => {
  it('leads to a live picture, obeys Stop and Go live, and leaves nothing behind', async () => {
    const { demo, address } = startDemo();
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on('pageerror', ({ message }) => problems.push(message));
    await page.goto(await address);
    expect(page.url()).not.toContain('token');

    await becomes(page, "document.querySelector('video').currentTime > 1");
    const before = { time: await currentTime(page), clock: await clockPicture(page) };
    await becomes(page, `document.querySelector('video').currentTime > ${before.time + 1.5}`);
    expect(await clockPicture(page)).not.toBe(before.clock);

    await page.click('#live');
    await stateIs(page, 'stopped');
    await page.click('#settings summary');
    await page.selectOption('#size', '640x360');
    await page.click('#live');
    await stateIs(page, 'active');
    await becomes(page, "document.querySelector('video').videoWidth === 640");
    expect(problems).toEqual([]);

    const family = descendantsOf(demo.pid ?? 0);
    expect(family.length).toBeGreaterThanOrEqual(4);
    expect(await demo.stop()).toMatchObject({ end: 'stopped', code: 0 });
    expect(family.filter(isRunning)).toEqual([]);
    expect(await leftBehind()).toEqual([]);
  });

  it('takes one Ctrl-C that arrives twice as one, and asks for a token without one in the address', async () => {
    const { demo, address } = startDemo();
    const page = await browser.newPage();
    await page.goto((await address).replace(/#.*/, ''));
    await page.waitForSelector('#login:not([hidden])');
    await page.fill('#token', 'not-the-token');
    await page.click('#login button');
    await becomes(page, "document.querySelector('#login-error').textContent.includes('refused')");

    const family = descendantsOf(demo.pid ?? 0);
    if (demo.pid) process.kill(demo.pid, 'SIGINT');
    expect(await demo.stop()).toMatchObject({ code: 0 });
    expect(family.filter(isRunning)).toEqual([]);
    expect(await leftBehind()).toEqual([]);
  });

  it('says in one line which port is taken, and leaves nothing', async () => {
    const { address, demo } = startDemo();
    const { port } = new URL(await address);
    const second = startDemo('--port', port);
    const { code, lastLines } = await second.demo.exited;
    expect(code).toBe(1);
    expect(lastLines.join('\n')).toContain(`The port is in use; choose another one: 127.0.0.1:${port}`);
    await demo.stop();
    expect(await leftBehind()).toEqual([]);
  });
});
