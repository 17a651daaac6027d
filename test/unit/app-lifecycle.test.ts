import { describe, expect, it } from 'vitest';
import type { WebhookOutcome } from '../../cloud/apps/app-webhook.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { APP, SESSION, USER, lifecycleWorld as world } from '../support/lifecycle-world.ts';
import { settle } from '../support/test-clock.ts';

describe('start', () => {
  it('is done when the socket is in, whatever the webhook says later (defects 36, 37, 64)', async () => {
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
    expect(result()).toBe('done');
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

  it('is not asked of the app by a node that has lost the user meanwhile: the other one asks', async () => {
    const { apps, starts, outcome, state, store } = await world();
    const { put } = store.appSessions;
    store.appSessions.put = async () => {
      state.isHere = false;
      throw new GlasscastError('SESSION_MOVED');
    };
    const result = await outcome(apps.start(USER, APP));
    await settle();
    expect([starts, result()]).toEqual([[], 'SESSION_MOVED']);
    store.appSessions.put = put;
  });

  it('is repeated only while nobody listens there', async () => {
    const { apps, starts, outcome, clock, recorded } = await world();
    const result = await outcome(apps.start(USER, APP));
    const nobody: WebhookOutcome = { kind: 'refused', reason: 'ECONNREFUSED' };
    for (const [waitMs, answer] of [
      [1_000, nobody],
      // A gateway before an app that is not up.
      [2_000, { kind: 'rejected', status: 502 }],
      [4_000, { kind: 'rejected', status: 503 }],
    ] as const) {
      starts.at(-1)?.answer(answer);
      await clock.advance(waitMs);
    }
    expect(starts.length).toBe(4);
    starts.at(-1)?.answer(nobody);
    await settle();
    expect([result(), apps.running(USER), await recorded()]).toEqual(['APP_UNREACHABLE', [], []]);
  });

  it.each<WebhookOutcome>([
    { kind: 'rejected', status: 500 },
    { kind: 'unclear', reason: 'no answer' },
  ])('fails at once after %o (defect 44)', async (answer) => {
    const { apps, starts, outcome } = await world();
    const result = await outcome(apps.start(USER, APP));
    starts[0]?.answer(answer);
    await settle();
    expect([result(), starts.length]).toEqual(['APP_UNREACHABLE', 1]);
  });

  it('says that the key was wrong, when one came with a wrong key', async () => {
    const { apps, starts, admit } = await world();
    const started = apps.start(USER, APP);
    await settle();
    await expect(admit({ apiKey: 'wrong' })).rejects.toMatchObject({ code: 'INVALID_API_KEY' });
    starts[0]?.answer({ kind: 'rejected', status: 500 });
    await expect(started).rejects.toMatchObject({
      code: 'APP_UNREACHABLE',
      message: expect.stringContaining('API key'),
    });
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

  it('is refused when the glasses are known to lack what is required', async () => {
    const { apps, register, state, starts, outcome } = await world();
    await register('com.example.glass', {
      hardwareRequirements: [
        { type: 'DISPLAY', level: 'REQUIRED' },
        { type: 'CAMERA', level: 'REQUIRED' },
        { type: 'IMU', level: 'OPTIONAL' },
      ],
    });
    state.capabilities = { hasCamera: true, hasDisplay: false };
    await expect(apps.start(USER, 'com.example.glass')).rejects.toMatchObject({
      code: 'HARDWARE_MISSING',
      message: expect.stringContaining(': DISPLAY'),
    });
    expect(starts).toEqual([]);
    state.capabilities = null;
    expect((await outcome(apps.start(USER, 'com.example.glass')))()).toBe('pending');
  });

  it('of a standard app stops the other one; background apps stay', async () => {
    const { apps, register, started, stops, dropped, names } = await world();
    for (const name of ['com.first', 'com.second']) await register(name, { appType: 'standard' });
    await started();
    const first = await started('com.first');
    const others = await started('com.first', 'bob@example.com');
    await started('com.second');
    expect(names()).toEqual([APP, 'com.second']);
    expect(first.socket.closed).toEqual([1000, 'App stopped']);
    expect([stops, dropped]).toMatchObject([
      [{ sessionId: `${USER}-com.first`, reason: 'user_disabled' }],
      [`${USER} com.first`],
    ]);
    expect(others.socket.isOpen).toBe(true);
    // Of two in one instant the later one stays.
    const both = ['com.first', 'com.second'].map((name) => apps.start('eve@example.com', name));
    await expect(both[0]).rejects.toMatchObject({ code: 'APP_NOT_STARTED' });
    expect(apps.running('eve@example.com')).toEqual([{ packageName: 'com.second', connected: false }]);
    apps.stop('eve@example.com', 'com.second');
    await expect(both[1]).rejects.toMatchObject({ code: 'APP_NOT_STARTED' });
  });
});

describe('admission', () => {
  it('looks the session up and checks the key (defects 39, 40)', async () => {
    const { apps, admit } = await world();
    apps.start(USER, APP).catch(() => {});
    await settle();
    await expect(admit({ apiKey: 'wrong' })).rejects.toMatchObject({ code: 'INVALID_API_KEY' });
    await expect(admit({ sessionId: 'ada-com.example.cam' })).rejects.toMatchObject({ code: 'SESSION_NOT_FOUND' });
    await expect(admit({ userId: 'eve@example.com' })).rejects.toMatchObject({ code: 'SESSION_NOT_FOUND' });
    const { session, socket } = await admit({ userId: USER });
    expect([session.userId, socket.types().slice(0, 2)]).toEqual([USER, ['tpa_connection_ack', 'device_state_update']]);
  });

  it('keeps apart what hyphens make look alike (defect 39)', async () => {
    const { apps, register, starts } = await world();
    await register('x-com.cam');
    await register('com.cam');
    for (const [userId, name] of [
      ['ada@b', 'x-com.cam'],
      ['ada@b-x', 'com.cam'],
    ] as const) {
      apps.start(userId, name).catch(() => {});
    }
    await settle();
    expect(new Set(starts.map(({ body }) => body.sessionId)).size).toBe(2);
  });

  it('replaces an older socket of the same session, whose end then means nothing', async () => {
    const { apps, admit, started, clock, starts } = await world();
    const older = await started();
    const newer = await admit();
    expect(older.socket.closed).toEqual([1000, expect.stringContaining('App stopped')]);
    apps.lost(older.session, older.socket, 1006);
    await clock.advance(60_000);
    expect([newer.socket.isOpen, starts.length]).toEqual([true, 1]);
  });

  it('takes a 3.x return with its own word, and tells who does not run', async () => {
    const { apps, admit, started, register } = await world();
    await register('com.other');
    const { session, socket } = await started();
    apps.lost(session, socket, 1006);
    const back = await admit({ isReturn: true });
    expect([back.session, back.socket.types()[0]]).toEqual([session, 'reconnect_ack']);
    await expect(admit({ isReturn: true, packageName: 'com.other' })).rejects.toMatchObject({
      code: 'SESSION_NOT_FOUND',
    });
    apps.stop(USER, APP);
    await expect(admit({ isReturn: true })).rejects.toMatchObject({ code: 'APP_NOT_STARTED' });
  });
});

describe('loss', () => {
  async function started() {
    const all = await world();
    return { ...all, ...(await all.started()) };
  }

  it('is forgiven within 5 s', async () => {
    const { apps, session, socket, admit, clock, starts, stops, dropped } = await started();
    apps.lost(session, socket, 1006);
    await clock.advance(4_900);
    await admit();
    await clock.advance(60_000);
    expect([starts.length, stops, dropped]).toEqual([1, [], []]);
  });

  it('past that leaves the stream, and the app is started anew (defect 38)', async () => {
    const { apps, session, socket, clock, starts, stops, dropped, admit, recorded } = await started();
    apps.lost(session, socket, 1006);
    await clock.advance(5_000);
    expect([stops[0]?.reason, dropped, starts.length]).toEqual(['system_stop', [`${USER} ${APP}`], 2]);
    await admit();
    expect([apps.running(USER), await recorded()]).toEqual([[{ packageName: APP, connected: true }], [APP]]);
  });

  it('past that an SDK that comes back all the same learns that its stream is over (defect 63)', async () => {
    const { apps, session, socket, clock, admit } = await started();
    apps.lost(session, socket, 1006);
    await clock.advance(7_000);
    const { socket: back } = await admit();
    for (const type of ['managed_stream_status', 'stream_status']) {
      expect(back.sent).toContainEqual(expect.objectContaining({ type, status: 'stopped' }));
    }
  });

  it('and one that our webhook then makes release its socket stays', async () => {
    const { apps, session, socket, clock, admit, names, starts } = await started();
    apps.lost(session, socket, 1006);
    await clock.advance(5_000);
    // It heard nothing of its end: its third attempt and our webhook cross.
    const old = await admit();
    old.session.receive({ type: 'ownership_release', reason: 'switching_clouds' });
    apps.lost(old.session, old.socket, 1005);
    const fresh = await admit();
    starts.at(-1)?.answer({ kind: 'accepted' });
    await clock.advance(60_000);
    expect([names(), fresh.socket.isOpen, starts.length]).toEqual([[APP], true, 2]);
  });

  it('to a new version of the app that takes two minutes to come up is waited out', async () => {
    const { apps, session, socket, clock, starts, admit, names } = await started();
    apps.lost(session, socket, 1005);
    await clock.advance(5_000);
    for (let waitedMs = 0; waitedMs < 110_000; waitedMs += 1_000) {
      starts.at(-1)?.answer({ kind: 'refused', reason: 'ECONNREFUSED' });
      await clock.advance(1_000);
    }
    expect(names()).toEqual([APP]);
    await clock.advance(30_000);
    expect(starts.length).toBeLessThan(15);
    await admit();
    expect(apps.running(USER)).toEqual([{ packageName: APP, connected: true }]);
  });

  it('may be stopped while the app is being told of the end of its former self', async () => {
    const { apps, session, socket, clock, starts, state, recorded } = await started();
    let answer = () => {};
    state.stopAnswer = new Promise((resolve) => {
      answer = resolve;
    });
    apps.lost(session, socket, 1006);
    await clock.advance(5_000);
    apps.stop(USER, APP);
    answer();
    await clock.advance(60_000);
    expect([starts.at(-1)?.body.sessionId, apps.running(USER), await recorded()]).toEqual([SESSION, [], []]);
  });

  it.each([1000, 1001])('by code %i is a farewell', async (code) => {
    const { apps, session, socket, clock, starts, dropped, recorded } = await started();
    apps.lost(session, socket, code);
    await clock.advance(60_000);
    expect([starts.length, dropped.length, apps.running(USER), await recorded()]).toEqual([1, 1, [], []]);
  });

  it.each(
    ['switching_clouds', 'clean_shutdown', 'user_logout'].flatMap((reason) =>
      [1005, 1000, 1006].map((code) => [reason, code] as const),
    ),
  )('after ownership_release %s by code %i is one too', async (reason, code) => {
    const { apps, session, socket, clock, starts, stops, recorded } = await started();
    session.receive({ type: 'ownership_release', reason });
    await clock.advance(100);
    apps.lost(session, socket, code);
    await clock.advance(60_000);
    expect([starts.length, stops, apps.running(USER), await recorded()]).toEqual([1, [], [], []]);
  });

  it('again and again ends the restarts', async () => {
    const { apps, clock, starts, admit, session, socket, recorded } = await started();
    let last = { session, socket };
    for (let round = 0; round < 10; round += 1) {
      apps.lost(last.session, last.socket, 1006);
      await clock.advance(5_000);
      if (apps.running(USER).length === 0) break;
      last = await admit();
    }
    expect([starts.length, apps.running(USER), await recorded()]).toEqual([6, [], []]);
  });
});

describe('the end', () => {
  it('says goodbye in the words that keep the SDK away', async () => {
    const { apps, started, stops, dropped, clock } = await world();
    const { socket } = await started();
    apps.stop(USER, APP);
    expect(socket.types().at(-1)).toBe('app_stopped');
    expect([socket.closed, stops[0]?.reason, dropped.length]).toEqual([[1000, 'App stopped'], 'user_disabled', 1]);
    apps.stop(USER, APP);
    expect([stops.length, clock.pending()]).toEqual([1, []]);
  });

  it('of the user, and of the relay, have their own', async () => {
    const user = await world();
    const of = await user.started();
    user.apps.endUser(USER);
    expect([of.socket.closed, user.stops]).toEqual([[1000, 'User session ended'], []]);
    const relay = await world();
    const { socket } = await relay.started();
    await relay.apps.close();
    expect([socket.closed, relay.clock.pending()]).toEqual([[1012, 'Relay restarting'], []]);
  });

  it.each(['deleted', 'rekeyed'])('comes when the app is %s', async (what) => {
    const { started, catalog, register, stops, names, admit, recorded, dropped } = await world();
    const { socket } = await started();
    if (what === 'deleted') await catalog.delete(APP);
    else await register(APP, { apiKey: 'another' });
    expect([socket.closed, names(), dropped.length]).toEqual([[1000, 'App stopped'], [], 1]);
    expect([stops[0]?.reason, await recorded()]).toEqual(['system_stop', []]);
    await expect(admit()).rejects.toMatchObject({ code: what === 'deleted' ? 'PACKAGE_NOT_FOUND' : 'INVALID_API_KEY' });
  });

  it('does not come when its permissions change, but the camera goes with CAMERA', async () => {
    const { started, register, names, left } = await world();
    const { session, socket } = await started();
    await register(APP, { permissions: [{ type: 'CAMERA' }, { type: 'LOCATION' }] });
    expect(left).toEqual([]);
    await register(APP, { permissions: [{ type: 'LOCATION' }] });
    expect([left, socket.isOpen, names()]).toEqual([[APP], true, [APP]]);
    session.receive({ type: 'managed_stream_request' });
    expect(socket.sent.at(-1)).toMatchObject({ status: 'error', errorCode: 'PERMISSION_DENIED' });
  });
});

describe('the phone', () => {
  it('hears of every app that comes and goes (defect 49)', async () => {
    const { apps, started, toGlasses, clock } = await world();
    const heard = () =>
      toGlasses
        .splice(0)
        .map((message) =>
          message.type === 'app_state_change'
            ? [message.userSession.loadingApps, message.userSession.activeAppSessions]
            : message,
        );
    apps.glassesBack(USER);
    expect(heard()).toEqual([[[], []]]);
    const { session, socket } = await started();
    expect(heard()).toEqual([[[APP], []], { type: 'app_started', packageName: APP }, [[], [APP]]]);
    apps.lost(session, socket, 1006);
    expect(heard()).toEqual([]);
    await clock.advance(5_000);
    expect(heard()).toEqual([{ type: 'app_stopped', packageName: APP }, [[], []], [[APP], []]]);
    apps.stop(USER, APP);
    // It had not come in again.
    expect(heard()).toEqual([[[], []]]);
  });
});
