/** The relay's inside under random orders of everything that can happen to it, being killed at any await among them. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { hashSecret } from '../../cloud/access/credentials.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { deviceStatusWords } from '../../shared/stream.ts';
import { APPS, type AppName, createMortalWorld, KEY, type MortalWorld, USER } from '../support/mortal-world.ts';
import { settle } from '../support/test-clock.ts';

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
      /** Of an earlier stream, or none. */
      about: fc.constantFrom('present', 'present', 'earlier', 'unsaid'),
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
      /** It dies with one of the calls that the next steps make, and perhaps the next life while it takes over. */
      afterCalls: fc.integer({ min: 0, max: 12 }),
      nextAfterCalls: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined, freq: 3 }),
      downMs: fc.constantFrom(0, 500, 2_500, 20_000, 100_000),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait'), ms: fc.integer({ min: 1, max: 30_000 }) }) },
);
type Step = {
  kind: string;
  app?: AppName;
  word?: string;
  about?: string;
  outcome?: string;
  afterCalls?: number;
  nextAfterCalls?: number | undefined;
  downMs?: number;
  ms?: number;
};

async function take(taken: Step, w: MortalWorld): Promise<void> {
  const life = w.state.life;
  const app = taken.app && w.apps.get(taken.app);
  const streamId = w.startedId(taken.about === 'earlier' ? 1 : 0);
  switch (taken.kind) {
    case 'start':
      return app?.startManaged();
    case 'stop':
      return app?.stop('managed_stream_stop');
    case 'unmanaged':
      return app?.say({ type: 'stream_request', publishUrl: 'rtmp://a.example/live/k' });
    case 'unmanaged stop':
      return app?.stop('stream_stop');
    case 'app socket':
      return app?.lose();
    case 'app ends':
      return taken.app && life?.isUp ? life.apps.stop(USER, taken.app) : undefined;
    case 'app starts':
      if (taken.app && life?.isUp) life.apps.start(USER, taken.app).catch(() => {});
      return;
    case 'device': {
      const status = taken.word as DeviceStreamStatus['status'];
      return w.glassesSay({ type: 'stream_status', status, ...(taken.about === 'unsaid' ? {} : { streamId }) });
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
      w.state.next = { downMs: taken.downMs ?? 0, afterCalls: taken.nextAfterCalls };
      return w.kill(taken.afterCalls ?? 0);
    default:
      return w.clock.advance(taken.ms ?? 1);
  }
}

/** All that it takes for a picture, as far as somebody wants one. */
async function goLive(w: MortalWorld): Promise<void> {
  await settle();
  for (const { settle: settleIt } of w.provider.creating.splice(0)) settleIt('good');
  await settle();
  w.glassesSay({ type: 'stream_status', status: 'streaming', streamId: w.startedId() });
  w.state.life?.playback.prove();
}

/** What must be true at every moment. */
async function check(w: MortalWorld): Promise<void> {
  const living = w.snapshots().filter(({ state }) => !['stopped', 'failed'].includes(state));
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
      const w = createMortalWorld();
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
        await w.reborn();
        await check(w);
      }
      // Whoever waits is answered, if only it stays.
      w.state.next = { downMs: 0, afterCalls: undefined };
      if (w.state.isDoomed) w.kill(0);
      await w.reborn();
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
      expect([...w.faults, ...[...w.apps.values()].flatMap(({ faults }) => faults)]).toEqual([]);
      expect([...w.defects, ...(w.state.life?.defects ?? [])]).toEqual([]);
      expect(w.snapshots()).toEqual([]);
      expect([await w.disk.ledger.all(), await w.disk.streams.all(), [...w.provider.existing]]).toEqual([[], [], []]);
      await w.close();
    }),
    { numRuns: Number(process.env.MODEL_RUNS ?? 1_000) },
  );
}, 240_000);
