/** How much recordings may grow, and what a recording does that may not. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRecordings } from '../../cloud/local-stream/recordings/recordings.ts';
import { createStorageRoom } from '../../cloud/local-stream/recordings/storage-room.ts';
import { silentLog } from '../../shared/log.ts';
import { temporaryFolder } from '../support/local-stream-world.ts';

describe('room for recordings', () => {
  it('is what the quota and the disk leave', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(100), fc.nat(100), fc.nat(100), fc.nat(100), async (used, limitBytes, free, bytes) => {
        const room = createStorageRoom({
          ...{ folder: '/', limitBytes, minFreeBytes: 20, usedBytes: () => used, freeBytes: async () => free },
        });
        const isRefused = (await room.refusal(bytes)) !== undefined;
        expect(isRefused).toBe(used + bytes > limitBytes || free - bytes < 20);
      }),
    );
  });
  it('a disk that cannot be asked is tried', async () => {
    const folder = '/nowhere/at/all';
    const room = createStorageRoom({ folder, minFreeBytes: 1, usedBytes: () => 0 });
    expect(await room.refusal(1e12)).toBeUndefined();
  });
});

const description = { codec: 'avc1', timescale: 1000, width: 2, height: 2, channels: 0 };
const period = { index: 0, startMs: 0, wallMs: 1, video: description };
const segment = (number: number, startTicks = number * 1000) => ({
  ...{ track: 'video' as const, number, period: 0, startTicks, durationTicks: 1000, timescale: 1000, bytes: 10 },
});

describe('a recording without room', () => {
  it('ends with what it has; nothing after the hole is kept, though there is room again', async () => {
    const refusals = [undefined, undefined, undefined, 'the quota of bytes is used up'];
    const recordings = createRecordings({
      ...{ folder: temporaryFolder(), log: silentLog(), refusal: async () => refusals.shift() },
    });
    const recording = recordings.begin('v');
    recording.period(period, { video: Buffer.alloc(10) });
    for (let number = 0; number < 6; number += 1) recording.segment(segment(number), Buffer.alloc(10));
    await recording.finish();
    const read = await recordings.read('v');
    expect(read?.segments.video.map(({ number }) => number)).toEqual([0, 1]);
    expect(recordings.writtenBytes()).toBe(0);
  });
  it('ends after seven days', async () => {
    const recordings = createRecordings({ folder: temporaryFolder(), log: silentLog() });
    const recording = recordings.begin('v');
    recording.period(period, { video: Buffer.alloc(10) });
    const dayTicks = 86_400_000;
    for (const day of [0, 6, 7, 8]) recording.segment(segment(day, day * dayTicks), Buffer.alloc(10));
    await recording.finish();
    expect((await recordings.read('v'))?.segments.video.map(({ number }) => number)).toEqual([0, 6]);
  });
  it('tells what is on disk while it goes on, and a reader of the whole waits for what is on its way', async () => {
    const recordings = createRecordings({ folder: temporaryFolder(), log: silentLog() });
    const recording = recordings.begin('v');
    expect(recordings.soFar('v')).toBeUndefined();
    recording.period(period, { video: Buffer.alloc(10) });
    for (let number = 0; number < 50; number += 1) recording.segment(segment(number), Buffer.alloc(10));
    expect((await recordings.read('v'))?.segments.video).toHaveLength(50);
    expect(recordings.soFar('v')).toMatchObject({ isEnded: false, startedMs: 1 });
    expect(recordings.writtenBytes()).toBe(510);
    await recording.finish();
    expect(recordings.soFar('v')).toBeUndefined();
  });
});
