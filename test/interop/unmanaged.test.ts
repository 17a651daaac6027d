/** Unmanaged streams, straight from the glasses to an address of the app, with the real SDK, both lines, and a real RTMP server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RtmpSink, startRtmpSink } from '../support/rtmp-sink.ts';
import { sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
let sink: RtmpSink;
beforeAll(async () => {
  world = await createSdkWorld();
  sink = await startRtmpSink();
});
afterAll(async () => {
  await sink.close();
  expect(await world.close()).toEqual([]);
});

const rtmpUrl = (key: string) => `rtmp://127.0.0.1:${sink.port}/live/${key}`;

describe.each(sdkLines)('@mentra/sdk %s', (line) => {
  it('starts and stops: media at the address, each status once, the last one at once (defects 31, 33, 35)', async () => {
    const { app, user, glasses } = await world.meet(line);
    const before = sink.tags.length;
    await app.startStream({ rtmpUrl: rtmpUrl('one'), video: { width: 640, height: 360 } });
    const order = await glasses.inbox.take('the start', ({ type }) => type === 'start_rtmp_stream');
    expect(order).toMatchObject({
      rtmpUrl: rtmpUrl('one'),
      appId: app.packageName,
      video: { width: 640, height: 360 },
    });
    await glasses.inbox.take('a keep-alive', ({ type }) => type === 'keep_rtmp_stream_alive');
    await app.hears('stream-status', 'active');
    await sink.until(() => sink.tags.slice(before).some(({ kind }) => kind === 'video'));
    expect(await app.isCurrentlyStreaming()).toBe(true);
    expect(await app.checkExistingStream()).toMatchObject({
      hasActiveStream: true,
      streamInfo: {
        type: 'unmanaged',
        streamId: order.streamId,
        rtmpUrl: rtmpUrl('one'),
        requestingAppId: app.packageName,
      },
    });
    await app.stopStream();
    await app.hears('stream-status', 'stopped');
    expect(await app.isCurrentlyStreaming()).toBe(false);
    await glasses.inbox.take(
      'the stop',
      ({ type, streamId }) => type === 'stop_rtmp_stream' && streamId === order.streamId,
    );
    await expect.poll(() => world.stream(user)).toBeUndefined();
    // The SDK gives its handlers whatever comes directly or by subscription: an owner with both hears it once.
    const states = app.streamStatuses().filter(({ stats }) => stats === undefined);
    expect(states.map(({ status }) => status)).toEqual(['initializing', 'active', 'stopped']);
    expect(new Set(states.map(({ streamId }) => streamId))).toEqual(new Set([order.streamId]));
  });

  it('hears why it failed, in a word that frees the SDK (defect 31)', async () => {
    const { app, glasses } = await world.meet(line);
    glasses.state.onStart = 'camera_busy';
    await app.startStream({ rtmpUrl: rtmpUrl('busy') });
    expect((await app.hears('stream-status', 'error')).status).toMatchObject({ errorDetails: 'camera_busy' });
    expect(await app.isCurrentlyStreaming()).toBe(false);
    glasses.state.onStart = 'publish';
    await app.startStream({ rtmpUrl: rtmpUrl('free') });
    await app.hears('stream-status', 'active');
    await app.stopStream();
    await app.hears('stream-status', 'stopped');
  });

  it('is its owner’s: another app watches by subscription, without the key, and stops nothing (defect 32)', async () => {
    const { app, user, glasses } = await world.meet(line);
    const other = await world.start(line, 'second', user);
    await app.startStream({ rtmpUrl: rtmpUrl('mine') });
    await app.hears('stream-status', 'active');
    expect((await other.hears('stream-status', 'active')).status).toMatchObject({ appId: app.packageName });
    const seen = await other.checkExistingStream();
    expect(seen.streamInfo).toMatchObject({ type: 'unmanaged', requestingAppId: app.packageName });
    expect(JSON.stringify([seen, other.streamStatuses()])).not.toContain('live/mine');
    await other.stopManagedStream();
    await other.hears('managed-status', 'stopped');
    await other.stopStream();
    expect((await app.checkExistingStream()).hasActiveStream).toBe(true);
    expect(glasses.inbox.frames.filter(({ type }) => type === 'stop_rtmp_stream')).toEqual([]);
    await app.stopStream();
    await app.hears('stream-status', 'stopped');
  });

  it('keeps a managed stream out, with a reason, and takes the place of one that runs (defects 21, 30)', async () => {
    const { app, user, glasses } = await world.meet(line);
    const other = await world.start(line, 'second', user);
    await app.startManagedStream();
    await other.startStream({ rtmpUrl: rtmpUrl('instead') });
    await app.hears('managed-status', 'stopped');
    await other.hears('stream-status', 'active');
    await expect(app.startManagedStream()).rejects.toThrow(/unmanaged/i);
    // One owner of the encoder at a time: told to stop before the other is told to start.
    const orders = glasses.inbox.frames.filter(({ type }) => /^(start|stop)_rtmp_stream$/.test(type));
    expect(orders.map(({ type, appId }) => [type, appId])).toEqual([
      ['start_rtmp_stream', 'MANAGED_STREAM'],
      ['stop_rtmp_stream', 'MANAGED_STREAM'],
      ['start_rtmp_stream', other.packageName],
    ]);
    await other.stopStream();
    await other.hears('stream-status', 'stopped');
    await app.startManagedStream();
    await app.stopManagedStream();
  });

  it('ends with its app (defect 38)', async () => {
    const { app, user, glasses } = await world.meet(line);
    await app.startStream({ rtmpUrl: rtmpUrl('orphan') });
    await app.hears('stream-status', 'active');
    await world.relay.rest('POST', `/api/apps/${app.packageName}/stop`, { userId: user });
    await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
    await expect.poll(() => world.stream(user)).toBeUndefined();
  });
});
