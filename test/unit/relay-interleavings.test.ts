/** The registry, the sessions, the apps, the ledger and its clean-up together, under whatever order of events. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createAppSession } from '../../cloud/apps/app-session.ts';
import { createSessionRegistry } from '../../cloud/glasses/session-registry.ts';
import { createCleanup } from '../../cloud/provider/cleanup.ts';
import { createIngestSource } from '../../cloud/provider/ingest-source.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { createStreamRegistry } from '../../cloud/streams/stream-registry.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { ManagedStreamStatus, ToApp } from '../../shared/protocol/app-messages.ts';
import type { StartStream, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { deviceStatusWords } from '../../shared/stream.ts';
import { fakePlayback } from '../support/stream-fakes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const USER = 'ada@example.com';
const APPS = ['com.a', 'com.b', 'com.c'] as const;

function fakeSocket<Message>() {
  const sent: Message[] = [];
  const socket = {
    sent,
    isOpen: true,
    send: (message: Message) => (socket.isOpen ? sent.push(message) > 0 : false),
    close: () => {
      socket.isOpen = false;
    },
  };
  return socket;
}

/** A provider whose creations come out when the test says so. */
function fakeProvider() {
  const existing = new Map<string, string>();
  const creating: { streamId: string; settle: (outcome: 'good' | 'refused' | 'lost') => void }[] = [];
  const inputs = {
    create: ({ streamId }: { streamId: string }) =>
      new Promise<never>((resolve, reject) => {
        const settleIt = (outcome: 'good' | 'refused' | 'lost') => {
          if (outcome === 'refused') return reject(new GlasscastError('PROVIDER_REJECTED'));
          existing.set(`uid-${streamId}`, streamId);
          if (outcome === 'lost') return reject(new GlasscastError('PROVIDER_UNREACHABLE'));
          const publishUrl = new Secret(`rtmp://127.0.0.1/live/key-${streamId}`);
          const urls = { hlsUrl: `http://x/${streamId}.m3u8`, dashUrl: `http://x/${streamId}.mpd` };
          resolve({ uid: `uid-${streamId}`, publishUrl, urls, ingestState: 'never-connected' } as never);
        };
        creating.push({ streamId, settle: settleIt });
      }),
    setEnabled: async () => {},
    delete: async (uid: string) => void existing.delete(uid),
    list: async () => [...existing].map(([uid, streamId]) => ({ uid, streamId })),
    outputs: async () => [],
    deleteOutput: async () => {},
    videos: async () => [],
    deleteVideo: async () => {},
  };
  return { existing, creating, inputs };
}

function world() {
  const clock = createTestClock();
  const log = silentLog();
  const store = createSqliteStore({ file: ':memory:' });
  const provider = fakeProvider();
  const { inputs } = provider;
  const cleanup = createCleanup({ inputs, store, clock, log, keepRecordings: false, random: () => 0 });
  const source = createIngestSource({
    ...{ inputs, cleanup, redactor: createRedactor(), admit() {} },
    ...{ keyFrameIntervalMs: 1000, holdSeconds: 120, deleteRecordingAfterDays: 30 },
  });
  const playback = fakePlayback();
  const defects: GlasscastError[] = [];
  const onDefect = (error: GlasscastError) => void defects.push(error);
  const streams = createStreamRegistry({ source, playback, clock, log, onChange() {}, onDefect });
  const sessions = createSessionRegistry({
    ...{ clock, log, streams, onDeviceState() {}, onApp() {} },
    onEnded() {},
  });
  /** Everything the glasses were ever sent, over all their sockets. */
  const toGlasses: ToGlasses[] = [];
  let glasses: ReturnType<typeof fakeSocket<ToGlasses>> | undefined;
  const device = {
    connect() {
      glasses?.close();
      glasses = fakeSocket<ToGlasses>();
      const socket = glasses;
      const { send } = socket;
      socket.send = (message) => send(message) && toGlasses.push(message) > 0;
      sessions.open(USER).attach(socket);
    },
    drop() {
      const lost = glasses;
      glasses = undefined;
      lost?.close();
      if (lost) sessions.get(USER)?.detach(lost);
    },
    isUp: () => glasses !== undefined,
    newest: () => toGlasses.filter((message): message is StartStream => message.type === 'start_stream').at(-1),
  };
  const heard = new Map<string, ManagedStreamStatus[]>(APPS.map((name) => [name, []]));
  const apps = new Map(APPS.map((packageName) => [packageName, appOf(packageName)] as const));
  function appOf(packageName: string) {
    const permissions = [{ type: 'CAMERA' }];
    const app = { packageName, hashedApiKey: '', permissions, appType: 'background' as const, settings: [] };
    const link = () => sessions.open(USER);
    const session = createAppSession({
      ...{ sessionId: packageName, userId: USER, app, streams, log },
      glasses: {
        isConnected: () => link().isConnected(),
        isKnown: () => link().isKnown(),
        deviceState: () => link().deviceState(),
        send: (message) => link().send(message),
      },
    });
    const { deliver } = session;
    // What the streams say, not what the socket carries: a return repeats some of it.
    session.deliver = (status, importance) => {
      if (importance === 'state') heard.get(packageName)?.push(status);
      deliver.call(session, status, importance);
    };
    let socket = fakeSocket<ToApp>();
    session.attach(socket);
    return {
      session,
      toggle() {
        if (session.detach(socket)) {
          socket.close();
          return;
        }
        socket = fakeSocket<ToApp>();
        session.attach(socket);
      },
    };
  }
  return { clock, store, provider, cleanup, playback, defects, streams, sessions, device, apps, heard, toGlasses };
}

const step = fc.oneof(
  fc.record({ kind: fc.constantFrom('request', 'stop', 'app socket', 'app ends'), app: fc.constantFrom(...APPS) }),
  fc.record({ kind: fc.constant('device says'), word: fc.constantFrom(...deviceStatusWords), hasId: fc.boolean() }),
  fc.record({ kind: fc.constant('provider'), outcome: fc.constantFrom('good', 'good', 'refused', 'lost') }),
  fc.record({ kind: fc.constantFrom('connect', 'drop', 'ack', 'prove', 'advance', 'stall') }),
  fc.record({ kind: fc.constant('wait'), ms: fc.integer({ min: 1, max: 30_000 }) }),
);
type Step = {
  kind: string;
  app?: (typeof APPS)[number];
  word?: string;
  hasId?: boolean;
  outcome?: string;
  ms?: number;
};

async function take(taken: Step, w: ReturnType<typeof world>, proven: Set<string>): Promise<void> {
  const { clock, device, playback, provider, sessions, streams } = w;
  const app = taken.app && w.apps.get(taken.app);
  const streamId = device.newest()?.streamId ?? 'mnone';
  switch (taken.kind) {
    case 'request':
      return app?.session.receive({ type: 'managed_stream_request' });
    case 'stop':
      return app?.session.receive({ type: 'managed_stream_stop' });
    case 'app socket':
      return app?.toggle();
    case 'app ends':
      return taken.app && streams.drop(USER, taken.app);
    case 'connect':
      return device.connect();
    case 'drop':
      return device.drop();
    case 'device says': {
      const status = taken.word as (typeof deviceStatusWords)[number];
      const message = { type: 'stream_status', status, ...(taken.hasId ? { streamId } : {}) } as const;
      return device.isUp() ? sessions.get(USER)?.receive(message) : undefined;
    }
    case 'ack':
      return device.isUp() ? sessions.get(USER)?.receive({ type: 'keep_alive_ack', streamId, ackId: 'a' }) : undefined;
    case 'provider':
      return provider.creating.shift()?.settle(taken.outcome as 'good');
    case 'prove':
      for (const snapshot of streams.snapshots()) if (playback.open().length > 0) proven.add(snapshot.streamId);
      return playback.prove();
    case 'advance':
      return playback.advance();
    case 'stall':
      return clock.advance(9_000);
    default:
      return clock.advance(taken.ms ?? 1);
  }
}

function checkWords(statuses: readonly ManagedStreamStatus[], proven: ReadonlySet<string>): void {
  const over = new Set<string>();
  for (const { status, streamId } of statuses) {
    if (status === 'active') expect(proven).toContain(streamId);
    const isLast = status === 'stopped' || status === 'error';
    if (streamId === undefined) {
      expect(isLast).toBe(true);
      continue;
    }
    // It may leave and join again while the stream lives: between two last words stands a word of life.
    if (isLast) expect(over).not.toContain(streamId);
    if (isLast) over.add(streamId);
    else over.delete(streamId);
  }
}

it('keeps its promises in any order of events', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const w = world();
      const proven = new Set<string>();
      w.device.connect();
      for (const taken of steps) {
        await take(taken as Step, w, proven);
        await settle();
        expect(w.streams.snapshots().length).toBeLessThanOrEqual(1);
        const living = w.streams.snapshots().filter(({ state }) => !['stopped', 'failed', 'stopping'].includes(state));
        const doomed = (await w.store.ledger.all()).filter((entry) => entry.doomed);
        expect(w.cleanup.pending().length).toBeLessThanOrEqual(
          living.length + doomed.length + w.provider.creating.length + 1,
        );
      }
      for (const packageName of APPS) w.streams.drop(USER, packageName);
      w.device.drop();
      for (const { settle: settleIt } of w.provider.creating.splice(0)) settleIt('good');
      await w.clock.advance(300_000);
      // A stop is never for a stream that another START has followed.
      let started: string | undefined;
      for (const message of w.toGlasses) {
        if (message.type === 'start_stream') started = message.streamId;
        if (message.type === 'stop_stream') expect([undefined, started]).toContain(started && message.streamId);
      }
      for (const statuses of w.heard.values()) {
        checkWords(statuses, proven);
        const last = statuses.at(-1);
        if (last) expect(['stopped', 'error']).toContain(last.status);
      }
      expect(w.defects).toEqual([]);
      expect([w.streams.snapshots(), w.sessions.all(), w.playback.open()]).toEqual([[], [], []]);
      expect([await w.store.ledger.all(), w.cleanup.pending(), [...w.provider.existing]]).toEqual([[], [], []]);
      expect(w.clock.pending()).toEqual([]);
    }),
    { numRuns: 80 },
  );
});
