import { describe, expect, it } from 'vitest';
import { type AppWish, createAppOrders, type PhotoFailure } from '../../cloud/apps/app-orders.ts';
import { silentLog } from '../../shared/log.ts';
import type { ToApp } from '../../shared/protocol/app-messages.ts';
import { encodeToApp, encodeToGlasses } from '../../shared/protocol/dialects.ts';
import { fakeGlasses } from '../support/stream-fakes.ts';
import { createTestClock } from '../support/test-clock.ts';

function world({ permissions = ['ALL'], hasAddress = true } = {}) {
  const clock = createTestClock();
  const glasses = fakeGlasses();
  const replies: ToApp[] = [];
  const failures: PhotoFailure[] = [];
  const orders = createAppOrders({
    app: () => ({
      packageName: 'com.a',
      hashedApiKey: '',
      ...(hasAddress ? { publicUrl: 'http://app.example' } : {}),
      permissions: permissions.map((type) => ({ type })),
      appType: 'background',
      source: 'rest',
      settings: [],
    }),
    glasses,
    reply: (message) => {
      // What cannot be encoded would never arrive.
      encodeToApp(message, 'rtmp', 0);
      replies.push(message);
    },
    photoFailed: (failure) => void failures.push(failure),
    clock,
    log: silentLog(),
  });
  const onWire = () => glasses.sent.map((message) => JSON.parse(encodeToGlasses(message, 'rtmp', 0)));
  return { clock, glasses, replies, failures, orders, onWire };
}
const photo: AppWish = {
  type: 'photo_request',
  requestId: 'p1',
  size: 'medium',
  compress: 'none',
  saveToGallery: false,
};
const sound: AppWish = {
  type: 'audio_play_request',
  requestId: 's1',
  audioUrl: 'http://x/a.mp3',
  volume: 1,
  trackId: 0,
};
const light: AppWish = { type: 'rgb_led_control', requestId: 'l1', action: 'on', color: 'red', ontime: 1, offtime: 0 };

describe('what an app asks of the glasses', () => {
  it.each([
    [photo, { ...photo, appId: 'com.a', webhookUrl: 'http://app.example/photo-upload' }],
    [
      { ...photo, customWebhookUrl: 'http://else/' },
      { ...photo, appId: 'com.a', webhookUrl: 'http://else/' },
    ],
    [sound, { ...sound, appId: 'com.a' }],
    [light, { ...light, appId: 'com.a' }],
    [
      { type: 'audio_stop_request', trackId: 2 },
      { type: 'audio_stop_request', trackId: 2, appId: 'com.a' },
    ],
    [
      { type: 'display_event', view: 'main', layout: { layoutType: 'text_wall', text: 'hi' }, durationMs: 10 },
      {
        type: 'display_event',
        view: 'main',
        layout: { layoutType: 'text_wall', text: 'hi' },
        durationMs: 10,
        packageName: 'com.a',
      },
    ],
    [
      { type: 'location_poll_request', correlationId: 'c1', accuracy: 'high' },
      { type: 'request_single_location', correlationId: 'c1', accuracy: 'high' },
    ],
    [
      { type: 'request_wifi_setup', reason: 'to stream' },
      { type: 'show_wifi_setup', reason: 'to stream', appPackageName: 'com.a' },
    ],
  ] satisfies [AppWish, object][])('is handed on in their words: %j', (wish, order) => {
    const { orders, onWire, replies } = world();
    orders.ask(wish);
    const [{ timestamp: _, customWebhookUrl: __, ...wire }] = onWire();
    expect([wire, replies]).toEqual([order, []]);
  });

  it('is answered with what the glasses say, whole and once', async () => {
    const { orders, replies, failures, clock } = world();
    for (const wish of [photo, sound, light]) orders.ask(wish);
    const answers = [
      { type: 'photo_response', requestId: 'p1', success: true, photoUrl: 'http://x/p.jpg' },
      { type: 'audio_play_response', requestId: 's1', success: true, duration: 3 },
      { type: 'rgb_led_control_response', requestId: 'l1', success: true },
    ] as const;
    for (const answer of [...answers, ...answers]) orders.answered(answer);
    orders.answered({ type: 'photo_response', requestId: 'of another app', success: true });
    await clock.advance(120_000);
    expect([replies, failures, clock.pending()]).toEqual([answers, [], []]);
  });

  it('is refused at once while the glasses are away, in the form that each promise waits for', () => {
    const { orders, glasses, replies, failures } = world();
    glasses.isUp = false;
    for (const wish of [photo, sound, light]) orders.ask(wish);
    orders.ask({ type: 'display_event', layout: {} });
    const text = 'Glasses are not connected';
    const error = { code: 'PHONE_GLASSES_NOT_CONNECTED', message: text };
    expect(replies).toEqual([
      { type: 'photo_response', requestId: 'p1', success: false, error },
      { type: 'audio_play_response', requestId: 's1', success: false, error: text },
      { type: 'rgb_led_control_response', requestId: 'l1', success: false, error: text },
    ]);
    expect(failures).toEqual([{ requestId: 'p1', errorCode: error.code, errorMessage: text }]);
  });

  it('is refused before the SDK loses patience when the glasses do not answer', async () => {
    const { orders, replies, failures, clock } = world();
    for (const wish of [photo, sound]) orders.ask(wish);
    await clock.advance(24_000);
    expect(replies).toEqual([]);
    await clock.advance(2_000);
    expect(replies).toMatchObject([{ type: 'photo_response', success: false, error: { code: 'PHONE_TIMEOUT' } }]);
    await clock.advance(30_000);
    expect(replies.length).toBe(2);
    orders.answered({ type: 'photo_response', requestId: 'p1', success: true });
    expect([replies.length, failures.length, clock.pending()]).toEqual([2, 1, []]);
  });

  it("tells the app's upload address of a photo that the glasses refuse, and nobody else's", () => {
    const { orders, failures } = world();
    const error = { code: 'CAMERA_BUSY', message: 'The camera is busy' };
    orders.ask(photo);
    orders.answered({ type: 'photo_response', requestId: 'p1', success: false, error });
    orders.ask({ ...photo, requestId: 'p2', customWebhookUrl: 'http://10.0.0.1/internal' });
    orders.answered({ type: 'photo_response', requestId: 'p2', success: false, error: 'text' });
    expect(failures).toEqual([{ requestId: 'p1', errorCode: 'CAMERA_BUSY', errorMessage: 'The camera is busy' }]);
  });

  it('needs the permission that it stands for', () => {
    const { orders, glasses, replies, failures } = world({ permissions: ['MICROPHONE'] });
    orders.ask(photo);
    orders.ask({ type: 'location_poll_request', correlationId: 'c1' });
    expect(glasses.sent).toEqual([]);
    expect(replies).toMatchObject([
      { type: 'permission_error', details: [{ stream: 'photo_request', requiredPermission: 'CAMERA' }] },
      { type: 'photo_response', success: false, error: { code: 'PERMISSION_DENIED' } },
      { type: 'permission_error', details: [{ stream: 'location_poll_request', requiredPermission: 'LOCATION' }] },
    ]);
    expect(failures.length).toBe(1);
  });

  it('is bounded, and over with the session', async () => {
    const { orders, replies, clock, glasses } = world();
    for (let count = 0; count < 60; count += 1) orders.ask({ ...light, requestId: String(count) });
    expect([glasses.sent.length, replies.length]).toEqual([50, 10]);
    orders.close();
    await clock.advance(60_000);
    expect([replies.length, clock.pending()]).toEqual([10, []]);
  });

  it('needs no address of the app for a photo', () => {
    const { orders, onWire } = world({ hasAddress: false });
    orders.ask(photo);
    expect(onWire()[0]).not.toHaveProperty('webhookUrl');
  });
});
