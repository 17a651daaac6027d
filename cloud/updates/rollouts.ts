/**
 * Roll-outs as they happen: hears the agents of all glasses, keeps what must outlive the process, and gives the orders that
 * `rollout.ts` decides. One roll-out is under way at a time; the newest one also serves who comes late.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { AgentFacts, AgentUpdateStatus } from '../../shared/protocol/releases.ts';
import { type Bucket, createBucket, createRateLimit, type RateLimit } from '../access/rate-limits.ts';
import type { AgentRecord, RolloutRecord } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import { createLateHellos, type LateHellos } from './late-hellos.ts';
import type { ReleaseFolder } from './release-folder.ts';
import {
  afterEvent,
  afterHello,
  afterMissing,
  afterStart,
  afterStatus,
  censusOf,
  type Device,
  isUnderWay,
  longestAway,
  newRollout,
  numberOf,
  orderedTask,
  type RolloutRequest,
  review,
  taskOf,
  type Verdict,
  withFailure,
} from './rollout.ts';
import { type DeviceView, deviceView, type RolloutView, rolloutView } from './rollout-views.ts';

export interface Rollouts {
  /** Each time the agent tells something else, and at each connection. @param facts undefined: no agent speaks there */
  agentHello(userId: string, facts: AgentFacts | undefined): void;
  agentUpdate(userId: string, status: AgentUpdateStatus): void;
  /** The connection is lost. */
  agentGone(userId: string): void;
  /** @throws GlasscastError RELEASE_NOT_FOUND, ROLLOUT_ACTIVE */
  begin(request: RolloutRequest): Promise<RolloutView>;
  /** The newest first. */
  list(): RolloutView[];
  /** No new orders from now on; what was ordered goes on. @throws GlasscastError ROLLOUT_NOT_FOUND, ROLLOUT_OVER */
  pause(rolloutId: string): Promise<RolloutView>;
  /** @param retryFailed those that failed are ordered again, also when it runs already. @throws as `pause` */
  resume(rolloutId: string, options?: { retryFailed?: boolean | undefined }): Promise<RolloutView>;
  /** Nobody is ordered any more, who comes late neither. @throws as `pause` */
  cancel(rolloutId: string): Promise<RolloutView>;
  /** Sends these glasses back; the newest roll-out leaves them alone. @throws GlasscastError GLASSES_NOT_CONNECTED, GLASSES_CANNOT_UPDATE */
  rollback(userId: string): void;
  /** Of glasses whose agent has told of itself. */
  device(userId: string): DeviceView | undefined;
  /** A roll-out gives it, or would to who comes late. */
  usesRelease(version: string): boolean;
  close(): void;
}

export interface RolloutsOptions {
  store: Pick<Store, 'agents' | 'rollouts'>;
  releases: Pick<ReleaseFolder, 'get'>;
  /** False: it did not go out. */
  toGlasses: (userId: string, message: ToGlasses) => boolean;
  clock: Clock;
  log: Log;
  /** What `device` tells of this user has changed. */
  onChange: (userId: string) => void;
  /** After a start no stage opens: not everybody is back yet. Default 30000. */
  resumeGraceMs?: number;
  /** Those seen longest ago are forgotten first. Default 10,000. */
  maxDevices?: number;
}

/** What happens within it is looked at together. */
const REVIEW_MS = 250;
/** Each is a download. */
const ORDERS = { perSecond: 20, burst: 20 };
const NEXT_ORDERS_MS = 1_000;
/** A timer of Node's holds no more than 24 days, and the wall clock may jump in the meantime. */
const LOOK_AT_LEAST_MS = 3_600_000;
const MAX_ROLLOUTS = 20;
/** What one user's glasses may have written; they say hello once for each connection. */
const CHANGES = { perSecond: 0.5, burst: 30 };

/** Reads what was kept. */
export async function openRollouts(options: RolloutsOptions): Promise<Rollouts> {
  const { clock, resumeGraceMs = 30_000, store } = options;
  const rollouts = (await store.rollouts.all()).sort((one, other) => numberOf(other) - numberOf(one));
  const isWaited = rollouts.some(isUnderWay);
  const keeper = new Keeper(options, rollouts, isWaited ? clock.now() + resumeGraceMs : 0);
  for (const agent of await store.agents.all()) keeper.remember(afterStart(agent, clock.now()));
  keeper.reviewSoon();
  return keeper;
}

class Keeper implements Rollouts {
  readonly #options: RolloutsOptions;
  /** The newest first. */
  readonly #rollouts: RolloutRecord[];
  readonly #stagesHeldUntilMs: number;
  readonly #agents = new Map<string, AgentRecord>();
  readonly #here = new Set<string>();
  /** Of an update that runs, since the last hello. */
  readonly #progress = new Map<string, AgentUpdateStatus>();
  /** Ordered, and the order has to go out again. */
  readonly #unheard = new Set<string>();
  readonly #late: LateHellos;
  readonly #changes: RateLimit;
  readonly #orders: Bucket;
  /** `atMs` of the monotonic clock. */
  #timer: { atMs: number; timer: Timer } | undefined;
  #isClosed = false;

  constructor(options: RolloutsOptions, rollouts: RolloutRecord[], stagesHeldUntilMs: number) {
    this.#options = options;
    this.#rollouts = rollouts;
    this.#stagesHeldUntilMs = stagesHeldUntilMs;
    this.#changes = createRateLimit({ clock: options.clock, ...CHANGES });
    this.#orders = createBucket({ clock: options.clock, ...ORDERS });
    this.#late = createLateHellos(options.clock, (userId, facts) => this.agentHello(userId, facts));
  }

  remember(agent: AgentRecord): void {
    this.#agents.set(agent.userId, agent);
  }

  agentHello(userId: string, facts: AgentFacts | undefined): void {
    const wasKnown = this.#here.delete(userId);
    this.#progress.delete(userId);
    this.#late.forget(userId);
    if (!facts && !wasKnown) return;
    if (facts && !this.#changes.take(userId)) this.#late.add(userId, facts);
    else if (facts && this.#hasRoomFor(userId)) {
      const { task } = this.#agents.get(userId) ?? {};
      const agent = { userId, ...facts, seenAtMs: this.#options.clock.now(), ...(task ? { task } : {}) };
      this.#here.add(userId);
      const [newest] = this.#rollouts;
      this.#judged(agent, newest && afterHello(newest, agent));
      // They may have started anew since, and know of no order.
      this.#unheard.add(userId);
    }
    this.#options.onChange(userId);
    this.reviewSoon();
  }

  agentUpdate(userId: string, status: AgentUpdateStatus): void {
    const agent = this.#agents.get(userId);
    if (!agent || !this.#here.has(userId)) return;
    this.#progress.set(userId, status);
    const [newest] = this.#rollouts;
    const verdict = newest && afterStatus(newest, agent, status, this.#options.clock.now());
    const isChange = status.state === 'refused' || (verdict && isOther(verdict.task, agent.task));
    if (isChange && this.#changes.take(userId)) {
      const { version, reason } = status;
      const refusal = { version, outcome: 'refused' as const, ...(reason === undefined ? {} : { reason }) };
      this.#judged(status.state === 'refused' ? { ...agent, lastUpdate: refusal } : agent, verdict);
      this.reviewSoon();
    }
    this.#options.onChange(userId);
  }

  agentGone(userId: string): void {
    this.#late.forget(userId);
    this.#unheard.delete(userId);
    if (!this.#here.delete(userId)) return;
    this.#progress.delete(userId);
    this.#options.onChange(userId);
    this.reviewSoon();
  }

  async begin(request: RolloutRequest): Promise<RolloutView> {
    const { version } = request;
    await this.#options.releases.get(version);
    const [newest] = this.#rollouts;
    if (newest && isUnderWay(newest)) {
      throw new GlasscastError('ROLLOUT_ACTIVE', { reason: `${newest.rolloutId} to ${newest.version}` });
    }
    const counts = newest && this.#census(newest).counts;
    const rollout = newRollout(request, this.#rollouts, this.#options.clock.now());
    // Before it is written, so that of two that begin at once the second one meets the first.
    this.#rollouts.unshift(rollout);
    await this.#options.store.rollouts.put(rollout).catch((error: unknown) => {
      this.#rollouts.splice(this.#rollouts.indexOf(rollout), 1);
      throw error;
    });
    if (newest && counts) this.#keep({ ...newest, counts });
    for (const { rolloutId } of this.#rollouts.splice(MAX_ROLLOUTS))
      await this.#options.store.rollouts.delete(rolloutId);
    this.#options.log.info({ rolloutId: rollout.rolloutId, version }, 'rollout-began');
    // Who runs it already has proven it.
    for (const userId of this.#here) {
      if (this.#agents.get(userId)?.version === version) this.#judge(userId, (agent) => afterHello(rollout, agent));
    }
    this.#review();
    return this.#view(rollout.rolloutId);
  }

  list(): RolloutView[] {
    return this.#rollouts.map(({ rolloutId }) => this.#view(rolloutId));
  }

  async pause(rolloutId: string): Promise<RolloutView> {
    return this.#turn(rolloutId, 'pause', 'paused');
  }

  async resume(rolloutId: string, { retryFailed = false }: { retryFailed?: boolean | undefined } = {}) {
    const view = await this.#turn(rolloutId, 'resume', 'running');
    if (!retryFailed) return view;
    for (const { userId, task } of [...this.#agents.values()]) {
      if (task?.rolloutId === rolloutId && task.state === 'failed') this.#judge(userId, () => ({ task: undefined }));
    }
    this.#review();
    return this.#view(rolloutId);
  }

  async cancel(rolloutId: string): Promise<RolloutView> {
    return this.#turn(rolloutId, 'cancel', 'cancelled');
  }

  rollback(userId: string): void {
    const { log, toGlasses } = this.#options;
    const agent = this.#here.has(userId) ? this.#agents.get(userId) : undefined;
    if (agent && !agent.canUpdate) throw new GlasscastError('GLASSES_CANNOT_UPDATE', { reason: userId });
    if (!agent || !toGlasses(userId, { type: 'agent_rollback' })) {
      throw new GlasscastError('GLASSES_NOT_CONNECTED', { reason: `${userId}: no agent that tells of itself is here` });
    }
    log.info({ userId, version: agent.version }, 'agent-rollback-ordered');
    const [newest] = this.#rollouts;
    if (!newest || newest.state === 'cancelled') return;
    const task = { ...orderedTask(newest, agent), state: 'withdrawn' as const, reason: 'sent back by the operator' };
    this.#judge(userId, () => ({ task }));
    this.reviewSoon();
  }

  device(userId: string): DeviceView | undefined {
    const agent = this.#agents.get(userId);
    return agent && deviceView(agent, this.#rollouts[0], this.#progress.get(userId));
  }

  usesRelease(version: string): boolean {
    const [newest] = this.#rollouts;
    return newest !== undefined && newest.version === version && newest.state !== 'cancelled';
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.timer.cancel();
    this.#late.close();
    this.#timer = undefined;
  }

  reviewSoon(): void {
    this.#wakeAt(this.#options.clock.now() + REVIEW_MS);
  }

  /** @param wallMs looked at again then, or before */
  #wakeAt(wallMs: number): void {
    const { clock } = this.#options;
    const inMs = Math.min(LOOK_AT_LEAST_MS, Math.max(0, wallMs - clock.now()));
    const atMs = clock.monotonicMs() + inMs;
    if (this.#isClosed || this.#rollouts.length === 0 || (this.#timer && this.#timer.atMs <= atMs)) return;
    this.#timer?.timer.cancel();
    this.#timer = { atMs, timer: clock.after('rollout-review', inMs, () => this.#review()) };
  }

  #review(): void {
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    const [newest] = this.#rollouts;
    if (!newest || this.#isClosed) return;
    const nowMs = this.#options.clock.now();
    const { rollout, orders, missing, wakeAtMs } = review(newest, this.#devices(), nowMs, this.#stagesHeldUntilMs);
    if (rollout !== newest) this.#keep(rollout);
    for (const userId of missing) this.#judge(userId, (_, task) => task && afterMissing(task));
    if (missing.length > 0) {
      this.reviewSoon();
      return;
    }
    const left = this.#order(rollout, orders);
    if (left) this.#wakeAt(nowMs + NEXT_ORDERS_MS);
    // At least a moment later, so that nothing runs in circles.
    if (wakeAtMs !== undefined) this.#wakeAt(Math.max(wakeAtMs, nowMs + (rollout === newest ? REVIEW_MS : 0)));
  }

  /** @returns true: not all have gone out */
  #order(rollout: RolloutRecord, newcomers: readonly string[]): boolean {
    if (rollout.state !== 'running' && rollout.state !== 'done') return false;
    const again = [...this.#unheard].filter((userId) => {
      const agent = this.#agents.get(userId);
      const isOrdered = agent && this.#here.has(userId) && taskOf(rollout, agent)?.state === 'ordered';
      // On trial it runs already.
      return isOrdered && agent.version !== rollout.version;
    });
    this.#unheard.clear();
    for (const [at, userId] of [...again, ...newcomers].entries()) {
      if (!this.#orders.take()) {
        for (const left of again.slice(at)) this.#unheard.add(left);
        return true;
      }
      if (!this.#options.toGlasses(userId, { type: 'agent_update', version: rollout.version })) continue;
      this.#options.log.info(
        { userId, rolloutId: rollout.rolloutId, version: rollout.version },
        'agent-update-ordered',
      );
      this.#judge(userId, (agent) => ({ task: orderedTask(rollout, agent) }));
    }
    return false;
  }

  #judge(userId: string, judge: (agent: AgentRecord, task: AgentRecord['task']) => Verdict | undefined): void {
    const agent = this.#agents.get(userId);
    const [newest] = this.#rollouts;
    if (!agent || !newest) return;
    this.#judged(agent, judge(agent, taskOf(newest, agent)));
    this.#options.onChange(userId);
  }

  /** Keeps the agent with its task, and the failure if there is one. */
  #judged({ task, ...agent }: AgentRecord, verdict: Verdict | undefined): void {
    const { userId } = agent;
    const kept = verdict ? verdict.task : task;
    const record: AgentRecord = { ...agent, ...(kept ? { task: kept } : {}) };
    this.#agents.set(userId, record);
    this.#save(this.#options.store.agents.put(record));
    const [newest] = this.#rollouts;
    if (!verdict?.failure || !newest) return;
    const { rolloutId, version } = newest;
    this.#options.log.warn({ userId, rolloutId, version, ...verdict.failure }, 'agent-update-failed');
    this.#keep(withFailure(newest, { userId, ...verdict.failure, atMs: this.#options.clock.now() }));
  }

  #keep(rollout: RolloutRecord): void {
    const at = this.#rollouts.findIndex(({ rolloutId }) => rolloutId === rollout.rolloutId);
    const before = this.#rollouts[at];
    this.#rollouts[at] = rollout;
    this.#save(this.#options.store.rollouts.put(rollout));
    const { rolloutId, version, state, stage, pausedBecause } = rollout;
    if (before?.state === state && before.stage === stage) return;
    this.#options.log.info({ rolloutId, version, state, stage, pausedBecause }, 'rollout-changed');
  }

  async #turn(rolloutId: string, event: 'pause' | 'resume' | 'cancel', goal: RolloutRecord['state']) {
    const rollout = this.#rollout(rolloutId);
    if (rollout.state !== goal) {
      const isNewest = rollout === this.#rollouts[0];
      const turned = isNewest ? afterEvent(rollout, event, this.#options.clock.now()) : undefined;
      if (!turned) throw new GlasscastError('ROLLOUT_OVER', { reason: `${rolloutId} is ${rollout.state}` });
      this.#keep(turned);
      await this.#options.store.rollouts.put(turned);
      this.#review();
    }
    return this.#view(rolloutId);
  }

  #rollout(rolloutId: string): RolloutRecord {
    const found = this.#rollouts.find((rollout) => rollout.rolloutId === rolloutId);
    if (!found) throw new GlasscastError('ROLLOUT_NOT_FOUND', { reason: rolloutId.slice(0, 40) });
    return found;
  }

  #view(rolloutId: string): RolloutView {
    const rollout = this.#rollout(rolloutId);
    return rolloutView(rollout, this.#census(rollout), (userId) => this.device(userId));
  }

  #census(rollout: RolloutRecord) {
    // Of those before, only the counts are known.
    return censusOf(rollout, rollout.counts ? [] : this.#devices());
  }

  #devices(): Device[] {
    return [...this.#agents.values()].map((agent) => ({ ...agent, isHere: this.#here.has(agent.userId) }));
  }

  #hasRoomFor(userId: string): boolean {
    const { log, maxDevices = 10_000, store } = this.#options;
    if (this.#agents.has(userId) || this.#agents.size < maxDevices) return true;
    const oldest = longestAway(this.#devices());
    log.warn({ maxDevices, forgotten: oldest?.userId }, 'too-many-agents');
    if (!oldest) return false;
    this.#agents.delete(oldest.userId);
    this.#save(store.agents.delete(oldest.userId));
    return true;
  }

  #save(written: Promise<unknown>): void {
    written.catch((error: unknown) => this.#options.log.error({ reason: errorText(error) }, 'rollout-not-saved'));
  }
}

function isOther(one: object | undefined, other: object | undefined): boolean {
  return JSON.stringify(one) !== JSON.stringify(other);
}

export type { RolloutRequest } from './rollout.ts';
export type { DeviceView, RolloutView } from './rollout-views.ts';
