/**
 * Whether Redis still says that this node owns whom it owns: what Redis lost is written again, who was taken is told, and so is
 * whom Redis gives to this node without its knowing. A few users at each beat, all of them when Redis or another node is back.
 * The work of a second does not grow with the users.
 */
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ClusterRecords } from './cluster-records.ts';
import type { NodeLease } from './node-lease.ts';

export interface OwnerAuditOptions {
  nodeId: string;
  records: Pick<ClusterRecords, 'audit' | 'scan'>;
  lease: Pick<NodeLease, 'epoch' | 'seenToken'>;
  log: Log;
  /** Read whenever it is looked at. */
  owned: ReadonlyMap<string, { readonly proof: string }>;
  onTaken: (userId: string, proof: string) => void;
  /** May be one that is just coming. */
  onStray: (userId: string, entry: string) => void;
}

export interface OwnerAudit {
  /** After a renewal of the lease. */
  beat(): void;
  /** All, once more when it is asked for meanwhile. */
  all(): void;
  /** @returns those that were taken, who are told, too. Errors: STORE_UNAVAILABLE. */
  check(owned: readonly Owned[]): Promise<string[]>;
}

interface Owned {
  userId: string;
  proof: string;
}

const PER_BEAT = 200;
const PER_CALL = 500;

export function createOwnerAudit(options: OwnerAuditOptions): OwnerAudit {
  return new Audits(options);
}

class Audits implements OwnerAudit {
  readonly #options: OwnerAuditOptions;
  /** Redis with another one has lost something, and what is owned here was not all written again yet. */
  #epoch: string | undefined;
  #rest: Iterator<[string, { readonly proof: string }]> | undefined;
  #isBeating = false;
  #running = false;
  #again = false;

  constructor(options: OwnerAuditOptions) {
    this.#options = options;
  }

  beat(): void {
    this.#epoch ??= this.#options.lease.epoch;
    if (this.#epoch !== this.#options.lease.epoch) {
      this.all();
      return;
    }
    if (this.#isBeating || this.#running) return;
    const some = this.#some();
    if (some.length === 0) return;
    this.#isBeating = true;
    // What fails now is asked again later.
    void this.check(some)
      .catch(() => {})
      .finally(() => {
        this.#isBeating = false;
      });
  }

  all(): void {
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    const failed = (thrown: unknown) =>
      this.#options.log.debug({ reason: errorText(thrown) }, 'owner-audit-not-finished');
    void this.#checkAll()
      .catch(failed)
      .finally(() => {
        this.#running = false;
      });
  }

  async check(owned: readonly Owned[]): Promise<string[]> {
    const { nodeId, records, lease, onTaken } = this.#options;
    const { seenToken } = lease;
    const taken = await records.audit({ nodeId, epoch: this.#epoch ?? '', seenToken, owned });
    const proofs = new Map(owned.map(({ userId, proof }) => [userId, proof]));
    for (const userId of taken) onTaken(userId, proofs.get(userId) ?? '');
    return taken;
  }

  async #checkAll(): Promise<void> {
    const { lease, owned } = this.#options;
    while (this.#again) {
      this.#again = false;
      const { epoch } = lease;
      const all = [...owned].map(([userId, { proof }]) => ({ userId, proof }));
      for (let at = 0; at < all.length; at += PER_CALL) {
        // Some may have left while the others were asked for.
        const still = all.slice(at, at + PER_CALL).filter(({ userId, proof }) => owned.get(userId)?.proof === proof);
        if (still.length > 0) await this.check(still);
      }
      await this.#findStrays();
      this.#epoch = epoch;
    }
  }

  async #findStrays(): Promise<void> {
    const { nodeId, records, owned, onStray } = this.#options;
    let cursor = '0';
    do {
      const page = await records.scan(cursor);
      cursor = page.cursor;
      for (const { userId, entry } of page.owners) {
        if (entry.startsWith(`${nodeId} `) && !owned.has(userId)) onStray(userId, entry);
      }
    } while (cursor !== '0');
  }

  #some(): Owned[] {
    const some: Owned[] = [];
    this.#rest ??= this.#options.owned.entries();
    while (some.length < PER_BEAT) {
      const { value, done } = this.#rest.next();
      if (done) {
        this.#rest = undefined;
        break;
      }
      const [userId, { proof }] = value;
      some.push({ userId, proof });
    }
    return some;
  }
}
