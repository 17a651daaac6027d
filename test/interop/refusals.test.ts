/** What an app of the real SDK, both lines, is told when it cannot have a stream: soon, with a reason, on a socket that stays open. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type SdkAppOfUser, sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
beforeAll(async () => {
  world = await createSdkWorld();
});
afterAll(async () => expect(await world.close()).toEqual([]));

/** It is told so in less than `withinMs`, and is as free as before. */
async function expectRefusal(app: SdkAppOfUser, reason: RegExp, withinMs: number): Promise<void> {
  const askedMs = performance.now();
  await expect(app.startManagedStream()).rejects.toThrow(reason);
  expect(performance.now() - askedMs).toBeLessThan(withinMs);
  expect(await app.isManagedStreamActive()).toBe(false);
  expect(app.heard('disconnected')).toEqual([]);
}

describe.concurrent.each(sdkLines)('@mentra/sdk %s', (line) => {
  it('hears that the glasses are not connected, and streams when they are (defect 41)', async () => {
    const user = world.newUser();
    const app = await world.start(line, 'first', user);
    await expectRefusal(app, /not connected/, 2_000);
    const glasses = await world.relay.glasses(user);
    await expect.poll(() => app.call<boolean>('device.state.connected.value')).toBe(true);
    await app.startManagedStream();
    await app.stopManagedStream();
    await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
  });

  it('hears what the glasses say is wrong, in their words (defect 6)', async () => {
    const { app, glasses } = await world.meet(line);
    glasses.state.onStart = 'camera_busy';
    await expectRefusal(app, /camera_busy/, 5_000);
    expect(app.managedStatuses().filter(({ status }) => status === 'error')).toHaveLength(1);
    glasses.state.onStart = 'publish';
    await app.startManagedStream();
    // Also in the middle of a stream.
    glasses.status({ status: 'error', errorDetails: 'BATTERY_LOW' });
    await expect.poll(() => app.isManagedStreamActive()).toBe(false);
    expect(app.managedStatuses().at(-1)).toMatchObject({ status: 'error', message: 'BATTERY_LOW' });
    await glasses.stopPush();
  });

  it('hears it when the app may not use the camera', async () => {
    const { app } = await world.meet(line);
    const { publicUrl, apiKey } = await world.app(line, 'blind');
    const registration = { publicUrl, apiKey, permissions: [{ type: 'MICROPHONE' }] };
    const blind = (await world.app(line, 'blind')).packageName;
    await world.relay.rest('PUT', `/api/apps/${blind}`, registration);
    const user = world.newUser();
    await world.relay.glasses(user);
    await expectRefusal(await world.start(line, 'blind', user), /CAMERA/, 2_000);
    expect((await app.checkExistingStream()).hasActiveStream).toBe(false);
  });
});

describe.concurrent('both lines at once', () => {
  const both = <Result>(check: (line: (typeof sdkLines)[number]) => Promise<Result>) =>
    Promise.all(sdkLines.map(check));

  it('glasses that never publish: an error with a reason within 25 s, before the SDK gives up, and a stop (defects 9, 59)', async () => {
    await both(async (line) => {
      const { app, glasses } = await world.meet(line);
      glasses.state.onStart = 'nothing';
      await expectRefusal(app, /picture|glasses/i, 26_000);
      await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
      expect(app.managedStatuses().at(-1)).toMatchObject({ status: 'error' });
      glasses.state.onStart = 'publish';
      await app.startManagedStream();
      await app.stopManagedStream();
    });
  });

  it('a wrong key: the app is not started, its owner reads why, and no session is left behind', async () => {
    await both(async (line) => {
      const { packageName, publicUrl, of } = await world.app(line, 'keyless');
      await world.relay.rest('PUT', `/api/apps/${packageName}`, { publicUrl, apiKey: 'another-key' });
      const userId = world.newUser();
      const answer = await world.relay.rest('POST', `/api/apps/${packageName}/start`, { userId });
      expect(answer).toMatchObject({ error: 'APP_UNREACHABLE', message: expect.stringContaining('API key') });
      expect(of(userId).heard('session')).toEqual([]);
      const { sessions } = await world.relay.rest<{ sessions: { userId: string; apps: unknown[] }[] }>(
        'GET',
        '/api/sessions',
      );
      expect(sessions.find((session) => session.userId === userId)?.apps ?? []).toEqual([]);
    });
  });
});
