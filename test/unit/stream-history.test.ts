import { expect, it } from 'vitest';
import { createStreamHistory } from '../../cloud/streams/stream-history.ts';
import type { TimelineEntry } from '../../cloud/streams/stream-timeline.ts';
import type { StreamSnapshot } from '../../cloud/streams/stream-views.ts';
import { createTestClock } from '../support/test-clock.ts';

const USER = 'ada@example.com';
const snapshot = (streamId: string, state: StreamSnapshot['state'], more: Partial<StreamSnapshot> = {}) =>
  ({ streamId, userId: USER, state, viewers: [], outputs: [], ...more }) as unknown as StreamSnapshot;

function world(maxEnded = 2) {
  const clock = createTestClock();
  const told: [string, TimelineEntry][] = [];
  const onEntry = (streamId: string, entry: TimelineEntry) => void told.push([streamId, entry]);
  return { clock, told, history: createStreamHistory({ clock, redact: (text) => text, onEntry, maxEnded }) };
}

it('tells each entry as it comes, and all of a stream on request', () => {
  const { history, told } = world();
  history.saw(snapshot('m1', 'provisioning'));
  history.saw(snapshot('m1', 'starting'));
  expect(told.map(([streamId, { state }]) => [streamId, state])).toEqual([
    ['m1', 'provisioning'],
    ['m1', 'starting'],
  ]);
  expect(history.timeline('m1')).toEqual(told.map(([, entry]) => entry));
  expect(history.timeline('m2')).toBeUndefined();
  expect(history.userOf('m1')).toBe(USER);
});

it('lists the newest ended streams once, newest first, and forgets the rest with their timelines', async () => {
  const { clock, history } = world();
  for (const streamId of ['m1', 'm2', 'm3']) {
    history.saw(snapshot(streamId, 'provisioning'));
    history.saw(snapshot(streamId, 'failed'));
    await clock.advance(1_000);
    // The device is done: the last word on it.
    history.saw(snapshot(streamId, 'failed', { message: 'It failed' }));
  }
  const endedAt = (ms: number) => new Date(clock.now() - ms).toISOString();
  expect(history.ended()).toMatchObject([
    { streamId: 'm3', endedAt: endedAt(1_000), message: 'It failed' },
    { streamId: 'm2', endedAt: endedAt(2_000) },
  ]);
  expect([history.timeline('m1'), history.timeline('m2')?.length]).toEqual([undefined, 2]);
});

it('puts what the glasses say and do to the stream that runs', () => {
  const { history, told } = world();
  history.glasses(USER, true);
  history.saw(snapshot('m1', 'provisioning'));
  history.saw(snapshot('m1', 'active'));
  const notice = { code: 'HEAT' as const, text: 'Warm' };
  const passed: string[] = [];
  const status = { type: 'stream_status' as const, status: 'streaming' as const, notice };
  history.deviceStatus(USER, { ...status, streamId: 'm1' }, () => void passed.push('m1'));
  history.deviceStatus(USER, { ...status, streamId: 'another' }, () => void passed.push('another'));
  history.deviceStatus('nobody@example.com', status, () => void passed.push('nobody'));
  history.deviceStatus(USER, { ...status, notice: undefined, errorCode: 'CAMERA_SILENT' }, () =>
    history.saw(snapshot('m1', 'interrupted', { message: 'Reconnecting' })),
  );
  history.glasses(USER, false);
  expect(passed).toEqual(['m1', 'another', 'nobody']);
  expect(told.slice(2).map(([, { kind, code }]) => [kind, code])).toEqual([
    ['notice', 'HEAT'],
    ['state', 'CAMERA_SILENT'],
    ['glasses', undefined],
  ]);
  history.saw(snapshot('m1', 'stopped'));
  const before = told.length;
  history.glasses(USER, true);
  expect(told.length).toBe(before);
});
