/** The cluster of a relay without others: everything is here, and nobody else is. */
import type { Cluster } from './cluster.ts';
export function createLoneCluster({ nodeId }: { nodeId: string }): Cluster {
  const never = () => () => {};
  return {
    nodeId,
    mesh: {
      nodeId,
      others: () => [],
      call: () => Promise.reject(new Error('no other node')),
      tell: () => false,
      broadcast() {},
      answer() {},
      onLost: never,
      onFound: never,
    },
    ownership: {
      take: async () => {},
      place: async () => 'here',
      whereIs: async () => 'here',
      isHere: () => true,
      count: () => 0,
      letGo() {},
    },
    leadership: { isLeader: () => true, leaderId: () => nodeId, onChange: never },
    async start() {},
    async drain() {},
    async close() {},
  };
}
