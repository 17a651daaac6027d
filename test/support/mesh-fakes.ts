/** Nodes of a cluster without sockets: what one tells the other arrives in order, as JSON, when promises settle. */
import type { Leadership, Mesh } from '../../cloud/cluster/cluster.ts';
import { GlasscastError } from '../../shared/errors.ts';

export interface FakeMesh extends Mesh {
  /** Nobody reaches it from now on, and it reaches nobody. */
  cut(): void;
  mend(): void;
}

export function createFakeMeshes(...nodeIds: string[]): FakeMesh[] {
  const nodes = new Map<string, ReturnType<typeof createNode>>();

  function createNode(nodeId: string) {
    const subjects = new Map<string, (body: unknown, from: string) => unknown>();
    const lost = new Set<(nodeId: string) => void>();
    const found = new Set<(nodeId: string) => void>();
    const node = { subjects, lost, found, isCut: false };
    const reaches = (other: string) => nodes.has(other) && !node.isCut && !nodes.get(other)?.isCut;
    const copy = (body: unknown): unknown => (body === undefined ? undefined : JSON.parse(JSON.stringify(body)));
    const others = () => [...nodes.keys()].filter((other) => other !== nodeId && reaches(other));
    const listen = (to: Set<(nodeId: string) => void>) => (take: (nodeId: string) => void) => {
      to.add(take);
      return () => void to.delete(take);
    };
    function toAll(what: 'lost' | 'found'): void {
      for (const [other, { lost: theirLost, found: theirFound }] of nodes) {
        if (other === nodeId) continue;
        for (const take of what === 'lost' ? theirLost : theirFound) take(nodeId);
        for (const take of what === 'lost' ? lost : found) take(other);
      }
    }
    const mesh: FakeMesh = {
      nodeId,
      others,
      async call(other, subject, body) {
        if (!reaches(other)) throw new GlasscastError('NODE_UNREACHABLE');
        return copy(await nodes.get(other)?.subjects.get(subject)?.(copy(body), nodeId));
      },
      tell(other, subject, body) {
        if (!reaches(other)) return false;
        const sent = copy(body);
        queueMicrotask(() => nodes.get(other)?.subjects.get(subject)?.(sent, nodeId));
        return true;
      },
      broadcast: (subject, body) => others().forEach((other) => void mesh.tell(other, subject, body)),
      answer: (subject, take) => void subjects.set(subject, take),
      onLost: listen(lost),
      onFound: listen(found),
      cut() {
        node.isCut = true;
        toAll('lost');
      },
      mend() {
        node.isCut = false;
        toAll('found');
      },
    };
    return {
      ...node,
      mesh,
      get isCut() {
        return node.isCut;
      },
    };
  }
  for (const nodeId of nodeIds) nodes.set(nodeId, createNode(nodeId));
  return [...nodes.values()].map(({ mesh }) => mesh);
}

/** The same leader for all, until the test names another one. */
export function createFakeLeadership(first: string | undefined) {
  const listeners = new Set<() => void>();
  const state = { leaderId: first };
  return {
    of: (nodeId: string): Leadership => ({
      isLeader: () => state.leaderId === nodeId,
      leaderId: () => state.leaderId,
      onChange(take) {
        listeners.add(take);
        return () => void listeners.delete(take);
      },
    }),
    change(leaderId: string | undefined) {
      state.leaderId = leaderId;
      for (const take of [...listeners]) take();
    },
  };
}
