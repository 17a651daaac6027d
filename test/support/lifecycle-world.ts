/** The lifecycle of apps on a test clock, between a scripted webhook, fake sockets and a real store in memory. */
import { type AppRegistration, createAppCatalog } from '../../cloud/apps/app-catalog.ts';
import { type AppClaim, createAppLifecycle } from '../../cloud/apps/app-lifecycle.ts';
import type { WebhookOutcome } from '../../cloud/apps/app-webhook.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { silentLog } from '../../shared/log.ts';
import type { ToApp } from '../../shared/protocol/app-messages.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { createTestClock, settle } from './test-clock.ts';

export const USER = 'ada-marie@example.com';
export const APP = 'com.example.cam';
export const SESSION = `${USER}-${APP}`;

export function fakeAppSocket() {
  const sent: ToApp[] = [];
  const socket = {
    sent,
    isOpen: true,
    dialect: undefined,
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

/** @param store of an earlier world: a restart of the relay. */
export async function lifecycleWorld({ store = createSqliteStore({ file: ':memory:' }) }: { store?: Store } = {}) {
  const clock = createTestClock();
  const catalog = createAppCatalog({ store, onChange: (name, app) => apps.changed(name, app) });
  const starts: { body: { sessionId: string; appSocketUrl: string }; answer: (outcome: WebhookOutcome) => void }[] = [];
  const stops: { sessionId: string; reason: string }[] = [];
  const dropped: string[] = [];
  const left: string[] = [];
  const expected: string[] = [];
  const toGlasses: ToGlasses[] = [];
  const state = {
    capabilities: null as Record<string, unknown> | null,
    isHere: true,
    stopAnswer: Promise.resolve(),
  };
  const streams = {
    request() {},
    requestUnmanaged() {},
    leave: (_userId: string, viewer: { id: string }) => void left.push(viewer.id),
    stopUnmanaged() {},
    repeat: () => false,
    check: () => ({ hasActiveStream: false }),
    drop: (userId: string, viewerId: string) => void dropped.push(`${userId} ${viewerId}`),
  };
  const apps = createAppLifecycle({
    catalog,
    records: store.appSessions,
    webhook: {
      start: (_url, body, signal) =>
        new Promise((answer) => {
          starts.push({ body, answer });
          signal.addEventListener('abort', () => answer({ kind: 'unclear', reason: 'aborted' }));
        }),
      async stop(_url, body) {
        stops.push(body);
        await state.stopAnswer;
        return { kind: 'accepted' };
      },
      photoFailed: async () => ({ kind: 'accepted' }),
    },
    streams,
    glasses(userId, areExpected) {
      if (areExpected) expected.push(userId);
      return {
        isConnected: () => true,
        isKnown: () => true,
        knowsDialect: () => true,
        send: () => true,
        deviceState: () => ({ connected: true }),
        followLocation() {},
      };
    },
    toGlasses: (_userId, message) => void toGlasses.push(message),
    capabilities: () => state.capabilities,
    isHere: () => state.isHere,
    appSocketUrl: () => 'ws://relay.example/app-ws',
    clock,
    log: silentLog(),
    onChange() {},
  });
  const register = (name: string, more: Partial<AppRegistration> = {}) =>
    catalog.put(name, { publicUrl: 'http://app.example/', apiKey: 'right', ...more });
  await register(APP);

  async function admit(claim: Partial<AppClaim> = {}) {
    const socket = fakeAppSocket();
    const session = await apps.admit({ sessionId: SESSION, packageName: APP, apiKey: 'right', ...claim }, socket);
    return { session, socket };
  }
  return {
    ...{ store, clock, catalog, apps, starts, stops, dropped, left, expected, toGlasses, state, register, admit },
    /** Asks for the app and lets its socket in. */
    async started(packageName = APP, userId = USER) {
      apps.start(userId, packageName).catch(() => {});
      await settle();
      return admit({ sessionId: `${userId}-${packageName}`, packageName });
    },
    async outcome(started: Promise<unknown>) {
      let result = 'pending';
      started.then(
        () => {
          result = 'done';
        },
        ({ code }) => {
          result = code;
        },
      );
      await settle();
      return () => result;
    },
    /** What the store would give the next process. */
    async recorded() {
      await settle();
      return (await store.appSessions.all()).map(({ packageName, isDormant }) =>
        isDormant ? `${packageName} dormant` : packageName,
      );
    },
    names: () => apps.running(USER).map(({ packageName }) => packageName),
  };
}
