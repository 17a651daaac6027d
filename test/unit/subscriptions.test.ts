import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSubscriptions, missingPermission } from '../../cloud/apps/subscriptions.ts';
import type { GlassesEvent } from '../../cloud/glasses/user-session.ts';

const permits = (...types: string[]) => types.map((type) => ({ type }));
const list = (...streams: string[]) => streams.map((stream) => ({ stream }));
const event = (streamType: string, data: Record<string, unknown> = {}): GlassesEvent => ({
  type: 'event',
  streamType,
  data: { type: streamType, ...data },
});

describe('subscriptions', () => {
  it('are replaced as a whole; an empty list unsubscribes at once (defect 42)', () => {
    const subscriptions = createSubscriptions([]);
    subscriptions.replace(list('button_press', 'head_position'));
    subscriptions.replace(list('head_position'));
    expect(subscriptions.namesFor(event('button_press'))).toEqual([]);
    expect(subscriptions.namesFor(event('head_position'))).toEqual(['head_position']);
    subscriptions.replace([]);
    expect(subscriptions.namesFor(event('head_position'))).toEqual([]);
  });

  it.each([
    ['rtmp_stream_status', 'CAMERA', ['CAMERA']],
    ['managed_stream_status', 'CAMERA', ['CAMERA', 'ALL']],
    ['photo_taken', 'CAMERA', ['ALL']],
    ['audio_chunk', 'MICROPHONE', ['MICROPHONE']],
    ['transcription:en-US?no-language-identification=true', 'MICROPHONE', ['MICROPHONE']],
    ['translation:all-to-es-ES', 'MICROPHONE', ['ALL']],
    ['VAD', 'MICROPHONE', ['MICROPHONE']],
    ['location_update', 'LOCATION', ['LOCATION', 'BACKGROUND_LOCATION']],
    ['location_stream', 'LOCATION', ['BACKGROUND_LOCATION']],
    ['calendar_event', 'CALENDAR', ['CALENDAR']],
    ['phone_notification', 'READ_NOTIFICATIONS', ['READ_NOTIFICATIONS', 'NOTIFICATIONS']],
    ['phone_notification_dismissed', 'READ_NOTIFICATIONS', ['NOTIFICATIONS']],
  ])('%s needs %s', (stream, required, enough) => {
    expect(missingPermission(stream, permits('POST_NOTIFICATIONS'))).toBe(required);
    for (const type of enough) expect(missingPermission(stream, permits(type))).toBeUndefined();
    const subscriptions = createSubscriptions([]);
    expect(subscriptions.replace(list(stream, 'button_press'))).toEqual([
      { stream, requiredPermission: required, message: `${stream} needs the permission ${required}` },
    ]);
    expect(subscriptions.namesFor(event('button_press'))).toEqual(['button_press']);
    expect(subscriptions.namesFor(event(stream))).toEqual([]);
  });

  it.each(['all', '*'])('%s means everything that the permissions allow, and no more', (wildcard) => {
    const subscriptions = createSubscriptions(permits('LOCATION'));
    expect(subscriptions.replace(list(wildcard))).toEqual([]);
    expect(subscriptions.namesFor(event('location_update'))).toEqual(['location_update']);
    expect(subscriptions.namesFor(event('something_new'))).toEqual(['something_new']);
    expect(subscriptions.namesFor(event('VAD'))).toEqual([]);
    expect(subscriptions.namesFor(event('stream_status'))).toEqual([]);
  });

  it('take names that objects have of themselves for what they are: names', () => {
    const subscriptions = createSubscriptions([]);
    for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
      expect(subscriptions.namesFor(event(name))).toEqual([]);
      subscriptions.replace(list(name));
      expect(subscriptions.namesFor(event(name))).toEqual([name]);
    }
  });

  it('follow the permissions as they change', () => {
    const subscriptions = createSubscriptions(permits('MICROPHONE'));
    subscriptions.replace(list('VAD'));
    subscriptions.permit([]);
    expect(subscriptions.namesFor(event('VAD'))).toEqual([]);
    subscriptions.permit(permits('ALL'));
    expect(subscriptions.namesFor(event('VAD'))).toEqual(['VAD']);
  });

  it('tell how closely the location is wanted', () => {
    const subscriptions = createSubscriptions(permits('LOCATION'));
    expect(subscriptions.locationTier()).toBeUndefined();
    subscriptions.replace(list('location_update'));
    expect(subscriptions.locationTier()).toBe('standard');
    subscriptions.replace([{ stream: 'location_stream', rate: 'realtime' }]);
    expect(subscriptions.locationTier()).toBe('realtime');
    expect(subscriptions.namesFor(event('location_update'))).toEqual(['location_update']);
    subscriptions.permit([]);
    expect(subscriptions.locationTier()).toBeUndefined();
  });

  it('name a stream status as the app chose, and a gesture also by its own name', () => {
    const subscriptions = createSubscriptions(permits('CAMERA'));
    subscriptions.replace(list('rtmp_stream_status', 'touch_event:double_tap'));
    expect(subscriptions.namesFor(event('stream_status'))).toEqual(['rtmp_stream_status']);
    expect(subscriptions.namesFor(event('touch_event', { gesture_name: 'double_tap' }))).toEqual([
      'touch_event:double_tap',
    ]);
    expect(subscriptions.namesFor(event('touch_event', { gesture_name: 'swipe' }))).toEqual([]);
    subscriptions.replace(list('stream_status', 'touch_event'));
    expect(subscriptions.namesFor(event('stream_status'))).toEqual(['stream_status']);
    expect(subscriptions.namesFor(event('touch_event', { gesture_name: 'swipe' }))).toEqual(['touch_event']);
  });

  it('never let through what needs a permission that is not there, whatever is asked for', () => {
    const streams = [
      'VAD',
      'location_update',
      'stream_status',
      'photo_taken',
      'calendar_event',
      'toString',
      '__proto__',
    ];
    const names = fc.oneof(fc.constantFrom(...streams, 'all', '*', 'location_stream'), fc.string({ maxLength: 20 }));
    const types = fc.constantFrom('CAMERA', 'LOCATION', 'MICROPHONE', 'ALL', 'constructor');
    fc.assert(
      fc.property(fc.array(names), fc.array(types), fc.constantFrom(...streams), (wanted, granted, told) => {
        const permissions = permits(...granted);
        const subscriptions = createSubscriptions(permissions);
        subscriptions.replace(list(...wanted));
        const isForbidden = missingPermission(told, permissions) !== undefined;
        if (isForbidden) expect(subscriptions.namesFor(event(told))).toEqual([]);
      }),
    );
  });
});
