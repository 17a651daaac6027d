import { describe, expect, it } from 'vitest';
import { streamWorld } from '../support/stream-world.ts';

const URL = 'rtmp://a.example/live/secret-key';
const ID = 's1234567890';

function unmanaged(request = {}) {
  const world = streamWorld({
    ...{ streamId: ID, kind: 'unmanaged', request, ingest: { publishUrl: URL } },
    viewers: [{ id: 'com.first', requestedAtMs: 0, isWaiting: true }],
  });
  world.stream.join(world.first);
  world.stream.begin();
  const say: typeof world.say = (status, rest) => world.say(status, { streamId: ID, ...rest });
  return { ...world, say };
}

describe('an unmanaged stream', () => {
  it('sends START to the address of the app, and is active by the word of the glasses', () => {
    const { glasses, first, say, source } = unmanaged({ video: { width: 640 } });
    expect(glasses.sent[0]).toMatchObject({
      ...{ type: 'start_stream', streamId: ID, appId: 'com.first', publishUrl: URL, video: { width: 640 } },
    });
    expect(glasses.sent[0]).not.toHaveProperty('video.keyFrameIntervalMs');
    expect(first.heard).toEqual([{ type: 'stream_status', status: 'initializing', streamId: ID, appId: 'com.first' }]);
    say('initializing');
    say('streaming', { resolvedConfig: { transport: 'rtmp' } });
    expect(first.last()).toMatchObject({ status: 'active', resolvedConfig: { transport: 'rtmp' } });
    expect(source.waiting).toEqual([]);
  });

  it('passes on statistics and errors with their details (defect 31)', () => {
    const { first, say, ends } = unmanaged();
    say('streaming');
    say('streaming', { stats: { bitrate: 1, fps: 2 } });
    expect(first.last()).toMatchObject({ status: 'active', stats: { bitrate: 1, fps: 2 } });
    expect(first.importances.at(-1)).toBe('stats');
    say('error', { errorDetails: 'camera_busy' });
    expect(first.last()).toEqual({
      ...{ type: 'stream_status', streamId: ID, status: 'error' },
      ...{ errorDetails: 'camera_busy', errorCode: 'DEVICE_REPORTED' },
    });
    expect(ends.length).toBe(1);
  });

  it('says reconnecting while the glasses do, and active only when they push again', () => {
    const { first, say } = unmanaged();
    say('streaming');
    say('reconnecting');
    expect(first.last()).toMatchObject({ status: 'reconnecting' });
    say('initializing');
    expect(first.last()).toMatchObject({ status: 'reconnecting' });
    say('reconnected');
    expect(first.words()).toEqual(['initializing', 'active', 'reconnecting', 'active']);
  });

  it('asks from START on, and ends by a timeout when nothing answers (defects 34, 35)', async () => {
    const { glasses, first, clock, ends } = unmanaged();
    expect(glasses.keepAlives()).toBe(1);
    await clock.advance(60_000);
    expect(first.last()).toMatchObject({ status: 'timeout', errorCode: 'GLASSES_SILENT' });
    await clock.advance(5_000);
    expect([ends.length, clock.pending()]).toEqual([1, []]);
  });

  it('counts questions that cannot be asked (defect 34)', async () => {
    const { glasses, first, clock, stream } = unmanaged();
    glasses.isUp = false;
    stream.glassesGone();
    await clock.advance(60_000);
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'GLASSES_NOT_CONNECTED' });
  });

  it('lets the glasses try for as long as old firmware does, then ends', async () => {
    const { first, clock, say } = unmanaged();
    for (let waitedMs = 0; waitedMs < 110_000; waitedMs += 10_000) {
      say('initializing');
      await clock.advance(10_000);
    }
    expect(first.words()).toEqual(['initializing']);
    say('initializing');
    await clock.advance(10_000);
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'START_TIMEOUT' });
  });

  it('ends at its limit of time', async () => {
    const { first, say, clock, glasses, stream } = unmanaged({ stream: { durationLimit: 10 } });
    say('streaming');
    await clock.advance(10_000);
    expect(first.last()).toMatchObject({ status: 'stopped', errorDetails: 'The duration limit is reached' });
    expect([glasses.types().at(-1), stream.snapshot().kind]).toEqual(['stop_stream', 'unmanaged']);
  });
});
