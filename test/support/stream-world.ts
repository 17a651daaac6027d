/** One stream with fakes around it, and a record to take it up from. */
import type { StreamRecord } from '../../cloud/store/records.ts';
import { LiveStream } from '../../cloud/streams/live-stream.ts';
import { defaultStreamTimings, timingsFor } from '../../cloud/streams/stream-timings.ts';
import type { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { fakeGlasses, fakePlayback, fakeRestreaming, fakeSource, fakeViewer } from './stream-fakes.ts';
import { createTestClock, settle } from './test-clock.ts';

export const STREAM = 'm1234567890';

/** @param taken what differs from a new managed stream's record. */
export function streamWorld(taken: Partial<StreamRecord> = {}, keep: () => Promise<void> = async () => {}) {
  const clock = createTestClock();
  const glasses = fakeGlasses();
  const source = fakeSource();
  const playback = fakePlayback();
  const defects: GlasscastError[] = [];
  const ends: number[] = [];
  const restreaming = fakeRestreaming();
  const saved: (StreamRecord | undefined)[] = [];
  const record: StreamRecord = {
    ...{ streamId: STREAM, userId: 'ada@example.com', kind: 'managed', request: {} },
    ...{
      createdAtMs: clock.now(),
      savedAtMs: clock.now(),
      viewers: [],
      outputs: [],
      wantedOutputs: [],
      isStarted: false,
    },
    ...taken,
  };
  const stream = new LiveStream({
    ...{ record, glasses, source, restreaming, clock },
    log: silentLog(),
    timings: timingsFor(record.kind, defaultStreamTimings),
    look: ({ urls }, events) => (urls ? playback.watch(urls, events) : { hurry: () => events.live(), close() {} }),
    save(changed) {
      saved.push(changed);
      return keep();
    },
    onChange() {},
    onEnded: () => void ends.push(clock.now()),
    onDefect: (error) => void defects.push(error),
  });
  const say = (status: DeviceStreamStatus['status'], rest: Partial<DeviceStreamStatus> = {}) =>
    stream.deviceStatus({ type: 'stream_status', status, streamId: STREAM, ...rest });
  const first = fakeViewer('com.first');
  async function begin() {
    stream.join(first);
    stream.begin();
    await settle();
    await source.provide();
    await settle();
  }
  async function goLive() {
    await begin();
    say('streaming');
    playback.prove();
  }
  return {
    ...{ clock, glasses, source, playback, restreaming, saved, defects, ends, stream, say, first },
    begin,
    goLive,
  };
}
