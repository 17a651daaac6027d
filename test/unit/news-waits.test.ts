/** Waiting for news of a live window: every way it ends, its bounds, and that nothing is left behind. */
import { describe, expect, it } from 'vitest';
import { createNewsWaits, type NewsWaitsOptions } from '../../cloud/local-stream/playback/news-waits.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

function window() {
  const listeners = new Set<() => void>();
  let isClosed = false;
  let isThere = false;
  const news = () => {
    for (const listener of [...listeners]) listener();
  };
  return {
    onNews(listener: () => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    isClosed: () => isClosed,
    isThere: () => isThere,
    listeners,
    news,
    come() {
      isThere = true;
      news();
    },
    close() {
      isClosed = true;
      news();
    },
  };
}

function createWorld(options: Partial<NewsWaitsOptions> = {}) {
  const clock = createTestClock();
  const waits = createNewsWaits({ clock, ...options });
  const one = window();
  const wait = (on = one, signal = new AbortController().signal) =>
    waits.until({ window: on, isThere: on.isThere, timeoutMs: 3000, signal });
  const isClean = () => waits.count() === 0 && one.listeners.size === 0 && clock.pending().length === 0;
  return { clock, waits, window: one, wait, isClean };
}

describe('a wait', () => {
  it('ends with the news it is for, not with other news', async () => {
    const { window: one, wait, isClean } = createWorld();
    const waiting = wait();
    one.news();
    await settle();
    expect(one.listeners.size).toBe(1);
    one.come();
    expect(await waiting).toBe('there');
    expect(isClean()).toBe(true);
    expect(await wait()).toBe('there');
  });
  it('ends after its time', async () => {
    const { clock, wait, isClean } = createWorld();
    const waiting = wait();
    await clock.advance(2999);
    expect(isClean()).toBe(false);
    await clock.advance(1);
    expect(await waiting).toBe('late');
    expect(isClean()).toBe(true);
  });
  it('ends with the broadcast, and does not begin after it', async () => {
    const { window: one, wait, isClean } = createWorld();
    const waiting = wait();
    one.close();
    expect(await waiting).toBe('ended');
    expect(await wait()).toBe('ended');
    expect(isClean()).toBe(true);
  });
  it('ends when whoever asked leaves, and does not begin when they have left', async () => {
    const { window: one, wait, isClean } = createWorld();
    const gone = new AbortController();
    const waiting = wait(one, gone.signal);
    gone.abort();
    one.come();
    expect(await waiting).toBe('gone');
    expect(await wait(one, gone.signal)).toBe('gone');
    expect(isClean()).toBe(true);
  });
});

describe('blocked requests', () => {
  it('are bounded per broadcast and in all; who is refused costs nobody a place', async () => {
    const { waits, window: one, wait } = createWorld({ maxPerWindow: 2, maxInAll: 3 });
    const other = window();
    const third = window();
    const held = [wait(), wait()];
    expect(await wait()).toBe('full');
    held.push(wait(other));
    expect(await wait(third)).toBe('full');
    expect(waits.count()).toBe(3);
    one.come();
    other.come();
    expect(await Promise.all(held)).toEqual(['there', 'there', 'there']);
    expect(waits.count()).toBe(0);
    const again = wait(third);
    third.come();
    expect(await again).toBe('there');
  });
});
