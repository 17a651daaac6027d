import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { createCallers } from '../../cloud/access/callers.ts';
import { createDoor, type DoorLimits } from '../../cloud/access/door.ts';
import { codeOf } from '../support/code-of.ts';
import { createTestClock } from '../support/test-clock.ts';

const FAR = '203.0.113.7';

function world(limits: Partial<DoorLimits>, trustedProxies: string[] = []) {
  const clock = createTestClock();
  const door = createDoor({ clock, callers: createCallers(trustedProxies), limits });
  const connect = (remoteAddress: string) => {
    const socket = Object.assign(new EventEmitter(), { remoteAddress }) as unknown as Socket;
    return { socket, isIn: door.connected(socket), end: () => socket.emit('close') };
  };
  const upgrade = (socket: Socket, forwardedFor?: string) =>
    door.handshake({ socket, headers: { 'x-forwarded-for': forwardedFor } } as unknown as IncomingMessage);
  return { clock, door, connect, upgrade };
}

describe('a crowd', () => {
  it('is served by those who can still be waiting; alone, everybody may be slow', async () => {
    const { connect, upgrade, clock, door } = world({}, ['10.0.0.0/8']);
    const many = Array.from({ length: 502 }, () => connect('10.0.0.1'));
    const [early, asked, late] = many.map(({ socket }) => socket);
    if (!early || !asked || !late) expect.fail('no sockets');
    upgrade(early, FAR)();
    door.asked(asked);
    await clock.advance(5_001);
    // One that has asked before is no newcomer.
    upgrade(asked, FAR)();
    expect(codeOf(() => upgrade(late, FAR))).toBe('RATE_LIMITED');
    for (const { end } of many.slice(10)) end();
    const slow = many[5]?.socket;
    if (slow) upgrade(slow, FAR)();
    expect(many.slice(0, 10).map(({ socket }) => socket.listenerCount('close') > 0)).toContain(true);
  });
});

describe('strangers', () => {
  it('have so many places per address; who ends or proves itself makes room', () => {
    const { connect, upgrade } = world({ maxStrangersPerAddress: 2 });
    const [first, second, third] = [connect(FAR), connect(FAR), connect(FAR)];
    expect([first.isIn, second.isIn, third.isIn, connect('203.0.113.8').isIn]).toEqual([true, true, false, true]);
    first.end();
    const fourth = connect(FAR);
    expect([fourth.isIn, connect(FAR).isIn]).toEqual([true, false]);
    const proven = upgrade(fourth.socket);
    proven();
    proven();
    expect([connect(FAR).isIn, connect(FAR).isIn]).toEqual([true, false]);
    // It gave up its place before: its end frees no second one.
    fourth.end();
    expect(connect(FAR).isIn).toBe(false);
  });

  it('of one IPv6 line share their places', () => {
    const { connect } = world({ maxStrangersPerAddress: 1 });
    expect([connect('2001:db8::1').isIn, connect('2001:db8::2').isIn, connect('2001:db8:0:1::1').isIn]).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('behind a trusted proxy count by what it says, those behind an unnamed one not at all', () => {
    const named = world({ maxStrangersPerAddress: 1 }, ['127.0.0.1']);
    const proxied = (address: string) => {
      const { socket, isIn } = named.connect('127.0.0.1');
      return isIn && codeOf(() => named.upgrade(socket, address));
    };
    expect([proxied(FAR), proxied(FAR), proxied('203.0.113.8')]).toEqual(['in', 'RATE_LIMITED', 'in']);
    const unnamed = world({ maxStrangersPerAddress: 1, handshakes: { perSecond: 1, burst: 1 } });
    const near = () => {
      const { socket, isIn } = unnamed.connect('127.0.0.1');
      return isIn && codeOf(() => unnamed.upgrade(socket));
    };
    expect([near(), near()]).toEqual(['in', 'in']);
  });
});

describe('an address', () => {
  it('makes so many handshakes and requests each second', async () => {
    const { clock, connect, upgrade, door } = world({
      handshakes: { perSecond: 1, burst: 2 },
      requests: { perSecond: 2, burst: 3 },
    });
    const handshake = () => codeOf(() => upgrade(connect(FAR).socket)());
    expect([handshake(), handshake(), handshake()]).toEqual(['in', 'in', 'RATE_LIMITED']);
    const request = (address: string | undefined) => codeOf(() => door.request(address));
    // Gone before its request was looked at: nobody in particular.
    expect(request(undefined)).toBe('in');
    expect([1, 2, 3, 4].map(() => request(FAR))).toEqual(['in', 'in', 'in', 'RATE_LIMITED']);
    expect([1, 2, 3, 4].map(() => request('127.0.0.1'))).toEqual(['in', 'in', 'in', 'in']);
    await clock.advance(1_000);
    expect([handshake(), handshake()]).toEqual(['in', 'RATE_LIMITED']);
    expect([1, 2, 3].map(() => request(FAR))).toEqual(['in', 'in', 'RATE_LIMITED']);
  });
});
