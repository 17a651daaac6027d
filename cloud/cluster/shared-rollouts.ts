/**
 * Roll-outs of a cluster: they run on the leader. Every node tells it of the agents on its glasses, carries its orders to
 * them, and keeps what it says of them for the operator's views. Decides nothing about who gets which release.
 */
import * as z from 'zod';
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import {
  type AgentFacts,
  agentFacts,
  agentRollback,
  agentUpdate,
  agentUpdateStatus,
} from '../../shared/protocol/releases.ts';
import type { DeviceView, Rollouts } from '../updates/rollouts.ts';
import type { Leadership, Mesh } from './cluster.ts';

export interface SharedRollouts extends Rollouts {
  /** Settles when this node, if it leads, has read what was kept. */
  start(): Promise<void>;
}

export interface SharedRolloutsOptions {
  mesh: Mesh;
  leadership: Leadership;
  /** Reads what was kept: on the leader, each time that it becomes one. */
  open: (links: {
    toGlasses: (userId: string, message: ToGlasses) => boolean;
    onChange: (userId: string) => void;
  }) => Promise<Rollouts>;
  /** To glasses that are here. False: it did not go out. */
  toGlasses: (userId: string, message: ToGlasses) => boolean;
  /** What `device` tells of a user here has changed. */
  onChange: (userId: string) => void;
  clock: Clock;
  log: Log;
}

const TO_LEADER = 'agents-to-leader';
const TO_OWNER = 'leader-to-agents';
/** In one message: a new leader is told of everybody at once. */
const BATCH = 200;
/** What was said of glasses that are gone stays until so many are known. */
const MAX_VIEWS = 20_000;
const OPEN_AGAIN_MS = 1_000;

const user = z.string().max(400);
const told = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('hellos'), hellos: z.array(z.object({ userId: user, facts: agentFacts })).max(BATCH) }),
  z.object({ kind: z.literal('silent'), userId: user }),
  z.object({ kind: z.literal('gone'), userId: user }),
  z.object({ kind: z.literal('update'), userId: user, status: agentUpdateStatus }),
]);
type Told = z.input<typeof told>;
/** Of one version of this program, so what it shows of glasses is not looked into. */
const view = z.custom<DeviceView>((value) => typeof value === 'object' && value !== null);
const ordered = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('order'),
    userId: user,
    order: z.discriminatedUnion('type', [agentUpdate, agentRollback]),
  }),
  z.object({ kind: z.literal('view'), userId: user, view: view.optional() }),
]);
type Ordered = z.input<typeof ordered>;

export function createSharedRollouts(options: SharedRolloutsOptions): SharedRollouts {
  return new Shared(options);
}

class Shared implements SharedRollouts {
  readonly #options: SharedRolloutsOptions;
  /** Agents on glasses that are here. */
  readonly #here = new Map<string, AgentFacts>();
  /** On glasses that other nodes have, as they told it to us when they thought that we lead. */
  readonly #there = new Map<string, { nodeId: string; facts: AgentFacts }>();
  /** What the leader says of glasses that are here. */
  readonly #views = new Map<string, DeviceView>();
  readonly #unlisten: (() => void)[] = [];
  #running: Rollouts | undefined;
  #opening: Promise<void> | undefined;
  #toldLeader: string | undefined;
  #again: Timer | undefined;
  #isClosed = false;

  constructor(options: SharedRolloutsOptions) {
    this.#options = options;
    const { mesh } = options;
    mesh.answer(TO_LEADER, (body, from) => this.#onTold(body, from));
    mesh.answer(TO_OWNER, (body) => this.#onOrdered(body));
  }

  async start(): Promise<void> {
    const { mesh, leadership } = this.#options;
    this.#unlisten.push(
      leadership.onChange(() => this.#followOn()),
      mesh.onLost((nodeId) => this.#onLost(nodeId)),
      // It may have missed what was said while it could not be reached.
      mesh.onFound((nodeId) => nodeId === leadership.leaderId() && this.#tellAll(nodeId)),
    );
    await this.#follow();
  }

  agentHello(userId: string, facts: AgentFacts | undefined): void {
    if (facts) this.#here.set(userId, facts);
    else this.#here.delete(userId);
    this.#there.delete(userId);
    if (this.#running) this.#running.agentHello(userId, facts);
    else this.#tell(facts ? { kind: 'hellos', hellos: [{ userId, facts }] } : { kind: 'silent', userId });
  }

  agentUpdate(userId: string, status: Parameters<Rollouts['agentUpdate']>[1]): void {
    if (this.#running) this.#running.agentUpdate(userId, status);
    else this.#tell({ kind: 'update', userId, status });
  }

  agentGone(userId: string): void {
    const wasHere = this.#here.delete(userId);
    // They are on another node by now, which has said so.
    if (this.#there.has(userId)) return;
    if (this.#running) this.#running.agentGone(userId);
    else if (wasHere) this.#tell({ kind: 'gone', userId });
  }

  async begin(request: Parameters<Rollouts['begin']>[0]) {
    return this.#leading().begin(request);
  }
  list() {
    return this.#leading().list();
  }
  async pause(rolloutId: string) {
    return this.#leading().pause(rolloutId);
  }
  async resume(...asked: Parameters<Rollouts['resume']>) {
    return this.#leading().resume(...asked);
  }
  async cancel(rolloutId: string) {
    return this.#leading().cancel(rolloutId);
  }
  rollback(userId: string): void {
    this.#leading().rollback(userId);
  }
  usesRelease(version: string): boolean {
    return this.#leading().usesRelease(version);
  }

  device(userId: string): DeviceView | undefined {
    return this.#running ? this.#running.device(userId) : this.#views.get(userId);
  }

  close(): void {
    this.#isClosed = true;
    this.#again?.cancel();
    for (const stop of this.#unlisten.splice(0)) stop();
    this.#running?.close();
    this.#running = undefined;
  }

  #leading(): Rollouts {
    if (this.#running) return this.#running;
    throw new GlasscastError('NODE_UNREACHABLE', { reason: 'no node leads the roll-outs at this moment' });
  }

  /** Opens or closes them as this node comes to lead or no longer leads, and tells whoever leads of the agents here. */
  async #follow(): Promise<void> {
    const { leadership, mesh } = this.#options;
    const leaderId = leadership.leaderId();
    if (leadership.isLeader()) {
      this.#toldLeader = undefined;
      this.#opening ??= this.#open().finally(() => {
        this.#opening = undefined;
      });
      await this.#opening;
      return;
    }
    if (this.#running) this.#there.clear();
    this.#running?.close();
    this.#running = undefined;
    if (leaderId === this.#toldLeader || leaderId === undefined || leaderId === mesh.nodeId) return;
    this.#tellAll(leaderId);
  }

  #followOn(): void {
    this.#again?.cancel();
    this.#follow().catch((error: unknown) => {
      this.#options.log.warn({ reason: errorText(error) }, 'rollouts-not-opened');
      if (!this.#isClosed)
        this.#again = this.#options.clock.after('rollouts-open', OPEN_AGAIN_MS, () => this.#followOn());
    });
  }

  async #open(): Promise<void> {
    if (this.#running || this.#isClosed) return;
    const { leadership, mesh, onChange, open, toGlasses, log } = this.#options;
    const opened = await open({
      toGlasses: (userId, message) => {
        const nodeId = this.#there.get(userId)?.nodeId;
        if (nodeId === undefined) return toGlasses(userId, message);
        const order = ordered.safeParse({ kind: 'order', userId, order: message });
        return order.success && mesh.tell(nodeId, TO_OWNER, order.data);
      },
      onChange: (userId) => {
        const nodeId = this.#there.get(userId)?.nodeId;
        if (nodeId === undefined) onChange(userId);
        else mesh.tell(nodeId, TO_OWNER, { kind: 'view', userId, view: this.device(userId) } satisfies Ordered);
      },
    });
    if (this.#isClosed || !leadership.isLeader()) return opened.close();
    log.debug({ agents: this.#here.size + this.#there.size }, 'rollouts-led-here');
    this.#running = opened;
    for (const [userId, facts] of this.#here) opened.agentHello(userId, facts);
    for (const [userId, { facts }] of this.#there) opened.agentHello(userId, facts);
  }

  #tellAll(leaderId: string): void {
    this.#toldLeader = leaderId;
    const hellos = [...this.#here].map(([userId, facts]) => ({ userId, facts }));
    for (let at = 0; at < hellos.length; at += BATCH) {
      this.#tell({ kind: 'hellos', hellos: hellos.slice(at, at + BATCH) });
    }
  }

  #tell(message: Told): void {
    const { leadership, mesh } = this.#options;
    const leaderId = leadership.leaderId();
    // What it misses it is told when it is found, or when another one leads.
    if (leaderId !== undefined && leaderId !== mesh.nodeId) mesh.tell(leaderId, TO_LEADER, message);
  }

  #onTold(body: unknown, from: string): void {
    const message = this.#checked(told, body);
    if (message?.kind === 'hellos') {
      for (const { userId, facts } of message.hellos) {
        this.#there.set(userId, { nodeId: from, facts });
        this.#here.delete(userId);
        this.#running?.agentHello(userId, facts);
      }
      return;
    }
    // Of glasses that have gone on to another node it has nothing to say any more.
    if (!message || this.#there.get(message.userId)?.nodeId !== from) return;
    const { userId } = message;
    if (message.kind === 'update') {
      this.#running?.agentUpdate(userId, message.status);
      return;
    }
    if (message.kind === 'silent') this.#running?.agentHello(userId, undefined);
    else this.#running?.agentGone(userId);
    this.#there.delete(userId);
  }

  #onOrdered(body: unknown): void {
    const message = this.#checked(ordered, body);
    if (message?.kind === 'order') this.#options.toGlasses(message.userId, message.order);
    if (message?.kind !== 'view') return;
    const { userId } = message;
    this.#views.delete(userId);
    const [oldest] = this.#views.keys();
    if (this.#views.size >= MAX_VIEWS && oldest !== undefined) this.#views.delete(oldest);
    if (message.view) this.#views.set(userId, message.view);
    this.#options.onChange(userId);
  }

  #onLost(lostId: string): void {
    for (const [userId, { nodeId }] of [...this.#there]) {
      if (nodeId !== lostId) continue;
      this.#running?.agentGone(userId);
      this.#there.delete(userId);
    }
  }

  #checked<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> | undefined {
    const parsed = schema.safeParse(body);
    if (parsed.success) return parsed.data;
    this.#options.log.warn(
      { reason: errorText(asGlasscastError(parsed.error)).slice(0, 200) },
      'mesh-message-malformed',
    );
    return undefined;
  }
}
