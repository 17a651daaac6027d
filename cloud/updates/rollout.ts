/**
 * How a release comes to glasses by stages: who is in which stage, when the next one opens, what an outcome means, and what
 * stops it. Pure: records in, records out. Never talks to glasses.
 *
 * - The next stage opens once all of the present one that are here run the version, and no failure came for `soakSeconds` after.
 * - Who is away holds nothing up, and is ordered when he comes back, also after the end; who went away to switch is waited for.
 * - A stage in which nobody would prove the version takes the first one of the later stages.
 */
import { createHash } from 'node:crypto';
import type { AgentUpdateStatus, UpdateOutcome } from '../../shared/protocol/releases.ts';
import { compareVersions, releaseVersion } from '../../shared/release.ts';
import type { AgentRecord, RolloutCounts, RolloutFailure, RolloutRecord, RolloutTask } from '../store/records.ts';

export type RolloutState = RolloutRecord['state'];
export type RolloutEvent = 'pause' | 'fail' | 'resume' | 'finish' | 'cancel';

/** What is not listed is refused. */
export const rolloutTable: Readonly<Record<RolloutState, Readonly<Partial<Record<RolloutEvent, RolloutState>>>>> = {
  running: { pause: 'paused', fail: 'paused', finish: 'done', cancel: 'cancelled' },
  paused: { resume: 'running', cancel: 'cancelled' },
  // Who comes late is still ordered, and may still fail.
  done: { fail: 'paused', cancel: 'cancelled' },
  cancelled: {},
};

export const rolloutDefaults = { stages: [5, 25, 100], soakSeconds: 600, maxFailures: 1 } as const;

/** An update may be interrupted so many times and is ordered again. */
export const MAX_INTERRUPTIONS = 3;
/** Who has gone to switch is back before that: the agent gives a trial 90 s. */
export const MISSING_MS = 15 * 60_000;
const MAX_FAILURES_KEPT = 50;

/** One pair of glasses, and whether their agent is connected. */
export interface Device extends AgentRecord {
  isHere: boolean;
}

export interface RolloutRequest {
  version: string;
  /** Per cent of the users, ascending. Default 5, 25, 100. */
  stages?: readonly number[] | undefined;
  /** In place of stages. */
  users?: readonly string[] | undefined;
  /** Default 600. */
  soakSeconds?: number | undefined;
  /** So many pause it. Default 1. */
  maxFailures?: number | undefined;
}

/** Its number counts on from `before`: whatever the clock says, the newest one has the highest. */
export function newRollout(
  { version, stages, users, soakSeconds, maxFailures }: RolloutRequest,
  before: readonly RolloutRecord[],
  nowMs: number,
): RolloutRecord {
  return {
    rolloutId: `r${Math.max(0, ...before.map(numberOf)) + 1}`,
    version,
    stages: users ? [100] : [...(stages ?? rolloutDefaults.stages)],
    ...(users ? { users: [...new Set(users)] } : {}),
    soakSeconds: soakSeconds ?? rolloutDefaults.soakSeconds,
    maxFailures: maxFailures ?? rolloutDefaults.maxFailures,
    ...{ state: 'running', stage: 0, createdAtMs: nowMs },
    ...{ failures: [], failureCount: 0, forgivenCount: 0 },
  };
}

export const numberOf = ({ rolloutId }: Pick<RolloutRecord, 'rolloutId'>): number => Number(rolloutId.slice(1)) || 0;

/** After a start of the relay: while it was not there nobody could come back to it. */
export function afterStart(agent: AgentRecord, nowMs: number): AgentRecord {
  if (agent.task?.switchingSinceMs === undefined) return agent;
  return { ...agent, task: { ...agent.task, switchingSinceMs: nowMs } };
}

/** Stable, 0 to below 100, and another one in each roll-out: not always the same ones are first. */
export function placeOf(userId: string, rolloutId: string): number {
  const hash = createHash('sha256').update(`${rolloutId} ${userId}`).digest();
  return (hash.readUInt32BE(0) / 2 ** 32) * 100;
}

export function longestAway(devices: readonly Device[]): Device | undefined {
  const away = devices.filter(({ isHere }) => !isHere);
  return away.reduce<Device | undefined>((found, device) => {
    return found && found.seenAtMs <= device.seenAtMs ? found : device;
  }, undefined);
}

export const isUnderWay = ({ state }: Pick<RolloutRecord, 'state'>): boolean =>
  state === 'running' || state === 'paused';

/** Why they get no order; undefined: they may. */
function skipReason({ version }: Pick<RolloutRecord, 'version'>, device: AgentRecord): string | undefined {
  if (!releaseVersion.safeParse(device.version).success) return 'runs a version that has no number';
  if (compareVersions(device.version, version) > 0) return `runs ${device.version}, which is newer`;
  return device.canUpdate ? undefined : 'does not update itself; flash it';
}

export function taskOf({ rolloutId }: Pick<RolloutRecord, 'rolloutId'>, device: AgentRecord): RolloutTask | undefined {
  return device.task?.rolloutId === rolloutId ? device.task : undefined;
}

/** @returns what they have to do from now on. Glasses that were ordered keep the count of what went before. */
export function orderedTask(rollout: RolloutRecord, device: AgentRecord): RolloutTask {
  return (
    taskOf(rollout, device) ?? {
      ...newTask(rollout, 'ordered'),
      ...(device.lastUpdate ? { before: keyOf(device.lastUpdate) } : {}),
    }
  );
}

/** How they stand now, and the failure if it is one. */
export interface Verdict {
  task: RolloutTask | undefined;
  failure?: Pick<RolloutFailure, 'outcome' | 'reason'>;
}

/** @param device as the hello tells it */
export function afterHello(rollout: RolloutRecord, device: AgentRecord): Verdict {
  const task = taskOf(rollout, device);
  if (task?.state === 'withdrawn') return { task };
  if (device.version === rollout.version) return { task: device.onTrial ? task : newTask(rollout, 'done') };
  if (!task || task.state === 'failed') return { task };
  if (skipReason(rollout, device) !== undefined) return { task: undefined };
  const { lastUpdate } = device;
  const told = lastUpdate?.version === rollout.version ? lastUpdate : undefined;
  if (task.state === 'done') return failed(task, 'rolled_back', told?.reason ?? `runs ${device.version} again`);
  const hasSwitched = task.switchingSinceMs !== undefined;
  const isNews = told !== undefined && (hasSwitched || keyOf(told) !== task.before);
  if (!isNews && !hasSwitched) return { task };
  if (!isNews || told.outcome === 'interrupted') return interrupted(task, lastUpdate);
  if (told.outcome === 'refused') return failed(task, 'refused', told.reason);
  return failed(task, 'rolled_back', told.reason ?? `runs ${device.version} again`);
}

export function afterStatus(
  rollout: RolloutRecord,
  device: AgentRecord,
  { version, state, reason }: AgentUpdateStatus,
  nowMs: number,
): Verdict {
  const task = taskOf(rollout, device);
  if (task?.state !== 'ordered' || version !== rollout.version) return { task };
  if (state === 'refused') return failed(task, 'refused', reason);
  const { switchingSinceMs: _, ...rest } = task;
  return { task: state === 'switching' ? { ...rest, switchingSinceMs: nowMs } : rest };
}

/** They went away to switch and are not back. */
export function afterMissing(task: RolloutTask): Verdict {
  return failed(task, 'missing', 'went away to switch and did not come back');
}

export function withFailure(rollout: RolloutRecord, failure: RolloutFailure): RolloutRecord {
  const { completeSinceMs: _, ...rest } = rollout;
  const failures = [...rollout.failures, failure].slice(-MAX_FAILURES_KEPT);
  const counted = { ...rest, failures, failureCount: rollout.failureCount + 1 };
  const paused = rolloutTable[rollout.state].fail;
  if (!paused || counted.failureCount - counted.forgivenCount < rollout.maxFailures) return counted;
  const { endedAtMs: __, ...open } = counted;
  return { ...open, state: paused, pausedBecause: sentenceOf(failure) };
}

/** @returns undefined: the table refuses it */
export function afterEvent(
  rollout: RolloutRecord,
  event: Exclude<RolloutEvent, 'fail'>,
  nowMs: number,
): RolloutRecord | undefined {
  const state = rolloutTable[rollout.state][event];
  if (state === undefined) return undefined;
  const { completeSinceMs, pausedBecause: _, ...rest } = rollout;
  switch (event) {
    case 'pause':
      return { ...rest, state, pausedBecause: 'paused by the operator' };
    case 'resume':
      return { ...rest, state, forgivenCount: rollout.failureCount };
    case 'finish':
    case 'cancel':
      return { ...rest, state, endedAtMs: rollout.endedAtMs ?? nowMs };
  }
}

export interface Review {
  /** The same object when nothing has changed. */
  rollout: RolloutRecord;
  /** Users who are here and are to be ordered for the first time. */
  orders: string[];
  /** Users who went to switch and are not back in time. */
  missing: string[];
  /** When to look again, if nothing happens before; wall clock. */
  wakeAtMs: number | undefined;
}

/** What is to be done now. @param stagesHeldUntilMs no stage opens before: a restart, and not all are back */
export function review(
  rollout: RolloutRecord,
  devices: Iterable<Device>,
  nowMs: number,
  stagesHeldUntilMs = 0,
): Review {
  if (!isUnderWay(rollout) && rollout.state !== 'done')
    return { rollout, orders: [], missing: [], wakeAtMs: undefined };
  const census = censusOf(rollout, devices);
  const missing = census.switching.filter(({ sinceMs }) => sinceMs + MISSING_MS <= nowMs).map(({ userId }) => userId);
  const backAtMs = census.switching.map(({ sinceMs }) => sinceMs + MISSING_MS).filter((atMs) => atMs > nowMs);
  const wake = (...times: number[]) => {
    const earliest = Math.min(...backAtMs, ...times);
    return Number.isFinite(earliest) ? earliest : undefined;
  };
  if (rollout.state === 'paused') return { rollout, orders: [], missing, wakeAtMs: wake() };
  const isHeld = nowMs < stagesHeldUntilMs;
  const orders = isHeld ? census.wanted : wantedOf(rollout, census);
  if (rollout.state === 'done') return { rollout, orders, missing, wakeAtMs: wake() };
  if (isHeld) return { rollout, orders, missing, wakeAtMs: wake(stagesHeldUntilMs) };
  const isComplete = orders.length === 0 && missing.length === 0 && isProven(rollout, census);
  if (rollout.completeSinceMs === undefined && !isComplete) return { rollout, orders, missing, wakeAtMs: wake() };
  // The operator has sent back all who had it: nothing has soaked.
  if (census.counts.done === 0 && rollout.completeSinceMs !== undefined && !isComplete) {
    const { completeSinceMs: _, ...unproven } = rollout;
    return { rollout: unproven, orders, missing, wakeAtMs: nowMs };
  }
  // Newcomers do not begin it again: somebody always comes.
  const soaking = rollout.completeSinceMs === undefined ? { ...rollout, completeSinceMs: nowMs } : rollout;
  const opensAtMs = (soaking.completeSinceMs ?? nowMs) + rollout.soakSeconds * 1000;
  if (nowMs < opensAtMs) return { rollout: soaking, orders, missing, wakeAtMs: wake(opensAtMs) };
  if (rollout.stage === rollout.stages.length - 1) {
    return { rollout: afterEvent(soaking, 'finish', nowMs) ?? soaking, orders, missing, wakeAtMs: wake() };
  }
  const { completeSinceMs, ...open } = soaking;
  const next = { ...open, stage: rollout.stage + 1 };
  const nextCensus = censusOf(next, devices);
  const isAlone = wantedOf(next, nextCensus).length === 0;
  // Nobody new: what has soaked has soaked.
  const kept = isAlone && completeSinceMs !== undefined ? { ...next, completeSinceMs } : next;
  return { rollout: kept, orders, missing, wakeAtMs: nowMs };
}

export interface Census {
  counts: RolloutCounts;
  /** Ordered and not done: users. */
  underWay: string[];
  skipped: { userId: string; reason: string }[];
  /** Named by the roll-out, and no agent of theirs ever told of itself. */
  unseen: string[];
  /** Of the stage, here, and not ordered yet. */
  wanted: string[];
  /** Ordered, and here or gone to switch: the stage waits for these. */
  awaited: string[];
  switching: { userId: string; sinceMs: number }[];
  /** The first of the later stages that is here. */
  candidate: { userId: string; place: number } | undefined;
}

/** How everybody stands. One pass: there may be ten thousand. */
export function censusOf(rollout: RolloutRecord, devices: Iterable<Device>): Census {
  const counts: RolloutCounts = { done: 0, underWay: 0, failed: 0, skipped: 0, away: 0, later: 0 };
  const census: Census = {
    counts,
    underWay: [],
    skipped: [],
    unseen: [],
    wanted: [],
    awaited: [],
    switching: [],
    candidate: undefined,
  };
  const users = rollout.users && new Set(rollout.users);
  const percent = rollout.stages[rollout.stage] ?? 0;
  for (const device of devices) {
    const { userId, isHere } = device;
    // What is left at the end is unseen.
    if (users && !users.delete(userId)) continue;
    const task = taskOf(rollout, device);
    if (task?.state === 'ordered') countOrdered(census, device, task);
    else if (task?.state === 'done' || task?.state === 'failed') counts[task.state] += 1;
    else {
      const reason = task?.reason ?? skipReason(rollout, device);
      const place = users ? 0 : placeOf(userId, rollout.rolloutId);
      if (reason !== undefined) census.skipped.push({ userId, reason });
      else if (place < percent && isHere) census.wanted.push(userId);
      else if (place < percent) counts.away += 1;
      else {
        counts.later += 1;
        if (isHere && place < (census.candidate?.place ?? 100)) census.candidate = { userId, place };
      }
    }
  }
  census.unseen = [...(users ?? [])];
  counts.away += census.unseen.length;
  counts.skipped = census.skipped.length;
  counts.underWay = census.underWay.length + census.wanted.length;
  return census;
}

function countOrdered(census: Census, { userId, isHere }: Device, { switchingSinceMs }: RolloutTask): void {
  census.underWay.push(userId);
  if (isHere || switchingSinceMs !== undefined) census.awaited.push(userId);
  if (!isHere && switchingSinceMs !== undefined) census.switching.push({ userId, sinceMs: switchingSinceMs });
}

function wantedOf({ users, state }: RolloutRecord, { awaited, candidate, counts, wanted }: Census): string[] {
  const isUnproven = wanted.length === 0 && awaited.length === 0 && counts.done === 0;
  return isUnproven && candidate && !users && state === 'running' ? [candidate.userId] : wanted;
}

function isProven({ users }: RolloutRecord, { awaited, counts }: Census): boolean {
  if (awaited.length > 0) return false;
  return counts.done > 0 || (users !== undefined && counts.failed + counts.skipped > 0);
}

function newTask({ rolloutId }: RolloutRecord, state: RolloutTask['state']): RolloutTask {
  return { rolloutId, state, interruptions: 0 };
}

function failed(task: RolloutTask, outcome: RolloutFailure['outcome'], reason: string | undefined): Verdict {
  const { switchingSinceMs: _, ...rest } = task;
  const why = reason === undefined ? {} : { reason };
  return { task: { ...rest, state: 'failed', ...why }, failure: { outcome, ...why } };
}

function interrupted(task: RolloutTask, lastUpdate: UpdateOutcome | undefined): Verdict {
  const interruptions = task.interruptions + 1;
  const { switchingSinceMs: _, ...rest } = task;
  const counted = { ...rest, interruptions, ...(lastUpdate ? { before: keyOf(lastUpdate) } : {}) };
  if (interruptions <= MAX_INTERRUPTIONS) return { task: counted };
  return failed(counted, 'interrupted', `interrupted ${interruptions} times`);
}

function keyOf({ version, outcome, reason = '' }: UpdateOutcome): string {
  return `${version} ${outcome} ${reason}`;
}

function sentenceOf({ userId, outcome, reason }: RolloutFailure): string {
  return `${userId}: ${outcome.replace('_', ' ')}${reason === undefined ? '' : ` (${reason})`}`;
}
