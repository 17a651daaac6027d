/**
 * The relay's inside on a test clock, under random orders of everything that can happen to it, being killed at any
 * await among them: two apps that behave like the SDK, one pair of glasses, a provider that answers when told.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { hashSecret } from '../../cloud/access/credentials.ts';
import { createAppCatalog } from '../../cloud/apps/app-catalog.ts';
import { createAppLifecycle } from '../../cloud/apps/app-lifecycle.ts';
import type { AppSession } from '../../cloud/apps/app-session.ts';
import { createSessionRegistry, type SessionRegistry } from '../../cloud/glasses/session-registry.ts';
import { createCleanup } from '../../cloud/provider/cleanup.ts';
import { createIngestSource } from '../../cloud/provider/ingest-source.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { createStreamRegistry } from '../../cloud/streams/stream-registry.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { FromApp, ToApp } from '../../shared/protocol/app-messages.ts';
import type { DeviceStreamStatus, FromGlasses, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { deviceStatusWords } from '../../shared/stream.ts';
import { createMortal } from '../support/mortal.ts';
import { fakePlayback, fakeRestreaming } from '../support/stream-fakes.ts';
import { createTestClock, settle, type TestClock } from '../support/test-clock.ts';

const USER = 'ada-marie@example.com';
const APPS = ['com.a', 'com.b'] as const;
type AppName = (typeof APPS)[number];
const KEY = 'the-key';

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
) {
  const mortal = createMortal(root, disk);
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
    ...{ keyFrameIntervalMs: 1000, holdSeconds: 120, deleteRecordingAfterDays: 30 },
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
    await apps.resume();
    const records = await store.streams.all();
    await cleanup.start(new Set(records.map(({ streamId }) => streamId)));
    streams.resume(records, {
      viewer: (userId, appId) => apps.session(userId, appId),
      glasses: (userId) => sessions.open(userId),
    });
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
    /** Per socket: streams whose end it has heard on it. */
    over: new Set<string>(),
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
      app.say({ type: 'managed_stream_request' });
    },
    lose(code = 1006) {
      const { socket, session } = app;
      socket?.close(code);
      if (socket && session) life()?.apps.lost(session, socket as never, code);
    },
  };
  function hear(message: ToApp): void {
    if (message.type !== 'managed_stream_status') return;
    const { status, streamId } = message;
    const isLast = status === 'stopped' || status === 'error';
    if (streamId && isLast && app.over.has(streamId)) app.faults.push(`${status} twice for ${streamId}`);
    if (streamId && isLast) app.over.add(streamId);
    else if (streamId) app.over.delete(streamId);
    if (isLast || status === 'active') app.pendingSinceMs = undefined;
  }
  return app;
}

function createWorld() {
  const clock = createTestClock();
  const disk = createSqliteStore({ file: ':memory:' });
  const provider = fakeProvider(clock.now);
  /** Everything the glasses were ever sent, by every relay. */
  const orders: ToGlasses[] = [];
  const defects: GlasscastError[] = [];
  const state = { life: undefined as Life | undefined, areGlassesOn: true };
  const apps = new Map(APPS.map((name) => [name, sdkApp(name, clock, () => state.life)] as const));
  let glasses: FakeSocket<ToGlasses> | undefined;

  const world = {
    ...{ clock, disk, provider, orders, defects, apps, state },
    async born() {
      const life = createLife(clock, disk, provider, (name) => {
        const app = apps.get(name);
        clock.after('webhook', 10, () => app?.connect(1));
      });
      state.life = life;
      const started = life.start().then(() => {
        life.isUp = !life.mortal.isDead;
        // Glasses that are on come back by themselves.
        clock.after(
          'glasses-reconnect',
          500,
          () => state.life === life && state.areGlassesOn && world.connectGlasses(),
        );
      });
      await settle();
      void started;
    },
    kill(afterCalls: number) {
      const { life } = state;
      life?.mortal.kill(afterCalls);
      if (life?.mortal.isDead) world.bury();
    },
    /** The process is gone: so are its sockets. */
    bury() {
      const { life } = state;
      if (!life) return;
      life.mortal.kill();
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
        (message) => void orders.push(message),
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
    areGlassesUp: () => glasses !== undefined,
    newestStart: () => orders.filter(({ type }) => type === 'start_stream').at(-1) as { streamId: string } | undefined,
    async close() {
      world.bury();
      await disk.close();
    },
  };
  return world;
}
type World = ReturnType<typeof createWorld>;

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('start', 'start live', 'start live', 'stop', 'unmanaged', 'unmanaged stop'),
      app: fc.constantFrom(...APPS),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('app socket', 'app ends', 'app starts'),
      app: fc.constantFrom(...APPS),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('device'),
      word: fc.constantFrom(...deviceStatusWords),
      hasId: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('provider'),
      outcome: fc.constantFrom('good', 'good', 'good', 'refused', 'lost'),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('connect', 'drop', 'ack', 'prove', 'advance', 'go live', 'go live', 'glasses obey'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('kill'),
      afterCalls: fc.integer({ min: 0, max: 6 }),
      downMs: fc.constantFrom(0, 500, 2_500, 20_000, 100_000),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait'), ms: fc.integer({ min: 1, max: 30_000 }) }) },
);
type Step = {
  kind: string;
  app?: AppName;
  word?: string;
  hasId?: boolean;
  outcome?: string;
  afterCalls?: number;
  downMs?: number;
  ms?: number;
};

async function take(taken: Step, w: World): Promise<void> {
  const life = w.state.life;
  const app = taken.app && w.apps.get(taken.app);
  const streamId = w.newestStart()?.streamId ?? 'mnone';
  switch (taken.kind) {
    case 'start':
      return app?.startManaged();
    case 'stop':
      return app?.say({ type: 'managed_stream_stop' });
    case 'unmanaged':
      return app?.say({ type: 'stream_request', publishUrl: 'rtmp://a.example/live/k' });
    case 'unmanaged stop':
      return app?.say({ type: 'stream_stop' });
    case 'app socket':
      return app?.lose();
    case 'app ends':
      return taken.app && life?.isUp ? life.apps.stop(USER, taken.app) : undefined;
    case 'app starts':
      if (taken.app && life?.isUp) life.apps.start(USER, taken.app).catch(() => {});
      return;
    case 'device': {
      const status = taken.word as DeviceStreamStatus['status'];
      return w.glassesSay({ type: 'stream_status', status, ...(taken.hasId ? { streamId } : {}) });
    }
    case 'ack':
      return w.glassesSay({ type: 'keep_alive_ack', streamId, ackId: 'a' });
    case 'connect':
      w.state.areGlassesOn = true;
      return w.connectGlasses();
    case 'drop':
      w.state.areGlassesOn = false;
      return w.dropGlasses();
    case 'provider':
      return w.provider.creating.shift()?.settle(taken.outcome ?? 'good');
    case 'prove':
      return life?.playback.prove();
    case 'advance':
      return life?.playback.advance();
    case 'start live':
      app?.startManaged();
      return goLive(w);
    case 'go live':
      return goLive(w);
    case 'glasses obey':
      return w.glassesSay({ type: 'stream_status', status: 'stopped' });
    case 'kill':
      w.kill(taken.afterCalls ?? 0);
      // It may die by itself a little later.
      await w.clock.advance(200);
      w.bury();
      await w.clock.advance(taken.downMs ?? 0);
      return w.born();
    default:
      return w.clock.advance(taken.ms ?? 1);
  }
}

/** All that it takes for a picture, as far as somebody wants one. */
async function goLive(w: World): Promise<void> {
  await settle();
  for (const { settle: settleIt } of w.provider.creating.splice(0)) settleIt('good');
  await settle();
  w.glassesSay({ type: 'stream_status', status: 'streaming', streamId: w.newestStart()?.streamId ?? 'mnone' });
  w.state.life?.playback.prove();
}

/** What must be true at every moment. */
async function check(w: World): Promise<void> {
  const living = w.state.life?.streams.snapshots().filter(({ state }) => !['stopped', 'failed'].includes(state)) ?? [];
  expect(living.length).toBeLessThanOrEqual(1);
  const entries = await w.disk.ledger.all();
  for (const { streamId } of w.provider.existing.values()) {
    // Nothing exists that the next process would not find.
    expect(entries.map((entry) => entry.streamId)).toContain(streamId);
  }
  expect((await w.disk.streams.all()).length).toBeLessThanOrEqual(1);
}

it('1,000 random orders of starts, stops, losses and kills: one live input, one stop, every start answered, nothing orphaned', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30, size: 'max' }), async (steps) => {
      const w = createWorld();
      for (const name of APPS) {
        await w.disk.apps.put({
          ...{ packageName: name, publicUrl: 'http://app', hashedApiKey: hashSecret(KEY), settings: [] },
          ...{ permissions: [{ type: 'CAMERA' }], appType: 'background' as const, source: 'rest' as const },
        });
      }
      await w.born();
      w.connectGlasses();
      for (const name of APPS) w.state.life?.apps.start(USER, name).catch(() => {});
      await w.clock.advance(100);
      for (const taken of steps) {
        await take(taken as Step, w);
        await settle();
        await check(w);
      }
      // Whoever waits is answered, if only it stays.
      if (!w.state.life) await w.born();
      for (const { settle: settleIt } of w.provider.creating.splice(0)) settleIt('good');
      await w.clock.advance(40_000);
      for (const { settle: settleIt } of w.provider.creating.splice(0)) settleIt('good');
      await w.clock.advance(40_000);
      expect([...w.apps.values()].map(({ pendingSinceMs }) => pendingSinceMs)).toEqual([undefined, undefined]);
      // Everybody leaves; nothing stays.
      for (const name of APPS) w.state.life?.apps.stop(USER, name);
      w.dropGlasses();
      for (const app of w.apps.values()) app.isWanted = false;
      for (const { settle: settleIt } of w.provider.creating.splice(0)) settleIt('good');
      await w.clock.advance(2_400_000);
      let started: string | undefined;
      for (const message of w.orders) {
        if (message.type === 'start_stream') started = message.streamId;
        if (message.type === 'stop_stream') expect([undefined, started]).toContain(started && message.streamId);
      }
      expect([...w.apps.values()].flatMap(({ faults }) => faults)).toEqual([]);
      expect([...w.defects, ...(w.state.life?.defects ?? [])]).toEqual([]);
      expect(w.state.life?.streams.snapshots()).toEqual([]);
      expect([await w.disk.ledger.all(), await w.disk.streams.all(), [...w.provider.existing]]).toEqual([[], [], []]);
      await w.close();
    }),
    { numRuns: Number(process.env.MODEL_RUNS ?? 1_000) },
  );
}, 240_000);
