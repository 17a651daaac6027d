import { expect, it } from 'vitest';
import { createSharedRollouts } from '../../cloud/cluster/shared-rollouts.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { openRollouts } from '../../cloud/updates/rollouts.ts';
import type { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { AgentFacts } from '../../shared/protocol/releases.ts';
import { createFakeLeadership, createFakeMeshes } from '../support/mesh-fakes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const [ADA, BOB] = ['ada@example.com', 'bob@example.com'] as const;
const facts = (version: string): AgentFacts => ({ version, architecture: 'arm64', canUpdate: true });

async function world() {
  const clock = createTestClock();
  const store = createSqliteStore({ file: ':memory:' });
  const leadership = createFakeLeadership('a');
  const nodes = [];
  for (const mesh of createFakeMeshes('a', 'b')) {
    const orders: string[] = [];
    const changed: string[] = [];
    const rollouts = createSharedRollouts({
      ...{ mesh, leadership: leadership.of(mesh.nodeId), clock, log: silentLog() },
      toGlasses: (userId, message) => orders.push(`${message.type} ${userId}`) > 0,
      onChange: (userId) => void changed.push(userId),
      open: (links) =>
        openRollouts({
          ...{ store, clock, log: silentLog(), resumeGraceMs: 0, ...links },
          releases: { get: async (version) => ({ version, bytes: 1, sha256: '', publishedAtMs: 0 }) },
        }),
    });
    await rollouts.start();
    nodes.push({ mesh, rollouts, orders, changed });
  }
  const [a, b] = nodes;
  if (!a || !b) throw new Error('two nodes are wanted');
  return { clock, leadership, a, b };
}

it('run on the leader for glasses of any node: orders go out there, and its view shows how they stand', async () => {
  const { a, b, clock } = await world();
  a.rollouts.agentHello(ADA, facts('1.0.0'));
  b.rollouts.agentHello(BOB, facts('1.0.0'));
  await settle();
  await a.rollouts.begin({ version: '1.1.0', users: [ADA, BOB] });
  await clock.advance(1_000);
  expect([a.orders, b.orders]).toEqual([[`agent_update ${ADA}`], [`agent_update ${BOB}`]]);
  expect(b.rollouts.device(BOB)?.update).toMatchObject({ version: '1.1.0', state: 'ordered' });
  b.rollouts.agentUpdate(BOB, { type: 'agent_update_status', version: '1.1.0', state: 'downloading', percent: 50 });
  await settle();
  expect([b.rollouts.device(BOB)?.update, a.rollouts.list()[0]?.devices.underWay]).toMatchObject([{ percent: 50 }, 2]);
  b.rollouts.agentHello(BOB, facts('1.1.0'));
  a.rollouts.agentHello(ADA, facts('1.1.0'));
  await clock.advance(1_000);
  expect(a.rollouts.list()[0]?.devices.done).toBe(2);
  expect(b.changed.length).toBeGreaterThan(2);
});

it('are refused for a moment by a node that does not lead', async () => {
  const { b } = await world();
  for (const ask of [() => b.rollouts.list(), () => b.rollouts.rollback(BOB), () => b.rollouts.usesRelease('1.0.0')]) {
    let code = 'in';
    try {
      ask();
    } catch (thrown) {
      ({ code } = thrown as GlasscastError);
    }
    expect(code).toBe('NODE_UNREACHABLE');
  }
});

it('go on with another leader, who is told again who is here', async () => {
  const { a, b, clock, leadership } = await world();
  a.rollouts.agentHello(ADA, facts('1.0.0'));
  b.rollouts.agentHello(BOB, facts('1.0.0'));
  await settle();
  await a.rollouts.begin({ version: '1.1.0', users: [ADA, BOB] });
  await clock.advance(1_000);
  leadership.change('b');
  await clock.advance(1_000);
  expect(b.rollouts.list()[0]).toMatchObject({ version: '1.1.0', devices: { underWay: 2 } });
  // They may not have heard the order of the one before.
  expect(a.orders).toContain(`agent_update ${ADA}`);
  a.rollouts.agentHello(ADA, facts('1.1.0'));
  await clock.advance(1_000);
  expect(b.rollouts.list()[0]?.devices).toMatchObject({ done: 1, underWay: 1 });
  for (const { rollouts } of [a, b]) rollouts.close();
  expect(clock.pending()).toEqual([]);
});

it('do not take glasses for gone that are on another node by now; those of a lost node are', async () => {
  const { a, b, clock } = await world();
  await a.rollouts.begin({ version: '1.1.0', users: [ADA, BOB] });
  b.rollouts.agentHello(ADA, facts('1.0.0'));
  await settle();
  // They come here, and the word of the node that had them is late.
  a.rollouts.agentHello(ADA, facts('1.0.0'));
  b.rollouts.agentGone(ADA);
  await clock.advance(1_000);
  expect(a.rollouts.list()[0]?.devices).toMatchObject({ away: 1, underWay: 1 });
  b.rollouts.agentHello(BOB, facts('1.0.0'));
  await clock.advance(1_000);
  expect(b.orders).toEqual([`agent_update ${BOB}`]);
  b.mesh.cut();
  await settle();
  expect(() => a.rollouts.rollback(BOB)).toThrow();
  b.mesh.mend();
});
