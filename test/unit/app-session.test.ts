import { describe, expect, it } from 'vitest';
import { createAppSession } from '../../cloud/apps/app-session.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { ManagedStreamStatus, ToApp } from '../../shared/protocol/app-messages.ts';

function world({ permissions = [{ type: 'CAMERA' }], isKnown = true, isConnected = true } = {}) {
  const asked: string[] = [];
  const streams = {
    fails: undefined as GlasscastError | undefined,
    hasViewer: false,
    request() {
      if (streams.fails) throw streams.fails;
      asked.push('request');
    },
    leave: () => void asked.push('leave'),
    repeat: () => streams.hasViewer,
    check: () => ({ hasActiveStream: false }),
  };
  const session = createAppSession({
    sessionId: 's',
    userId: 'u',
    app: {
      packageName: 'com.a',
      hashedApiKey: '',
      permissions,
      appType: 'background',
      settings: [{ key: 'k', value: 1 }],
      source: 'rest',
    },
    streams,
    glasses: {
      isConnected: () => isConnected,
      isKnown: () => isKnown,
      send: () => true,
      deviceState: () => ({ connected: isConnected, wifiConnected: true, wifiSsid: 'lab' }),
    },
    log: silentLog(),
  });
  const plug = () => {
    const sent: ToApp[] = [];
    const socket = { sent, isOpen: true, send: (message: ToApp) => sent.push(message) > 0, close() {} };
    session.attach(socket);
    return { socket, sent, statuses: () => sent.filter(({ type }) => type === 'managed_stream_status') };
  };
  return { session, streams, asked, plug };
}
const stopped: ManagedStreamStatus = { type: 'managed_stream_status', status: 'stopped', streamId: 'm1' };

describe('an app session', () => {
  it('acknowledges first, with all that the SDK reads', () => {
    const { sent } = world().plug();
    expect(sent[0]).toMatchObject({
      type: 'tpa_connection_ack',
      settings: [{ key: 'k', value: 1 }],
      mentraosSettings: {},
      capabilities: { modelName: 'Mentra Live', camera: { video: { canStream: true } } },
    });
    expect(sent[1]).toMatchObject({ type: 'device_state_update', state: { connected: true }, fullSnapshot: true });
    expect(sent[2]).toMatchObject({ type: 'data_stream', data: { wifi: { connected: true, ssid: 'lab' } } });
  });

  it.each([
    ['PERMISSION_DENIED', { permissions: [{ type: 'MICROPHONE' }] }],
    ['GLASSES_NOT_CONNECTED', { isKnown: false, isConnected: false }],
  ])('answers %s as a status on the open socket [41]', (errorCode, options) => {
    const { session, plug, asked } = world(options);
    const { statuses } = plug();
    session.receive({ type: 'managed_stream_request' });
    expect(statuses()).toMatchObject([{ status: 'error', errorCode }]);
    expect(asked).toEqual([]);
  });

  it('takes the ALL permission, and glasses that are away for a moment', () => {
    const { session, plug, asked, streams } = world({ permissions: [{ type: 'ALL' }], isConnected: false });
    const { statuses } = plug();
    session.receive({ type: 'managed_stream_request' });
    expect(asked).toEqual(['request']);
    streams.fails = new GlasscastError('SHUTTING_DOWN');
    session.receive({ type: 'managed_stream_request' });
    expect(statuses()).toMatchObject([{ status: 'error', errorCode: 'SHUTTING_DOWN' }]);
  });

  it('tells after a reconnect what was missed, else that nothing runs, unless the stream itself tells [63]', () => {
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
    streams.hasViewer = true;
    expect(plug().statuses()).toEqual([]);
  });

  it('answers checks in order and echoes their ids [60]; ignores what it does not know', () => {
    const { session, plug } = world();
    const { sent } = plug();
    const before = sent.length;
    for (const requestId of ['1', '2']) session.receive({ type: 'stream_status_check', requestId });
    session.receive({ type: 'stream_status_check' });
    // Nothing we send needs a subscription, so that none can be lost [42].
    session.receive({ type: 'subscription_update', subscriptions: [] });
    session.receive({ type: 'unknown', wireType: 'display_event' });
    session.receive({ type: 'ping' });
    expect(sent.slice(before)).toEqual([
      { type: 'stream_status_check_response', hasActiveStream: false, requestId: '1' },
      { type: 'stream_status_check_response', hasActiveStream: false, requestId: '2' },
      { type: 'stream_status_check_response', hasActiveStream: false },
      { type: 'pong' },
    ]);
  });
});
