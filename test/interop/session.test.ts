/** What an app of the real SDK, both lines, has besides streams: its session, whatever it does in `onSession`. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
beforeAll(async () => {
  world = await createSdkWorld();
});
afterAll(async () => expect(await world.close()).toEqual([]));

describe.concurrent.each(sdkLines)('@mentra/sdk %s', (line) => {
  it('keeps its session when it awaits a slow stream in onSession: one webhook, never again (defect 36)', async () => {
    const user = world.newUser();
    const glasses = await world.relay.glasses(user);
    // The reference asks again after 10 s, which makes the SDK tear down what it has.
    glasses.state.camera = world.relay.clock.sleep(12_000);
    const { packageName, of } = await world.app(line, 'first');
    const app = of(user);
    app.inSession('await-stream');
    expect(await world.relay.rest('POST', `/api/apps/${packageName}/start`, { userId: user })).toMatchObject({
      status: 'started',
    });
    await app.next('stream');
    expect(app.heard('session')).toHaveLength(1);
    expect(app.heard('disconnected')).toEqual([]);
    await app.stopManagedStream();
  });

  it('runs on when onSession throws: the socket decides, not the webhook (defects 39, 64)', async () => {
    const user = world.newUser();
    await world.relay.glasses(user);
    const { packageName, of } = await world.app(line, 'first');
    const app = of(user);
    app.inSession('throw');
    expect(await world.relay.rest('POST', `/api/apps/${packageName}/start`, { userId: user })).toMatchObject({
      status: 'started',
    });
    await app.next('session');
    await expect
      .poll(
        () =>
          world.relay.logLines.filter((text) => text.includes('app-webhook-answered') && text.includes(user)).length,
      )
      .toBe(1);
    await app.startManagedStream();
    await app.stopManagedStream();
    expect(app.heard('session')).toHaveLength(1);
    expect(world.proxy.count(user)).toBe(1);
  });

  it('knows its glasses: model, Wi-Fi, capabilities, as they change', async () => {
    const { app, glasses } = await world.meet(line);
    const { modelName, hasCamera } = await app.call<{ modelName: string; hasCamera: boolean }>('capabilities');
    expect([modelName, hasCamera]).toEqual(['Mentra Live', true]);
    expect(await app.call<string>('device.state.modelName.value')).toBe('Mentra Live');
    expect(await app.call('getWifiStatus')).toMatchObject({ connected: true, ssid: 'lab' });
    glasses.send({
      type: 'glasses_connection_state',
      modelName: 'Mentra Live',
      status: 'CONNECTED',
      wifi: { connected: false },
    });
    await expect.poll(() => app.call<boolean>('device.state.wifiConnected.value')).toBe(false);
    expect(await app.call<boolean>('isWifiConnected')).toBe(false);
  });
});
