/**
 * The apps that watch one stream: what each was told last, and how long each will wait for a picture.
 * Says the final word to each viewer once; never decides what the word is.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import type { ManagedStreamRequest } from '../../shared/protocol/app-messages.ts';
import type { StreamRecord } from '../store/records.ts';
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
  /** For the store. */
  requests(): StreamRecord['viewers'];
  /** The same viewer again replaces its earlier self and gets a new deadline, if it waits for a picture. */
  add(viewer: Viewer, request: { requestedAtMs: number; isWaiting: boolean }): void;
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

export interface ViewersOptions {
  clock: Clock;
  /** For a picture, from the request on. */
  patienceMs: number;
  onLate: (id: string) => void;
}

export function createViewers(options: ViewersOptions): Viewers {
  return new Seats(options);
}

class Seats implements Viewers {
  readonly #options: ViewersOptions;
  readonly #seats = new Map<string, Seat>();

  constructor(options: ViewersOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#seats.size;
  }

  ids(): string[] {
    return [...this.#seats.keys()];
  }

  has(id: string): boolean {
    return this.#seats.has(id);
  }

  requests(): StreamRecord['viewers'] {
    return [...this.#seats].map(([id, { requestedAtMs, deadline }]) => {
      return { id, requestedAtMs, isWaiting: deadline !== undefined };
    });
  }

  add(viewer: Viewer, { requestedAtMs, isWaiting }: { requestedAtMs: number; isWaiting: boolean }): void {
    const { clock, onLate, patienceMs } = this.#options;
    const { id } = viewer;
    this.#seats.get(id)?.deadline?.cancel();
    const leftMs = Math.max(0, patienceMs - (clock.now() - requestedAtMs));
    const deadline = isWaiting ? clock.after('viewer-deadline', leftMs, () => onLate(id)) : undefined;
    this.#seats.set(id, { viewer, requestedAtMs, lastTold: undefined, deadline });
  }

  satisfied(): void {
    for (const seat of this.#seats.values()) {
      seat.deadline?.cancel();
      seat.deadline = undefined;
    }
  }

  tell(id: string, status: AppStatus): void {
    const seat = this.#seats.get(id);
    if (seat) tell(seat, status, 'state', true);
  }

  tellAll(statusFor: (id: string) => AppStatus, importance: Importance): void {
    for (const [id, seat] of [...this.#seats]) tell(seat, statusFor(id), importance, false);
  }

  dismiss(id: string, lastWord: AppStatus): boolean {
    const seat = this.#seats.get(id);
    if (!seat) return false;
    seat.deadline?.cancel();
    this.#seats.delete(id);
    tell(seat, lastWord, 'state', true);
    return true;
  }

  dismissAll(lastWord: AppStatus): void {
    for (const id of [...this.#seats.keys()]) this.dismiss(id, lastWord);
  }

  close(): void {
    for (const { deadline } of this.#seats.values()) deadline?.cancel();
  }
}

function tell(seat: Seat, status: AppStatus, importance: Importance, evenIfSame: boolean): void {
  const text = JSON.stringify(status);
  if (text === seat.lastTold && !evenIfSame) return;
  // Statistics are no state: the next state is compared with the last state.
  if (importance === 'state') seat.lastTold = text;
  seat.viewer.deliver(status, importance);
}
