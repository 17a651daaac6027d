/** Ownership against chance: several nodes, users that come and go anywhere, and everything that can break, in any order. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Carrier } from '../../cloud/cluster/cluster.ts';
import { copyOf, createFakeNetwork, createFakeRecords, type FakeNode } from '../support/cluster-fakes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const users = ['ada', 'bob', 'eve'];
const names = ['a', 'b', 'c'];

const node = fc.constantFrom(...names);
const user = fc.constantFrom(...users);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('take' as const), node, user }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('place' as const), node, user }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('let go' as const), node, user }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const), node, user }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), node, user }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const), node, other: node }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('mend' as const, 'save' as const, 'forget' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restore' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('away' as const, 'swallow' as const, 'back' as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 100, 600, 2_500, 4_000) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** What one node holds, as its carrier was told; complains when calls overlap or make no sense. */
function createWitness(clock: ReturnType<typeof createTestClock>, onGone: (userId: string) => void) {
  const held = new Set<string>();
  const busy = new Set<string>();
  const complaints: string[] = [];
  async function during(userId: string, what: string, isFine: boolean) {
    if (busy.has(userId) || !isFine) complaints.push(`${what} ${userId}`);
    busy.add(userId);
    await clock.sleep(3);
    busy.delete(userId);
  }
  const carrier: Carrier = {
    async adopt(userId) {
      await during(userId, 'adopt', !held.has(userId));
      held.add(userId);
    },
    async handOver(userId) {
      onGone(userId);
      await during(userId, 'hand over', held.has(userId));
      held.delete(userId);
    },
  };
  return { carrier, held, complaints };
}

async function createWorld() {
  const clock = createTestClock();
  const records = createFakeRecords(clock);
  const network = createFakeNetwork(clock, records);
  const nodes = new Map<string, FakeNode>();
  const witnesses = new Map<string, ReturnType<typeof createWitness>>();
  /** Where glasses are that were told nothing since. */
  const lastTook = new Map<string, string>();
  const refusals: string[] = [];
  let saved = copyOf(records.kept);
  for (const name of names) {
    const witness = createWitness(clock, (userId) => {
      if (lastTook.get(userId) === name) lastTook.delete(userId);
    });
    witnesses.set(name, witness);
    nodes.set(name, await network.add(name, witness.carrier));
  }
  function forgetNode(name: string): void {
    for (const [userId, at] of lastTook) if (at === name) lastTook.delete(userId);
    nodes.delete(name);
  }
  /** Errors are answers: what cannot be now is refused. */
  const run = (work: Promise<unknown> | undefined, then: () => void = () => {}) =>
    void work?.then(then).catch((error: { code?: string }) => refusals.push(String(error.code)));

  async function act(what: Step): Promise<void> {
    const one = 'node' in what ? nodes.get(what.node) : undefined;
    switch (what.do) {
      case 'take':
        run(one?.ownership.take(what.user), () => nodes.has(what.node) && lastTook.set(what.user, what.node));
        break;
      case 'place':
        run(one?.ownership.place(what.user));
        break;
      case 'let go':
        // Only where nothing is left of the user.
        if (lastTook.get(what.user) !== what.node && one?.ownership.isHere(what.user)) {
          witnesses.get(what.node)?.held.delete(what.user);
          one.ownership.letGo(what.user);
        }
        break;
      case 'drain':
        if (nodes.size < 2 || !one) break;
        nodes.delete(what.node);
        run(one.drain().then(() => one.close()));
        break;
      case 'kill':
        if (nodes.size < 2 || !one) break;
        network.kill(what.node);
        forgetNode(what.node);
        void one.close().catch(() => {});
        break;
      case 'cut':
        network.cut(what.node, what.other);
        break;
      case 'mend':
        network.mend();
        break;
      case 'save':
        saved = copyOf(records.kept);
        break;
      case 'forget':
        records.kept = {
          ...copyOf(records.kept),
          ...{ owners: new Map(), nodes: new Map(), token: 0 },
          epoch: undefined,
        };
        break;
      case 'restore':
        records.kept = copyOf(saved);
        break;
      case 'away':
        records.state = 'away';
        break;
      case 'swallow':
        records.state = 'swallows';
        break;
      case 'back':
        records.back();
        break;
      case 'wait':
        await clock.advance(what.ms);
        break;
      default:
        what satisfies never;
    }
    await settle();
  }
  async function calm(): Promise<void> {
    network.mend();
    records.back();
    await clock.advance(90_000);
  }
  async function close(): Promise<void> {
    const closing = Promise.all([...nodes.values()].map((each) => each.close()));
    await clock.advance(5_000);
    await closing;
  }
  return { clock, records, nodes, witnesses, lastTook, refusals, act, calm, close };
}

describe('owners of users, whatever happens', () => {
  it('are one at a time, where the glasses came last, and all is well again when it is calm', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const world = await createWorld();
        for (const each of steps) {
          await world.act(each);
          for (const userId of users) {
            const entry = world.records.kept.owners.get(userId);
            const writers = [...world.nodes.values()].filter(
              ({ ownership }) => entry !== undefined && ownership.fenceOf(userId) === entry,
            );
            expect(writers.length).toBeLessThanOrEqual(1);
          }
        }
        await world.calm();
        const { nodes, records, witnesses, lastTook } = world;
        const state = users.map((userId) => ({
          userId,
          here: [...nodes.values()].filter(({ ownership }) => ownership.isHere(userId)).map(({ nodeId }) => nodeId),
          held: [...nodes.keys()].filter((name) => witnesses.get(name)?.held.has(userId)),
          entry: records.kept.owners.get(userId)?.split(' ')[0],
          took: lastTook.get(userId),
        }));
        for (const { here, held, entry, took } of state) {
          // What Redis says, what the nodes think and what their carriers were told is the same.
          expect([here, held], JSON.stringify(state)).toEqual(entry === undefined ? [[], []] : [[entry], [entry]]);
          if (took !== undefined) expect(entry).toBe(took);
        }
        expect([...witnesses.values()].flatMap(({ complaints }) => complaints)).toEqual([]);
        expect([...nodes.values()].filter((each) => each.isLeader()).length).toBe(1);
        expect(
          world.refusals.filter(
            (code) => !/^(STORE_UNAVAILABLE|NODE_UNREACHABLE|SHUTTING_DOWN|SESSION_MOVED)$/.test(code),
          ),
        ).toEqual([]);
        await world.close();
        expect(world.clock.pending()).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });
});
