/** Managed streams as apps of the real SDK, both lines, live through them: start, join, check, stop, start again. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { probe } from '../support/ffprobe.ts';
import { sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
beforeAll(async () => {
  world = await createSdkWorld();
});
afterAll(async () => expect(await world.close()).toEqual([]));
afterEach(() => expect.poll(() => world.relay.leftovers(), { timeout: 20_000 }).toEqual([]));

describe.each(sdkLines)('@mentra/sdk %s', (line) => {
  it('starts, and gets addresses that play; not one before (defects 2, 3, 4, 24)', async () => {
    const { app } = await world.meet(line);
    const stream = await app.startManagedStream();
    const [hls, dash] = await Promise.all(
      [stream.hlsUrl, stream.dashUrl].map((url) => probe(world.children.spawn, url)),
    );
    for (const media of [hls, dash]) {
      expect(media?.streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);
    }
    const statuses = app.managedStatuses();
    expect(
      statuses.filter(({ status }) => status !== 'active').filter(({ hlsUrl, dashUrl }) => hlsUrl ?? dashUrl),
    ).toEqual([]);
    expect(statuses.find(({ status }) => status === 'active')).toMatchObject(stream);
    // WHEP where it plays, and never the address to publish to (defect 23).
    const whep = statuses.flatMap(({ webrtcUrl }) => (webrtcUrl ? [String(webrtcUrl)] : []));
    expect(whep.filter((url) => !url.endsWith('/webRTC/play'))).toEqual([]);
    await app.stopManagedStream();
    await app.hears('managed-status', 'stopped');
  });

  it('hears `stopped` once and at once, whatever the glasses say later (defect 15)', async () => {
    const { app, user, glasses } = await world.meet(line);
    await app.startManagedStream();
    glasses.state.obeysStop = false;
    await app.stopManagedStream();
    await app.hears('managed-status', 'stopped', 1_000);
    expect(await app.isManagedStreamActive()).toBe(false);
    const stop = await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
    await glasses.stopPush();
    glasses.status({ status: 'stopped' });
    glasses.status({ status: 'stopping' });
    await expect.poll(() => world.stream(user)).toBeUndefined();
    // A stop with nothing to stop is answered too: without that the SDK would refuse every later start.
    await app.stopManagedStream();
    await app.hears('managed-status', 'stopped');
    const words = app.managedStatuses().map(({ status, streamId }) => `${status} ${streamId === stop.streamId}`);
    expect(words.filter((word) => word === 'stopped true')).toHaveLength(1);
    expect(glasses.inbox.frames.filter(({ type }) => type === 'stop_rtmp_stream')).toHaveLength(1);
  });

  it('starts while a stop is under way: it waits for its turn and gets a stream of its own (defect 55)', async () => {
    const { app, glasses } = await world.meet(line);
    const first = await app.startManagedStream();
    glasses.state.obeysStop = false;
    await app.stopManagedStream();
    await expect.poll(() => app.isManagedStreamActive()).toBe(false);
    const second = app.startManagedStream();
    expect((await app.checkExistingStream()).hasActiveStream).toBe(false);
    await glasses.stopPush();
    glasses.state.obeysStop = true;
    glasses.status({ status: 'stopped' });
    glasses.status({ status: 'stopping' });
    expect((await second).streamId).not.toBe(first.streamId);
    const orders = glasses.inbox.frames.filter(({ type }) => /^(start|stop)_rtmp_stream$/.test(type));
    // Firmware stops whatever runs: a stop after the next start would kill it.
    expect(orders.map(({ type, streamId }) => [type, streamId === first.streamId])).toEqual([
      ['start_rtmp_stream', true],
      ['stop_rtmp_stream', true],
      ['start_rtmp_stream', false],
    ]);
    await app.stopManagedStream();
  });

  it('is joined by a second app while it starts and while it is live; each leaves alone', async () => {
    const { app, user, glasses } = await world.meet(line);
    const second = await world.start(line, 'second', user);
    const starting = app.startManagedStream();
    await app.next('managed-status');
    const [one, two] = await Promise.all([starting, second.startManagedStream()]);
    expect(two).toEqual(one);
    await app.stopManagedStream();
    await expect.poll(() => app.isManagedStreamActive()).toBe(false);
    expect(await second.isManagedStreamActive()).toBe(true);
    const joined = await app.startManagedStream();
    expect(joined).toEqual(one);
    await second.stopManagedStream();
    await expect.poll(() => second.isManagedStreamActive()).toBe(false);
    expect(glasses.inbox.frames.filter(({ type }) => type === 'stop_rtmp_stream')).toEqual([]);
    await app.stopManagedStream();
    await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
  });

  it('checks: each question its own answer, in order, though the SDK sends no id (defect 60)', async () => {
    const { app, user } = await world.meet(line);
    const none = await Promise.all([app.checkExistingStream(), app.checkExistingStream()]);
    expect(none.map(({ hasActiveStream }) => hasActiveStream)).toEqual([false, false]);
    const { streamId, hlsUrl } = await app.startManagedStream();
    const second = await world.start(line, 'second', user);
    // Another app's question about a stream it does not watch.
    expect(await second.checkExistingStream()).toMatchObject({
      hasActiveStream: true,
      streamInfo: { type: 'managed', streamId, status: 'active', activeViewers: 1, hlsUrl },
    });
    const before = app.checkExistingStream();
    const stopped = app.stopManagedStream();
    const after = app.checkExistingStream();
    await stopped;
    expect((await before).streamInfo).toMatchObject({ streamId, status: 'active' });
    expect(await after).toMatchObject({ hasActiveStream: false });
  });
});
