/** What the real SDK, both lines, and the relay do when an app's socket ends, by each code that matters to the SDK. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
beforeAll(async () => {
  world = await createSdkWorld({ sessionGraceMs: 2_000 });
});
afterAll(async () => expect(await world.close()).toEqual([]));

describe.concurrent.each(sdkLines)('@mentra/sdk %s', (line) => {
  describe('comes back', () => {
    it.each([1012, 1011, 4000, 1006])('after %d, and hears how its stream is (defect 63)', async (code) => {
      const { app, user, glasses } = await world.meet(line);
      const stream = await app.startManagedStream();
      await app.hears('managed-status', 'active');
      expect(world.proxy.drop(user, code)).toBe(1);
      expect(await app.next('disconnected')).toMatchObject({ code });
      await app.next('connected', undefined, 3_000);
      const { status } = await app.hears('managed-status', 'active');
      expect(status).toMatchObject(stream);
      expect(app.heard('session')).toHaveLength(1);
      expect(app.heard('stopped')).toEqual([]);
      expect(await world.stream(user)).toMatchObject({ state: 'active', viewers: [app.packageName] });
      await app.stopManagedStream();
      await expect.poll(() => app.isManagedStreamActive()).toBe(false);
      await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
      await app.startManagedStream();
      await app.stopManagedStream();
    });

    it('to a stream that ended meanwhile, and is free to start another (defect 63)', async () => {
      const { app, user, glasses } = await world.meet(line);
      await app.startManagedStream();
      world.proxy.drop(user, 1012);
      await glasses.stopPush();
      glasses.status({ status: 'error', errorDetails: 'BATTERY_LOW' });
      await app.next('connected');
      await expect.poll(() => app.isManagedStreamActive()).toBe(false);
      await app.startManagedStream();
      await app.stopManagedStream();
    });
  });

  describe('stays away', () => {
    it.each([
      [1000, 'Clean disconnect'],
      [1001, 'Clean disconnect'],
      // The SDK tells its app nothing: a zombie, until the relay starts it anew.
      [1008, undefined],
    ] as const)('after %d; its viewer goes with the grace, and it is started anew (defect 38)', async (code, word) => {
      const { app, user, glasses } = await world.meet(line);
      await app.startManagedStream();
      world.proxy.drop(user, code);
      if (word) expect((await app.next('stopped')).reason).toContain(word);
      // Nobody watches any more: neither at the glasses nor at the provider is anything left.
      await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream', 8_000);
      await app.next('session');
      expect(app.heard('session')).toHaveLength(2);
      expect(world.proxy.count(user)).toBe(1);
      expect(await app.isManagedStreamActive()).toBe(false);
      await app.startManagedStream();
      await app.stopManagedStream();
    });
  });

  it('stops for good when the relay stops it: `App stopped` (defect 38)', async () => {
    const { app, user, glasses } = await world.meet(line);
    await app.startManagedStream();
    await world.relay.rest('POST', `/api/apps/${app.packageName}/stop`, { userId: user });
    expect((await app.next('stopped')).reason).toBe('user_disabled');
    await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
    // Longer than the SDK's first attempt to come back would take.
    await world.relay.clock.sleep(1_500);
    expect(app.heard('connected')).toEqual([]);
    expect(world.proxy.count(user)).toBe(0);
  });

  it('ends with the session of the glasses: `User session ended` (defect 18)', async () => {
    const { app, user, glasses } = await world.meet(line);
    await app.startManagedStream();
    await glasses.stopPush();
    await glasses.disconnect();
    expect((await app.next('stopped')).reason).toContain('User session ended');
    expect(app.managedStatuses().at(-1)).toMatchObject({ status: 'error', message: expect.stringContaining('lasses') });
    expect(world.proxy.count(user)).toBe(0);
    await glasses.connect();
    const again = await world.start(line, 'first', user);
    await again.startManagedStream();
    await again.stopManagedStream();
  });
});
