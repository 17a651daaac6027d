/**
 * Finds live inputs of this relay that no ledger knows: an answer that came after we had given up, a second creation.
 * Asks the store's ledger, not a process's memory: other processes' streams are no strays. Deletes nothing itself.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { LedgerEntry } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import type { DeletableInputs } from './removal.ts';

export interface StraySweep {
  /** Now and every 15 min. */
  start(): void;
  stop(): void;
}

export interface StraySweepOptions {
  inputs: Pick<DeletableInputs, 'list'>;
  store: Pick<Store, 'ledger'>;
  /** Of what this process knows and could not write yet. */
  known: () => readonly LedgerEntry[];
  /** One that nothing wants. */
  onStray: (stray: { uid: string; streamId: string; createdAtMs: number }) => void;
  clock: Clock;
  log: Log;
}

const SWEEP_MS = 15 * 60_000;
/** A younger input may be one whose creation has not been answered yet. */
const STRAY_AGE_MS = 10 * 60_000;

export function createStraySweep({ inputs, store, known, onStray, clock, log }: StraySweepOptions): StraySweep {
  let timer: Timer | undefined;
  let running: Promise<void> = Promise.resolve();
  let turn = 0;

  async function sweep(): Promise<void> {
    const mine = turn;
    const listed = await inputs.list();
    // After the list: whatever was made before it has its entry by now.
    const entries = [...(await store.ledger.all()), ...known()];
    const uids = new Set(entries.map(({ liveInputUid }) => liveInputUid));
    // The entry without a uid finds it by the mark.
    const awaited = new Set(entries.filter((entry) => entry.liveInputUid === undefined).map((entry) => entry.streamId));
    for (const { uid, streamId, createdAtMs } of listed) {
      if (mine !== turn) return;
      if (streamId === undefined || createdAtMs === undefined || uids.has(uid) || awaited.has(streamId)) continue;
      if (clock.now() - createdAtMs < STRAY_AGE_MS) continue;
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
