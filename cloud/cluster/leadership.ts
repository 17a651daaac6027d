/**
 * Who is the leader, as the last renewal of this node's lease told it. A leader that cannot renew is none any more before
 * another node can be it: the lease is counted from when the renewal was asked for.
 */
import type { Clock } from '../../shared/clock.ts';
import type { Leadership } from './cluster.ts';

export interface LeaseOfLeader extends Leadership {
  /** @param askedMs when the renewal was asked for, by the monotonic clock */
  heard(leaderId: string | undefined, askedMs: number): void;
  /** Time has passed, and maybe the lease with it. */
  check(): void;
}

export interface LeadershipOptions {
  nodeId: string;
  clock: Clock;
  leaseMs: number;
}

export function createLeadership({ nodeId, clock, leaseMs }: LeadershipOptions): LeaseOfLeader {
  const listeners = new Set<() => void>();
  let told: string | undefined;
  let heard: { leaderId: string | undefined; askedMs: number } = { leaderId: undefined, askedMs: 0 };
  const leaderId = () => (clock.monotonicMs() - heard.askedMs < leaseMs ? heard.leaderId : undefined);

  function check(): void {
    const now = leaderId();
    if (now === told) return;
    told = now;
    for (const take of [...listeners]) take();
  }
  return {
    isLeader: () => leaderId() === nodeId,
    leaderId,
    onChange(take) {
      listeners.add(take);
      return () => void listeners.delete(take);
    },
    heard(newLeaderId, askedMs) {
      heard = { leaderId: newLeaderId, askedMs };
      check();
    },
    check,
  };
}
