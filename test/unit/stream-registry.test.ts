import { describe, expect, it } from 'vitest';
import type { UserSession } from '../../cloud/glasses/user-session.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { operatorStream } from '../../cloud/streams/operator-stream.ts';
import { createStreamRegistry } from '../../cloud/streams/stream-registry.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { fakeGlasses, fakePlayback, fakeRestreaming, fakeSource, fakeViewer } from '../support/stream-fakes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const USER = 'ada@example.com';

function world() {
  const clock = createTestClock();
  const glasses = fakeGlasses();
  const source = fakeSource();
  const playback = fakePlayback();
  const states: string[] = [];
  const store = createSqliteStore({ file: ':memory:' });
  const streams = createStreamRegistry({
    ...{ source, playback, clock, store, restreaming: fakeRestreaming() },
    log: silentLog(),
    onChange: ({ state }) => void states.push(state),
    onDefect(error) {
      throw error;
    },
  });
  async function goLive(viewer: ReturnType<typeof fakeViewer>) {
    streams.request(USER, viewer, {}, glasses);
    await settle();
    await source.provide();
    await settle();
    playback.prove();
    return streams.snapshots()[0]?.streamId ?? '';
  }
  const deviceSays = (status: 'stopped' | 'streaming', streamId?: string) =>
    streams.deviceStatus(USER, { type: 'stream_status', status, ...(streamId ? { streamId } : {}) }, glasses);
  return { clock, glasses, source, playback, states, store, streams, goLive, deviceSays };
}

describe('one stream per user', () => {
  it('makes one live input for two requests in one instant (defect 1)', async () => {
    const { streams, source, glasses } = world();
    const [a, b] = [fakeViewer('com.a'), fakeViewer('com.b')];
    streams.request(USER, a, {}, glasses);
    streams.request(USER, b, {}, glasses);
    await settle();
    expect(source.waiting.length).toBe(1);
    expect([a.words(), b.words()]).toEqual([['initializing'], ['initializing']]);
    expect(a.last()?.streamId).toBe(b.last()?.streamId);
  });

  it('keeps users apart', async () => {
    const { streams, source, glasses } = world();
    streams.request('a@x.com', fakeViewer('com.a'), {}, glasses);
    streams.request('b@x.com', fakeViewer('com.a'), {}, glasses);
    await settle();
    expect(source.waiting.length).toBe(2);
    expect(streams.check('c@x.com', 'com.a')).toEqual({ hasActiveStream: false });
  });

  it('lets a request wait for the end of the old stream, and never stops the new one (defect 55)', async () => {
    const { streams, source, glasses, goLive, deviceSays, clock } = world();
    const a = fakeViewer('com.a');
    const oldId = await goLive(a);
    streams.leave(USER, a);
    const b = fakeViewer('com.b');
    streams.request(USER, b, {}, glasses);
    expect([b.words(), source.waiting.length]).toEqual([[], 1]);
    deviceSays('stopped');
    await settle();
    expect([b.words(), source.waiting.length]).toEqual([['initializing'], 2]);
    expect(b.last()?.streamId).not.toBe(oldId);
    await source.provide();
    await settle();
    deviceSays('stopped', oldId);
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream', 'start_stream']);
    await clock.advance(100);
    expect(streams.check(USER, 'com.a')).toMatchObject({
      hasActiveStream: true,
      streamInfo: { status: 'initializing' },
    });
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

  it('is answered within 25 s of being made: the SDK gives up at 30 (defects 58, 59)', async () => {
    const { b, clock } = await waiting();
    await clock.advance(24_999);
    expect(b.words()).toEqual(['initializing']);
    await clock.advance(1);
    expect(b.words()).toEqual(['initializing', 'error']);
  });

  it('is not told of the old stream when its app comes back meanwhile', async () => {
    const { streams, glasses, goLive } = world();
    const a = fakeViewer('com.a');
    await goLive(a);
    streams.leave(USER, a);
    expect(streams.repeat(USER, 'com.a')).toBe(false);
    streams.request(USER, a, {}, glasses);
    expect([streams.repeat(USER, 'com.a'), a.last()?.status]).toEqual([true, 'stopped']);
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
  it('is answered even if nothing runs (defect 15)', () => {
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

  it('of an app that is gone says nothing to nobody (defect 38)', async () => {
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
    expect(streams.check(USER, 'com.a')).toMatchObject({
      hasActiveStream: true,
      streamInfo: { type: 'managed', streamId, status: 'active', activeViewers: 1, hlsUrl: expect.any(String) },
    });
    expect(streams.snapshots()[0]?.state).toBe('active');
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

  it('ends with its user (defect 18)', async () => {
    const { streams, goLive, deviceSays } = world();
    const a = fakeViewer('com.a');
    await goLive(a);
    streams.endUser(USER, new GlasscastError('GLASSES_NOT_CONNECTED'));
    expect(a.last()).toMatchObject({ status: 'error', errorCode: 'GLASSES_NOT_CONNECTED' });
    deviceSays('stopped');
    expect(streams.snapshots()).toEqual([]);
  });

  it('ends a stream for everybody who watches it, by its id', async () => {
    const { streams, goLive, deviceSays, glasses } = world();
    const [a, b] = [fakeViewer('com.a'), fakeViewer('com.b')];
    const streamId = await goLive(a);
    streams.request(USER, b, {}, glasses);
    expect(streams.end('no-such-stream', 'why')).toBe(false);
    expect(streams.end(streamId, 'The operator has ended the stream')).toBe(true);
    // Again, while it ends: nobody hears it twice.
    expect(streams.end(streamId, 'why')).toBe(true);
    for (const { last, words } of [a, b]) {
      expect(last()).toMatchObject({ status: 'stopped', message: 'The operator has ended the stream' });
      expect(words().filter((word) => word === 'stopped')).toHaveLength(1);
    }
    deviceSays('stopped');
    expect([streams.snapshots(), streams.end(streamId, 'why')]).toEqual([[], false]);
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

describe('one stream for the other (defects 21, 30)', () => {
  const url = 'rtmp://a.example/live/secret-key';
  const ask = { publishUrl: url };

  it('an unmanaged start stops the managed stream for all, and starts when the glasses have stopped', async () => {
    const { streams, glasses, goLive, deviceSays } = world();
    const [a, b] = [fakeViewer('com.a'), fakeViewer('com.b')];
    await goLive(a);
    streams.requestUnmanaged(USER, b, ask, glasses);
    expect(a.last()).toMatchObject({ status: 'stopped', message: 'com.b has started an unmanaged stream' });
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream']);
    deviceSays('stopped');
    expect(glasses.sent.at(-2)).toMatchObject({ type: 'start_stream', appId: 'com.b', publishUrl: url });
    expect(b.words()).toEqual(['initializing']);
  });

  it('an unmanaged start stops the unmanaged stream before it, on the glasses too', () => {
    const { streams, glasses, deviceSays } = world();
    const [a, b] = [fakeViewer('com.a'), fakeViewer('com.b')];
    streams.requestUnmanaged(USER, a, ask, glasses);
    streams.requestUnmanaged(USER, b, ask, glasses);
    expect(a.words()).toEqual(['initializing', 'stopped']);
    deviceSays('stopped');
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream', 'start_stream']);
  });

  it('a managed start beside an unmanaged stream is refused with what to do', () => {
    const { streams, glasses } = world();
    const [a, b] = [fakeViewer('com.a'), fakeViewer('com.b')];
    streams.requestUnmanaged(USER, a, ask, glasses);
    streams.request(USER, b, {}, glasses);
    expect(b.heard).toMatchObject([{ status: 'error', errorCode: 'UNMANAGED_STREAM_ACTIVE' }]);
    expect(a.words()).toEqual(['initializing']);
  });

  it('an operator is refused as well, and not shown the stream of the app', async () => {
    const { streams, glasses } = world();
    streams.requestUnmanaged(USER, fakeViewer('com.a'), ask, glasses);
    const session = { ...glasses, isKnown: () => true } as unknown as UserSession;
    const { start } = operatorStream({ get: () => session }, streams);
    await expect(start(USER, {})).rejects.toMatchObject({ code: 'UNMANAGED_STREAM_ACTIVE' });
  });

  it('a stop reaches the glasses only from its owner (defect 32)', () => {
    const { streams, glasses } = world();
    const [a, b] = [fakeViewer('com.a'), fakeViewer('com.b')];
    streams.requestUnmanaged(USER, a, ask, glasses);
    const { streamId = '' } = streams.snapshots()[0] ?? {};
    streams.stopUnmanaged(USER, b, undefined);
    expect(b.last()).toEqual({ type: 'stream_status', status: 'stopped' });
    streams.stopUnmanaged(USER, b, streamId);
    expect(b.last()).toMatchObject({ status: 'error', errorCode: 'STREAM_NOT_YOURS', streamId });
    streams.stopUnmanaged(USER, a, 's-an-earlier-one');
    expect(a.last()).toEqual({ type: 'stream_status', status: 'stopped', streamId: 's-an-earlier-one' });
    expect(glasses.types()).toEqual(['start_stream']);
    streams.leave(USER, a);
    expect(a.last()).toMatchObject({ type: 'managed_stream_status', status: 'stopped' });
    streams.stopUnmanaged(USER, a, streamId);
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream']);
    // Once more, before the glasses have stopped: it is not somebody else's.
    streams.stopUnmanaged(USER, a, streamId);
    expect(a.heard.splice(-1)).toMatchObject([{ status: 'stopped' }]);
    expect(a.heard.filter(({ streamId: id, status }) => id === streamId && status === 'stopped').length).toBe(1);
  });

  it('tells who owns an unmanaged stream, and its key to the owner alone', () => {
    const { streams, glasses } = world();
    streams.requestUnmanaged(USER, fakeViewer('com.a'), ask, glasses);
    const info = { type: 'unmanaged', status: 'initializing', requestingAppId: 'com.a' };
    expect(streams.check(USER, 'com.a')).toMatchObject({
      hasActiveStream: true,
      streamInfo: { ...info, rtmpUrl: url },
    });
    expect(streams.check(USER, 'com.b')).toMatchObject({
      streamInfo: { ...info, rtmpUrl: 'rtmp://a.example/live/***' },
    });
    expect(JSON.stringify(streams.snapshots())).not.toContain('secret-key');
  });

  it('an app that is gone takes its unmanaged stream with it (defect 38)', () => {
    const { streams, glasses } = world();
    streams.requestUnmanaged(USER, fakeViewer('com.a'), ask, glasses);
    streams.drop(USER, 'com.a');
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream']);
  });
});

describe('over a restart of the relay (defect 22)', () => {
  function restarted(before: ReturnType<typeof world>) {
    const { clock, source, playback, glasses, store } = before;
    const streams = createStreamRegistry({
      ...{ source, playback, clock, store, restreaming: fakeRestreaming() },
      log: silentLog(),
      onChange() {},
    });
    const apps = new Map(['com.a', 'com.b'].map((id) => [id, fakeViewer(id)]));
    const peers = { viewer: (_user: string, id: string) => apps.get(id), glasses: () => glasses };
    return { streams, apps, peers, resume: async () => streams.resume(await store.streams.all(), peers) };
  }

  it('the next process has the same stream with the same viewers, and stops it like its own', async () => {
    const before = world();
    const streamId = await before.goLive(fakeViewer('com.a'));
    before.streams.request(USER, fakeViewer('com.b'), {}, before.glasses);
    await before.streams.suspend();
    expect(before.glasses.types()).toEqual(['start_stream']);
    const { streams, apps, resume } = restarted(before);
    await resume();
    expect(streams.snapshots()).toMatchObject([{ streamId, state: 'interrupted', viewers: ['com.a', 'com.b'] }]);
    streams.glassesBack(USER);
    before.playback.prove();
    expect(streams.repeat(USER, 'com.a')).toBe(true);
    expect(apps.get('com.a')?.last()).toMatchObject({ status: 'active', streamId });
    for (const app of apps.values()) streams.leave(USER, app);
    streams.deviceStatus(USER, { type: 'stream_status', status: 'stopped' }, before.glasses);
    await settle();
    expect([before.source.discarded, await before.store.streams.all()]).toEqual([[streamId], []]);
    expect(before.glasses.types()).toEqual(['start_stream', 'stop_stream']);
  });

  it('until the end of this one glasses are not told to stop, and who leaves has left', async () => {
    const before = world();
    const [a, b] = [fakeViewer('com.a'), fakeViewer('com.b')];
    const streamId = await before.goLive(a);
    before.streams.request(USER, b, {}, before.glasses);
    await before.streams.suspend();
    before.deviceSays('streaming', streamId);
    before.streams.leave(USER, a);
    expect(a.last()).toMatchObject({ status: 'stopped', streamId });
    before.streams.endUser(USER, new GlasscastError('GLASSES_NOT_CONNECTED'));
    expect([before.glasses.types(), b.last()?.status]).toEqual([['start_stream'], 'active']);
    await settle();
    const { streams, resume } = restarted(before);
    await resume();
    expect(streams.snapshots()).toMatchObject([{ streamId, viewers: ['com.b'] }]);
  });

  it('a stream whose end could not be written is not there again', async () => {
    const { clock, store, streams, goLive, deviceSays } = world();
    const a = fakeViewer('com.a');
    await goLive(a);
    const { delete: really } = store.streams;
    Object.assign(store.streams, { delete: () => Promise.reject(new Error('disk full')) });
    streams.leave(USER, a);
    deviceSays('stopped');
    await clock.advance(15_000);
    expect(await store.streams.all()).toHaveLength(1);
    Object.assign(store.streams, { delete: really });
    await clock.advance(10_000);
    expect([await store.streams.all(), clock.pending()]).toEqual([[], []]);
  });

  it('of two streams of one user the newer goes on', async () => {
    const before = world();
    const streamId = await before.goLive(fakeViewer('com.a'));
    await before.streams.suspend();
    const [record] = await before.store.streams.all();
    if (record)
      await before.store.streams.put({ ...record, streamId: 'm0000000000', createdAtMs: record.createdAtMs - 1 });
    const { streams, resume } = restarted(before);
    await resume();
    await settle();
    expect(streams.snapshots()).toMatchObject([{ streamId }]);
    expect([before.source.discarded, (await before.store.streams.all()).length]).toEqual([['m0000000000'], 1]);
  });

  it('ends what nobody watches any more, and of two streams of one user the second', async () => {
    const before = world();
    const streamId = await before.goLive(fakeViewer('com.a'));
    await before.streams.suspend();
    const [record] = await before.store.streams.all();
    if (record) await before.store.streams.put({ ...record, streamId: 'mzzzzzzzzzz' });
    const { streams, apps, resume } = restarted(before);
    apps.delete('com.a');
    await resume();
    await before.clock.advance(10_000);
    expect([streams.snapshots(), await before.store.streams.all()]).toEqual([[], []]);
    expect(before.source.discarded.sort()).toEqual([streamId, 'mzzzzzzzzzz'].sort());
  });

  it('takes up an unmanaged stream with its address', async () => {
    const before = world();
    before.streams.requestUnmanaged(USER, fakeViewer('com.a'), { publishUrl: 'rtmp://a/b/c' }, before.glasses);
    await before.streams.suspend();
    const { streams, apps, resume } = restarted(before);
    await resume();
    const { streamId = '' } = streams.snapshots()[0] ?? {};
    streams.deviceStatus(USER, { type: 'stream_status', status: 'streaming', streamId }, before.glasses);
    expect(apps.get('com.a')?.words()).toEqual(['active']);
    expect(streams.check(USER, 'com.a').streamInfo).toMatchObject({ rtmpUrl: 'rtmp://a/b/c', status: 'active' });
  });
});
