/** What operators see of roll-outs and of the agents on glasses. Pure; holds no secret. */
import type { AgentFacts, AgentUpdateStatus } from '../../shared/protocol/releases.ts';
import type { AgentRecord, RolloutCounts, RolloutRecord } from '../store/records.ts';
import { type Census, taskOf } from './rollout.ts';

export interface DeviceUpdate {
  version: string;
  /** `ordered`: nothing was heard of it yet. `trial`: it runs, and has to prove itself. `failed` stays until the version runs or another roll-out begins. */
  state: AgentUpdateStatus['state'] | 'ordered' | 'trial' | 'failed';
  /** Of the download. */
  percent?: number | undefined;
  reason?: string | undefined;
}

export interface DeviceView {
  agent: AgentFacts;
  update?: DeviceUpdate;
}

export interface RolloutView {
  rolloutId: string;
  version: string;
  state: RolloutRecord['state'];
  /** Per cent of the users. */
  stages: number[];
  /** From 1. */
  stage: number;
  users?: string[];
  soakSeconds: number;
  maxFailures: number;
  /** ISO 8601, here and below. */
  createdAt: string;
  endedAt?: string;
  /** The next stage, or the end, when no failure comes before. */
  nextStageAt?: string;
  /** Why it is paused. */
  reason?: string;
  devices: RolloutCounts;
  /** At most 50, here and below; the counts tell how many there are. */
  underWay: ({ userId: string } & DeviceUpdate)[];
  failures: { userId: string; outcome: string; reason?: string | undefined; at: string }[];
  skipped: { userId: string; reason: string }[];
  /** Named users of whom no agent ever told of itself: away, or misspelt. */
  unseen?: string[];
}

const MAX_LISTED = 50;

export function deviceView(
  agent: AgentRecord,
  newest: RolloutRecord | undefined,
  progress: AgentUpdateStatus | undefined,
): DeviceView {
  const { userId: _, seenAtMs: __, task: ___, ...facts } = agent;
  const task = newest && taskOf(newest, agent);
  if (newest && task?.state === 'failed') {
    const reason = task.reason === undefined ? {} : { reason: task.reason };
    return { agent: facts, update: { version: newest.version, state: 'failed', ...reason } };
  }
  if (agent.onTrial) return { agent: facts, update: { version: agent.version, state: 'trial' } };
  if (progress) {
    const { type: ____, ...update } = progress;
    return { agent: facts, update };
  }
  if (newest && task?.state === 'ordered')
    return { agent: facts, update: { version: newest.version, state: 'ordered' } };
  return { agent: facts };
}

export function rolloutView(
  rollout: RolloutRecord,
  { counts, skipped, underWay, unseen }: Census,
  deviceOf: (userId: string) => DeviceView | undefined,
): RolloutView {
  const { rolloutId, version, state, stages, stage, users, soakSeconds, maxFailures } = rollout;
  const { completeSinceMs, endedAtMs, pausedBecause } = rollout;
  return {
    ...{ rolloutId, version, state, stages, stage: stage + 1, soakSeconds, maxFailures },
    ...(users ? { users } : {}),
    createdAt: timeText(rollout.createdAtMs),
    ...(endedAtMs === undefined ? {} : { endedAt: timeText(endedAtMs) }),
    ...(state === 'running' && completeSinceMs !== undefined
      ? { nextStageAt: timeText(completeSinceMs + soakSeconds * 1000) }
      : {}),
    ...(pausedBecause === undefined ? {} : { reason: pausedBecause }),
    devices: rollout.counts ?? counts,
    underWay: underWay
      .slice(0, MAX_LISTED)
      .map((userId) => ({ userId, ...(deviceOf(userId)?.update ?? { version, state: 'ordered' }) })),
    failures: rollout.failures.map(({ atMs, ...failure }) => ({ ...failure, at: timeText(atMs) })),
    skipped: skipped.slice(0, MAX_LISTED),
    // Of those before, only the counts are known.
    ...(rollout.counts || unseen.length === 0 ? {} : { unseen: unseen.slice(0, MAX_LISTED) }),
  };
}

const timeText = (ms: number) => new Date(ms).toISOString();
