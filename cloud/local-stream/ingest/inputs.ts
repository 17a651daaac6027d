/**
 * What the ingest knows of each input: who publishes, who plays, and what its viewers have had.
 * Kept while anybody is connected and a little longer, so that a returning publisher's resend is known as such.
 */
import type { Clock, Timer } from '../../../shared/clock.ts';
import { createOutputTimeline, type OutputTimeline } from '../output-timeline.ts';
import type { IngestConnection } from './connection.ts';
import { type Continuity, createContinuity } from './continuity.ts';
import { createRtmpFanOut, type RtmpFanOut } from './guard.ts';
import type { MediaCheck } from './media.ts';
import { createTimeline, type Timeline } from './timeline.ts';

export interface Input {
  readonly uid: string;
  readonly fanOut: RtmpFanOut;
  readonly timeline: Timeline;
  /** What players see: it rises whatever publishers come and go, since players stop at time that steps back. */
  readonly shownTimeline: OutputTimeline;
  readonly continuity: Continuity;
  readonly players: Set<IngestConnection>;
  publication: InputPublication | undefined;
}

interface InputPublication {
  readonly id: string;
  readonly connection: IngestConnection;
  readonly media: MediaCheck;
  readonly sinceMs: number;
}

export interface Inputs {
  /** The input, made when unknown. Its memory runs out unless somebody is connected: call `keepOrRelease` after a change. */
  of(uid: string): Input;
  find(uid: string): Input | undefined;
  all(): Input[];
  /** Publisher or players came or went. */
  keepOrRelease(input: Input): void;
  /** Nobody can come back to it. */
  forget(uid: string): void;
  clear(): void;
}

const REMEMBER_MS = 120_000;

export function createInputs({ clock, maxCacheBytes }: { clock: Clock; maxCacheBytes: number }): Inputs {
  const inputs = new Map<string, Input>();
  const releases = new Map<string, Timer>();

  function forget(uid: string): void {
    releases.get(uid)?.cancel();
    releases.delete(uid);
    inputs.delete(uid);
  }
  return {
    forget,
    of(uid) {
      const known = inputs.get(uid);
      if (known) return known;
      const fanOut = createRtmpFanOut(uid, { maxCacheBytes });
      const input: Input = {
        uid,
        fanOut,
        timeline: createTimeline({ clock }),
        shownTimeline: createOutputTimeline({ clock }),
        continuity: createContinuity(),
        players: new Set(),
        publication: undefined,
      };
      inputs.set(uid, input);
      return input;
    },
    find: (uid) => inputs.get(uid),
    all: () => [...inputs.values()],
    keepOrRelease(input) {
      releases.get(input.uid)?.cancel();
      releases.delete(input.uid);
      if (input.publication || input.players.size > 0 || inputs.get(input.uid) !== input) return;
      releases.set(
        input.uid,
        clock.after('ingest-input-memory', REMEMBER_MS, () => forget(input.uid)),
      );
    },
    clear() {
      for (const timer of releases.values()) timer.cancel();
      releases.clear();
      inputs.clear();
    },
  };
}
