/** The cluster of a relay by itself: everybody is here, nobody else is, and it leads. Gives the relay the same parts as a real one. */
import { GlasscastError } from '../../shared/errors.ts';
import type { Carrier, Cluster, Mesh, Ownership } from './cluster.ts';
import { createUserQueues } from './user-queues.ts';

export interface LoneClusterOptions {
  nodeId: string;
  /** Who was taken up before the start, e.g. all that the store knows, and is not adopted again. Default: nobody. */
  isAdopted?: (userId: string) => boolean;
}

export function createLoneCluster({ nodeId, isAdopted = () => false }: LoneClusterOptions): Cluster {
  const adopted = new Set<string>();
  const queues = createUserQueues();
  let carrier: Carrier | undefined;

  async function arrive(userId: string): Promise<'here'> {
    if (adopted.has(userId) && !queues.isBusy(userId)) return 'here';
    return await queues.add<'here'>(userId, async () => {
      if (adopted.has(userId)) return 'here';
      if (!isAdopted(userId)) await carrier?.adopt(userId);
      adopted.add(userId);
      return 'here';
    });
  }
  const ownership: Ownership = {
    async take(userId) {
      await arrive(userId);
    },
    place: arrive,
    whereIs: async () => 'here',
    isHere: () => true,
    count: () => adopted.size,
    letGo(userId) {
      adopted.delete(userId);
      return true;
    },
  };
  return {
    nodeId,
    mesh: meshOfOne(nodeId),
    ownership,
    leadership: { isLeader: () => true, leaderId: () => nodeId, onChange: never },
    async start(_address, theCarrier) {
      carrier = theCarrier;
    },
    async drain() {
      await queues.idle();
      const users = [...adopted];
      adopted.clear();
      await Promise.all(users.map((userId) => carrier?.handOver(userId, { isLost: false })));
    },
    close: () => queues.idle(),
  };
}

const never = () => () => {};

function meshOfOne(nodeId: string): Mesh {
  const subjects = new Map<string, (body: unknown, fromNodeId: string) => unknown>();
  return {
    nodeId,
    others: () => [],
    async call(to, subject, body) {
      const take = to === nodeId ? subjects.get(subject) : undefined;
      if (!take) throw new GlasscastError(to === nodeId ? 'NOT_OFFERED' : 'NODE_UNREACHABLE');
      return await take(body, nodeId);
    },
    tell: () => false,
    broadcast() {},
    answer: (subject, take) => void subjects.set(subject, take),
    onLost: never,
    onFound: never,
  };
}
