import { describe, expect, it } from 'vitest';
import { type AppSession, createAppSession } from '../../cloud/apps/app-session.ts';
import type { DeviceState } from '../../cloud/glasses/device-state.ts';
import type { GlassesEvent } from '../../cloud/glasses/user-session.ts';
import type { Importance } from '../../cloud/streams/viewers.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { AppStreamStatus, ManagedStreamStatus, ToApp } from '../../shared/protocol/app-messages.ts';
import { type Dialect, decodeFromApp, encodeToApp } from '../../shared/protocol/dialects.ts';
import type { GlassesAnswer } from '../../shared/protocol/glasses-messages.ts';
import { createTestClock } from '../support/test-clock.ts';

const registered = {
  packageName: 'com.a',
  hashedApiKey: '',
  appType: 'background',
  source: 'rest',
  settings: [{ key: 'k', value: 1 }],
} as const;

function world({ permissions = ['CAMERA'], isKnown = true, isConnected = true, isContinued = false } = {}) {
  const app = { ...registered, settings: [...registered.settings], permissions: permissions.map((type) => ({ type })) };
  const asked: unknown[] = [];
  const shared: (GlassesEvent | GlassesAnswer)[] = [];
  const tiers: (string | undefined)[] = [];
  const streams = {
    fails: undefined as GlasscastError | undefined,
    live: undefined as 'managed' | 'unmanaged' | undefined,
    ask(...what: unknown[]) {
      if (streams.fails) throw streams.fails;
      asked.push(what);
    },
    request: (_user: string, _viewer: unknown, request: object) => streams.ask('managed', request),
    leave: () => streams.ask('leave'),
    requestUnmanaged: (_user: string, _owner: unknown, request: object) => streams.ask('unmanaged', request),
    stopUnmanaged: (_user: string, _owner: unknown, streamId?: string) => streams.ask('stop', streamId),
    repeat: () => streams.live !== undefined,
    check: () => {
      const { live: type } = streams;
      const info = type && { type, streamId: 'x1', status: 'active', createdAt: '2026-01-01T00:00:00.000Z' };
      return { hasActiveStream: info !== undefined, ...(info ? { streamInfo: info } : {}) };
    },
  };
  const state: DeviceState = { connected: isConnected, modelName: 'Mentra Live', wifiConnected: true, wifiSsid: 'lab' };
  const sentToGlasses: string[] = [];
  const session: AppSession = createAppSession({
    ...{ sessionId: 'u-com.a', userId: 'u', app, streams, isContinued },
    glasses: {
      isConnected: () => isConnected,
      isKnown: () => isKnown,
      send: ({ type }) => sentToGlasses.push(type) > 0,
      deviceState: () => state,
      followLocation: (_appId, tier) => void tiers.push(tier),
    },
    peers: () => [session, { hear: (news) => void shared.push(news) }],
    photoFailed() {},
    clock: createTestClock(),
    log: silentLog(),
  });
  const plug = (dialect?: Dialect) => {
    const sent: ToApp[] = [];
    const wire: string[] = [];
    const socket = {
      sent,
      isOpen: true,
      dialect,
      closed: undefined as string | undefined,
      send(message: ToApp, _importance?: Importance, spoken: Dialect = dialect ?? 'rtmp') {
        // What cannot be encoded would never arrive.
        wire.push(JSON.parse(encodeToApp(message, spoken, 0)).type);
        return sent.push(message) > 0;
      },
      close: (code: number, reason: string) => {
        socket.closed = `${code} ${reason}`;
      },
    };
    session.attach(socket);
    return { socket, sent, wire, statuses: () => sent.filter(({ type }) => /stream_status$/.test(type)) };
  };
  return { session, streams, asked, shared, tiers, state, app, sentToGlasses, plug };
}
const stopped: ManagedStreamStatus = { type: 'managed_stream_status', status: 'stopped', streamId: 'm1' };
const say = (session: AppSession, frame: object) => session.receive(decodeFromApp(JSON.stringify(frame)).message);
const event = (streamType: string, data: object = {}): GlassesEvent => ({
  type: 'event',
  streamType,
  data: { type: streamType, ...data },
});

describe('an app session', () => {
  it('acknowledges first, with all that the SDK reads', () => {
    const { sent } = world().plug();
    expect(sent[0]).toMatchObject({
      type: 'tpa_connection_ack',
      settings: [{ key: 'k', value: 1 }],
      mentraosSettings: {},
      capabilities: { modelName: 'Mentra Live', camera: { video: { canStream: true } } },
    });
    expect(sent[1]).toMatchObject({
      type: 'device_state_update',
      state: { connected: true, wifiSsid: 'lab', wifiLocalIp: null },
      fullSnapshot: true,
    });
    expect(sent[2]).toMatchObject({
      type: 'data_stream',
      sessionId: 'u-com.a',
      data: { wifi: { connected: true, ssid: 'lab' } },
    });
  });

  it.each([
    ['PERMISSION_DENIED', { permissions: ['MICROPHONE'] }],
    ['GLASSES_NOT_CONNECTED', { isKnown: false, isConnected: false }],
  ])('answers %s as a status of each kind on the open socket (defect 41)', (errorCode, options) => {
    const { session, plug, asked } = world(options);
    const { statuses, socket } = plug();
    say(session, { type: 'managed_stream_request' });
    say(session, { type: 'rtmp_stream_request', rtmpUrl: 'rtmp://x/live/k' });
    const { message } = new GlasscastError(errorCode as 'PERMISSION_DENIED');
    expect(statuses()).toEqual([
      { type: 'managed_stream_status', status: 'error', errorCode, message },
      {
        type: 'stream_status',
        status: 'error',
        errorCode,
        errorDetails: message,
        appId: 'com.a',
        sessionId: 'u-com.a',
      },
    ]);
    expect([asked, socket.closed]).toEqual([[], undefined]);
  });

  it('takes the ALL permission, and glasses that are away for a moment', () => {
    const { session, plug, asked, streams } = world({ permissions: ['ALL'], isConnected: false });
    const { statuses } = plug();
    session.receive({ type: 'managed_stream_request' });
    expect(asked).toEqual([['managed', {}]]);
    streams.fails = new GlasscastError('SHUTTING_DOWN');
    session.receive({ type: 'managed_stream_request' });
    expect(statuses()).toMatchObject([{ status: 'error', errorCode: 'SHUTTING_DOWN' }]);
  });

  it('is known by its socket: names and ids inside its messages are not looked at (defect 40)', () => {
    const { session, asked, plug } = world();
    plug();
    const lie = { packageName: 'com.other', sessionId: 'other-com.other', appId: 'com.other' };
    const publishUrl = 'rtmp://x/live/k';
    say(session, { type: 'managed_stream_request', ...lie, sound: true });
    say(session, { type: 'rtmp_stream_request', rtmpUrl: publishUrl, video: { width: 640 }, ...lie });
    say(session, { type: 'stream_request', streamUrl: publishUrl, ...lie });
    say(session, { type: 'rtmp_stream_stop', streamId: 's1', ...lie });
    say(session, { type: 'stream_stop', ...lie });
    say(session, { type: 'managed_stream_stop', ...lie });
    expect(asked).toEqual([
      ['managed', { sound: true }],
      ['unmanaged', { publishUrl, video: { width: 640 } }],
      ['unmanaged', { publishUrl }],
      ['stop', 's1'],
      ['stop', undefined],
      ['leave'],
    ]);
  });

  it('tells after a reconnect what was missed, else that nothing runs, unless the stream itself tells (defect 63)', () => {
    const { session, plug, streams } = world();
    const first = plug();
    session.detach(first.socket);
    session.deliver({ ...stopped, status: 'preparing' }, 'state');
    session.deliver(stopped, 'state');
    session.deliver({ ...stopped, status: 'preparing' }, 'stats');
    expect(first.statuses()).toEqual([]);
    session.deliver({ ...stopped, status: 'error', message: 'why' }, 'state');
    expect(plug().statuses()).toEqual([{ ...stopped, status: 'error', message: 'why' }]);
    // It was sent, and yet may have met a dead line: the SDK would think that it streams.
    expect(plug().statuses()).toEqual([stopped]);
    session.detach(first.socket);
    streams.live = 'managed';
    expect(plug().statuses()).toEqual([]);
  });

  it('speaks on in the words that it used before its socket was lost', () => {
    const { session, plug } = world();
    const first = plug('stream');
    session.detach(first.socket);
    const timeout: AppStreamStatus = { type: 'stream_status', status: 'timeout', streamId: 's1' };
    session.deliver(timeout, 'state');
    // Of the older name a 3.x app knows nothing.
    expect([plug().wire.at(-1), plug('rtmp').wire.at(-1), plug().wire.at(-1)]).toEqual([
      'stream_status',
      'rtmp_stream_status',
      'rtmp_stream_status',
    ]);
  });

  it('remembers the last word of each kind of stream by itself (defect 63)', () => {
    const { session, plug, streams } = world();
    const first = plug();
    session.detach(first.socket);
    const timeout: AppStreamStatus = { type: 'stream_status', status: 'timeout', streamId: 's1', errorDetails: 'why' };
    session.deliver(timeout, 'state');
    session.deliver(stopped, 'state');
    streams.live = 'managed';
    // A direct stopped, error or timeout is all that ends the SDK's idea of an unmanaged stream.
    expect(plug().statuses()).toEqual([{ ...timeout, appId: 'com.a', sessionId: 'u-com.a' }]);
    streams.live = 'unmanaged';
    expect(plug().statuses()).toEqual([stopped]);
  });

  it('tells an app of an earlier session that nothing of its own runs (defect 22)', () => {
    expect(world({ isContinued: true }).plug().statuses()).toMatchObject([
      { type: 'managed_stream_status', status: 'stopped' },
      { type: 'stream_status', status: 'stopped', appId: 'com.a' },
    ]);
  });

  it('gives the owner each status once, and the user’s other subscribers their copy without its session (defect 33)', () => {
    const owner = world();
    const { statuses } = owner.plug();
    say(owner.session, { type: 'subscription_update', subscriptions: ['rtmp_stream_status'] });
    const status: AppStreamStatus = { type: 'stream_status', status: 'active', streamId: 's1', stats: { fps: 30 } };
    owner.session.deliver(status, 'state');
    expect(statuses()).toEqual([{ ...status, appId: 'com.a', sessionId: 'u-com.a' }]);
    const [copy] = owner.shared;
    if (!copy) throw new Error('nothing was shared');
    expect(owner.shared).toEqual([{ type: 'event', streamType: 'stream_status', data: { ...status, appId: 'com.a' } }]);

    const other = world();
    const { sent } = other.plug();
    other.session.hear(copy);
    say(other.session, { type: 'subscription_update', subscriptions: ['rtmp_stream_status'] });
    other.session.hear(copy);
    say(other.session, { type: 'subscription_update', subscriptions: ['stream_status'] });
    other.session.hear(copy);
    expect(sent.slice(3)).toMatchObject([
      { type: 'data_stream', streamType: 'rtmp_stream_status', data: { type: 'rtmp_stream_status', status: 'active' } },
      { type: 'data_stream', streamType: 'stream_status', data: { type: 'stream_status', appId: 'com.a' } },
    ]);
  });

  it('gets the events that it subscribed to, until it does not (defect 42)', () => {
    const { session, plug, tiers } = world({ permissions: ['LOCATION'] });
    const { sent } = plug();
    const from = sent.length;
    const hear = () => {
      session.hear(event('button_press', { buttonId: 'main' }));
      session.hear(event('VAD', { status: true }));
    };
    say(session, { type: 'subscription_update', subscriptions: ['button_press', 'VAD', 'location_update'] });
    hear();
    say(session, { type: 'subscription_update', subscriptions: [] });
    hear();
    expect(sent.slice(from)).toMatchObject([
      { type: 'permission_error', details: [{ stream: 'VAD', requiredPermission: 'MICROPHONE' }] },
      { type: 'data_stream', sessionId: 'u-com.a', streamType: 'button_press', data: { buttonId: 'main' } },
    ]);
    expect(tiers).toEqual(['standard', undefined]);
  });

  it('keeps its subscriptions over a reconnect, for those that do not send them again', () => {
    const { session, plug } = world();
    const { socket } = plug();
    say(session, { type: 'subscription_update', subscriptions: ['*'] });
    session.detach(socket);
    const { sent } = plug();
    session.hear(event('head_position'));
    expect(sent.at(-1)).toMatchObject({ streamType: 'head_position' });
  });

  it('hears of other glasses and of what they can do; of ones that nobody knows, that too', () => {
    const { session, plug, state } = world();
    const { sent } = plug();
    const from = sent.length;
    session.deviceState({ ...state, modelName: 'Glasscast Simulator' });
    session.deviceState({ ...state, modelName: 'Glasscast Simulator', batteryLevel: 50 });
    session.deviceState({ connected: true, modelName: 'Prototype 9' });
    const told = sent.slice(from);
    expect(told.filter(({ type }) => type === 'capabilities_update')).toMatchObject([
      { modelName: 'Glasscast Simulator', capabilities: { hasSpeaker: false, camera: { video: { canStream: true } } } },
      { modelName: 'Prototype 9', capabilities: null },
    ]);
    // The battery is no news of the connection.
    expect(told.filter(({ type }) => type === 'data_stream').length).toBe(2);
  });

  it('hears of new settings, and lives with fewer permissions', () => {
    const { session, plug, app, asked } = world({ permissions: ['CAMERA', 'MICROPHONE'] });
    const { sent } = plug();
    say(session, { type: 'subscription_update', subscriptions: ['VAD'] });
    const from = sent.length;
    session.update({ ...app, settings: [{ key: 'k', value: 2 }] });
    session.update({ ...app, settings: [{ key: 'k', value: 2 }], permissions: [] });
    session.hear(event('VAD'));
    expect(sent.slice(from)).toEqual([
      { type: 'settings_update', packageName: 'com.a', settings: [{ key: 'k', value: 2 }] },
    ]);
    expect(asked).toEqual([['leave'], ['stop', undefined]]);
  });

  it('answers checks in order and echoes their ids (defect 60); ignores what it does not know', () => {
    const { session, plug } = world();
    const { sent } = plug();
    const before = sent.length;
    for (const requestId of ['1', '2']) session.receive({ type: 'stream_status_check', requestId });
    say(session, { type: 'stream_status_check', sessionId: 'unknown-session-id' });
    say(session, { type: 'dashboard_content_update', content: 'hi' });
    say(session, { type: 'app_direct_message', messageId: 'd1', targetUserId: 'bob', payload: {} });
    session.receive({ type: 'ping' });
    expect(sent.slice(before)).toMatchObject([
      { type: 'stream_status_check_response', hasActiveStream: false, requestId: '1' },
      { type: 'stream_status_check_response', hasActiveStream: false, requestId: '2' },
      { type: 'stream_status_check_response', hasActiveStream: false },
      { type: 'app_direct_message_response', messageId: 'd1', success: false, targetUserId: 'bob' },
      { type: 'pong' },
    ]);
  });

  it('hands what it asks of the glasses to them, and their answer to it alone', () => {
    const { session, plug, sentToGlasses } = world();
    const { sent } = plug();
    say(session, { type: 'audio_play_request', requestId: 'a1', audioUrl: 'http://x/a.mp3' });
    session.hear({ type: 'audio_play_response', requestId: 'a1', success: true });
    session.hear({ type: 'audio_play_response', requestId: 'a2', success: true });
    expect(sentToGlasses).toEqual(['audio_play_request']);
    expect(sent.slice(3)).toEqual([{ type: 'audio_play_response', requestId: 'a1', success: true }]);
  });

  it('hears of an answer that came while it had no socket when it is back, once', () => {
    const { session, plug } = world();
    const { socket } = plug();
    say(session, { type: 'audio_play_request', requestId: 'a1', audioUrl: 'http://x/a.mp3' });
    session.detach(socket);
    const answer: GlassesAnswer = { type: 'audio_play_response', requestId: 'a1', success: true };
    session.hear(answer);
    const answers = ({ sent }: ReturnType<typeof plug>) => sent.filter(({ type }) => type === answer.type);
    expect([answers(plug()), answers(plug())]).toEqual([[answer], []]);
  });

  it('needs no location any more when it is over', () => {
    const { session, plug, tiers } = world({ permissions: ['ALL'] });
    const { socket } = plug();
    say(session, { type: 'subscription_update', subscriptions: [{ stream: 'location_stream', rate: 'high' }] });
    session.close(1000, 'App stopped');
    expect([tiers, socket.closed, socket.sent.at(-1)]).toEqual([
      ['high', undefined],
      '1000 App stopped',
      { type: 'app_stopped' },
    ]);
  });
});
