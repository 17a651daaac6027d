/**
 * Roll-outs as they happen: hears the agents of all glasses, keeps what must outlive the process, and gives the orders that
 * `rollout.ts` decides. One roll-out is under way at a time; the newest one also serves who comes late.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { AgentFacts, AgentUpdateStatus } from '../../shared/protocol/releases.ts';
import { createRateLimit, type RateLimit } from '../access/rate-limits.ts';
import type { AgentRecord, RolloutRecord } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import type { ReleaseFolder } from './release-folder.ts';
import {
  afterEvent,
  afterHello,
  afterMissing,
  afterStatus,
  censusOf,
  type Device,
  isUnderWay,
  orderedTask,
  review,
  rolloutDefaults,
  taskOf,
  type Verdict,
  withFailure,
} from './rollout.ts';
import { type DeviceView, deviceView, type RolloutView, rolloutView } from './rollout-views.ts';

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
  /** @param retryFailed those that failed are ordered again. @throws as `pause` */
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
/** Orders at once, and how long until the next ones: each is a download. */
const ORDERS_AT_ONCE = 20;
const NEXT_ORDERS_MS = 1_000;
const MAX_ROLLOUTS = 20;
/** What one user's glasses may have written; they say hello once for each connection. */
const CHANGES = { perSecond: 0.5, burst: 30 };

/** Reads what was kept. */
export async function openRollouts(options: RolloutsOptions): Promise<Rollouts> {
  const { clock, resumeGraceMs = 30_000, store } = options;
  const rollouts = (await store.rollouts.all()).sort((one, other) => other.createdAtMs - one.createdAtMs);
  const isWaited = rollouts.some(isUnderWay);
  const keeper = new Keeper(options, rollouts, isWaited ? clock.now() + resumeGraceMs : 0);
  for (const agent of await store.agents.all()) keeper.remember(agent);
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
  readonly #changes: RateLimit;
  #timer: { atMs: number; timer: Timer } | undefined;
  #isClosed = false;

  constructor(options: RolloutsOptions, rollouts: RolloutRecord[], stagesHeldUntilMs: number) {
    this.#options = options;
    this.#rollouts = rollouts;
    this.#stagesHeldUntilMs = stagesHeldUntilMs;
    this.#changes = createRateLimit({ clock: options.clock, ...CHANGES });
  }

  remember(agent: AgentRecord): void {
    this.#agents.set(agent.userId, agent);
  }

  agentHello(userId: string, facts: AgentFacts | undefined): void {
    const wasKnown = this.#here.delete(userId);
    this.#progress.delete(userId);
    if (!facts && !wasKnown) return;
    if (facts && this.#changes.take(userId) && this.#hasRoomFor(userId)) {
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
    if (!this.#here.delete(userId)) return;
    this.#progress.delete(userId);
    this.#options.onChange(userId);
    this.reviewSoon();
  }

  async begin({ version, stages, users, ...limits }: RolloutRequest): Promise<RolloutView> {
    await this.#options.releases.get(version);
    const [newest] = this.#rollouts;
    if (newest && isUnderWay(newest)) {
      throw new GlasscastError('ROLLOUT_ACTIVE', { reason: `${newest.rolloutId} to ${newest.version}` });
    }
    if (newest) this.#keep({ ...newest, counts: this.#census(newest).counts });
    const rollout: RolloutRecord = {
      rolloutId: `r${Math.max(0, ...this.#rollouts.map(({ rolloutId }) => Number(rolloutId.slice(1)) || 0)) + 1}`,
      version,
      stages: users ? [100] : [...(stages ?? rolloutDefaults.stages)],
      ...(users ? { users: [...new Set(users)] } : {}),
      soakSeconds: limits.soakSeconds ?? rolloutDefaults.soakSeconds,
      maxFailures: limits.maxFailures ?? rolloutDefaults.maxFailures,
      ...{ state: 'running', stage: 0, createdAtMs: this.#options.clock.now() },
      ...{ failures: [], failureCount: 0, forgivenCount: 0 },
    };
    this.#rollouts.unshift(rollout);
    await this.#options.store.rollouts.put(rollout);
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
    const wasPaused = this.#rollout(rolloutId).state === 'paused';
    const view = await this.#turn(rolloutId, 'resume', 'running');
    if (!retryFailed || !wasPaused) return view;
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
    this.#timer = undefined;
  }

  reviewSoon(): void {
    this.#wakeAt(this.#options.clock.now() + REVIEW_MS);
  }

  #wakeAt(atMs: number): void {
    const { clock } = this.#options;
    if (this.#isClosed || this.#rollouts.length === 0 || (this.#timer && this.#timer.atMs <= atMs)) return;
    this.#timer?.timer.cancel();
    const timer = clock.after('rollout-review', Math.max(0, atMs - clock.now()), () => this.#review());
    this.#timer = { atMs, timer };
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
    const wanted = [...again, ...newcomers];
    for (const userId of again.slice(ORDERS_AT_ONCE)) this.#unheard.add(userId);
    for (const userId of wanted.slice(0, ORDERS_AT_ONCE)) {
      if (!this.#options.toGlasses(userId, { type: 'agent_update', version: rollout.version })) continue;
      this.#options.log.info(
        { userId, rolloutId: rollout.rolloutId, version: rollout.version },
        'agent-update-ordered',
      );
      this.#judge(userId, (agent) => ({ task: orderedTask(rollout, agent) }));
    }
    return wanted.length > ORDERS_AT_ONCE;
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
    const away = [...this.#agents.values()].filter((agent) => !this.#here.has(agent.userId));
    const oldest = away.reduce<AgentRecord | undefined>(
      (found, agent) => (found && found.seenAtMs <= agent.seenAtMs ? found : agent),
      undefined,
    );
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

export type { DeviceView, RolloutView } from './rollout-views.ts';
