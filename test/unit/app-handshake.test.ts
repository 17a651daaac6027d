import type { IncomingMessage } from 'node:http';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AppClaim } from '../../cloud/apps/app-lifecycle.ts';
import type { AppSession } from '../../cloud/apps/app-session.ts';
import { checkAppHeaders, welcomeApp } from '../../cloud/http/app-handshake.ts';
import { type ErrorCode, errorKinds, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { fakeWebSocket } from '../support/fake-web-socket.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const INIT = { type: 'tpa_connection_init', sessionId: 's', packageName: 'com.a', apiKey: 'right' };
const HEADERS = {
  'x-package-name': 'com.a',
  'x-api-key': 'right',
  'x-session-id': 's',
  'x-user-id': ' Ada@Example.com ',
};

function world() {
  const clock = createTestClock();
  const claims: AppClaim[] = [];
  const heard: string[] = [];
  const lost: number[] = [];
  const proven: string[] = [];
  const session = { receive: ({ type }: { type: string }) => void heard.push(type) } as unknown as AppSession;
  const state = { admit: async (): Promise<AppSession> => session };
  const options = {
    attempts: { guard: <T>(_address: string | undefined, check: () => Promise<T>) => check() },
    callers: { addressOf: () => '192.0.2.1' },
    catalog: {
      async verify(name: string, apiKey: string) {
        if (name !== 'com.a') throw new GlasscastError('PACKAGE_NOT_FOUND');
        if (apiKey !== 'right') throw new GlasscastError('INVALID_API_KEY');
      },
    },
    apps: {
      async admit(claim: AppClaim) {
        claims.push(claim);
        return state.admit();
      },
      lost: (_session: unknown, _socket: unknown, code: number) => void lost.push(code),
    },
    clock,
    log: silentLog(),
  };
  async function connect(headers: Record<string, string> = {}) {
    const request = { headers } as unknown as IncomingMessage;
    const identity = await checkAppHeaders(request, options);
    const socket = fakeWebSocket();
    welcomeApp(socket.ws, { address: '192.0.2.1', identity, admitted: () => void proven.push('in') }, options);
    return socket;
  }
  return { clock, claims, heard, lost, proven, state, connect };
}

describe('the handshake of an app', () => {
  it('waits for an init, and not for ever; nothing else opens it', async () => {
    const { connect, claims, clock, proven } = world();
    const socket = await connect();
    socket.receive({ type: 'ping' });
    socket.receive({ type: 'managed_stream_request' });
    expect(socket.frames()).toMatchObject([
      { type: 'pong' },
      { type: 'tpa_connection_error', code: 'MALFORMED_MESSAGE' },
    ]);
    await clock.advance(5_000);
    expect([socket.ended, claims, proven]).toEqual(['1008 No init in time', [], []]);
  });

  it('keeps what comes while the claim is checked, in order, and counts nobody twice', async () => {
    const { connect, state, claims, heard, proven } = world();
    let decide = () => {};
    const decided = new Promise<void>((resolve) => {
      decide = resolve;
    });
    const { admit } = state;
    state.admit = () => decided.then(admit);
    const socket = await connect();
    socket.receive(INIT);
    socket.receive(INIT);
    socket.receive({ type: 'subscription_update', subscriptions: [] });
    socket.receive({ type: 'managed_stream_request' });
    expect([heard, proven]).toEqual([[], []]);
    decide();
    await settle();
    expect([claims.length, heard, proven]).toEqual([
      1,
      ['tpa_connection_init', 'subscription_update', 'managed_stream_request'],
      ['in'],
    ]);
  });

  it('tells of an end that came while the claim was checked, and starts nothing for who is gone', async () => {
    const { connect, lost, heard } = world();
    const socket = await connect();
    socket.receive(INIT);
    socket.receive({ type: 'managed_stream_request' });
    socket.terminate();
    await settle();
    expect([lost, heard]).toEqual([[1006], []]);
  });

  it('reads who it is from headers, where they are', async () => {
    const { connect, claims } = world();
    const [bare, named] = [await connect(), await connect(HEADERS)];
    bare.receive(INIT);
    named.receive({ ...INIT, sessionId: undefined });
    (await connect(HEADERS)).receive({ type: 'reconnect', sessionId: 'other' });
    (await connect(HEADERS)).receive({ type: 'reconnect' });
    const known = { packageName: 'com.a', apiKey: 'right', userId: 'ada@example.com' };
    expect(claims).toEqual([
      { ...known, userId: undefined, sessionId: 's' },
      { ...known, sessionId: 's' },
      { ...known, sessionId: 'other', isReturn: true },
      { ...known, sessionId: 's', isReturn: true },
    ]);
  });

  it.each<[ErrorCode, Record<string, string>]>([
    ['MISSING_HEADERS', { 'x-package-name': 'com.a' }],
    ['MISSING_HEADERS', { 'x-package-name': 'com.a', 'x-api-key': 'k'.repeat(501) }],
    ['INVALID_API_KEY', { ...HEADERS, 'x-api-key': 'wrong' }],
    ['PACKAGE_NOT_FOUND', { ...HEADERS, 'x-package-name': '__proto__' }],
  ])('is over with %s before the upgrade', async (code, headers) => {
    await expect(world().connect(headers)).rejects.toMatchObject({ code });
  });

  it.each<[ErrorCode, string, number]>([
    ['INVALID_API_KEY', 'INVALID_API_KEY', 1008],
    ['SESSION_NOT_FOUND', 'SESSION_NOT_FOUND', 1008],
    // What may be over in a moment must not end the app: the SDK takes 1008 as final [41].
    ['SHUTTING_DOWN', 'INTERNAL_ERROR', 1012],
    ['RATE_LIMITED', 'INTERNAL_ERROR', 1013],
    ['INTERNAL', 'INTERNAL_ERROR', 1013],
  ])('refuses an init for %s as %s with %i (defect 41)', async (thrown, code, closeCode) => {
    const { connect, state, clock } = world();
    state.admit = () => Promise.reject(new GlasscastError(thrown));
    const socket = await connect();
    socket.receive(INIT);
    await settle();
    expect(socket.frames()).toMatchObject([{ type: 'tpa_connection_error', code }]);
    expect(socket.ended).toBe(`${closeCode} ${errorKinds[thrown].sentence}`);
    socket.terminate();
    expect(clock.pending()).toEqual([]);
  });

  it.each<[ErrorCode, object, string | undefined]>([
    ['APP_NOT_STARTED', { type: 'reconnect_rejected', code: 'NOT_RUNNING' }, '1000 App stopped: not running'],
    ['APP_BOOT_TIMEOUT', { type: 'reconnect_rejected', code: 'BOOT_TIMEOUT' }, '1000 App stopped: not running'],
    ['SESSION_NOT_FOUND', { type: 'reconnect_rejected', code: 'SESSION_NOT_FOUND' }, undefined],
    ['INVALID_API_KEY', { type: 'tpa_connection_error', code: 'INVALID_API_KEY' }, expect.stringMatching(/^1008 /)],
    ['SHUTTING_DOWN', { type: 'tpa_connection_error' }, expect.stringMatching(/^1012 /)],
  ])('answers a reconnect for %s with %o', async (thrown, answer, ended) => {
    const { connect, state } = world();
    state.admit = () => Promise.reject(new GlasscastError(thrown));
    const socket = await connect(HEADERS);
    socket.receive({ type: 'reconnect' });
    await settle();
    expect([socket.frames(), socket.ended]).toMatchObject([[answer], ended]);
  });

  it('waits anew for an init after a reconnect to nothing', async () => {
    const { connect, clock, claims } = world();
    const [quiet, comes] = [await connect(), await connect()];
    for (const socket of [quiet, comes]) socket.receive({ type: 'reconnect', sessionId: 'named' });
    await clock.advance(4_900);
    comes.receive({ ...INIT, sessionId: undefined });
    await clock.advance(200);
    expect([quiet.ended, comes.ended, claims]).toMatchObject([
      '1008 No init in time',
      undefined,
      [{ sessionId: 'named' }],
    ]);
  });

  it('cannot be held open by one reconnect to nothing after the other', async () => {
    const { connect, clock } = world();
    const socket = await connect();
    for (const waitMs of [4_000, 1_100]) {
      socket.receive({ type: 'reconnect', sessionId: 'none' });
      await clock.advance(waitMs);
    }
    expect(socket.ended).toBe('1008 No init in time');
  });

  it('answers pings while an app waits to be let in', async () => {
    const { connect, state } = world();
    state.admit = () => new Promise(() => {});
    const socket = await connect(HEADERS);
    socket.receive({ type: 'reconnect' });
    socket.receive({ type: 'ping' });
    expect(socket.frames()).toMatchObject([{ type: 'pong' }]);
  });

  it('lets in nobody by headers alone, whatever they say', async () => {
    const word = fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom('com.a', 'right', 's'));
    await fc.assert(
      fc.asyncProperty(
        fc.record({ 'x-package-name': word, 'x-api-key': word, 'x-session-id': word }, { requiredKeys: [] }),
        async (headers) => {
          const { connect, claims, proven } = world();
          const isRight = headers['x-package-name'] === 'com.a' && headers['x-api-key'] === 'right';
          const isSilent = !headers['x-package-name'] && !headers['x-api-key'];
          const socket = await connect(headers as Record<string, string>).catch(() => undefined);
          expect(socket !== undefined).toBe(isRight || isSilent);
          expect([claims, proven]).toEqual([[], []]);
        },
      ),
    );
  });
});
