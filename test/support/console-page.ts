/** What a person sees and does in the console, for tests in Chromium. */
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, inject, onTestFinished } from 'vitest';

/**
 * A browser for the file's tests; each page is one of its own. A test fails with any error in a page, anything that its
 * policy had to forbid, and any dialog that a script opened. @returns opens a page.
 */
export function useBrowser(): (url: string, options?: BrowserContextOptions) => Promise<Page> {
  let browser: Browser | undefined;
  let problems: string[] = [];
  beforeAll(async () => {
    const executablePath = inject('chromium');
    const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
    if (executablePath) browser = await chromium.launch({ executablePath, args });
  });
  afterAll(() => browser?.close());
  afterEach(() => {
    const found = problems;
    problems = [];
    expect(found).toEqual([]);
  });

  return async (url, options = {}) => {
    if (!browser) throw new Error('there is no Chromium');
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
  };
}

export async function logIn(page: Page, token: string): Promise<void> {
  await page.fill('#token', token);
  await page.click('#login button');
  await page.waitForSelector('#console:not([hidden])');
}

/** Asked from outside: the page's own policy forbids evaluating text inside it. */
export const becomes = (page: Page, condition: string, timeout = 20_000) =>
  expect.poll(() => page.evaluate<unknown>(condition).then(Boolean), { timeout, message: condition }).toBe(true);
export const textOf = (page: Page, selector: string) =>
  page.evaluate<string>(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ''`);
export const stateIs = (page: Page, state: string, timeout?: number) =>
  becomes(page, `document.querySelector('#state').dataset.state === '${state}'`, timeout);

/** The decoded picture as text, which differs when the picture does; empty without one. */
export const pixels = (page: Page, selector: string) =>
  page.evaluate<string>(`(() => {
    const video = document.querySelector('${selector}');
    if (!video || video.videoWidth === 0) return '';
    const canvas = document.createElement('canvas');
    canvas.width = 160; canvas.height = 90;
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0, 160, 90);
    const { data } = context.getImageData(0, 0, 160, 90);
    const isBlank = data.every((value, at) => at % 4 === 3 || value === data[at % 4]);
    return isBlank ? '' : canvas.toDataURL();
  })()`);

/** Three pictures that differ, decoded, one after the other. */
export async function moves(page: Page, selector = '#video', timeout = 20_000): Promise<void> {
  const seen = new Set<string>();
  await expect
    .poll(
      async () => {
        const picture = await pixels(page, selector);
        if (picture) seen.add(picture);
        return seen.size;
      },
      { timeout, interval: 150, message: `${selector} does not move` },
    )
    .toBeGreaterThanOrEqual(3);
}

/** What is wider than the page is. */
export const overflow = (page: Page) =>
  page.evaluate<string[]>(`[...document.querySelectorAll('body *')]
    .filter((one) => one.checkVisibility() && !one.closest('pre, .unseen, .skip'))
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5)
    .map((one) => one.id || one.className || one.tagName)
    .concat(document.documentElement.scrollWidth > innerWidth ? ['the page itself'] : [])`);

/** Controls that a screen reader has no name for. */
export const nameless = (page: Page) =>
  page.evaluate<
    string[]
  >(`[...document.querySelectorAll('button, input, select, summary, textarea, video, dialog[open], [role=tab]')]
    .filter((one) => one.checkVisibility())
    .filter((one) => {
      const by = (one.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join('');
      const own = one.matches('button, summary') ? one.textContent : '';
      const label = [...(one.labels ?? [])].map((each) => each.textContent).join('');
      return !(one.getAttribute('aria-label') || by || own || label).trim();
    })
    .map((one) => one.outerHTML.slice(0, 80))`);

/** Texts with less contrast to what is behind them than WCAG 2 AA asks for (4.5:1), on plain grounds. */
export const faintTexts = (page: Page) =>
  page.evaluate<string[]>(`(() => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 1;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      return { rgb: [r, g, b], a: a / 255 };
    };
    const over = (front, back) => front.rgb.map((value, at) => value * front.a + back[at] * (1 - front.a));
    const groundOf = (one) => {
      if (!one) return [255, 255, 255];
      const own = rgba(getComputedStyle(one).backgroundColor);
      return own.a === 1 ? own.rgb : over(own, groundOf(one.parentElement));
    };
    const light = (rgb) => {
      const [r, g, b] = rgb.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (one, other) => {
      const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05);
    };
    const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll('body *')]
      .filter((one) => one.checkVisibility() && hasText(one) && !one.closest('#picture, .unseen, .skip, :disabled, option'))
      .map((one) => {
        const ground = groundOf(one);
        const text = over(rgba(getComputedStyle(one).color), ground);
        return { ratio: contrast(text, ground), words: one.textContent.trim().slice(0, 40) };
      })
      .filter(({ ratio }) => ratio < 4.5)
      .map(({ ratio, words }) => words + ' ' + ratio.toFixed(2));
  })()`);
