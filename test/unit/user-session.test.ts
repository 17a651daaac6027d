import { describe, expect, it } from 'vitest';
import { createUserSession } from '../../cloud/glasses/user-session.ts';
import { silentLog } from '../../shared/log.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { createTestClock } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  const heard: string[] = [];
  const states: unknown[] = [];
  const session = createUserSession({
    userId: 'u',
    clock,
    log: silentLog(),
    streams: {
      deviceStatus: (_user, { status }) => void heard.push(`status ${status}`),
      keepAliveAck: (_user, { ackId }) => void heard.push(`ack ${ackId}`),
      glassesGone: () => void heard.push('gone'),
      glassesBack: () => void heard.push('back'),
      endUser: () => void heard.push('end user'),
    },
    onDeviceState: (state) => void states.push(state),
    onApp: (verb, packageName) => void heard.push(`${verb} ${packageName}`),
    onEnded: () => void heard.push('ended'),
  });
  const socket = () => {
    const fake = {
      sent: [] as ToGlasses[],
      isOpen: true,
      closed: undefined as number | undefined,
      send: (message: ToGlasses) => fake.sent.push(message) > 0,
      close(code: number) {
        fake.isOpen = false;
        fake.closed = code;
      },
    };
    return fake;
  };
  return { clock, heard, states, session, socket };
}

describe('a user session', () => {
  it('acknowledges before anything else [46]', () => {
    const { session, socket, heard } = world();
    const glasses = socket();
    session.attach(glasses);
    expect([glasses.sent, heard]).toEqual([[{ type: 'connection_ack', sessionId: 'u' }], ['back']]);
    session.receive({ type: 'connection_init' });
    expect(glasses.sent.length).toBe(2);
  });

  it('takes the newer socket, closes the older, and does not mind its close [47]', async () => {
    const { session, socket, heard, clock } = world();
    const [older, newer] = [socket(), socket()];
    session.attach(older);
    session.attach(newer);
    expect(older.closed).toBe(4001);
    session.detach(older);
    await clock.advance(120_000);
    expect([session.isConnected(), heard]).toEqual([true, ['back', 'back']]);
  });

  it('gives 60 s, and ends for streams and apps after that', async () => {
    const { session, socket, heard, clock } = world();
    const first = socket();
    session.attach(first);
    first.isOpen = false;
    session.detach(first);
    await clock.advance(59_000);
    session.attach(socket());
    expect(session.isKnown()).toBe(true);
    await clock.advance(120_000);
    expect(heard).not.toContain('ended');
    session.close(1012, 'x');
    session.close(1012, 'x');
    expect(heard.slice(-2)).toEqual(['end user', 'ended']);
    expect(clock.pending()).toEqual([]);
  });

  it('ends when no glasses ever come, and leaves no timer [16]', async () => {
    const { heard, clock, session } = world();
    expect(session.isKnown()).toBe(false);
    await clock.advance(60_000);
    expect(heard).toEqual(['end user', 'ended']);
    expect(clock.pending()).toEqual([]);
  });

  it('learns what glasses say of themselves and hands on the rest', () => {
    const { session, socket, heard, states } = world();
    const glasses = socket();
    session.attach(glasses);
    session.receive({
      type: 'glasses_connection_state',
      status: 'CONNECTED',
      modelName: 'Mentra Live',
      wifi: { connected: true, ssid: 'lab' },
    });
    session.receive({ type: 'glasses_battery_update', level: 40, charging: true });
    expect(states.at(-1)).toEqual({
      connected: true,
      modelName: 'Mentra Live',
      wifiConnected: true,
      wifiSsid: 'lab',
      batteryLevel: 40,
      charging: true,
    });
    session.receive({ type: 'glasses_connection_state', status: 'DISCONNECTED' });
    expect(states.at(-1)).toMatchObject({ connected: false });
    session.receive({ type: 'stream_status', status: 'streaming', streamId: 'm' });
    session.receive({ type: 'keep_alive_ack', streamId: 'm', ackId: 'a' });
    session.receive({ type: 'start_app', packageName: 'com.a' });
    session.receive({ type: 'unknown', wireType: 'VAD' });
    session.receive({ type: 'ping' });
    expect(heard).toEqual(['back', 'status streaming', 'ack a', 'start com.a']);
    expect(glasses.sent.at(-1)).toEqual({ type: 'pong' });
    session.detach(glasses);
    expect(heard.at(-1)).toBe('gone');
  });
});
