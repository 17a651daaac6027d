/** The relay restarts under live streams: the real SDK, both lines at once, comes back and goes on with them. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
beforeAll(async () => {
  world = await createSdkWorld();
});
afterAll(async () => expect(await world.close()).toEqual([]));

/** A user of each line, whose stream is live. */
async function live() {
  return Promise.all(
    sdkLines.map(async (line) => {
      const met = await world.meet(line);
      const stream = await met.app.startManagedStream();
      await met.app.hears('managed-status', 'active');
      return { ...met, stream };
    }),
  );
}
type Live = Awaited<ReturnType<typeof live>>[number];
const each = (all: Live[], check: (one: Live) => Promise<unknown>) => Promise.all(all.map(check));

it('a planned restart: 1012, back within 4 s, the same stream, and its stop works (defects 22, 63)', async () => {
  const all = await live();
  const restarting = world.relay.restart({ keepStreams: true });
  await each(all, async ({ app }) => expect(await app.next('disconnected')).toMatchObject({ code: 1012 }));
  const leftMs = performance.now();
  await restarting;
  await each(all, ({ glasses }) => glasses.connect());
  await each(all, async ({ app, user, glasses, stream }) => {
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
});

it('away for longer than the SDK’s first attempt: it comes by the second (defect 22)', async () => {
  const all = await live();
  await world.relay.restart({ keepStreams: true }, 1_500);
  await each(all, async ({ app, glasses, stream }) => {
    await glasses.connect();
    await app.next('connected', undefined, 6_000);
    expect((await app.hears('managed-status', 'active')).status).toMatchObject(stream);
    await app.stopManagedStream();
    await app.hears('managed-status', 'stopped');
  });
});

it('away until the SDK has given up: the app is started anew (defect 38)', async () => {
  const all = await live();
  world.proxy.isShut = true;
  await world.relay.restart({ keepStreams: true });
  await each(all, async ({ app, glasses }) => {
    await glasses.connect();
    expect((await app.next('stopped', undefined, 10_000)).reason).toContain('permanently lost');
  });
  world.proxy.isShut = false;
  await each(all, async ({ app, user }) => {
    await app.next('session', undefined, 20_000);
    await expect.poll(() => world.stream(user)).toBeUndefined();
    await app.startManagedStream();
    await app.stopManagedStream();
  });
});

it('one that ends its streams: the app hears that nothing runs, and starts another (defect 22)', async () => {
  const all = await live();
  await world.relay.restart();
  await each(all, async ({ app, glasses }) => {
    await glasses.connect();
    await app.next('connected', undefined, 4_000);
    await expect.poll(() => app.isManagedStreamActive()).toBe(false);
    await app.startManagedStream();
    await app.stopManagedStream();
  });
});
