import { expect, test } from 'vitest';
import { createTimeline } from '../../device/encoding/timeline.ts';
import { silentLog } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';

const EPOCH_MS = 1_700_000_000_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const tagAt = (timestampMs: number): FlvTag => ({ kind: 'video', timestampMs, body: Buffer.from([0x27, 1]) });

/** Two clocks: one can be set. */
function world() {
  const at = { wallMs: EPOCH_MS, monotonicMs: 5_000 };
  const timeline = createTimeline({
    clock: { now: () => Math.round(at.wallMs), monotonicMs: () => at.monotonicMs },
    log: silentLog(),
  });
  let sets = 0;
  timeline.watch(() => {
    sets += 1;
  });
  return {
    timeline,
    sets: () => sets,
    passes(ms: number) {
      at.wallMs += ms;
      at.monotonicMs += ms;
    },
    setBy(ms: number) {
      at.wallMs += ms;
    },
  };
}

test('keeps its zero while time passes', () => {
  const { timeline, passes, sets } = world();
  for (let step = 0; step < 1_000; step += 1) {
    passes(33.37);
    expect(timeline.epochMs()).toBe(EPOCH_MS);
  }
  expect(sets()).toBe(0);
});

test.each([
  ['back an hour', -HOUR_MS],
  ['on an hour', HOUR_MS],
  ['on a month, more than half of what 32 bits count', 31 * DAY_MS],
])(
  'the wall clock is set %s: runs that begin now stand where the stream is, and those before are told once',
  (_, by) => {
    const { timeline, passes, setBy, sets } = world();
    passes(10_000);
    setBy(by);
    timeline.placed(tagAt(10_000));
    expect(sets()).toBe(1);
    expect(timeline.epochMs()).toBe(EPOCH_MS + by);
    passes(1_000);
    timeline.placed(tagAt(11_000));
    expect(sets()).toBe(1);
  },
);

test('a tag that was thrown into the future is put at the present; others are left alone', () => {
  const { timeline, passes, setBy } = world();
  passes(10_000);
  setBy(HOUR_MS);
  expect(timeline.placed(tagAt(HOUR_MS + 10_000))).toMatchObject({ timestampMs: 10_000 });
  for (const timestampMs of [0, 9_000, 10_000, 10_900])
    expect(timeline.placed(tagAt(timestampMs))).toMatchObject({ timestampMs });
});

test('being held up between reading the one clock and the other is no setting', () => {
  const at = { wallMs: EPOCH_MS, heldUpMs: 0 };
  const clock = {
    now: () => at.wallMs,
    monotonicMs() {
      const late = at.heldUpMs;
      at.heldUpMs = 0;
      at.wallMs += late;
      return at.wallMs - EPOCH_MS;
    },
  };
  const timeline = createTimeline({ clock, log: silentLog() });
  let sets = 0;
  timeline.watch(() => {
    sets += 1;
  });
  at.heldUpMs = 500;
  expect(timeline.epochMs()).toBe(EPOCH_MS);
  expect(timeline.epochMs()).toBe(EPOCH_MS);
  expect(sets).toBe(0);
});
