import { describe, expect, it } from 'vitest';
import { createStreamRegistry } from '../../cloud/streams/stream-registry.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { fakeGlasses, fakePlayback, fakeSource, fakeViewer } from '../support/stream-fakes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const USER = 'ada@example.com';

function world() {
  const clock = createTestClock();
  const glasses = fakeGlasses();
  const source = fakeSource();
  const playback = fakePlayback();
  const states: string[] = [];
  const streams = createStreamRegistry({
    ...{ source, playback, clock },
    log: silentLog(),
    onChange: ({ state }) => void states.push(state),
    onDefect(error) {
      throw error;
    },
  });
  async function goLive(viewer: ReturnType<typeof fakeViewer>) {
    streams.request(USER, viewer, {}, glasses);
    await source.provide();
    await settle();
    playback.prove();
    return streams.snapshots()[0]?.streamId ?? '';
  }
  const deviceSays = (status: 'stopped' | 'streaming', streamId?: string) =>
    streams.deviceStatus(USER, { type: 'stream_status', status, ...(streamId ? { streamId } : {}) }, glasses);
  return { clock, glasses, source, playback, states, streams, goLive, deviceSays };
}

describe('one stream per user', () => {
  it('makes one live input for two requests in one instant [1]', async () => {
    const { streams, source, glasses } = world();
    const [a, b] = [fakeViewer('com.a'), fakeViewer('com.b')];
    streams.request(USER, a, {}, glasses);
    streams.request(USER, b, {}, glasses);
    expect(source.waiting.length).toBe(1);
    expect([a.words(), b.words()]).toEqual([['initializing'], ['initializing']]);
    expect(a.last()?.streamId).toBe(b.last()?.streamId);
  });

  it('keeps users apart', () => {
    const { streams, source, glasses } = world();
    streams.request('a@x.com', fakeViewer('com.a'), {}, glasses);
    streams.request('b@x.com', fakeViewer('com.a'), {}, glasses);
    expect(source.waiting.length).toBe(2);
    expect(streams.check('c@x.com')).toEqual({ hasActiveStream: false });
  });

  it('lets a request wait for the end of the old stream, and never stops the new one [55]', async () => {
    const { streams, source, glasses, goLive, deviceSays, clock } = world();
    const a = fakeViewer('com.a');
    const oldId = await goLive(a);
    streams.leave(USER, a);
    const b = fakeViewer('com.b');
    streams.request(USER, b, {}, glasses);
    expect([b.words(), source.waiting.length]).toEqual([[], 1]);
    deviceSays('stopped');
    expect([b.words(), source.waiting.length]).toEqual([['initializing'], 2]);
    expect(b.last()?.streamId).not.toBe(oldId);
    await source.provide();
    await settle();
    deviceSays('stopped', oldId);
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream', 'start_stream']);
    await clock.advance(100);
    expect(streams.check(USER)).toMatchObject({ hasActiveStream: true, streamInfo: { status: 'initializing' } });
  });
});

describe('a request that waits for the old stream', () => {
  async function waiting() {
    const all = world();
    const a = fakeViewer('com.a');
    await all.goLive(a);
    all.streams.leave(USER, a);
    const b = fakeViewer('com.b');
    all.streams.request(USER, b, {}, all.glasses);
    return { ...all, b };
  }

  it('is answered within 25 s of being made: the SDK gives up at 30 [58, 59]', async () => {
    const { b, clock } = await waiting();
    await clock.advance(24_999);
    expect(b.words()).toEqual(['initializing']);
    await clock.advance(1);
    expect(b.words()).toEqual(['initializing', 'error']);
  });

  it('hears when its user or the relay ends meanwhile', async () => {
    const user = await waiting();
    user.streams.endUser(USER, new GlasscastError('GLASSES_NOT_CONNECTED'));
    expect(user.b.last()).toMatchObject({ status: 'error', errorCode: 'GLASSES_NOT_CONNECTED' });
    const relay = await waiting();
    const closing = relay.streams.close();
    expect(relay.b.last()).toMatchObject({ status: 'error', errorCode: 'SHUTTING_DOWN' });
    relay.deviceSays('stopped');
    await closing;
  });
});

describe('stop', () => {
  it('is answered even if nothing runs [15]', () => {
    const { streams } = world();
    const viewer = fakeViewer('com.a');
    streams.leave(USER, viewer);
    expect(viewer.heard).toEqual([{ type: 'managed_stream_status', status: 'stopped' }]);
  });

  it('is answered once, also while waiting for the old stream', async () => {
    const { streams, glasses, goLive, deviceSays, source } = world();
    const a = fakeViewer('com.a');
    await goLive(a);
    streams.leave(USER, a);
    streams.request(USER, a, {}, glasses);
    streams.leave(USER, a);
    expect(a.words()).toEqual(['initializing', 'active', 'stopped', 'stopped']);
    deviceSays('stopped');
    expect(source.waiting.length).toBe(1);
    expect(streams.snapshots()).toEqual([]);
  });

  it('of an app that is gone says nothing to nobody [38]', async () => {
    const { streams, glasses, goLive } = world();
    await goLive(fakeViewer('com.a'));
    streams.drop(USER, 'com.other');
    expect(glasses.types()).toEqual(['start_stream']);
    streams.drop(USER, 'com.a');
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream']);
  });
});

describe('the rest', () => {
  it('answers checks with what is true', async () => {
    const { streams, goLive } = world();
    const streamId = await goLive(fakeViewer('com.a'));
    expect(streams.check(USER)).toMatchObject({
      hasActiveStream: true,
      streamInfo: { type: 'managed', streamId, status: 'active', activeViewers: 1, hlsUrl: expect.any(String) },
    });
    expect(streams.snapshot(streamId)?.state).toBe('active');
    expect(streams.repeat(USER, 'com.none')).toBe(false);
    expect(streams.repeat(USER, 'com.a')).toBe(true);
  });

  it('tells glasses that push for nobody to stop, now and then', async () => {
    const { glasses, deviceSays, clock } = world();
    deviceSays('streaming', 'mstray');
    deviceSays('streaming', 'mstray');
    expect(glasses.sent).toMatchObject([{ type: 'stop_stream', streamId: 'mstray' }]);
    await clock.advance(5_000);
    deviceSays('streaming', 'mstray');
    deviceSays('stopped', 'mstray');
    deviceSays('streaming');
    expect(glasses.types().length).toBe(2);
  });

  it('ends with its user [18]', async () => {
    const { streams, goLive, deviceSays } = world();
    const a = fakeViewer('com.a');
    await goLive(a);
    streams.endUser(USER, new GlasscastError('GLASSES_NOT_CONNECTED'));
    expect(a.last()).toMatchObject({ status: 'error', errorCode: 'GLASSES_NOT_CONNECTED' });
    deviceSays('stopped');
    expect(streams.snapshots()).toEqual([]);
  });

  it('closes when the glasses have stopped, and takes no more', async () => {
    const { streams, goLive, deviceSays, glasses, clock } = world();
    const a = fakeViewer('com.a');
    await goLive(a);
    let isClosed = false;
    const closing = streams.close().then(() => {
      isClosed = true;
    });
    await settle();
    expect([isClosed, a.last()?.status]).toEqual([false, 'stopped']);
    expect(() => streams.request(USER, a, {}, glasses)).toThrow(GlasscastError);
    deviceSays('stopped');
    await closing;
    expect(clock.pending()).toEqual([]);
  });
});
