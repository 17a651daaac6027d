/** What the real SDK, both lines, asks of a relay beside streams: storage, settings, events, and things of the glasses. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Frame } from '../support/relay-world.ts';
import { type SdkLine, sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
beforeAll(async () => {
  // The SDK's REST goes where its socket goes, and not through the proxy for sockets.
  world = await createSdkWorld({ publicUrl: undefined });
});
afterAll(async () => expect(await world.close()).toEqual([]));

const ofType = (type: string) => (frame: Frame) => frame.type === type;

/** A user with glasses, and an app with these permissions in session. */
async function meet(line: SdkLine, permissions: string[] = ['ALL']) {
  const name = `with-${permissions.join('-').toLowerCase()}`;
  const { packageName, publicUrl, apiKey } = await world.app(line, name);
  const registration = { publicUrl, apiKey, appType: 'background', permissions: permissions.map((type) => ({ type })) };
  await world.relay.rest('PUT', `/api/apps/${packageName}`, registration);
  const user = world.newUser();
  const glasses = await world.relay.glasses(user);
  return { user, glasses, registration, app: await world.start(line, name, user) };
}

describe.each(sdkLines)('@mentra/sdk %s', (line) => {
  it('keeps things for a user in simpleStorage, over the end of the session', async () => {
    const { app, user } = await meet(line);
    await app.call('simpleStorage.set', 'colour', 'grün');
    await app.call('simpleStorage.set', 'size', '7');
    await app.call('simpleStorage.flush');
    await app.call('simpleStorage.delete', 'size');
    // As the SDK does when its app is stopped: the last write comes after the end.
    await app.call('simpleStorage.set', 'last', 'word');
    await world.relay.rest('POST', `/api/apps/${app.packageName}/stop`, { userId: user });
    await app.next('stopped');
    await world.start(line, 'with-all', user);
    await expect.poll(() => app.call('simpleStorage.keys')).toEqual(['colour', 'last']);
    expect(await app.call('simpleStorage.get', 'colour')).toBe('grün');
    expect(await app.call('simpleStorage.clear')).toBe(true);
  });

  it('fetches its settings with the id of its session, and hears of new ones (defect 61)', async () => {
    const { app, registration } = await meet(line, ['CAMERA', 'CALENDAR']);
    const path = `/api/apps/${app.packageName}`;
    await world.relay.rest('PUT', path, { ...registration, settings: [{ key: 'mode', type: 'text', value: 'fast' }] });
    await expect.poll(() => app.call('settings.get', 'mode')).toBe('fast');
    expect(await app.call('settings.fetch')).toMatchObject([{ key: 'mode', value: 'fast' }]);
  });

  it('gets events that it listens to and may hear, under one name each (defect 49)', async () => {
    const { app, glasses } = await meet(line, ['CAMERA', 'MICROPHONE']);
    for (const stream of ['button_press', 'VAD', 'location_update']) await app.call('events.on', stream);
    const press = { type: 'button_press', buttonId: 'main', pressType: 'long' };
    // The subscriptions may still be on their way.
    const heardPress = async () => {
      glasses.send(press);
      return app.next('data', ({ stream }) => stream === 'button_press', 500).catch(() => undefined);
    };
    await expect.poll(heardPress, { timeout: 10_000 }).toMatchObject({ data: press });
    glasses.send({ type: 'location_update', lat: 1, lng: 2 });
    glasses.send({ type: 'vad', status: true });
    expect(await app.next('data', ({ stream }) => stream === 'VAD')).toMatchObject({ data: { status: true } });
    expect(app.heard('data').filter(({ stream }) => stream === 'location_update')).toEqual([]);
  });

  it('hears from the glasses what it asked of them, whatever its look for permissions meets (defect 62)', async () => {
    const { app, glasses } = await meet(line);
    const sound = app.call('audio.playAudio', { audioUrl: 'http://127.0.0.1:9/a.mp3' });
    const { requestId } = await glasses.inbox.take('the sound', ofType('audio_play_request'));
    glasses.send({ type: 'audio_play_response', requestId, success: true, duration: 2 });
    expect(await sound).toMatchObject({ success: true, duration: 2 });

    const place = app.call('location.getLatestLocation', { accuracy: 'high' });
    const { correlationId } = await glasses.inbox.take('the question', ofType('request_single_location'));
    glasses.send({ type: 'location_update', lat: 48.2, lng: 16.4, correlationId });
    expect(await place).toMatchObject({ lat: 48.2, lng: 16.4 });

    // It asks over TLS what the app may do, on a port that speaks none; and goes on.
    const photo = app.call('camera.requestPhoto');
    const order = await glasses.inbox.take('the photo', ofType('photo_request'));
    expect(order).toMatchObject({ appId: app.packageName, webhookUrl: expect.stringMatching(/\/photo-upload$/) });
    const form = new FormData();
    for (const [name, value] of Object.entries({
      requestId: String(order.requestId),
      type: 'photo',
      success: 'true',
    })) {
      form.set(name, value);
    }
    form.set('photo', new Blob(['JPEG'], { type: 'image/jpeg' }), 'photo.jpg');
    expect((await fetch(String(order.webhookUrl), { method: 'POST', body: form })).status).toBe(200);
    expect(await photo).toMatchObject({ requestId: order.requestId, size: 4, mimeType: 'image/jpeg' });
    expect(app.heard('disconnected')).toEqual([]);
  });

  it('is told at once when the glasses refuse, or are away, and lives', async () => {
    const { app, glasses } = await meet(line);
    const refused = app.call('camera.requestPhoto');
    const { requestId } = await glasses.inbox.take('the photo', ofType('photo_request'));
    const error = { code: 'CAMERA_BUSY', message: 'The camera is busy' };
    glasses.send({ type: 'photo_response', requestId, success: false, error });
    await expect(refused).rejects.toThrow('The camera is busy');
    await glasses.disconnect();
    await expect.poll(() => app.call('device.state.connected.value')).toBe(false);
    expect(await app.call('audio.playAudio', { audioUrl: 'http://127.0.0.1:9/a.mp3' })).toMatchObject({
      success: false,
      error: 'Glasses are not connected',
    });
    await expect(app.call('camera.requestPhoto')).rejects.toThrow('Glasses are not connected');
    await app.call('led.turnOn', { color: 'red' });
    await app.call('layouts.showTextWall', 'nobody sees this');
    await app.call('dashboard.content.writeToMain', 'nor this');
    expect(await app.checkExistingStream()).toMatchObject({ hasActiveStream: false });
    expect([app.heard('error'), app.heard('disconnected')]).toEqual([[], []]);
  });
});
