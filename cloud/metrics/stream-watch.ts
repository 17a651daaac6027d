/**
 * What happens to streams, read off their snapshots as they change and told to whoever counts or traces it: the steps of
 * a start, interruptions, the end. Watches only; no stream knows of it.
 */
import type { Clock } from '../../shared/clock.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { isStreamOver, type StreamState } from '../../shared/stream.ts';
import type { StreamSnapshot } from '../streams/stream-views.ts';
import { STALLED } from '../streams/stream-words.ts';

/** From the step before, the first from the request: input made, START sent, glasses publish, picture proven. */
export const startSteps = ['live_input', 'start_sent', 'publishing', 'first_picture'] as const;
export type StartStep = (typeof startSteps)[number];

/** `stall`: no newer picture; `reconnect`: the glasses said so. */
export const interruptionCauses = ['stall', 'reconnect'] as const;
/** `served`: it was live, and nothing was wrong at the end. */
export const streamOutcomes = ['served', 'stopped_before_live', 'failed_before_live', 'failed_after_live'] as const;

export interface WatchedStream {
  streamId: string;
  userId: string;
  kind: StreamSnapshot['kind'];
  /** Wall clock. */
  requestedAtMs: number;
}

/** Times are ms from the request. */
export interface StreamWitness {
  /** @param isTakenUp an earlier process had it. */
  began?(stream: WatchedStream, isTakenUp: boolean): void;
  reached?(stream: WatchedStream, step: StartStep, times: { fromMs: number; untilMs: number }): void;
  interrupted?(stream: WatchedStream, cause: (typeof interruptionCauses)[number], message: string): void;
  restored?(stream: WatchedStream, afterMs: number): void;
  /** Another relay goes on with it: nothing more is seen of it here. */
  moved?(stream: WatchedStream): void;
  ended?(stream: WatchedStream, outcome: (typeof streamOutcomes)[number], code: ErrorCode | undefined): void;
}

export interface StreamWatch {
  saw(snapshot: StreamSnapshot): void;
  /** The user's session, and whatever stream it had, is elsewhere from now on. */
  moved(userId: string): void;
  /** Of the streams that are not over, or were lately. */
  userOf(streamId: string): string | undefined;
  states(): { kind: StreamSnapshot['kind']; state: StreamState }[];
}

interface Seen extends WatchedStream {
  state: StreamState;
  isTakenUp: boolean;
  /** Of the steps. */
  reached: number;
  lastMs: number;
  wasLive: boolean;
  interruptedAtMs: number | undefined;
}

/** Their clean-up may go on for a while. */
const MAX_ENDED = 2_000;

export function createStreamWatch({
  clock,
  witnesses,
}: {
  clock: Clock;
  witnesses: readonly StreamWitness[];
}): StreamWatch {
  const open = new Map<string, Seen>();
  const ended = new Map<string, string>();
  /** The newest of each user, who has one at a time. */
  const ofUser = new Map<string, Seen>();

  function first(snapshot: StreamSnapshot): Seen | undefined {
    const { streamId, userId, kind, state, createdAt, liveMs } = snapshot;
    // Said twice: its end is known already.
    if (isStreamOver(state)) return undefined;
    const isTakenUp = state !== 'provisioning';
    const seen: Seen = {
      streamId,
      userId,
      kind,
      state,
      isTakenUp,
      reached: 0,
      lastMs: 0,
      interruptedAtMs: undefined,
      requestedAtMs: Date.parse(createdAt),
      wasLive: liveMs !== undefined,
    };
    open.set(streamId, seen);
    ofUser.set(userId, seen);
    for (const witness of witnesses) witness.began?.(seen, isTakenUp);
    return seen;
  }

  function follow(seen: Seen, snapshot: StreamSnapshot): void {
    const { state, startSentMs, publishingMs, liveMs } = snapshot;
    const madeMs =
      state === 'provisioning' || isStreamOver(state) ? undefined : Math.max(0, clock.now() - seen.requestedAtMs);
    const at = [madeMs, startSentMs, publishingMs, liveMs];
    for (const [number, step] of startSteps.entries()) {
      const untilMs = at[number];
      if (untilMs === undefined || number < seen.reached) continue;
      seen.reached = number + 1;
      const fromMs = seen.lastMs;
      // The input is seen a moment after it was made: START may have gone out by then.
      seen.lastMs = Math.max(
        fromMs,
        number === 0 && startSentMs !== undefined ? Math.min(untilMs, startSentMs) : untilMs,
      );
      if (seen.isTakenUp) continue;
      for (const witness of witnesses) witness.reached?.(seen, step, { fromMs, untilMs: seen.lastMs });
    }
    if (liveMs !== undefined) seen.wasLive = true;
  }

  function interruptions(seen: Seen, { state, message = '' }: StreamSnapshot): void {
    if (state === seen.state) return;
    if (state === 'interrupted') {
      seen.interruptedAtMs = clock.monotonicMs();
      for (const witness of witnesses) {
        witness.interrupted?.(seen, message === STALLED ? 'stall' : 'reconnect', message);
      }
    } else if (state === 'active' && seen.interruptedAtMs !== undefined) {
      const afterMs = clock.monotonicMs() - seen.interruptedAtMs;
      seen.interruptedAtMs = undefined;
      for (const witness of witnesses) witness.restored?.(seen, afterMs);
    }
  }

  function forget(seen: Seen): void {
    open.delete(seen.streamId);
    if (ofUser.get(seen.userId) === seen) ofUser.delete(seen.userId);
    ended.set(seen.streamId, seen.userId);
    const [oldest] = ended.keys();
    if (ended.size > MAX_ENDED && oldest !== undefined) ended.delete(oldest);
  }

  function end(seen: Seen, code: ErrorCode | undefined): void {
    forget(seen);
    const whole = seen.wasLive ? 'served' : 'stopped_before_live';
    const broken = seen.wasLive ? 'failed_after_live' : 'failed_before_live';
    for (const witness of witnesses) witness.ended?.(seen, code === undefined ? whole : broken, code);
  }

  return {
    saw(snapshot) {
      const seen = open.get(snapshot.streamId) ?? first(snapshot);
      if (!seen) return;
      follow(seen, snapshot);
      interruptions(seen, snapshot);
      seen.state = snapshot.state;
      if (snapshot.state === 'stopped' || snapshot.state === 'failed') end(seen, snapshot.errorCode);
    },
    moved(userId) {
      const seen = ofUser.get(userId);
      if (!seen) return;
      forget(seen);
      for (const witness of witnesses) witness.moved?.(seen);
    },
    userOf: (streamId) => open.get(streamId)?.userId ?? ended.get(streamId),
    states: () => [...open.values()].map(({ kind, state }) => ({ kind, state })),
  };
}
