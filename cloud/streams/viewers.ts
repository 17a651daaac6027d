/**
 * The apps that watch one stream: what each was told last, and how long each will wait for a picture.
 * Says the final word to each viewer once; never decides what the word is.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import type { ManagedStreamRequest } from '../../shared/protocol/app-messages.ts';
import type { AppStatus } from './stream-words.ts';

/** A state must arrive; statistics may be left out for a slow peer. */
export type Importance = 'state' | 'stats';

export interface Viewer {
  /** Its package name. */
  readonly id: string;
  deliver(status: AppStatus, importance: Importance): void;
}

/** What is a viewer's own in its request. */
export interface JoinRequest {
  restreamDestinations?: ManagedStreamRequest['restreamDestinations'];
  /** Wall clock; a request that had to wait has used up some of its patience. Default: now. */
  requestedAtMs?: number;
}

export interface Viewers {
  readonly size: number;
  ids(): string[];
  has(id: string): boolean;
  /** Wall clock of each viewer's request. */
  requests(): { id: string; requestedAtMs: number }[];
  /** The same viewer again replaces its earlier self and gets a new deadline. */
  add(viewer: Viewer, requestedAtMs: number): void;
  /** The first picture is waited for at most this long, from now on. */
  expect(id: string, deadlineMs: number, onLate: () => void): void;
  /** The picture is there: nobody waits any longer. */
  satisfied(): void;
  tell(id: string, status: AppStatus): void;
  /** Skips whoever has heard the very same already. @param statusFor by viewer id. */
  tellAll(statusFor: (id: string) => AppStatus, importance: Importance): void;
  /** Says the last word to one and forgets it. False when it was no viewer. */
  dismiss(id: string, lastWord: AppStatus): boolean;
  dismissAll(lastWord: AppStatus): void;
  /** Deadlines end; nobody is told anything. */
  close(): void;
}

interface Seat {
  viewer: Viewer;
  requestedAtMs: number;
  lastTold: string | undefined;
  deadline: Timer | undefined;
}

export function createViewers({ clock }: { clock: Clock }): Viewers {
  const seats = new Map<string, Seat>();

  function tell(seat: Seat, status: AppStatus, importance: Importance, evenIfSame: boolean): void {
    const text = JSON.stringify(status);
    if (text === seat.lastTold && !evenIfSame) return;
    // Statistics are no state: the next state is compared with the last state.
    if (importance === 'state') seat.lastTold = text;
    seat.viewer.deliver(status, importance);
  }

  const viewers: Viewers = {
    get size() {
      return seats.size;
    },
    ids: () => [...seats.keys()],
    has: (id) => seats.has(id),
    requests: () => [...seats].map(([id, { requestedAtMs }]) => ({ id, requestedAtMs })),
    add(viewer, requestedAtMs) {
      seats.get(viewer.id)?.deadline?.cancel();
      seats.set(viewer.id, { viewer, requestedAtMs, lastTold: undefined, deadline: undefined });
    },
    expect(id, deadlineMs, onLate) {
      const seat = seats.get(id);
      if (!seat) return;
      seat.deadline?.cancel();
      seat.deadline = clock.after('viewer-deadline', deadlineMs, onLate);
    },
    satisfied() {
      for (const seat of seats.values()) {
        seat.deadline?.cancel();
        seat.deadline = undefined;
      }
    },
    tell(id, status) {
      const seat = seats.get(id);
      if (seat) tell(seat, status, 'state', true);
    },
    tellAll(statusFor, importance) {
      for (const [id, seat] of [...seats]) tell(seat, statusFor(id), importance, false);
    },
    dismiss(id, lastWord) {
      const seat = seats.get(id);
      if (!seat) return false;
      seat.deadline?.cancel();
      seats.delete(id);
      tell(seat, lastWord, 'state', true);
      return true;
    },
    dismissAll(lastWord) {
      for (const id of [...seats.keys()]) viewers.dismiss(id, lastWord);
    },
    close: () => viewers.satisfied(),
  };
  return viewers;
}
