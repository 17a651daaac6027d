/**
 * Folds a flood: of lines that differ in their time only, the first of each ten seconds passes, the others are counted and
 * told as "N more like this". Stands before the redactor and the disk, so that a flood costs next to nothing.
 */
import type { Clock } from './clock.ts';

export interface LineFolding {
  /** JSON lines as pino writes them. */
  write(line: string): void;
  /** Tells what was counted so far. */
  flush(): void;
}

const WINDOW_MS = 10_000;
/** Different lines watched at once; the oldest is told and forgotten first. */
const MAX_WATCHED = 50;
const TIME = /"time":"[^"]*",?/;

interface Watched {
  untilMs: number;
  more: number;
  /** The line as it last came. */
  line: string;
}

export function createLineFolding({ clock, write }: { clock: Clock; write: (line: string) => void }): LineFolding {
  const watched = new Map<string, Watched>();

  function tell({ more, line }: Watched): void {
    if (more > 0) write(withCount(line, more));
  }
  /** A map is in the order of its insertions: the first ones are over first. */
  function forget(nowMs: number, room: number): void {
    for (const [key, each] of watched) {
      if (each.untilMs > nowMs && watched.size <= MAX_WATCHED - room) return;
      watched.delete(key);
      tell(each);
    }
  }
  return {
    write(line) {
      const nowMs = clock.monotonicMs();
      const key = line.replace(TIME, '');
      const same = watched.get(key);
      if (same && same.untilMs > nowMs) {
        same.more += 1;
        same.line = line;
        return;
      }
      forget(nowMs, same ? 0 : 1);
      write(line);
      watched.set(key, { untilMs: nowMs + WINDOW_MS, more: 0, line });
    },
    flush() {
      for (const each of watched.values()) tell(each);
      watched.clear();
    },
  };
}

/** The same event with `more`; its last field is pino's `msg`. */
function withCount(line: string, more: number): string {
  return line.replace(/\}\s*$/, `,"more":${more},"note":"${more} more like this"}\n`);
}
