import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isGlasscastError } from '../../shared/errors.ts';
import { managedStreamStatus, toApp } from '../../shared/protocol/app-messages.ts';
import {
  decodeFromApp,
  decodeFromGlasses,
  decodeToGlasses,
  encodeFromGlasses,
  encodeToApp,
  encodeToGlasses,
  resolvedConfigForApps,
} from '../../shared/protocol/dialects.ts';
import type { FromGlasses, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { deviceStatusWords } from '../../shared/stream.ts';

const document = readFileSync(new URL('../../shared/protocol/PROTOCOL.md', import.meta.url), 'utf8');
const examples = [...document.matchAll(/```json ([a-z-]+)\n([\s\S]*?)```/g)].map(([, direction = '', json = '']) => ({
  direction,
  json,
}));

describe('PROTOCOL.md', () => {
  it('has examples in each direction', () => {
    expect(new Set(examples.map(({ direction }) => direction))).toEqual(
      new Set(['to-glasses', 'from-glasses', 'webhook', 'from-app', 'to-app']),
    );
  });

  it.each(examples)('example decodes: $direction $json', ({ direction, json }) => {
    switch (direction) {
      case 'to-glasses':
        return expect(decodeToGlasses(json).message.type).not.toBe('unknown');
      case 'from-glasses':
        return expect(decodeFromGlasses(json).message.type).not.toBe('unknown');
      case 'from-app':
        return expect(decodeFromApp(json).message.type).not.toBe('unknown');
      case 'to-app':
        return expect(toApp.safeParse(JSON.parse(json)).error).toBeUndefined();
      default:
        return expect(JSON.parse(json)).toBeTypeOf('object');
    }
  });
});

describe('decode', () => {
  it('survives any text: a message or MALFORMED_MESSAGE, nothing else', () => {
    const frames = fc.oneof(
      fc.string(),
      fc.json(),
      fc.jsonValue().map((value) => JSON.stringify({ type: value })),
    );
    fc.assert(
      fc.property(frames, (frame) => {
        for (const decode of [decodeFromApp, decodeFromGlasses, decodeToGlasses]) {
          try {
            expect(decode(frame).message.type).toBeTypeOf('string');
          } catch (error) {
            expect(isGlasscastError(error) && error.code).toBe('MALFORMED_MESSAGE');
          }
        }
      }),
    );
  });

  it.each([
    ['{', 'not JSON'],
    ['[]', 'not a JSON object'],
    ['{"a":1}', 'type: expected a string'],
    ['{"type":"managed_stream_request","video":{"width":"wide"}}', 'managed_stream_request: video.width'],
  ])('names what is wrong in %s', (frame, reason) => {
    expect(() => decodeFromApp(frame)).toThrow(reason);
  });

  it('lets unknown types through as unknown and drops unknown fields', () => {
    expect(decodeFromApp('{"type":"dashboard_content_update","x":1}').message).toEqual({
      type: 'unknown',
      wireType: 'dashboard_content_update',
    });
    expect(decodeFromApp('{"type":"managed_stream_stop","packageName":"other.app"}').message).toEqual({
      type: 'managed_stream_stop',
    });
  });

  it('keeps the whole of what glasses say, for the apps that subscribe to it', () => {
    const event = { type: 'calendar_event', title: 'Tea', location: null };
    expect(decodeFromGlasses(JSON.stringify(event)).message).toEqual({
      type: 'unknown',
      wireType: 'calendar_event',
      fields: event,
    });
    const battery = { type: 'glasses_battery_update', level: 40, charging: false, timeRemaining: 90 };
    expect(decodeFromGlasses(JSON.stringify(battery)).message).toEqual(battery);
    const status = { type: 'core_status_update', status: { status: { core_info: {}, connected_glasses: {} } } };
    expect(decodeFromGlasses(JSON.stringify(status)).message).toEqual(status);
  });

  it('takes a transcription with all its hints: one long name does not cost an app the whole list', () => {
    const stream = `transcription:en-US?hints=${Array.from({ length: 200 }, (_, index) => `word${index}`).join('%2C')}`;
    const { message } = decodeFromApp(JSON.stringify({ type: 'subscription_update', subscriptions: ['VAD', stream] }));
    expect(message).toMatchObject({ subscriptions: [{ stream: 'VAD' }, { stream }] });
  });

  it('knows by a reconnect that the app speaks the newer dialect: the older SDKs have none', () => {
    expect(decodeFromApp('{"type":"reconnect","sessionId":"s"}').dialect).toBe('stream');
  });

  it('takes subscriptions as words and as objects', () => {
    const update = { type: 'subscription_update', subscriptions: ['VAD', { stream: 'location_stream', rate: 'high' }] };
    expect(decodeFromApp(JSON.stringify(update)).message).toEqual({
      ...update,
      subscriptions: [{ stream: 'VAD' }, { stream: 'location_stream', rate: 'high' }],
    });
  });

  it('reads null as not given', () => {
    const { message } = decodeFromApp('{"type":"managed_stream_request","video":{"width":null,"height":721}}');
    expect(message).toEqual({ type: 'managed_stream_request', video: { height: 720 } });
  });

  it('tells the dialect of a frame', () => {
    expect(decodeFromApp('{"type":"rtmp_stream_stop"}').dialect).toBe('rtmp');
    expect(decodeFromApp('{"type":"stream_stop"}').dialect).toBe('stream');
    expect(decodeFromApp('{"type":"managed_stream_stop"}').dialect).toBeUndefined();
  });

  it.each([
    '{"type":"start_rtmp_stream","streamId":"m1","rtmpUrl":"rtmp://h/live/k","video":{"width":640,"height":360,"bitrate":800000,"frameRate":15}}',
    '{"type":"start_stream","streamId":"m1","streamUrl":"rtmp://h/live/k","v":{"w":640,"h":360,"br":800000,"fr":15}}',
  ])('brings both dialects to one form: %s', (frame) => {
    expect(decodeToGlasses(frame).message).toEqual({
      type: 'start_stream',
      streamId: 'm1',
      publishUrl: 'rtmp://h/live/k',
      video: { width: 640, height: 360, bitrate: 800_000, frameRate: 15 },
      audio: {},
      stream: {},
    });
  });

  it('reads compact telemetry and snapshot flags', () => {
    const { message } = decodeFromGlasses(
      '{"type":"stream_status","reconnecting":true,"m":{"b":1,"f":2,"d":3},"tp":40}',
    );
    expect(message).toMatchObject({
      status: 'reconnecting',
      stats: { bitrate: 1, fps: 2, droppedFrames: 3 },
      temperatureC: 40,
    });
  });

  it('reads the settings of a START in their compact forms', () => {
    const { message } = decodeToGlasses(
      '{"type":"start_stream","streamUrl":"rtmp://h/a/k","streamId":"m1","sound":true,"v":{"br":900000},"a":{"br":64000,"sr":44100,"ec":true,"ns":false}}',
    );
    expect(message).toMatchObject({
      sound: true,
      video: { bitrate: 900_000 },
      audio: { bitrate: 64_000, sampleRate: 44_100, echoCancellation: true, noiseSuppression: false },
    });
  });

  it('does not take an unheard-of status word for a healthy one', () => {
    expect(() => decodeFromGlasses('{"type":"rtmp_stream_status","status":"strming"}')).toThrow('status');
  });
});

describe('encode and decode again', () => {
  const id = fc.stringMatching(/^[a-z0-9]{1,11}$/);
  const dialect = fc.constantFrom('rtmp' as const, 'stream' as const);

  it('gives the same message towards glasses, in either dialect', () => {
    const messages: fc.Arbitrary<ToGlasses> = fc.oneof(
      fc.record({
        type: fc.constant('start_stream' as const),
        streamId: id,
        publishUrl: fc.webUrl(),
        video: fc.record({ width: fc.integer({ min: 80, max: 960 }).map((half) => half * 2) }, { requiredKeys: [] }),
        audio: fc.record({ sampleRate: fc.constantFrom(44_100, 48_000) }, { requiredKeys: [] }),
        stream: fc.constant({}),
      }),
      fc.record({ type: fc.constant('stop_stream' as const), streamId: id }),
      fc.record({ type: fc.constant('keep_stream_alive' as const), streamId: id, ackId: id }),
    );
    fc.assert(
      fc.property(messages, dialect, (message, spoken) => {
        const decoded = decodeToGlasses(encodeToGlasses(message, spoken, 0));
        expect(decoded.message).toEqual(message);
        expect(decoded.dialect).toBe(spoken);
      }),
    );
  });

  it('gives the same message from glasses, in either dialect', () => {
    const messages: fc.Arbitrary<FromGlasses> = fc.oneof(
      fc.record({
        type: fc.constant('stream_status' as const),
        streamId: id,
        status: fc.constantFrom(...deviceStatusWords),
        stats: fc.record({ fps: fc.nat(60), bitrate: fc.nat() }, { requiredKeys: [] }),
      }),
      fc.record({ type: fc.constant('keep_alive_ack' as const), streamId: id, ackId: id }),
    );
    fc.assert(
      fc.property(messages, dialect, (message, spoken) => {
        expect(decodeFromGlasses(encodeFromGlasses(message, spoken, 1)).message).toEqual(message);
      }),
    );
  });

  it('hands on what apps ask of the glasses with every field', () => {
    const orders = fc.record({
      type: fc.constantFrom('photo_request' as const, 'display_event' as const, 'set_location_tier' as const),
      requestId: id,
      layout: fc.dictionary(id, fc.oneof(fc.string(), fc.integer(), fc.boolean())),
    });
    fc.assert(
      fc.property(orders, dialect, (order, spoken) => {
        const { timestamp: _, ...wire } = JSON.parse(encodeToGlasses(order, spoken, 0));
        expect(wire).toEqual(order);
        expect(decodeToGlasses(JSON.stringify(wire)).message).toEqual(order);
      }),
    );
  });

  it('names the address of an unmanaged stream as the app knows it', () => {
    const streamInfo = { type: 'unmanaged', streamId: 's1', status: 'active', createdAt: 'x' } as const;
    const answer = {
      type: 'stream_status_check_response',
      hasActiveStream: true,
      streamInfo: { ...streamInfo, rtmpUrl: 'rtmp://h/a/k' },
    } as const;
    expect(JSON.parse(encodeToApp(answer, 'rtmp', 0)).streamInfo).toEqual({ ...streamInfo, rtmpUrl: 'rtmp://h/a/k' });
    expect(JSON.parse(encodeToApp(answer, 'stream', 0)).streamInfo).toEqual({
      ...streamInfo,
      streamUrl: 'rtmp://h/a/k',
    });
  });

  it('sends nothing but two ids in a keep-alive', () => {
    const frame = encodeToGlasses({ type: 'keep_stream_alive', streamId: 'm1', ackId: 'a1' }, 'rtmp', 5);
    expect(JSON.parse(frame)).toEqual({ type: 'keep_rtmp_stream_alive', streamId: 'm1', ackId: 'a1' });
  });

  it('refuses to send an active without both URLs, or an initializing with one (defects 2, 3)', () => {
    const type = 'managed_stream_status' as const;
    expect(() => encodeToApp({ type, status: 'active', hlsUrl: 'http://h' }, 'rtmp', 0)).toThrow('hlsUrl and dashUrl');
    expect(managedStreamStatus.safeParse({ type, status: 'initializing', hlsUrl: 'http://h' }).success).toBe(false);
  });

  it('calls the frame rate as apps know it', () => {
    expect(resolvedConfigForApps({ transport: 'rtmp', video: { width: 2, fps: 30 } })).toEqual({
      transport: 'rtmp',
      video: { width: 2, frameRate: 30 },
    });
  });
});
