/**
 * Which users are owned here, and how they come and go. An owner is an entry in Redis with a token that counts up: the proof
 * that every write of that user's records shows. Redis says who owns; the lines between nodes say who lives; what is owned
 * here stays here without either. Knows nothing of what a session is: the carrier does.
 *
 * 1. Redis names this node as the owner before the carrier adopts, and until the carrier has handed over.
 * 2. What the carrier does for one user never overlaps.
 * 3. Who was taken away is handed over as lost: found out by a refused write, by another node's word, or by the audit.
 */
import * as z from 'zod';
import { asGlasscastError, errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Fence } from '../store/redis-store.ts';
import type { Carrier, Ownership, Place } from './cluster.ts';
import type { Claim, Claimed, ClusterRecords } from './cluster-records.ts';
import type { ClusterMesh } from './mesh.ts';
import type { NodeLease } from './node-lease.ts';
import { createOwnerAudit, type OwnerAudit } from './owner-audit.ts';
import { createOwnerReleases, type OwnerReleases } from './owner-releases.ts';
import { createGate, createUserQueues } from './user-queues.ts';

export interface OwnershipOptions {
  nodeId: string;
  records: ClusterRecords;
  mesh: Pick<ClusterMesh, 'answer' | 'call' | 'tell' | 'isReachable' | 'onFound'>;
  lease: Pick<NodeLease, 'seenToken' | 'epoch' | 'saw' | 'isLiving' | 'onBeat'>;
  log: Log;
  /** For another node to hand a user over, before it is taken by force. Default 2000. */
  handOverTimeoutMs?: number;
}

export interface ClusterOwnership extends Ownership, Fence {
  start(carrier: Carrier): void;
  /** Takes the user of a dead node, or one that was set free, if the entry is still that. */
  adoptOrphan(userId: string, entry: string): Promise<void>;
  /** Takes nobody any more, and hands over all. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** `leaving` writes still; `lost` does not. */
interface Owned {
  readonly proof: string;
  state: 'adopting' | 'here' | 'leaving' | 'lost';
}

/** Owners elsewhere that are remembered for an outage of Redis. */
const MAX_REMEMBERED = 50_000;
const MAX_ATTEMPTS = 5;
/** Asked of other nodes at once: their answers are to come in time, however many users come here together. */
const ASK_WIDTH = 200;
/** How many leave at once when all do. */
const DRAIN_WIDTH = 32;
const SUBJECT = { handOver: 'owner-hand-over', owns: 'owner-owns', taken: 'owner-taken' };

const aboutUser = z.object({ userId: z.string() });
const owns = z.object({ isOwner: z.boolean() });

export function createOwnership(options: OwnershipOptions): ClusterOwnership {
  return new Owners(options);
}

class Owners implements ClusterOwnership {
  readonly #options: OwnershipOptions;
  readonly #owned = new Map<string, Owned>();
  readonly #queues = createUserQueues();
  readonly #gate = createGate(ASK_WIDTH);
  readonly #elsewhere = new Map<string, string>();
  readonly #releases: OwnerReleases;
  readonly #audit: OwnerAudit;
  #carrier: Carrier | undefined;
  #stops: (() => void)[] = [];
  #isDraining = false;

  constructor(options: OwnershipOptions) {
    const { nodeId, records, lease, log, mesh } = options;
    this.#options = options;
    this.#releases = createOwnerReleases(records);
    const onTaken = (userId: string, proof: string) => void this.#lose(userId, proof);
    const onStray = (userId: string, entry: string) => void this.#setFree(userId, entry);
    this.#audit = createOwnerAudit({ nodeId, records, lease, log, owned: this.#owned, onTaken, onStray });
    mesh.answer(SUBJECT.handOver, (body) => this.#giveAway(aboutUser.parse(body).userId));
    mesh.answer(SUBJECT.owns, (body) => ({ isOwner: this.#owned.has(aboutUser.parse(body).userId) }));
    mesh.answer(SUBJECT.taken, (body) => void this.confirm(aboutUser.parse(body).userId).catch(() => {}));
  }

  start(carrier: Carrier): void {
    const { records, lease, mesh } = this.#options;
    this.#carrier = carrier;
    this.#stops = [
      records.onBack(() => this.#audit.all()),
      // Two nodes that could not talk may have taken from each other.
      mesh.onFound(() => this.#audit.all()),
      lease.onBeat((renewed) => {
        if (!renewed) return;
        this.#releases.retry();
        this.#audit.beat();
      }),
    ];
  }

  async take(userId: string): Promise<void> {
    if (this.isHere(userId) && !this.#queues.isBusy(userId)) return;
    await this.#queues.add(userId, () => this.#arrive(userId, 'take'));
  }

  async place(userId: string): Promise<Place> {
    if (this.isHere(userId) && !this.#queues.isBusy(userId)) return 'here';
    return await this.#queues.add(userId, () => this.#arrive(userId, 'place'));
  }

  async whereIs(userId: string): Promise<Place | undefined> {
    if (this.#owned.has(userId)) return 'here';
    const found = await this.#claim({ userId, act: 'look' }).catch((thrown) => this.#remembered(userId, thrown));
    if (found.got !== 'other' || found.nodeId === this.#options.nodeId) return undefined;
    if (!this.#options.lease.isLiving(found.nodeId, found.isLeased)) return undefined;
    this.#remember(userId, found.nodeId);
    return { nodeId: found.nodeId };
  }

  isHere(userId: string): boolean {
    return this.#owned.get(userId)?.state === 'here';
  }

  count(): number {
    return this.#owned.size;
  }

  letGo(userId: string): boolean {
    const owned = this.#owned.get(userId);
    if (owned?.state !== 'here' || this.#queues.isBusy(userId)) return false;
    this.#owned.delete(userId);
    this.#releases.add({ userId, proof: owned.proof, isFree: false });
    return true;
  }

  fenceOf(userId: string): string | undefined {
    const owned = this.#owned.get(userId);
    return owned?.state === 'lost' ? undefined : owned?.proof;
  }

  /** Beside the queue: the carrier may be in the middle of the write that asks. */
  async confirm(userId: string): Promise<boolean> {
    const owned = this.#owned.get(userId);
    if (!owned || owned.state === 'lost') return false;
    const taken = await this.#audit.check([{ userId, proof: owned.proof }]);
    return taken.length === 0;
  }

  async adoptOrphan(userId: string, entry: string): Promise<void> {
    await this.#queues.add(userId, async () => {
      if (this.#owned.has(userId) || this.#isDraining) return;
      const claimed = await this.#claim({ userId, act: 'exact', entry });
      if (claimed.got === 'claimed') await this.#adopt(userId, claimed.proof);
    });
  }

  async drain(): Promise<void> {
    this.#isDraining = true;
    do {
      const users = [...this.#owned.keys()];
      const leaveNext = async () => {
        for (let userId = users.pop(); userId !== undefined; userId = users.pop()) await this.#giveAway(userId);
      };
      await Promise.all(Array.from({ length: DRAIN_WIDTH }, leaveNext));
      // Those that were on their way in.
      await this.#queues.idle();
    } while (this.#owned.size > 0);
    await this.#releases.settled();
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#stops = [];
    this.#isDraining = true;
    await this.#queues.idle();
    await this.#releases.settled();
  }

  /** In the user's queue, as all that follows. */
  async #arrive(userId: string, why: 'take' | 'place'): Promise<Place> {
    if (this.isHere(userId)) return 'here';
    if (why === 'take') this.#mayCome();
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const found = await this.#find(userId).catch((thrown) => this.#remembered(userId, thrown, why));
      if (found.got === 'claimed') return await this.#adopt(userId, found.proof);
      if (found.got === 'nobody') continue;
      const { nodeId, entry, isLeased } = found;
      const lives = this.#options.lease.isLiving(nodeId, isLeased);
      if (lives && why === 'place') {
        this.#remember(userId, nodeId);
        return { nodeId };
      }
      this.#mayCome();
      const wasHandedOver = lives && (await this.#askFor(userId, nodeId));
      const claimed = await this.#claim({ userId, act: 'force', entry });
      if (claimed.got !== 'claimed') continue;
      if (!wasHandedOver) this.#options.mesh.tell(nodeId, SUBJECT.taken, { userId });
      return await this.#adopt(userId, claimed.proof);
    }
    // As many nodes have taken the user meanwhile: the one that asks again gets an answer.
    throw new GlasscastError('SESSION_MOVED');
  }

  /** Claims whom nobody has. One who was elsewhere a moment ago is looked for there first: Redis may have lost the entry. */
  async #find(userId: string): Promise<Claimed> {
    const { nodeId, mesh } = this.#options;
    const before = this.#elsewhere.get(userId);
    if (this.#isDraining || (before !== undefined && mesh.isReachable(before))) {
      const seen = await this.#claim({ userId, act: 'look' });
      const isSomebodys = seen.got === 'other' && seen.nodeId !== nodeId;
      if (isSomebodys) return seen;
      if (before !== undefined && (await this.#isOwnedBy(userId, before))) {
        return { got: 'other', nodeId: before, entry: '', isLeased: true };
      }
    }
    this.#mayCome();
    return await this.#claim({ userId, act: 'free' });
  }

  #mayCome(): void {
    if (this.#isDraining || !this.#carrier) throw new GlasscastError('SHUTTING_DOWN');
  }

  async #claim(claim: Pick<Claim, 'userId' | 'act' | 'entry'>): Promise<Claimed> {
    const { nodeId, records, lease } = this.#options;
    const claimed = await records.claim({ ...claim, nodeId, seenToken: lease.seenToken });
    if (claimed.got === 'claimed') lease.saw(claimed.token);
    return claimed;
  }

  async #adopt(userId: string, proof: string): Promise<'here'> {
    const owned: Owned = { proof, state: 'adopting' };
    this.#owned.set(userId, owned);
    this.#elsewhere.delete(userId);
    try {
      await this.#carrier?.adopt(userId);
    } catch (thrown) {
      const { code, message } = asGlasscastError(thrown);
      this.#options.log.warn({ userId, code, reason: message }, 'session-not-adopted');
      this.#owned.delete(userId);
      this.#releases.add({ userId, proof, isFree: true });
      throw thrown;
    }
    owned.state = 'here';
    return 'here';
  }

  /** False: it will not, or cannot say. */
  async #askFor(userId: string, nodeId: string): Promise<boolean> {
    const { mesh, log, handOverTimeoutMs = 2_000 } = this.#options;
    try {
      const ask = () => mesh.call(nodeId, SUBJECT.handOver, { userId }, { timeoutMs: handOverTimeoutMs });
      await this.#gate(ask);
      return true;
    } catch (thrown) {
      log.info({ userId, peerId: nodeId, reason: errorText(thrown) }, 'session-taken-by-force');
      return false;
    }
  }

  async #isOwnedBy(userId: string, nodeId: string): Promise<boolean> {
    const { mesh, handOverTimeoutMs = 2_000 } = this.#options;
    const asked = mesh.call(nodeId, SUBJECT.owns, { userId }, { timeoutMs: handOverTimeoutMs });
    return await asked.then((answer) => owns.parse(answer).isOwner).catch(() => false);
  }

  async #giveAway(userId: string): Promise<void> {
    await this.#queues.add(userId, async () => {
      const owned = this.#owned.get(userId);
      if (!owned) return;
      owned.state = 'leaving';
      await this.#handOver(userId, false);
      this.#owned.delete(userId);
      this.#releases.add({ userId, proof: owned.proof, isFree: true });
    });
  }

  async #lose(userId: string, proof: string): Promise<void> {
    const isStill = () => this.#owned.get(userId)?.proof === proof;
    const owned = this.#owned.get(userId);
    // Nothing can be written from now on, also by what is under way.
    if (owned?.proof === proof && owned.state !== 'adopting') owned.state = 'lost';
    await this.#queues.add(userId, async () => {
      const lost = this.#owned.get(userId);
      if (!lost || !isStill()) return;
      lost.state = 'lost';
      this.#options.log.warn({ userId }, 'session-lost');
      await this.#handOver(userId, true);
      this.#owned.delete(userId);
    });
  }

  async #handOver(userId: string, isLost: boolean): Promise<void> {
    try {
      await this.#carrier?.handOver(userId, { isLost });
    } catch (thrown) {
      this.#options.log.warn({ userId, isLost, reason: errorText(thrown) }, 'session-hand-over-failed');
    }
  }

  #remember(userId: string, nodeId: string): void {
    this.#elsewhere.delete(userId);
    this.#elsewhere.set(userId, nodeId);
    if (this.#elsewhere.size <= MAX_REMEMBERED) return;
    const [oldest] = this.#elsewhere.keys();
    if (oldest !== undefined) this.#elsewhere.delete(oldest);
  }

  /** While Redis is away: where the user was, if that node answers. */
  #remembered(userId: string, thrown: unknown, why: 'take' | 'place' = 'place'): Claimed {
    const nodeId = this.#elsewhere.get(userId);
    const isAway = asGlasscastError(thrown).code === 'STORE_UNAVAILABLE';
    if (!isAway || why === 'take' || nodeId === undefined || !this.#options.mesh.isReachable(nodeId)) throw thrown;
    return { got: 'other', nodeId, entry: '', isLeased: true };
  }

  /** Redis names this node for a user that it does not have: it heard a claim, and we no answer; or it is an older Redis. */
  async #setFree(userId: string, entry: string): Promise<void> {
    await this.#queues.add(userId, async () => {
      if (!this.#owned.has(userId)) this.#releases.add({ userId, proof: entry, isFree: true });
    });
  }
}
