/**
 * Finds live inputs of this relay that no ledger knows: an answer that came after we had given up, a second creation.
 * Asks the store's ledger, and the processes too before it believes that nobody wants one: a store may have lost what they
 * wrote, or hold what this version cannot read. Deletes nothing itself.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { LedgerEntry } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import type { LiveInputSummary } from './live-inputs.ts';
import type { DeletableInputs } from './removal.ts';

export interface StraySweep {
  /** Now and every 15 min. */
  start(): void;
  stop(): void;
}

export type KnownInput = Pick<LedgerEntry, 'streamId' | 'liveInputUid'>;

export interface StraySweepOptions {
  inputs: Pick<DeletableInputs, 'list'>;
  store: Pick<Store, 'ledger'>;
  /** Of what this process knows and could not write yet. */
  known: () => readonly KnownInput[];
  /** As `known`, of all other processes. Default: there are none. A rejection puts the sweep off. */
  knownElsewhere?: (() => Promise<readonly KnownInput[]>) | undefined;
  /** One that nothing wants. */
  onStray: (stray: Stray) => void;
  clock: Clock;
  log: Log;
}

const SWEEP_MS = 15 * 60_000;
/** A younger input may be one whose creation has not been answered yet. */
const STRAY_AGE_MS = 10 * 60_000;

export function createStraySweep(options: StraySweepOptions): StraySweep {
  const { inputs, store, known, knownElsewhere = async () => [], onStray, clock, log } = options;
  let timer: Timer | undefined;
  let running: Promise<void> = Promise.resolve();
  let turn = 0;

  async function sweep(): Promise<void> {
    const mine = turn;
    const listed = await inputs.list();
    // After the list: whatever was made before it has its entry by now.
    const unknown = strangers(listed, [...(await store.ledger.all()), ...known()]);
    const old = unknown.filter(({ createdAtMs }) => clock.now() - createdAtMs >= STRAY_AGE_MS);
    const strays = old.length === 0 ? [] : strangers(old, await knownElsewhere());
    for (const { uid, streamId, createdAtMs } of strays) {
      if (mine !== turn) return;
      log.warn({ streamId, inputUid: uid }, 'cleanup-stray-found');
      onStray({ uid, streamId, createdAtMs });
    }
  }
  function again(): void {
    running = running.then(sweep).catch((error) => log.warn({ reason: errorText(error) }, 'cleanup-sweep-failed'));
  }

  return {
    start() {
      if (timer) return;
      timer = clock.every('cleanup-sweep', SWEEP_MS, again);
      again();
    },
    stop() {
      turn += 1;
      timer?.cancel();
      timer = undefined;
    },
  };
}

interface Stray {
  uid: string;
  streamId: string;
  createdAtMs: number;
}

/** Those of this relay that nobody among `known` has. */
function strangers(listed: readonly LiveInputSummary[], known: readonly KnownInput[]): Stray[] {
  const uids = new Set(known.map(({ liveInputUid }) => liveInputUid));
  // The entry without a uid finds it by the mark.
  const awaited = new Set(known.filter((entry) => entry.liveInputUid === undefined).map(({ streamId }) => streamId));
  return listed.flatMap(({ uid, streamId, createdAtMs }) => {
    const isOurs = streamId !== undefined && createdAtMs !== undefined;
    return isOurs && !uids.has(uid) && !awaited.has(streamId) ? [{ uid, streamId, createdAtMs }] : [];
  });
}
