import { describe, expect, it } from 'vitest';
import { createUserSession } from '../../cloud/glasses/user-session.ts';
import { silentLog } from '../../shared/log.ts';
import { type Dialect, decodeFromGlasses } from '../../shared/protocol/dialects.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { createTestClock } from '../support/test-clock.ts';

function world({ clock = createTestClock(), areExpected = false } = {}) {
  const heard: string[] = [];
  const agents: string[] = [];
  const states: unknown[] = [];
  const news: unknown[] = [];
  const session = createUserSession({
    userId: 'u',
    areExpected,
    clock,
    log: silentLog(),
    streams: {
      deviceStatus: (_user, { status, errorDetails = '' }) =>
        void heard.push(`status ${status} ${errorDetails}`.trim()),
      keepAliveAck: (_user, { ackId }) => void heard.push(`ack ${ackId}`),
      glassesGone: () => void heard.push('gone'),
      glassesBack: () => void heard.push('back'),
      endUser: () => void heard.push('end user'),
      agentHello: (_user, facts) => void agents.push(`agent ${facts?.version}`),
      agentUpdate: (_user, { state }) => void agents.push(`update ${state}`),
    },
    onDeviceState: (state) => void states.push(state),
    onNews: (told) => void news.push(told),
    onApp: (verb, packageName) => void heard.push(`${verb} ${packageName}`),
    onEnded: () => void heard.push('ended'),
  });
  const socket = () => {
    const fake = {
      sent: [] as ToGlasses[],
      dialects: [] as (Dialect | undefined)[],
      isOpen: true,
      dialect: undefined as Dialect | undefined,
      closed: undefined as number | undefined,
      send(message: ToGlasses, _importance?: unknown, dialect?: Dialect) {
        fake.dialects.push(dialect);
        return fake.sent.push(message) > 0;
      },
      close(code: number) {
        fake.isOpen = false;
        fake.closed = code;
      },
    };
    return fake;
  };
  return { agents, clock, heard, states, news, session, socket };
}

describe('a user session', () => {
  it('acknowledges before anything else (defect 46)', () => {
    const { session, socket, heard } = world();
    const glasses = socket();
    session.attach(glasses);
    expect([glasses.sent, heard]).toEqual([[{ type: 'connection_ack', sessionId: 'u' }], ['back']]);
    session.receive({ type: 'connection_init' });
    expect(glasses.sent.length).toBe(2);
  });

  it('takes the newer socket, closes the older, and does not mind its close (defect 47)', async () => {
    const { session, socket, heard, clock } = world();
    const [older, newer] = [socket(), socket()];
    session.attach(older);
    session.attach(newer);
    expect(older.closed).toBe(4001);
    session.detach(older);
    await clock.advance(120_000);
    expect([session.isConnected(), heard]).toEqual([true, ['back', 'back']]);
  });

  it('keeps the stream key in an error of the glasses from whoever hears of the error', () => {
    const { session, heard } = world();
    const errorDetails = 'RTMP connection failed: rtmps://u:p@live.example:443/live/KEY timed out';
    session.receive({ type: 'stream_status', status: 'error', errorDetails });
    expect(heard).toEqual(['status error RTMP connection failed: rtmps://live.example:443/live/*** timed out']);
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

  it('ends when no glasses ever come, and leaves no timer (defect 16)', async () => {
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
    session.receive({ type: 'ping' });
    expect(heard).toEqual(['back', 'status streaming', 'ack a', 'start com.a']);
    expect(glasses.sent.at(-1)).toEqual({ type: 'pong' });
    session.detach(glasses);
    expect(heard.at(-1)).toBe('gone');
  });

  it('tells operators of the agent, once for each connection and at each change, and apps nothing of it', () => {
    const { agents, session, socket, states, news } = world();
    session.attach(socket());
    const say = (frame: object) => session.receive(decodeFromGlasses(JSON.stringify(frame)).message);
    const hello = (version?: string) =>
      say({
        ...{ type: 'glasses_connection_state', status: 'CONNECTED', modelName: 'Glasscast' },
        ...(version ? { agent: { version, architecture: 'arm64', canUpdate: true } } : {}),
      });
    for (const version of ['1.3.0', '1.3.0', '1.4.0']) hello(version);
    say({ type: 'agent_update_status', version: '1.5.0', state: 'downloading', percent: 7 });
    session.attach(socket());
    hello('1.4.0');
    hello();
    expect(agents).toEqual(['agent 1.3.0', 'agent 1.4.0', 'update downloading', 'agent 1.4.0', 'agent undefined']);
    expect(JSON.stringify([states, news])).not.toMatch(/agent|1\.4\.0|arm64/);
  });

  it('tells apps the whole of what happens, by one name for each thing (defect 49)', () => {
    const { session, socket, news } = world();
    session.attach(socket());
    const say = (frame: object) => session.receive(decodeFromGlasses(JSON.stringify(frame)).message);
    say({ type: 'button_press', buttonId: 'main', pressType: 'long', timestamp: 1_795_356_549_903 });
    say({ type: 'vad', status: true });
    say({ type: 'VAD', status: 'false' });
    say({ type: 'glasses_battery_update', level: 12, charging: false, timeRemaining: 30 });
    say({ type: 'something_new', of: { any: ['shape', null] } });
    const status = { connected_glasses: { battery_level: 50, glasses_hotspot_password: 'secret' } };
    say({ type: 'core_status_update', status: JSON.stringify({ status }) });
    say({ type: 'photo_response', requestId: 'p1', success: true, photoUrl: 'http://x/p.jpg' });
    // A phone's own business.
    say({ type: 'request_settings', sessionId: 'u' });
    say({ type: 'udp_register' });
    expect(news).toEqual([
      {
        type: 'event',
        streamType: 'button_press',
        data: { type: 'button_press', buttonId: 'main', pressType: 'long', timestamp: 1_795_356_549_903 },
      },
      { type: 'event', streamType: 'VAD', data: { type: 'VAD', status: true } },
      { type: 'event', streamType: 'VAD', data: { type: 'VAD', status: 'false' } },
      {
        type: 'event',
        streamType: 'glasses_battery_update',
        data: { type: 'glasses_battery_update', level: 12, charging: false, timeRemaining: 30 },
      },
      {
        type: 'event',
        streamType: 'something_new',
        data: { type: 'something_new', of: { any: ['shape', null] } },
      },
      {
        type: 'event',
        streamType: 'core_status_update',
        data: {
          type: 'core_status_update',
          status: '{"status":{"connected_glasses":{"battery_level":50,"glasses_hotspot_password":"***"}}}',
        },
      },
      { type: 'photo_response', requestId: 'p1', success: true, photoUrl: 'http://x/p.jpg' },
    ]);
  });

  it('says what it knows when it changes, not each time that it is told', () => {
    const { session, socket, states } = world();
    session.attach(socket());
    const told = states.length;
    for (let count = 0; count < 3; count += 1) session.receive({ type: 'glasses_battery_update', level: 40 });
    expect(states.slice(told)).toEqual([{ connected: true, batteryLevel: 40 }]);
  });

  it('knows a dialect when the glasses have shown one, and can speak another', () => {
    const { session, socket } = world();
    const glasses = socket();
    expect(session.knowsDialect()).toBe(false);
    session.attach(glasses);
    expect(session.knowsDialect()).toBe(false);
    session.send({ type: 'ping' }, 'stream');
    expect(glasses.dialects.at(-1)).toBe('stream');
    glasses.dialect = 'stream';
    expect(session.knowsDialect()).toBe(true);
    session.attach(socket());
    expect(session.knowsDialect()).toBe(false);
  });

  it('counts glasses as known that are expected back', async () => {
    const clock = createTestClock();
    const { session } = world({ clock, areExpected: true });
    expect(session.isKnown()).toBe(true);
    await clock.advance(60_000);
    expect(clock.pending()).toEqual([]);
  });

  it('asks for the closest location that an app wants, again after a reconnect, and for none in the end', () => {
    const { session, socket } = world();
    const tiers = (glasses: ReturnType<typeof socket>) =>
      glasses.sent.flatMap((message) => (message.type === 'set_location_tier' ? [message.tier] : []));
    session.followLocation('com.a', 'kilometer');
    const first = socket();
    session.attach(first);
    session.followLocation('com.b', 'realtime');
    session.followLocation('com.a', 'standard');
    session.followLocation('com.b', undefined);
    session.followLocation('com.a', undefined);
    session.followLocation('com.a', undefined);
    expect(tiers(first)).toEqual(['kilometer', 'realtime', 'standard', 'reduced']);
    session.followLocation('com.a', 'high');
    const second = socket();
    session.attach(second);
    expect(tiers(second)).toEqual(['high']);
  });
});
