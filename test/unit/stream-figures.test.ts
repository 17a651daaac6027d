import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createServiceRecord } from '../../cloud/streams/stream-figures.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { deviceStatusWords, streamStates } from '../../shared/stream.ts';

const status = (word: DeviceStreamStatus['status'], more: Partial<DeviceStreamStatus> = {}): DeviceStreamStatus => ({
  ...{ type: 'stream_status', status: word, ...more },
});

it('counts time to the first picture, time with and without one, and why', () => {
  const figures = createServiceRecord();
  figures.saw({ state: 'provisioning', liveMs: undefined }, 0);
  figures.saw({ state: 'active', liveMs: 900 }, 900);
  figures.saw({ state: 'interrupted', liveMs: 900 }, 5_000);
  expect(figures.read(6_000)).toMatchObject({ liveMs: 4_100, stalls: { count: 1, totalMs: 1_000 }, stallCauses: {} });
  figures.saw({ state: 'active', liveMs: 900 }, 8_000, 'CAMERA_SILENT');
  figures.saw({ state: 'interrupted', liveMs: 900 }, 9_000);
  figures.saw({ state: 'failed', liveMs: 900 }, 10_000);
  expect(figures.read(99_000)).toMatchObject({
    ...{ timeToFirstFrameMs: 900, liveMs: 5_100, stalls: { count: 2, totalMs: 4_000, longestMs: 3_000 } },
    stallCauses: { CAMERA_SILENT: { count: 1, totalMs: 3_000 }, UNKNOWN: { count: 1, totalMs: 1_000 } },
  });
});

it('counts how long the glasses could not push, and their line to the relay apart from it', () => {
  const figures = createServiceRecord();
  expect(figures.heard(status('reconnecting'), 1_000)).toBe(true);
  expect(figures.heard(status('reconnecting'), 2_000)).toBe(false);
  expect(figures.heard(status('reconnected'), 3_500)).toBe(true);
  figures.glasses(false, 4_000);
  figures.glasses(false, 4_500);
  figures.glasses(true, 6_000);
  figures.glasses(true, 7_000);
  expect(figures.read(9_000)).toMatchObject({
    ...{ reconnects: { count: 1, totalMs: 2_500 }, controlLosses: { count: 1, totalMs: 2_000 } },
  });
});

it('frames lost go on counting over a new push, and the worst delay is what waited at the rate in use', () => {
  const figures = createServiceRecord();
  const resolvedConfig = { video: { bitrate: 700_000 }, audio: { bitrate: 100_000 } };
  const told = (droppedFrames: number, queuedBytes: number) =>
    figures.heard(status('streaming', { resolvedConfig, stats: { droppedFrames, queuedBytes, bitrate: 9 } }), 0);
  expect(told(0, 10_000)).toBe(false);
  expect(told(4, 200_000)).toBe(true);
  expect(told(4, 100_000)).toBe(false);
  expect(told(3, 0)).toBe(true);
  expect(figures.read(0)).toMatchObject({ framesLost: 7, worstDelayMs: 2_000 });
  // A rate that says nothing.
  const other = createServiceRecord();
  other.heard(status('streaming', { stats: { queuedBytes: 1e6, bitrate: 100 } }), 0);
  expect(other.read(0).worstDelayMs).toBeUndefined();
});

it('counts steps by what they change, and keeps the lowest uplink', () => {
  const figures = createServiceRecord();
  const notice = (code: 'UPLINK_NARROW' | 'UPLINK_RECOVERED' | 'HEAT', videoBitrateBps: number, uplinkBps?: number) =>
    figures.heard(
      status('streaming', {
        notice: { code, text: '', numbers: { videoBitrateBps, askedBps: 2e6, ...(uplinkBps ? { uplinkBps } : {}) } },
      }),
      0,
    );
  notice('UPLINK_NARROW', 1e6, 900_000);
  notice('UPLINK_NARROW', 5e5, 600_000);
  notice('HEAT', 5e5);
  notice('UPLINK_RECOVERED', 1e6);
  expect(figures.read(0)).toMatchObject({ stepsDown: 2, stepsUp: 1, uplink: { askedBps: 2e6, lowestBps: 600_000 } });
});

it('a take-over costs nothing when the picture is proven soon, and is a stall of its own when it is not', () => {
  const first = createServiceRecord();
  first.saw({ state: 'active', liveMs: 1 }, 1_000);
  first.glasses(false, 2_000);
  const kept = first.kept();
  for (const [provenMs, stalls] of [
    [9_000, 0],
    [60_000, 1],
  ] as const) {
    const next = createServiceRecord(structuredClone(kept));
    next.takenOver();
    next.saw({ state: 'interrupted', liveMs: 1 }, 5_000);
    next.saw({ state: 'active', liveMs: 1 }, provenMs);
    const read = next.read(provenMs);
    expect(read).toMatchObject({ takeOvers: 1, stalls: { count: stalls }, controlLosses: { count: 0 } });
    expect(read.liveMs + read.stalls.totalMs).toBe(provenMs - 1_000);
  }
});

it('never runs backwards, and what is live and what is stalled are never more than what has passed', () => {
  const step = fc.record({
    afterMs: fc.nat(10_000),
    state: fc.constantFrom(...streamStates),
    word: fc.constantFrom(...deviceStatusWords),
    isThere: fc.boolean(),
    droppedFrames: fc.nat(1_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let figures = createServiceRecord();
      let atMs = 0;
      let lost = 0;
      for (const { afterMs, state, word, isThere, droppedFrames } of steps) {
        atMs += afterMs;
        figures.saw({ state, liveMs: undefined }, atMs);
        figures.heard(status(word, { stats: { droppedFrames } }), atMs);
        figures.glasses(isThere, atMs);
        const read = figures.read(atMs);
        expect(read.liveMs + read.stalls.totalMs).toBeLessThanOrEqual(atMs);
        expect(read.reconnects.totalMs).toBeLessThanOrEqual(atMs);
        expect(read.framesLost).toBeGreaterThanOrEqual(lost);
        lost = read.framesLost;
        // Written and read back, nothing is lost or counted twice.
        const again = createServiceRecord(JSON.parse(JSON.stringify(figures.kept())));
        expect(again.read(atMs)).toEqual(read);
        if (afterMs % 7 === 0) figures = again;
      }
    }),
  );
});
