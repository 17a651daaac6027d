/** The console in Chromium with the demo behind it: from the token to a moving picture, an output, a replay, an outage. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { becomes, logIn, moves, stateIs, textOf, useBrowser } from '../support/console-page.ts';
import { launchDemo } from '../support/demo.ts';
import { descendantsOf, processesWith } from '../support/processes.ts';
import { startRtmpSink } from '../support/rtmp-sink.ts';

const open = useBrowser();

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

describe.skipIf(!inject('chromium'))('the console with the demo behind it', () => {
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
