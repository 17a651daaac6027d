/** The relay restarts under a live stream: the real SDK, both lines, comes back and goes on with it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
beforeAll(async () => {
  world = await createSdkWorld();
});
afterAll(async () => expect(await world.close()).toEqual([]));

describe.each(sdkLines)('@mentra/sdk %s', (line) => {
  it('a planned restart: 1012, back within 3 s, the same stream, and its stop works (defects 22, 63)', async () => {
    const { app, user, glasses } = await world.meet(line);
    const stream = await app.startManagedStream();
    await app.hears('managed-status', 'active');
    const restarting = world.relay.restart({ keepStreams: true });
    expect(await app.next('disconnected')).toMatchObject({ code: 1012 });
    const leftMs = performance.now();
    await restarting;
    await glasses.connect();
    await app.next('connected', undefined, 4_000);
    expect((await app.hears('managed-status', 'active')).status).toMatchObject(stream);
    expect(performance.now() - leftMs).toBeLessThan(4_000);
    expect(await world.stream(user)).toMatchObject({ streamId: stream.streamId, state: 'active' });
    // Nobody was told to start or to stop: the push has gone on.
    expect(glasses.inbox.frames.filter(({ type }) => /^(start|stop)_rtmp_stream$/.test(type))).toHaveLength(1);
    expect(app.heard('session')).toHaveLength(1);
    await app.stopManagedStream();
    await app.hears('managed-status', 'stopped');
    await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
    expect((await app.startManagedStream()).streamId).not.toBe(stream.streamId);
    await app.stopManagedStream();
  });

  it('away for longer than the SDK’s first attempt: it comes by the second', async () => {
    const { app, glasses } = await world.meet(line);
    const stream = await app.startManagedStream();
    await app.hears('managed-status', 'active');
    await world.relay.restart({ keepStreams: true }, 1_500);
    await glasses.connect();
    await app.next('connected', undefined, 6_000);
    expect((await app.hears('managed-status', 'active')).status).toMatchObject(stream);
    await app.stopManagedStream();
    await app.hears('managed-status', 'stopped');
  });

  it('away until the SDK has given up: the app is started anew', async () => {
    const { app, user, glasses } = await world.meet(line);
    await app.startManagedStream();
    world.proxy.isShut = true;
    await world.relay.restart({ keepStreams: true });
    await glasses.connect();
    expect((await app.next('stopped', undefined, 10_000)).reason).toContain('permanently lost');
    world.proxy.isShut = false;
    await app.next('session', undefined, 20_000);
    await expect.poll(() => world.stream(user)).toBeUndefined();
    await app.startManagedStream();
    await app.stopManagedStream();
  });

  it('one that ends its streams: the app hears `stopped` or an error, and starts another (defect 22)', async () => {
    const { app, glasses } = await world.meet(line);
    await app.startManagedStream();
    await world.relay.restart();
    await glasses.connect();
    await app.next('connected', undefined, 4_000);
    await expect.poll(() => app.isManagedStreamActive()).toBe(false);
    await app.startManagedStream();
    await app.stopManagedStream();
  });
});
