import { describe, expect, it } from 'vitest';
import { createAppCatalog } from '../../cloud/apps/app-catalog.ts';
import { createAppLifecycle } from '../../cloud/apps/app-lifecycle.ts';
import type { WebhookOutcome } from '../../cloud/apps/app-webhook.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { silentLog } from '../../shared/log.ts';
import type { ToApp } from '../../shared/protocol/app-messages.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const USER = 'ada-marie@example.com';
const APP = 'com.example.cam';
const SESSION = `${USER}-${APP}`;

function fakeSocket() {
  const sent: ToApp[] = [];
  const socket = {
    sent,
    isOpen: true,
    closed: undefined as [number, string] | undefined,
    send: (message: ToApp) => {
      if (socket.isOpen) sent.push(message);
      return socket.isOpen;
    },
    close(code: number, reason: string) {
      socket.isOpen = false;
      socket.closed = [code, reason];
    },
    types: () => sent.map(({ type }) => type),
  };
  return socket;
}

async function world() {
  const clock = createTestClock();
  const catalog = createAppCatalog({ store: createSqliteStore({ file: ':memory:' }) });
  await catalog.put(APP, { publicUrl: 'http://app.example/', apiKey: 'right' });
  const starts: { body: { sessionId: string; appSocketUrl: string }; answer: (outcome: WebhookOutcome) => void }[] = [];
  const stops: { sessionId: string; reason: string }[] = [];
  const dropped: string[] = [];
  const apps = createAppLifecycle({
    catalog,
    webhook: {
      start: (_url, body, signal) =>
        new Promise((answer) => {
          starts.push({ body, answer });
          signal.addEventListener('abort', () => answer({ kind: 'unclear', reason: 'aborted' }));
        }),
      async stop(_url, body) {
        stops.push(body);
        return { kind: 'accepted' };
      },
    },
    streams: {
      request() {},
      leave() {},
      repeat: () => false,
      check: () => ({ hasActiveStream: false }),
      drop: (userId, viewerId) => void dropped.push(`${userId} ${viewerId}`),
    },
    glasses: () => ({
      isConnected: () => true,
      isKnown: () => true,
      send: () => true,
      deviceState: () => ({ connected: true }),
    }),
    appSocketUrl: () => 'ws://relay.example/app-ws',
    clock,
    log: silentLog(),
    onChange() {},
  });
  const admit = async (sessionId = SESSION, apiKey = 'right') => {
    const socket = fakeSocket();
    const session = await apps.admit({ sessionId, packageName: APP, apiKey }, socket);
    return { session, socket };
  };
  const outcome = async (started: Promise<void>) => {
    let result = 'pending';
    started.then(
      () => {
        result = 'started';
      },
      ({ code }) => {
        result = code;
      },
    );
    await settle();
    return () => result;
  };
  return { clock, apps, starts, stops, dropped, admit, outcome };
}

describe('start', () => {
  it('is done when the socket is in, whatever the webhook says later [36, 37, 64]', async () => {
    const { apps, starts, admit, outcome, clock } = await world();
    const result = await outcome(apps.start(USER, APP));
    expect([starts.length, starts[0]?.body]).toMatchObject([
      1,
      { sessionId: SESSION, appSocketUrl: 'ws://relay.example/app-ws' },
    ]);
    await clock.advance(40_000);
    expect(result()).toBe('pending');
    const { socket } = await admit();
    await settle();
    expect(result()).toBe('started');
    starts[0]?.answer({ kind: 'rejected', status: 500 });
    await clock.advance(60_000);
    expect([starts.length, socket.isOpen, apps.running(USER)]).toEqual([
      1,
      true,
      [{ packageName: APP, connected: true }],
    ]);
  });

  it('happens once for two that ask at once', async () => {
    const { apps, starts, admit } = await world();
    const both = Promise.all([apps.start(USER, APP), apps.start(USER, APP)]);
    await settle();
    await admit();
    await both;
    await apps.start(USER, APP);
    expect(starts.length).toBe(1);
  });

  it('is repeated only while nobody listens there', async () => {
    const { apps, starts, outcome, clock } = await world();
    const result = await outcome(apps.start(USER, APP));
    for (const waitMs of [1_000, 2_000, 4_000]) {
      starts.at(-1)?.answer({ kind: 'refused', reason: 'ECONNREFUSED' });
      await clock.advance(waitMs);
    }
    expect(starts.length).toBe(4);
    starts.at(-1)?.answer({ kind: 'refused', reason: 'ECONNREFUSED' });
    await settle();
    expect([result(), apps.running(USER)]).toEqual(['APP_UNREACHABLE', []]);
  });

  it.each<WebhookOutcome>([
    { kind: 'rejected', status: 500 },
    { kind: 'unclear', reason: 'no answer' },
  ])('fails at once after %o', async (answer) => {
    const { apps, starts, outcome } = await world();
    const result = await outcome(apps.start(USER, APP));
    starts[0]?.answer(answer);
    await settle();
    expect([result(), starts.length]).toEqual(['APP_UNREACHABLE', 1]);
  });

  it('fails when the app accepts and never connects', async () => {
    const { apps, starts, outcome, clock } = await world();
    const result = await outcome(apps.start(USER, APP));
    starts[0]?.answer({ kind: 'accepted' });
    await clock.advance(10_000);
    expect([result(), clock.pending()]).toEqual(['APP_UNREACHABLE', []]);
  });

  it('knows only registered apps', async () => {
    const { apps } = await world();
    await expect(apps.start(USER, 'com.none')).rejects.toMatchObject({ code: 'PACKAGE_NOT_FOUND' });
  });
});

describe('admission', () => {
  it('looks the session up and checks the key [39, 40]', async () => {
    const { apps, admit } = await world();
    apps.start(USER, APP).catch(() => {});
    await settle();
    await expect(admit(SESSION, 'wrong')).rejects.toMatchObject({ code: 'INVALID_API_KEY' });
    await expect(admit('ada-com.example.cam')).rejects.toMatchObject({ code: 'SESSION_NOT_FOUND' });
    const { session, socket } = await admit();
    expect([session.userId, socket.types().slice(0, 2)]).toEqual([USER, ['tpa_connection_ack', 'device_state_update']]);
  });

  it('replaces an older socket of the same session, whose end then means nothing', async () => {
    const { apps, admit, clock, starts } = await world();
    apps.start(USER, APP).catch(() => {});
    await settle();
    const older = await admit();
    const newer = await admit();
    expect(older.socket.closed).toEqual([1000, expect.stringContaining('App stopped')]);
    apps.lost(older.session, older.socket, 1006);
    await clock.advance(60_000);
    expect([newer.socket.isOpen, starts.length]).toEqual([true, 1]);
  });
});

describe('loss', () => {
  async function started() {
    const all = await world();
    all.apps.start(USER, APP).catch(() => {});
    await settle();
    return { ...all, ...(await all.admit()) };
  }

  it('is forgiven within 5 s', async () => {
    const { apps, session, socket, admit, clock, starts, stops, dropped } = await started();
    apps.lost(session, socket, 1006);
    await clock.advance(4_900);
    await admit();
    await clock.advance(60_000);
    expect([starts.length, stops, dropped]).toEqual([1, [], []]);
  });

  it('past that leaves the stream, and the app is started anew [38]', async () => {
    const { apps, session, socket, clock, starts, stops, dropped, admit } = await started();
    apps.lost(session, socket, 1006);
    await clock.advance(5_000);
    expect([stops[0]?.reason, dropped, starts.length]).toEqual(['system_stop', [`${USER} ${APP}`], 2]);
    await admit();
    expect(apps.running(USER)).toEqual([{ packageName: APP, connected: true }]);
  });

  it.each([1000, 1001])('by code %i is a farewell', async (code) => {
    const { apps, session, socket, clock, starts, dropped } = await started();
    apps.lost(session, socket, code);
    await clock.advance(60_000);
    expect([starts.length, dropped.length, apps.running(USER)]).toEqual([1, 1, []]);
  });

  it('after ownership_release is one too', async () => {
    const { apps, session, socket, clock, starts } = await started();
    session.receive({ type: 'ownership_release', reason: 'switching_clouds' });
    apps.lost(session, socket, 1005);
    await clock.advance(60_000);
    expect([starts.length, apps.running(USER)]).toEqual([1, []]);
  });

  it('again and again ends the restarts', async () => {
    const { apps, clock, starts, admit, session, socket } = await started();
    let last = { session, socket };
    for (let round = 0; round < 10; round += 1) {
      apps.lost(last.session, last.socket, 1006);
      await clock.advance(5_000);
      if (apps.running(USER).length === 0) break;
      last = await admit();
    }
    expect([starts.length, apps.running(USER)]).toEqual([6, []]);
  });

  it('stop says goodbye in the words that keep the SDK away', async () => {
    const { apps, socket, stops, dropped, clock } = await started();
    apps.stop(USER, APP);
    expect(socket.types().at(-1)).toBe('app_stopped');
    expect([socket.closed, stops[0]?.reason, dropped.length]).toEqual([[1000, 'App stopped'], 'user_disabled', 1]);
    apps.stop(USER, APP);
    expect([stops.length, clock.pending()]).toEqual([1, []]);
  });

  it('the end of the user, and of the relay, have their own', async () => {
    const user = await started();
    user.apps.endUser(USER);
    expect([user.socket.closed, user.stops]).toEqual([[1000, 'User session ended'], []]);
    const relay = await started();
    await relay.apps.close();
    expect([relay.socket.closed, relay.clock.pending()]).toEqual([[1012, 'Relay restarting'], []]);
  });
});
