/**
 * Every process that was ever seen below this one: who still runs and belongs to nobody any more has outlived its parent.
 * Reads the kernel's books only.
 */
import type { Clock } from '../../shared/clock.ts';
import { descendantsOf, type ProcessMark, stillRunning } from '../bench/process-use.ts';

export interface Family {
  /** Seen below this process once, running still, and not below it now. */
  orphans(): Promise<ProcessMark[]>;
  /** Below it now, but for what its own loader runs. */
  members(): Promise<ProcessMark[]>;
  close(): void;
}

const LOOK_MS = 1_000;
/** What our loader and tsx run beside the program that they load. */
const LOADER = /esbuild --service/;

export function watchFamily({ clock, pid }: { clock: Clock; pid: number }): Family {
  const seen = new Map<string, ProcessMark>();
  const keyOf = ({ pid: own, startTicks }: ProcessMark) => `${own} ${startTicks}`;
  async function members(): Promise<ProcessMark[]> {
    const found = await descendantsOf(pid);
    for (const mark of found) seen.set(keyOf(mark), mark);
    return found.filter(({ command }) => !LOADER.test(command));
  }
  const looking = clock.every('soak-family', LOOK_MS, () => void members());
  return {
    members,
    async orphans() {
      const running = await stillRunning([...seen.values()]);
      // Afterwards, so that one who is born meanwhile is no orphan.
      const own = new Set((await descendantsOf(pid)).map(keyOf));
      // Those that are gone need not be asked for again.
      seen.clear();
      for (const mark of running) seen.set(keyOf(mark), mark);
      return running.filter((mark) => !own.has(keyOf(mark)));
    },
    close: () => looking.cancel(),
  };
}
