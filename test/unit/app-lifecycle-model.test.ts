/** Any sequence of what operators, phones, apps, glasses and crashes can do to apps: the store and the roster agree. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type fakeAppSocket, lifecycleWorld, USER } from '../support/lifecycle-world.ts';
import { settle } from '../support/test-clock.ts';

const TYPES = { 'com.one': 'standard', 'com.two': 'standard', 'com.back': 'background' } as const;
type Name = keyof typeof TYPES;
const NAMES = Object.keys(TYPES) as Name[];

type World = Awaited<ReturnType<typeof lifecycleWorld>>;
type Entered = { session: Awaited<ReturnType<World['admit']>>['session']; socket: ReturnType<typeof fakeAppSocket> };
interface Run {
  world: World;
  /** Sockets that the apps hold open. */
  open: Map<Name, Entered>;
}

/** A relay with the same three apps, over what an earlier one left. */
async function begin(earlier?: World): Promise<Run> {
  const world = await lifecycleWorld(earlier ? { store: earlier.store } : {});
  if (!earlier) for (const name of NAMES) await world.register(name, { appType: TYPES[name] });
  await world.apps.resume();
  return { world, open: new Map() };
}

async function connect(run: Run, name: Name, isReturn: boolean): Promise<void> {
  const sessionId = `${USER}-${name}`;
  const entering = run.world.admit({ sessionId, packageName: name, isReturn });
  // A return to a dormant app waits for the glasses.
  const entered = await Promise.race([entering.catch(() => undefined), settle().then(() => undefined)]);
  if (entered) run.open.set(name, entered);
}

function lose(run: Run, name: Name, code: number): void {
  const held = run.open.get(name);
  run.open.delete(name);
  if (!held) return;
  held.socket.isOpen = false;
  run.world.apps.lost(held.session, held.socket, code);
}

/** Returns the next run when the relay was started anew. */
type Step = (run: Run) => unknown;
interface Named {
  /** For the report of a failure. */
  label: string;
  step: Step;
}

const once = (label: string, step: Step): fc.Arbitrary<Named> => fc.constant({ label, step });
const ofApp = (label: string, step: (run: Run, name: Name) => unknown): fc.Arbitrary<Named> =>
  fc.constantFrom(...NAMES).map((name) => ({ label: `${label} ${name}`, step: (run) => step(run, name) }));
const ANSWERS = [
  { kind: 'accepted' },
  { kind: 'refused', reason: 'nobody listens' },
  { kind: 'rejected', status: 500 },
] as const;

const steps: fc.Arbitrary<Named> = fc.oneof(
  ofApp('start', ({ world }, name) => void world.apps.start(USER, name).catch(() => {})),
  ofApp('stop', ({ world }, name) => world.apps.stop(USER, name)),
  ofApp('init', (run, name) => connect(run, name, false)),
  ofApp('reconnect', (run, name) => connect(run, name, true)),
  ofApp('lose', (run, name) => lose(run, name, 1006)),
  ofApp('leave', (run, name) => lose(run, name, 1000)),
  ofApp('release', ({ open }, name) =>
    open.get(name)?.session.receive({ type: 'ownership_release', reason: 'user_logout' }),
  ),
  fc.constantFrom(...ANSWERS).map((answer) => ({
    label: `webhook ${answer.kind}`,
    step: ({ world }: Run) => world.starts.at(-1)?.answer(answer),
  })),
  fc.constantFrom(100, 5_000, 9_000, 61_000).map((ms) => ({
    label: `wait ${ms}`,
    step: ({ world }: Run) => world.clock.advance(ms),
  })),
  once('glasses gone', ({ world }) => world.apps.endUser(USER)),
  once('glasses back', ({ world }) => world.apps.glassesBack(USER)),
  once('kill', ({ world }) => begin(world)),
  once('restart', async ({ world }) => {
    await world.apps.close();
    expect(world.clock.pending()).toEqual([]);
    return begin(world);
  }),
);
const isRun = (value: unknown): value is Run => typeof value === 'object' && value !== null && 'open' in value;

it('holds: what runs is recorded, one standard app at most, no socket without a session, no timer after the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { maxLength: 40 }), async (script) => {
      let run = await begin();
      for (const { step } of script) {
        const next = await step(run);
        if (isRun(next)) run = next;
        await settle();
        const { apps, names, store, toGlasses } = run.world;
        const records = await store.appSessions.all();
        const awake = records.filter(({ isDormant }) => !isDormant).map(({ packageName }) => packageName);
        expect(awake.sort()).toEqual(names().sort());
        const all = records.map(({ packageName }) => packageName as Name);
        expect(new Set(all).size).toBe(all.length);
        expect(all.filter((name) => TYPES[name] === 'standard').length).toBeLessThanOrEqual(1);
        for (const [name, { session, socket }] of run.open) {
          if (!socket.isOpen) run.open.delete(name);
          else expect(apps.session(USER, name)).toBe(session);
        }
        // Phones were told of the present.
        const told = toGlasses.findLast(({ type }) => type === 'app_state_change');
        if (told) expect(told).toEqual(apps.state(USER));
      }
      await run.world.apps.close();
      expect(run.world.clock.pending()).toEqual([]);
      for (const { socket } of run.open.values()) expect(socket.closed?.[0]).toBe(1012);
    }),
    { numRuns: 300 },
  );
}, 60_000);
