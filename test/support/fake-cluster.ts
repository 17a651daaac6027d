/** Several nodes in one process, without Redis and network: lines that can be cut and mended, owners in one map. */
import type { Carrier, Cluster, Leadership, Mesh, Ownership, Place } from '../../cloud/cluster/cluster.ts';
import { asGlasscastError, type ErrorCode, GlasscastError } from '../../shared/errors.ts';

type Answer = (body: unknown, fromNodeId: string) => unknown;

interface FakeNode {
  nodeId: string;
  answers: Map<string, Answer>;
  lost: Set<(nodeId: string) => void>;
  found: Set<(nodeId: string) => void>;
  carrier: Carrier | undefined;
}

export interface FakeClusterNode extends Cluster {
  readonly mesh: Mesh & {
    /** What this node has sent, by subject. */
    readonly sent: { to: string; subject: string; body: unknown }[];
  };
}

export interface FakeCluster {
  node(nodeId: string): FakeClusterNode;
  /** Both ends notice at once, unless one is named that does not. */
  cut(a: string, b: string, options?: { unnoticedBy?: string }): void;
  mend(a: string, b: string): void;
  /** The process has ended: its lines are down, and what it owned is anybody's. */
  kill(nodeId: string): void;
  /** User to node. */
  readonly owners: Map<string, string>;
  /** What needs Redis fails. */
  readonly outage: { isOn: boolean };
  /** Every message that is under way has arrived. */
  arrived(): Promise<void>;
}

/** @param nodeIds the first leads. */
export function createFakeCluster(nodeIds: readonly string[]): FakeCluster {
  const nodes = new Map<string, FakeNode>();
  const cuts = new Set<string>();
  const owners = new Map<string, string>();
  const outage = { isOn: false };
  let underWay: Promise<unknown> = Promise.resolve();
  for (const nodeId of nodeIds) {
    nodes.set(nodeId, { nodeId, answers: new Map(), lost: new Set(), found: new Set(), carrier: undefined });
  }
  const lineOf = (a: string, b: string) => [a, b].sort().join(' ');
  const canReach = (a: string, b: string) => a !== b && nodes.has(a) && nodes.has(b) && !cuts.has(lineOf(a, b));
  /** As over a wire: later, and nothing but JSON. */
  function deliver(from: string, to: string, subject: string, body: unknown): Promise<unknown> {
    const wire = JSON.stringify(body ?? null);
    const done = underWay.then(() => {
      if (!canReach(from, to)) throw new GlasscastError('NODE_UNREACHABLE');
      return { answer: nodes.get(to)?.answers.get(subject)?.(JSON.parse(wire), from) };
    });
    underWay = done.catch(() => {});
    return done.then(({ answer }) => answer);
  }

  function meshOf(me: FakeNode): FakeClusterNode['mesh'] {
    const { nodeId } = me;
    const sent: FakeClusterNode['mesh']['sent'] = [];
    const others = () => [...nodes.keys()].filter((other) => canReach(nodeId, other));
    const listen = (set: Set<(nodeId: string) => void>) => (take: (nodeId: string) => void) => {
      set.add(take);
      return () => void set.delete(take);
    };
    const mesh: FakeClusterNode['mesh'] = {
      ...{ nodeId, sent, others, onLost: listen(me.lost), onFound: listen(me.found) },
      async call(to, subject, body) {
        sent.push({ to, subject, body });
        if (!canReach(nodeId, to)) throw new GlasscastError('NODE_UNREACHABLE');
        const cut = new Promise<never>((_, reject) => {
          me.lost.add((lost) => lost === to && reject(new GlasscastError('NODE_UNREACHABLE')));
        });
        try {
          const answer = await Promise.race([deliver(nodeId, to, subject, body), cut]);
          return answer === undefined ? undefined : JSON.parse(JSON.stringify(answer));
        } catch (thrown) {
          throw new GlasscastError(asGlasscastError(thrown).code as ErrorCode);
        }
      },
      tell(to, subject, body) {
        sent.push({ to, subject, body });
        if (!canReach(nodeId, to)) return false;
        deliver(nodeId, to, subject, body).catch(() => {});
        return true;
      },
      broadcast(subject, body) {
        for (const to of others()) mesh.tell(to, subject, body);
      },
      answer(subject, take) {
        me.answers.set(subject, take);
      },
    };
    return mesh;
  }
  function ownershipOf(me: FakeNode): Ownership {
    const { nodeId } = me;
    const whereIs = (userId: string): Place | undefined => {
      const owner = owners.get(userId);
      if (owner === nodeId) return 'here';
      if (outage.isOn) throw new GlasscastError('STORE_UNAVAILABLE');
      return owner !== undefined && nodes.has(owner) ? { nodeId: owner } : undefined;
    };
    async function claim(userId: string): Promise<void> {
      owners.set(userId, nodeId);
      await me.carrier?.adopt(userId);
    }
    return {
      whereIs: async (userId) => whereIs(userId),
      async place(userId) {
        const found = whereIs(userId);
        if (found === undefined) await claim(userId);
        return found ?? 'here';
      },
      async take(userId) {
        const found = whereIs(userId);
        if (found === 'here') return;
        if (found) await nodes.get(found.nodeId)?.carrier?.handOver(userId, { isLost: false });
        await claim(userId);
      },
      isHere: (userId) => owners.get(userId) === nodeId,
      count: () => [...owners.values()].filter((owner) => owner === nodeId).length,
      letGo: (userId) => owners.get(userId) === nodeId && owners.delete(userId),
    };
  }
  const made = new Map<string, FakeClusterNode>();
  for (const me of nodes.values()) {
    const leaderId = () => [...nodes.keys()][0];
    const leadership: Leadership = { isLeader: () => leaderId() === me.nodeId, leaderId, onChange: () => () => {} };
    made.set(me.nodeId, {
      ...{ nodeId: me.nodeId, mesh: meshOf(me), ownership: ownershipOf(me), leadership },
      async start(_address, carrier) {
        me.carrier = carrier;
      },
      async drain() {},
      async close() {},
    });
  }
  function tellLoss(a: string, b: string, unnoticedBy?: string): void {
    for (const [me, other] of [
      [a, b],
      [b, a],
    ] as const) {
      if (me !== unnoticedBy) for (const take of nodes.get(me)?.lost ?? []) take(other);
    }
  }
  return {
    ...{ owners, outage },
    node(nodeId) {
      const found = made.get(nodeId);
      if (!found) throw new Error(`no node ${nodeId}`);
      return found;
    },
    cut(a, b, { unnoticedBy } = {}) {
      cuts.add(lineOf(a, b));
      tellLoss(a, b, unnoticedBy);
    },
    mend(a, b) {
      cuts.delete(lineOf(a, b));
      for (const take of nodes.get(a)?.found ?? []) take(b);
      for (const take of nodes.get(b)?.found ?? []) take(a);
    },
    kill(nodeId) {
      nodes.delete(nodeId);
      for (const other of nodes.values()) for (const take of other.lost) take(nodeId);
    },
    async arrived() {
      for (let before: unknown; before !== underWay; ) {
        before = underWay;
        await underWay;
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
}
