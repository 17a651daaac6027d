/** Nodes without a network: the records of a cluster in memory, which may be away, forget, or swallow answers, and lines that can be cut. */
import type { Carrier } from '../../cloud/cluster/cluster.ts';
import type { ClusterRecords } from '../../cloud/cluster/cluster-records.ts';
import { createNodeLease } from '../../cloud/cluster/node-lease.ts';
import { createOrphans } from '../../cloud/cluster/orphans.ts';
import { type ClusterOwnership, createOwnership } from '../../cloud/cluster/ownership.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';

export interface Kept {
  nodes: Map<string, { untilMs: number; address: string }>;
  leader: { untilMs: number; nodeId: string } | undefined;
  owners: Map<string, string>;
  token: number;
  epoch: string | undefined;
}

export interface FakeRecords extends ClusterRecords {
  kept: Kept;
  /** `swallows`: what is asked is done, and nothing is answered. */
  state: 'up' | 'away' | 'swallows';
  back(): void;
}

const empty = (): Kept => ({ nodes: new Map(), leader: undefined, owners: new Map(), token: 0, epoch: undefined });
const nodeOf = (entry: string) => entry.slice(0, entry.lastIndexOf(' '));
const tokenOf = (entry: string) => Number(entry.slice(entry.lastIndexOf(' ') + 1));

/** As the scripts of the real ones do it. */
export function createFakeRecords(clock: Clock): FakeRecords {
  const listeners = new Set<() => void>();
  const answer = async <T>(work: () => T): Promise<T> => {
    await Promise.resolve();
    const got = fake.state === 'away' ? undefined : work();
    if (fake.state !== 'up') throw new GlasscastError('STORE_UNAVAILABLE');
    return got as T;
  };
  const fake: FakeRecords = {
    kept: empty(),
    state: 'up',
    back() {
      fake.state = 'up';
      for (const take of [...listeners]) take();
    },
    renew: ({ node, leaseMs, seenToken, newEpoch, mayLead }) =>
      answer(() => {
        const { kept } = fake;
        const nowMs = clock.now();
        if (kept.epoch === undefined || kept.token < seenToken) kept.epoch = newEpoch;
        kept.token = Math.max(kept.token, seenToken);
        kept.nodes.set(node.nodeId, { untilMs: nowMs + leaseMs, address: node.address });
        for (const [nodeId, { untilMs }] of kept.nodes) if (untilMs < nowMs) kept.nodes.delete(nodeId);
        if (kept.leader && kept.leader.untilMs < nowMs) kept.leader = undefined;
        const { nodeId } = node;
        if (mayLead && (!kept.leader || kept.leader.nodeId === nodeId))
          kept.leader = { untilMs: nowMs + leaseMs, nodeId };
        else if (kept.leader?.nodeId === nodeId) kept.leader = undefined;
        const nodes = [...kept.nodes].map(([id, { address }]) => ({ nodeId: id, address }));
        return { nowMs, epoch: kept.epoch, token: kept.token, leaderId: kept.leader?.nodeId, nodes };
      }),
    leave: (nodeId) =>
      answer(() => {
        fake.kept.nodes.delete(nodeId);
        if (fake.kept.leader?.nodeId === nodeId) fake.kept.leader = undefined;
      }),
    claim: ({ userId, nodeId, seenToken, act, entry: wanted }) =>
      answer(() => {
        const { kept } = fake;
        const entry = kept.owners.get(userId);
        const node = entry === undefined ? undefined : nodeOf(entry);
        const isNobodys = entry === undefined || node === undefined || node.startsWith('-');
        const isWanted = entry !== undefined && entry === wanted && (act === 'exact' || act === 'force');
        const isLoose = (act === 'free' || act === 'force') && (isNobodys || node === nodeId);
        if (isWanted || isLoose) {
          kept.token = Math.max(kept.token, seenToken) + 1;
          const proof = `${nodeId} ${kept.token}`;
          kept.owners.set(userId, proof);
          return { got: 'claimed', proof, token: kept.token };
        }
        if (isNobodys) return { got: 'nobody' };
        const isLeased = (kept.nodes.get(node)?.untilMs ?? 0) >= clock.now();
        return { got: 'other', nodeId: node, entry, isLeased };
      }),
    release: (releases) =>
      answer(() => {
        const { owners } = fake.kept;
        for (const { userId, proof, isFree } of releases) {
          if (owners.get(userId) !== proof) continue;
          if (isFree) owners.set(userId, `-${clock.now()} ${tokenOf(proof)}`);
          else owners.delete(userId);
        }
      }),
    audit: ({ nodeId, epoch, seenToken, owned }) =>
      answer(() => {
        const { kept } = fake;
        const hasLost = kept.epoch !== epoch || kept.token < seenToken;
        const taken: string[] = [];
        for (const { userId, proof } of owned) {
          const entry = kept.owners.get(userId);
          if (entry === proof) continue;
          const isOlder = entry !== undefined && (nodeOf(entry) === nodeId || tokenOf(entry) < tokenOf(proof));
          if (isOlder || (entry === undefined && hasLost)) {
            kept.owners.set(userId, proof);
            kept.token = Math.max(kept.token, tokenOf(proof));
          } else taken.push(userId);
        }
        return taken;
      }),
    scan: () =>
      answer(() => ({ cursor: '0', owners: [...fake.kept.owners].map(([userId, entry]) => ({ userId, entry })) })),
    onBack(take) {
      listeners.add(take);
      return () => void listeners.delete(take);
    },
  };
  return fake;
}

/** What Redis would read from an older file. */
export function copyOf({ nodes, leader, owners, token, epoch }: Kept): Kept {
  return { nodes: new Map(nodes), leader, owners: new Map(owners), token, epoch };
}

export interface FakeNode {
  readonly nodeId: string;
  readonly ownership: ClusterOwnership;
  readonly isLeader: () => boolean;
  drain(): Promise<void>;
  close(): Promise<void>;
}

export interface FakeNetwork {
  add(nodeId: string, carrier: Carrier): Promise<FakeNode>;
  /** As a process that is killed: its port refuses. */
  kill(nodeId: string): void;
  cut(a: string, b: string): void;
  mend(): void;
}

interface Member {
  subjects: Map<string, (body: unknown, from: string) => unknown>;
  found: Set<(nodeId: string) => void>;
  lost: Set<(nodeId: string) => void>;
  gone: Set<(nodeId: string) => void>;
}

/** Nodes of real leases, owners and orphans. */
export function createFakeNetwork(clock: Clock, records: ClusterRecords): FakeNetwork {
  const members = new Map<string, Member>();
  const dead = new Set<string>();
  const cuts = new Set<string>();
  const pair = (a: string, b: string) => [a, b].sort().join(' ');
  const reaches = (a: string, b: string) => members.has(a) && members.has(b) && a !== b && !cuts.has(pair(a, b));
  const tellAll = (listeners: Set<(nodeId: string) => void> | undefined, nodeId: string) => {
    for (const take of [...(listeners ?? [])]) take(nodeId);
  };
  const unreachable = () => new GlasscastError('NODE_UNREACHABLE');

  function meshOf(nodeId: string, own: Member) {
    return {
      answer: (subject: string, take: (body: unknown, from: string) => unknown) => void own.subjects.set(subject, take),
      async call(to: string, subject: string, body: unknown, { timeoutMs = 5_000 }: { timeoutMs?: number } = {}) {
        await Promise.resolve();
        if (!reaches(nodeId, to)) throw unreachable();
        const asked = Promise.resolve(members.get(to)?.subjects.get(subject)?.(body, nodeId));
        const answered = await withTimeout(clock, 'call', timeoutMs, asked, unreachable);
        if (!reaches(nodeId, to)) throw unreachable();
        return answered;
      },
      tell(to: string, subject: string, body: unknown) {
        if (!reaches(nodeId, to)) return false;
        void members.get(to)?.subjects.get(subject)?.(body, nodeId);
        return true;
      },
      isReachable: (other: string) => reaches(nodeId, other),
      isGone: (other: string) => dead.has(other),
      setPeers() {},
      onFound: (take: (id: string) => void) => listen(own.found, take),
      onLost: (take: (id: string) => void) => listen(own.lost, take),
      onGone: (take: (id: string) => void) => listen(own.gone, take),
    };
  }
  return {
    async add(nodeId, carrier) {
      const own: Member = { subjects: new Map(), found: new Set(), lost: new Set(), gone: new Set() };
      const mesh = meshOf(nodeId, own);
      const log = silentLog();
      /** A process that was killed says nothing to Redis. */
      const mine: ClusterRecords = {
        ...records,
        renew: (renewal) => (dead.has(nodeId) ? Promise.reject(unreachable()) : records.renew(renewal)),
        claim: (claim) => (dead.has(nodeId) ? Promise.reject(unreachable()) : records.claim(claim)),
        release: (releases) => (dead.has(nodeId) ? Promise.reject(unreachable()) : records.release(releases)),
        audit: (audit) => (dead.has(nodeId) ? Promise.reject(unreachable()) : records.audit(audit)),
      };
      const lease = createNodeLease({ nodeId, records: mine, mesh, clock, log });
      const ownership = createOwnership({ nodeId, records: mine, mesh, lease, log });
      const adopt = (userId: string, entry: string) => ownership.adoptOrphan(userId, entry);
      const orphans = createOrphans({ records: mine, lease, mesh, adopt, clock, log });
      ownership.start(carrier);
      orphans.start();
      members.set(nodeId, own);
      await lease.start(`http://${nodeId}`);
      for (const other of [...members.keys()].filter((id) => reaches(nodeId, id))) {
        tellAll(own.found, other);
        tellAll(members.get(other)?.found, nodeId);
      }
      return {
        nodeId,
        ownership,
        isLeader: () => lease.leadership.isLeader(),
        drain: () => lease.stepDown().then(() => ownership.drain()),
        async close() {
          await orphans.close();
          await ownership.close();
          await lease.close();
          members.delete(nodeId);
          dead.add(nodeId);
          for (const member of members.values()) tellAll(member.lost, nodeId);
        },
      };
    },
    kill(nodeId) {
      members.delete(nodeId);
      dead.add(nodeId);
      for (const member of members.values()) {
        tellAll(member.lost, nodeId);
        tellAll(member.gone, nodeId);
      }
    },
    cut(a, b) {
      if (!reaches(a, b)) return;
      cuts.add(pair(a, b));
      tellAll(members.get(a)?.lost, b);
      tellAll(members.get(b)?.lost, a);
    },
    mend() {
      const were = [...cuts].map((key) => key.split(' ') as [string, string]);
      cuts.clear();
      for (const [a, b] of were.filter(([one, other]) => reaches(one, other))) {
        tellAll(members.get(a)?.found, b);
        tellAll(members.get(b)?.found, a);
      }
    },
  };
}

function listen<T>(listeners: Set<T>, take: T): () => void {
  listeners.add(take);
  return () => void listeners.delete(take);
}
