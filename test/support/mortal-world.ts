/**
 * The relay's inside on a test clock, mortal: two apps that behave like the SDK, one pair of glasses, a provider that
 * answers when told. Each life of the relay has the disk and the provider that the one before left.
 */
import { createAppCatalog } from '../../cloud/apps/app-catalog.ts';
import { createAppLifecycle } from '../../cloud/apps/app-lifecycle.ts';
import type { AppSession } from '../../cloud/apps/app-session.ts';
import { createCarrier } from '../../cloud/cluster/carrier.ts';
import { createSessionRegistry, type SessionRegistry } from '../../cloud/glasses/session-registry.ts';
import { createCleanup } from '../../cloud/provider/cleanup.ts';
import { createIngestSource } from '../../cloud/provider/ingest-source.ts';
import { providerProfiles } from '../../cloud/provider/live-inputs.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { createStreamRegistry } from '../../cloud/streams/stream-registry.ts';
import { usersToTakeOver } from '../../cloud/streams/take-over.ts';
import type { Timer } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { FromApp, ToApp } from '../../shared/protocol/app-messages.ts';
import type { FromGlasses, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createMortal } from './mortal.ts';
import { fakePlayback, fakeRestreaming } from './stream-fakes.ts';
import { createTestClock, settle, type TestClock } from './test-clock.ts';

export const USER = 'ada-marie@example.com';
export const APPS = ['com.a', 'com.b'] as const;
export type AppName = (typeof APPS)[number];
export const KEY = 'the-key';

function fakeSocket<Message>(take: (message: Message) => void, onClosed: (code: number) => void) {
  const socket = {
    isOpen: true,
    dialect: undefined,
    send(message: Message) {
      if (socket.isOpen) take(message);
      return socket.isOpen;
    },
    close(code: number) {
      if (!socket.isOpen) return;
      socket.isOpen = false;
      onClosed(code);
    },
  };
  return socket;
}
type FakeSocket<Message> = ReturnType<typeof fakeSocket<Message>>;

/** Creations come out when the test says so; the rest at once. */
function fakeProvider(nowMs: () => number) {
  const existing = new Map<string, { streamId: string; createdAtMs: number }>();
  const creating: { streamId: string; settle: (outcome: string) => void }[] = [];
  const create = ({ streamId }: { streamId: string }) =>
    new Promise<never>((resolve, reject) => {
      const settleIt = (outcome: string) => {
        if (outcome === 'refused') return reject(new GlasscastError('PROVIDER_REJECTED'));
        // The same stream once more is the same input: its key says so.
        existing.set(`uid-${streamId}`, { streamId, createdAtMs: nowMs() });
        if (outcome === 'lost') return reject(new GlasscastError('PROVIDER_UNREACHABLE'));
        const publishUrl = new Secret(`rtmp://127.0.0.1/live/key-${streamId}`);
        const urls = { hlsUrl: `http://x/${streamId}.m3u8`, dashUrl: `http://x/${streamId}.mpd` };
        resolve({ uid: `uid-${streamId}`, publishUrl, urls, ingestState: 'never-connected' } as never);
      };
      creating.push({ streamId, settle: settleIt });
    });
  const inputs = {
    create,
    setEnabled: async () => {},
    delete: async (uid: string) => void existing.delete(uid),
    list: async () => [...existing].map(([uid, made]) => ({ uid, ...made, isOurs: true })),
    outputs: async () => [],
    deleteOutput: async () => {},
    videos: async () => [],
    deleteVideo: async () => {},
  };
  return { existing, creating, inputs };
}

/** One life of the relay. */
function createLife(
  root: TestClock,
  disk: Store,
  provider: ReturnType<typeof fakeProvider>,
  webhook: (name: AppName) => void,
  onDeath: () => void,
) {
  const mortal = createMortal(root, disk, onDeath);
  const { clock, store, through } = mortal;
  const log = silentLog();
  const defects: GlasscastError[] = [];
  const { inputs: far } = provider;
  const inputs = Object.fromEntries(
    Object.entries(far).map(([name, call]) => [
      name,
      (asked: never) => through<unknown>(() => (call as (asked: never) => Promise<unknown>)(asked)),
    ]),
  ) as unknown as typeof far;
  const cleanup = createCleanup({
    ...{ inputs: inputs as never, store, clock, log, keepRecordings: false, random: () => 0 },
    lateRecordingLooksMs: [],
  });
  const source = createIngestSource({
    ...{ inputs, cleanup, redactor: createRedactor(), admit() {} },
    ...{ profile: providerProfiles.local, keepsRecordings: false, holdSeconds: 120, deleteRecordingAfterDays: 30 },
  });
  const playback = fakePlayback();
  const streams = createStreamRegistry({
    ...{ source, playback, clock, log, store, restreaming: fakeRestreaming(), onChange() {} },
    onDefect: (error) => void defects.push(error),
  });
  const sessions: SessionRegistry = createSessionRegistry({
    ...{ clock, log, streams, onDeviceState() {}, onNews() {}, onApp() {} },
    onEnded: (userId) => apps.endUser(userId),
  });
  const catalog = createAppCatalog({ store, onChange() {} });
  const apps = createAppLifecycle({
    ...{ catalog, records: store.appSessions, streams, clock, log, onChange() {}, capabilities: () => null },
    webhook: {
      async start(_url, { sessionId }) {
        webhook(sessionId.slice(USER.length + 1) as AppName);
        return { kind: 'accepted' };
      },
      stop: async () => ({ kind: 'accepted' }),
      photoFailed: async () => ({ kind: 'accepted' }),
    },
    glasses: (userId, areExpected) => sessions.open(userId, areExpected),
    toGlasses: (userId, message) => void sessions.get(userId)?.send(message),
    appSocketUrl: () => 'ws://relay/app-ws',
  });
  async function start() {
    const carrier = createCarrier({
      store,
      cleanup,
      streams,
      apps,
      sessions,
      log,
      rollouts: { agentGone() {} },
      history: { release: async () => {} },
      isEnding: () => true,
    });
    for (const userId of await usersToTakeOver(store)) await carrier.adopt(userId);
    await cleanup.lead();
  }
  return { mortal, cleanup, playback, streams, sessions, apps, defects, start, isUp: false };
}
type Life = ReturnType<typeof createLife>;

/** An app as the SDK makes it: one pending start, reconnects at 1 s and 3 s, gives up after that. */
function sdkApp(name: AppName, clock: TestClock, life: () => Life | undefined) {
  const app = {
    socket: undefined as FakeSocket<ToApp> | undefined,
    session: undefined as AppSession | undefined,
    /** When its start was asked for, while it is unanswered. */
    pendingSinceMs: undefined as number | undefined,
    /** The SDK's timers of starts that were asked for on this socket and settled nothing. */
    timeout: undefined as Timer | undefined,
    /** Per socket: streams whose end it has heard on it. */
    over: new Set<string>(),
    isStopAnswered: true,
    faults: [] as string[],
    isWanted: true,
    connect(triesLeft: number) {
      const at = life();
      if (!app.isWanted || app.socket) return;
      if (!at?.isUp) return void app.retry(triesLeft);
      const socket = fakeSocket<ToApp>(hear, (code) => {
        if (app.socket !== socket) return;
        app.socket = undefined;
        app.session = undefined;
        app.timeout?.cancel();
        // As the SDK does: 1000 and 1001 are the end, 1008 too.
        if (code === 1012 || code === 1006) app.retry(2);
        else app.pendingSinceMs = undefined;
      });
      app.socket = socket;
      app.over.clear();
      at.apps.admit({ sessionId: `${USER}-${name}`, packageName: name, apiKey: KEY }, socket as never).then(
        (session) => {
          if (!socket.isOpen) at.apps.lost(session, socket as never, 1006);
          else app.session = session;
        },
        () => socket.close(1008),
      );
    },
    /** A webhook makes a new session, which knows of no start. */
    begin() {
      if (app.socket) return;
      app.pendingSinceMs = undefined;
      app.connect(1);
    },
    retry(triesLeft: number) {
      if (triesLeft === 0) app.pendingSinceMs = undefined;
      else clock.after('sdk-reconnect', triesLeft === 2 ? 1_000 : 2_000, () => app.connect(triesLeft - 1));
    },
    say(message: FromApp) {
      if (app.socket?.isOpen) app.session?.receive(message);
    },
    startManaged() {
      if (!app.session || app.pendingSinceMs !== undefined) return;
      app.pendingSinceMs = clock.monotonicMs();
      app.timeout?.cancel();
      app.timeout = clock.after('sdk-start', 30_000, () => {
        if (app.pendingSinceMs !== undefined) app.faults.push('a start was not answered within 30 s');
      });
      app.say({ type: 'managed_stream_request' });
    },
    stop(type: 'managed_stream_stop' | 'stream_stop') {
      const { socket } = app;
      if (!socket?.isOpen || !app.session) return;
      app.isStopAnswered = false;
      app.say({ type });
      if (socket.isOpen && !app.isStopAnswered) app.faults.push(`${type} was not answered`);
    },
    lose(code = 1006) {
      const { socket, session } = app;
      socket?.close(code);
      if (socket && session) life()?.apps.lost(session, socket as never, code);
    },
  };
  function hear(message: ToApp): void {
    if (message.type === 'stream_status' && message.status === 'stopped') app.isStopAnswered = true;
    if (message.type !== 'managed_stream_status') return;
    const { status, streamId } = message;
    const isLast = status === 'stopped' || status === 'error';
    if (streamId && isLast && app.over.has(streamId)) app.faults.push(`${status} twice for ${streamId}`);
    if (streamId && isLast) app.over.add(streamId);
    else if (streamId) app.over.delete(streamId);
    if (isLast) app.isStopAnswered = true;
    if (isLast || status === 'active') app.pendingSinceMs = undefined;
  }
  return app;
}

export function createMortalWorld() {
  const clock = createTestClock();
  const disk = createSqliteStore({ file: ':memory:' });
  const provider = fakeProvider(clock.now);
  /** Everything the glasses were ever sent, by every relay. */
  const orders: ToGlasses[] = [];
  const defects: GlasscastError[] = [];
  const faults: string[] = [];
  const state = {
    life: undefined as Life | undefined,
    areGlassesOn: true,
    isDoomed: false,
    next: { downMs: 0, afterCalls: undefined as number | undefined },
  };
  const apps = new Map(APPS.map((name) => [name, sdkApp(name, clock, () => state.life)] as const));
  let glasses: FakeSocket<ToGlasses> | undefined;

  function ordered(message: ToGlasses, { streams }: Life): void {
    orders.push(message);
    if (message.type !== 'stop_stream') return;
    // Old firmware stops whatever runs. While the input is made, START is still to come, or to come again.
    for (const { streamId, state: now } of streams.snapshots()) {
      const isOpen = ['starting', 'active', 'interrupted'].includes(now);
      const isStarted = orders.some((order) => order.type === 'start_stream' && order.streamId === streamId);
      if (isOpen && isStarted) faults.push(`${streamId} is stopped by the stop of ${message.streamId}`);
    }
  }

  const world = {
    ...{ clock, disk, provider, orders, defects, faults, apps, state },
    /** @param dieAfterCalls the new life ends with that call; undefined: it lives until it is killed. */
    async born(dieAfterCalls?: number) {
      const life = createLife(
        clock,
        disk,
        provider,
        (name) => {
          const app = apps.get(name);
          clock.after('webhook', 10, () => app?.begin());
        },
        () => world.bury(life),
      );
      state.life = life;
      state.isDoomed = false;
      if (dieAfterCalls !== undefined) world.kill(dieAfterCalls);
      const started = life.start().then(() => {
        life.isUp = !life.mortal.isDead;
        const isOn = () => state.life === life && state.areGlassesOn;
        // Glasses that are on come back by themselves.
        clock.after('glasses-reconnect', 500, () => isOn() && world.connectGlasses());
      });
      await settle();
      void started;
    },
    isUp: () => state.life?.isUp ?? false,
    snapshots: () => state.life?.streams.snapshots() ?? [],
    /** When the relay is dead, it is started again, as often as it takes. */
    async reborn() {
      while (!state.life) {
        const { downMs, afterCalls } = state.next;
        state.next = { downMs: 0, afterCalls: undefined };
        await clock.advance(downMs);
        const running = new Set((await disk.appSessions.all()).map(({ packageName }) => packageName));
        const doomed = new Set((await disk.ledger.all()).flatMap((entry) => (entry.doomed ? [entry.streamId] : [])));
        const left = (await disk.streams.all()).filter(
          ({ streamId, viewers }) => !doomed.has(streamId) && viewers.some(({ id }) => running.has(id)),
        );
        await world.born(afterCalls);
        if (!world.isUp()) continue;
        // Of two, the end of the older one was not written.
        const isKept =
          left.length === 0 || world.snapshots().some((now) => left.some((was) => was.streamId === now.streamId));
        if (!isKept) faults.push('a stream was not taken up');
      }
    },
    /** The present life ends with that further call to the store or the provider; 0: now. */
    kill(afterCalls: number) {
      state.isDoomed = true;
      state.life?.mortal.kill(afterCalls);
    },
    /** The process is gone: so are its sockets. */
    bury(life: Life) {
      if (state.life !== life) return;
      defects.push(...life.defects);
      state.life = undefined;
      glasses = undefined;
      for (const app of apps.values()) app.socket?.close(1006);
      // What was asked of the provider comes to pass, or does not; nobody hears of it.
      for (const [index, { settle: settleIt }] of provider.creating.splice(0).entries()) {
        settleIt(index % 2 === 0 ? 'lost' : 'refused');
      }
    },
    connectGlasses() {
      const { life } = state;
      if (!life?.isUp) return;
      const socket: FakeSocket<ToGlasses> = fakeSocket<ToGlasses>(
        (message) => ordered(message, life),
        () => {
          if (glasses === socket) glasses = undefined;
        },
      );
      glasses = socket;
      life.sessions.open(USER).attach(socket as never);
    },
    dropGlasses() {
      const lost = glasses;
      glasses = undefined;
      if (lost) state.life?.sessions.get(USER)?.detach(lost as never);
    },
    glassesSay(message: FromGlasses) {
      if (glasses?.isOpen) state.life?.sessions.get(USER)?.receive(message);
    },
    /** @param age 0: the newest. */
    startedId(age = 0) {
      const ids = orders.flatMap((order) => (order.type === 'start_stream' ? [order.streamId] : []));
      return [...new Set(ids)].at(-1 - age) ?? 'mnone';
    },
    async close() {
      world.kill(0);
      await disk.close();
    },
  };
  return world;
}
export type MortalWorld = ReturnType<typeof createMortalWorld>;
