/** Apps over a restart of the relay, and over an absence of the glasses. */
import { describe, expect, it } from 'vitest';
import { GlasscastError } from '../../shared/errors.ts';
import { APP, fakeAppSocket, SESSION, USER, lifecycleWorld as world } from '../support/lifecycle-world.ts';
import { settle } from '../support/test-clock.ts';

/** An app ran; the relay died without a word; the next one has resumed. */
async function restarted(between: (first: Awaited<ReturnType<typeof world>>) => Promise<void> = async () => {}) {
  const first = await world();
  await first.started();
  await between(first);
  await settle();
  const next = await world({ store: first.store });
  await next.apps.resume();
  return next;
}

describe('after a restart of the relay', () => {
  it('an app comes back to its session by itself, and learns that nothing runs', async () => {
    const { apps, admit, clock, starts, expected, recorded } = await restarted();
    expect([apps.running(USER), expected]).toEqual([[{ packageName: APP, connected: false }], [USER]]);
    expect(apps.session(USER, APP)?.sessionId).toBe(SESSION);
    await clock.advance(7_900);
    const { socket } = await admit();
    expect(socket.sent).toContainEqual(expect.objectContaining({ type: 'managed_stream_status', status: 'stopped' }));
    expect(socket.sent).toContainEqual(expect.objectContaining({ type: 'stream_status', status: 'stopped' }));
    await clock.advance(120_000);
    expect([starts, socket.isOpen, await recorded()]).toEqual([[], true, [APP]]);
  });

  it('an app that does not come back is asked again, and not told to stop', async () => {
    const { apps, started, clock, starts, stops, dropped, recorded } = await restarted();
    await clock.advance(8_000);
    expect([starts.map(({ body }) => body.sessionId), stops, dropped]).toEqual([[SESSION], [], [`${USER} ${APP}`]]);
    await started();
    expect([starts.length, apps.running(USER), await recorded()]).toEqual([
      1,
      [{ packageName: APP, connected: true }],
      [APP],
    ]);
  });

  it('an SDK that releases its old socket for our own second webhook stays', async () => {
    const { apps, admit, clock, starts } = await restarted();
    await clock.advance(8_000);
    // Its reconnect and our webhook cross.
    const old = await admit();
    old.session.receive({ type: 'ownership_release', reason: 'switching_clouds' });
    apps.lost(old.session, old.socket, 1005);
    const fresh = await admit();
    starts[0]?.answer({ kind: 'accepted' });
    await clock.advance(60_000);
    expect([fresh.socket.isOpen, starts.length]).toEqual([true, 1]);
    // Once: the next release is meant.
    fresh.session.receive({ type: 'ownership_release', reason: 'switching_clouds' });
    apps.lost(fresh.session, fresh.socket, 1005);
    expect(apps.running(USER)).toEqual([]);
  });

  it('an app that cannot be brought back is forgotten', async () => {
    const { clock, starts, apps, recorded } = await restarted();
    await clock.advance(8_000);
    starts[0]?.answer({ kind: 'rejected', status: 500 });
    expect([await recorded(), apps.running(USER)]).toEqual([[], []]);
  });

  it('one that was deleted or stopped meanwhile does not run', async () => {
    const stopped = await restarted(async ({ apps }) => apps.stop(USER, APP));
    expect([stopped.apps.running(USER), stopped.clock.pending()]).toEqual([[], []]);
    // By an apps file that no longer names it, before the relay listens.
    const first = await world();
    await first.started();
    const next = await world({ store: first.store });
    await next.catalog.delete(APP);
    await next.apps.resume();
    expect([next.apps.running(USER), next.stops, await next.recorded()]).toEqual([[], [], []]);
  });

  it('a planned one keeps the sessions as a crash does', async () => {
    const { apps, stops } = await restarted(({ apps: former }) => former.close());
    expect([apps.running(USER), stops]).toEqual([[{ packageName: APP, connected: false }], []]);
  });

  it('killed while the app was being asked, it lets the app in all the same', async () => {
    const first = await world();
    first.apps.start(USER, APP).catch(() => {});
    await settle();
    const next = await world({ store: first.store });
    await next.apps.resume();
    expect((await next.admit()).socket.types()[0]).toBe('tpa_connection_ack');
  });
});

describe('while the glasses are away', () => {
  async function dormant() {
    const all = await world();
    await all.started();
    all.apps.endUser(USER);
    return all;
  }

  it('nobody is asked; when they are back the app is, once', async () => {
    const { apps, starts, stops, clock, recorded, names, started } = await dormant();
    await clock.advance(600_000);
    expect([starts.length, stops, names(), await recorded()]).toEqual([1, [], [], [`${APP} dormant`]]);
    apps.glassesBack(USER);
    apps.glassesBack(USER);
    await settle();
    expect([starts.length, await recorded()]).toEqual([2, [APP]]);
    await started();
    expect(starts.length).toBe(2);
  });

  it('a restart of the relay changes nothing', async () => {
    const first = await dormant();
    await settle();
    const { apps, starts, clock } = await world({ store: first.store });
    await apps.resume();
    await clock.advance(600_000);
    expect(starts).toEqual([]);
    apps.glassesBack(USER);
    await settle();
    expect(starts.length).toBe(1);
  });

  it('a stop, another standard app, and a start by hand are remembered', async () => {
    const stopped = await dormant();
    stopped.apps.stop(USER, APP);
    expect(await stopped.recorded()).toEqual([]);

    const rivals = await world();
    for (const name of ['com.first', 'com.second']) await rivals.register(name, { appType: 'standard' });
    await rivals.started('com.first');
    rivals.apps.endUser(USER);
    await rivals.started('com.second');
    rivals.apps.glassesBack(USER);
    expect([rivals.names(), await rivals.recorded()]).toEqual([['com.second'], ['com.second']]);

    const byHand = await dormant();
    await byHand.started();
    byHand.apps.glassesBack(USER);
    expect([byHand.starts.length, byHand.names()]).toEqual([2, [APP]]);
  });

  it('a 3.x app may wait for them on its socket', async () => {
    const { apps, admit, starts, clock, recorded } = await dormant();
    const deferred = fakeAppSocket();
    const session = apps.admit({ sessionId: SESSION, packageName: APP, apiKey: 'right', isReturn: true }, deferred);
    await settle();
    expect(deferred.sent).toEqual([{ type: 'reconnect_deferred', timeoutMs: 30_000 }]);
    await clock.advance(29_000);
    apps.glassesBack(USER);
    expect((await session).userId).toBe(USER);
    expect([deferred.types()[1], starts.length, await recorded(), clock.pending()]).toEqual([
      'reconnect_ack',
      1,
      [APP],
      [],
    ]);
    // Its SDK has lived on, and its stream ended with the glasses' session.
    for (const type of ['managed_stream_status', 'stream_status']) {
      expect(deferred.sent).toContainEqual(expect.objectContaining({ type, status: 'stopped' }));
    }
    // An init in its place finds no session: the app is to be asked anew.
    apps.endUser(USER);
    await expect(admit()).rejects.toMatchObject({ code: 'SESSION_NOT_FOUND' });
  });

  it.each([
    ['APP_BOOT_TIMEOUT', ({ clock }: Awaited<ReturnType<typeof dormant>>) => clock.advance(30_000)],
    ['APP_NOT_STARTED', async ({ apps }: Awaited<ReturnType<typeof dormant>>) => apps.stop(USER, APP)],
    ['SHUTTING_DOWN', ({ apps }: Awaited<ReturnType<typeof dormant>>) => apps.close()],
  ])('and hears %s otherwise', async (code, act) => {
    const all = await dormant();
    const waiting = await all.outcome(all.admit({ isReturn: true }));
    await act(all);
    await settle();
    expect([waiting(), all.clock.pending()]).toEqual([code, []]);
  });

  it('the catalogue may change: who waits waits on, unless the app is gone', async () => {
    const { apps, admit, register, catalog, outcome, toGlasses } = await dormant();
    const waiting = await outcome(admit({ isReturn: true }));
    await register(APP, { permissions: [] });
    apps.glassesBack(USER);
    await settle();
    expect([waiting(), toGlasses.at(-1)]).toMatchObject(['done', { userSession: { activeAppSessions: [APP] } }]);
    apps.endUser(USER);
    const again = await outcome(admit({ isReturn: true }));
    await catalog.delete(APP);
    apps.glassesBack(USER);
    await settle();
    expect([again(), apps.running(USER)]).toEqual(['APP_NOT_STARTED', []]);
  });

  it('or the webhook is sent when its socket is gone by then', async () => {
    const { apps, starts, outcome } = await dormant();
    const socket = fakeAppSocket();
    const claim = { sessionId: SESSION, packageName: APP, apiKey: 'right', isReturn: true };
    const waiting = await outcome(apps.admit(claim, socket));
    socket.isOpen = false;
    apps.glassesBack(USER);
    await settle();
    expect([waiting(), starts.length]).toEqual(['APP_NOT_STARTED', 2]);
  });
});

describe('one user’s apps that another process goes on with', () => {
  it('are told to come back, keep their records, and come back there as after a restart', async () => {
    const first = await world();
    const { socket } = await first.started();
    const other = await first.started(APP, 'bob@example.com');
    await first.apps.handOver(USER, { isLost: false });
    expect([socket.closed?.[0], other.socket.isOpen, first.apps.has(USER)]).toEqual([1012, true, false]);
    expect([first.stops, first.dropped]).toEqual([[], []]);
    await first.clock.advance(60_000);
    const next = await world({ store: first.store });
    await next.apps.resume(USER);
    expect([next.apps.has(USER), next.apps.has('bob@example.com')]).toEqual([true, false]);
    await next.admit();
    expect(next.apps.running(USER)).toEqual([{ packageName: APP, connected: true }]);
  });
});

it('an end that could not be written is written in a while, and until then the user is not done with', async () => {
  const { apps, store, clock, started } = await world();
  await started();
  const erase = store.appSessions.delete;
  store.appSessions.delete = () => Promise.reject(new GlasscastError('STORE_UNAVAILABLE'));
  apps.stop(USER, APP);
  await settle();
  expect([apps.running(USER), apps.has(USER), (await store.appSessions.all()).length]).toEqual([[], true, 1]);
  store.appSessions.delete = erase;
  await clock.advance(10_000);
  expect([apps.has(USER), await store.appSessions.all()]).toEqual([false, []]);
});

it('what could not be written before another node had the user is not written when the user is back', async () => {
  const { apps, store } = await world();
  const { put } = store.appSessions;
  const refusals = ['STORE_UNAVAILABLE', 'SESSION_MOVED'] as const;
  let tries = 0;
  store.appSessions.put = async () => {
    const code = refusals[tries];
    tries += 1;
    throw new GlasscastError(code ?? 'INTERNAL');
  };
  apps.start(USER, APP).catch(() => {});
  await settle();
  apps.saveAgain();
  await settle();
  await apps.handOver(USER, { isLost: true });
  apps.saveAgain();
  await settle();
  expect([tries, apps.has(USER)]).toEqual([2, false]);
  store.appSessions.put = put;
});
