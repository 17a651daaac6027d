import { describe, expect, it } from 'vitest';
import { createSocket, type SocketLimits } from '../../cloud/http/socket.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { FromApp, ToApp } from '../../shared/protocol/app-messages.ts';
import { decodeFromApp, encodeToApp } from '../../shared/protocol/dialects.ts';
import { fakeWebSocket } from '../support/fake-web-socket.ts';
import { createTestClock } from '../support/test-clock.ts';

function world(limits: Partial<SocketLimits> = {}) {
  const clock = createTestClock();
  const ws = fakeWebSocket();
  const got: FromApp[] = [];
  const closes: number[] = [];
  const socket = createSocket<FromApp, ToApp>({
    ws: ws.ws,
    decode: decodeFromApp,
    encode: encodeToApp,
    complaint: ({ code, message }) => ({ type: 'message_error', code, message }),
    clock,
    log: silentLog(),
    limits,
    onMessage(message) {
      if (message.type === 'managed_stream_stop') throw new GlasscastError('APP_NOT_STARTED');
      got.push(message);
    },
    onClose: (code) => void closes.push(code),
  });
  const { receive } = ws;
  const last = () => JSON.parse(ws.sent.at(-1) ?? '{}') as Record<string, unknown>;
  return { clock, ws, got, closes, socket, receive, last };
}
const status = { type: 'stream_status', status: 'stopped' } as const;

describe('a socket', () => {
  it('minds nothing that comes after our close: its session may be over', () => {
    const { socket, receive, got, ws } = world();
    socket.close(1000, 'App stopped');
    receive('{"type":"managed_stream_request"}');
    receive('nonsense');
    expect([got, ws.sent]).toEqual([[], []]);
  });

  it('answers in the dialect it was last spoken to in', () => {
    const { socket, receive, last } = world();
    socket.send(status);
    expect(last().type).toBe('rtmp_stream_status');
    expect(socket.dialect).toBeUndefined();
    socket.send(status, 'state', 'stream');
    expect(last().type).toBe('stream_status');
    socket.send(status);
    expect(last().type).toBe('rtmp_stream_status');
    receive('{"type":"stream_request","streamUrl":"rtmp://x/y/z"}');
    socket.send(status);
    expect([last().type, socket.dialect]).toEqual(['stream_status', 'stream']);
  });

  it('answers bad frames with what is wrong, and stays', () => {
    const { receive, last, got, ws } = world();
    receive('{');
    expect(last()).toMatchObject({ type: 'message_error', code: 'MALFORMED_MESSAGE' });
    receive('{"type":"managed_stream_request","video":5}');
    expect(last().message).toMatch(/video/);
    receive('{"type":"managed_stream_stop"}');
    expect(last()).toMatchObject({ code: 'APP_NOT_STARTED' });
    receive('audio', true);
    receive('{"type":"dashboard_content_update"}');
    expect([got, ws.ended]).toEqual([[{ type: 'unknown', wireType: 'dashboard_content_update' }], undefined]);
  });

  it('does not answer a flood, and ends it', async () => {
    const { receive, ws, clock } = world({ answeredErrors: 3, maxErrors: 20 });
    for (let count = 0; count < 10; count += 1) receive('x');
    expect(ws.sent.length).toBe(3);
    await clock.advance(10_000);
    for (let count = 0; count < 10; count += 1) receive('x');
    expect([ws.sent.length, ws.ended]).toEqual([6, undefined]);
    for (let count = 0; count < 11; count += 1) receive('x');
    expect(ws.ended).toBe('1008 Too many bad messages');
  });

  it('refuses what comes too fast, and in the end the peer', async () => {
    const { receive, ws, last, got, clock } = world({
      frames: { perSecond: 10, burst: 20 },
      answeredErrors: 1,
      maxErrors: 50,
    });
    const flood = (count: number) => {
      for (let frame = 0; frame < count; frame += 1) receive('{"type":"stream_status_check"}', frame % 2 === 1);
    };
    flood(30);
    expect([got.length, ws.sent.length, last()]).toMatchObject([10, 1, { code: 'RATE_LIMITED' }]);
    await clock.advance(1_000);
    flood(10);
    expect([got.length, ws.sent.length, ws.ended]).toEqual([15, 1, undefined]);
    for (let ping = 0; ping < 20; ping += 1) ws.emit('ping', Buffer.alloc(100));
    flood(21);
    expect(ws.ended).toBe('1008 Too many messages');
  });

  it('refuses more bytes than it can read', async () => {
    const { receive, last, got, clock } = world({ bytes: { perSecond: 100, burst: 300 } });
    const frame = JSON.stringify({ type: 'stream_status_check', padding: 'x'.repeat(200) });
    receive(frame);
    receive(frame);
    expect([got.length, last()]).toMatchObject([1, { type: 'message_error', code: 'RATE_LIMITED' }]);
    await clock.advance(2_000);
    receive(frame);
    expect(got.length).toBe(2);
  });

  it('leaves out statistics for a slow peer, never a state', () => {
    const { socket, ws, closes } = world({ statsBufferBytes: 100, maxBufferBytes: 1_000 });
    ws.bufferedAmount = 101;
    expect([socket.send(status, 'stats'), socket.send(status, 'state')]).toEqual([false, true]);
    ws.bufferedAmount = 1_001;
    expect([socket.send(status), ws.ended, closes]).toEqual([false, 'terminated', [1006]]);
    expect(socket.isOpen).toBe(false);
  });

  it('pings, and gives up on a peer that says nothing', async () => {
    const { ws, clock, closes } = world();
    for (let count = 0; count < 6; count += 1) {
      await clock.advance(10_000);
      ws.emit('pong');
    }
    expect([ws.pings, ws.ended]).toEqual([6, undefined]);
    await clock.advance(40_000);
    expect([ws.ended, closes, clock.pending()]).toEqual(['terminated', [1006], []]);
  });

  it('does not ping who has spoken lately', async () => {
    const { ws, clock, receive } = world();
    for (let count = 0; count < 6; count += 1) {
      await clock.advance(9_000);
      receive(JSON.stringify({ type: 'stream_status_check' }));
    }
    expect([ws.pings, ws.ended]).toEqual([0, undefined]);
    await clock.advance(20_000);
    expect(ws.pings).toBe(1);
  });

  it('cuts a peer that does not answer the close; closes once', async () => {
    const { ws, clock, closes, socket } = world();
    socket.close(1000, 'App stopped');
    socket.close(1008, 'again');
    expect(ws.ended).toBe('1000 App stopped');
    await clock.advance(2_000);
    expect([ws.ended, closes, clock.pending()]).toEqual(['terminated', [1006], []]);
    ws.emit('error', new Error('late'));
  });

  it('does not die of a message that we built wrongly', () => {
    const { socket, ws } = world();
    expect(socket.send({ type: 'managed_stream_status', status: 'active' })).toBe(false);
    expect(ws.ended).toBeUndefined();
  });
});
