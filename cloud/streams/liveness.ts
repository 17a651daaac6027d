/**
 * Whether a stream lives: keep-alives to the glasses, and what viewers can really see. Three unanswered keep-alives
 * mean nothing while media flows; a word of the glasses means nothing until a picture is proven. Decides no state.
 */
import type { Clock } from '../../shared/clock.ts';
import type { GlasscastError } from '../../shared/errors.ts';
import { createKeepAliveSender, createWatchdog, type KeepAliveSender, type Watchdog } from '../../shared/keep-alive.ts';
import { newAckId } from '../../shared/stream.ts';
import type { PlaybackEvents, PlaybackWatch } from '../provider/playback.ts';

/** What somebody else has seen of the ingest: a hint, never a proof. */
export type IngestHint =
  | { kind: 'connected' }
  | { kind: 'disconnected' }
  /** Verified by whoever brings it. */
  | { kind: 'errored'; error: GlasscastError };

export interface LivenessEvents {
  /** A picture is proven, the first time or again. */
  live(): void;
  /** No newer picture for too long. */
  stalled(): void;
  /** No answer and no media: nobody is there. */
  lost(): void;
}

export interface LivenessOptions {
  clock: Clock;
  events: LivenessEvents;
  keepAliveIntervalMs: number;
  /** No newer picture for this long is a stall; undefined where nobody can look. */
  stallMs: number | undefined;
  /** While the glasses say that they reconnect, what the ingest still had in hand is no sign of life. */
  settleMs: number;
  sendKeepAlive: (ackId: string) => boolean;
  onMiss?: (() => void) | undefined;
  /** Silence of glasses that are away means nothing. */
  isReachable: () => boolean;
}

export interface Liveness {
  /** START is wanted: from now on the glasses are asked. @param wasLive in an earlier process. */
  begin(look: (events: PlaybackEvents) => PlaybackWatch, was: { wasLive: boolean }): void;
  /** Any word of the glasses about this stream. */
  heard(): void;
  /** True when the glasses have said anything since. @param sinceMs monotonic. */
  heardSince(sinceMs: number): boolean;
  /** They know the stream. */
  acked(): void;
  askNow(): void;
  /** What was missed until now does not count. */
  forgive(): void;
  devicePublishes(): void;
  deviceRetries(): void;
  /** Somebody who may know says that it is worth looking now. */
  hurry(): void;
  /** The picture is gone: prove it anew. */
  proveAgain(): void;
  close(): void;
}

export function createLiveness(options: LivenessOptions): Liveness {
  return new StreamLiveness(options);
}

class StreamLiveness implements Liveness {
  readonly #options: LivenessOptions;
  readonly #keepAlive: KeepAliveSender;
  readonly #stall: Watchdog | undefined;
  #look: ((events: PlaybackEvents) => PlaybackWatch) | undefined;
  #watch: PlaybackWatch | undefined;
  #isPublishing = false;
  /** All that is known is that it was live once, in an earlier process. */
  #isTakenUp = false;
  #retryingSinceMs: number | undefined;
  #advancedMs = Number.NEGATIVE_INFINITY;
  #heardMs = Number.NEGATIVE_INFINITY;

  constructor(options: LivenessOptions) {
    const { clock, events, keepAliveIntervalMs: intervalMs, onMiss, sendKeepAlive: send, stallMs } = options;
    const onLost = () => this.#onSilence();
    this.#options = options;
    this.#keepAlive = createKeepAliveSender({ clock, intervalMs, newAckId, send, onMiss, onLost });
    this.#stall =
      stallMs === undefined
        ? undefined
        : createWatchdog({ clock, name: 'playback-stall', timeoutMs: stallMs, onExpired: () => events.stalled() });
  }

  begin(look: (events: PlaybackEvents) => PlaybackWatch, { wasLive }: { wasLive: boolean }): void {
    this.#look = look;
    this.#isTakenUp = wasLive;
    this.#keepAlive.start();
    this.#prove();
  }

  heard(): void {
    this.#heardMs = this.#nowMs();
    this.#keepAlive.signOfLife();
  }

  heardSince(sinceMs: number): boolean {
    return this.#heardMs >= sinceMs;
  }

  acked(): void {
    this.heard();
    // Old firmware says nothing else while all is well, and nobody can look at an address of an app's own choice.
    if (this.#isTakenUp && this.#stall === undefined) this.devicePublishes();
  }

  askNow(): void {
    this.#keepAlive.askNow();
  }

  forgive(): void {
    this.#keepAlive.signOfLife();
  }

  devicePublishes(): void {
    this.#isPublishing = true;
    this.#isTakenUp = false;
    this.#retryingSinceMs = undefined;
    this.#watch?.hurry();
  }

  deviceRetries(): void {
    this.#isPublishing = false;
    this.#isTakenUp = false;
    this.#retryingSinceMs = this.#nowMs();
  }

  hurry(): void {
    this.#watch?.hurry();
  }

  proveAgain(): void {
    this.#stall?.close();
    this.#prove();
  }

  close(): void {
    this.#keepAlive.close();
    this.#stall?.close();
    this.#watch?.close();
    this.#watch = undefined;
    this.#look = undefined;
  }

  #prove(): void {
    this.#watch?.close();
    this.#watch = this.#look?.({ live: () => this.#onLive(), advanced: () => this.#onAdvanced() });
    if (this.#isPublishing) this.#watch?.hurry();
  }

  #onLive(): void {
    const retryingMs = this.#retryingSinceMs === undefined ? undefined : this.#nowMs() - this.#retryingSinceMs;
    if (retryingMs !== undefined && retryingMs < this.#options.settleMs) {
      this.#prove();
      return;
    }
    this.#onAdvanced();
    this.#options.events.live();
  }

  #onAdvanced(): void {
    this.#advancedMs = this.#nowMs();
    this.#stall?.touch();
    // Media at the ingest is life, whatever the control link says.
    this.#keepAlive.signOfLife();
  }

  #onSilence(): void {
    const { events, isReachable, stallMs = 0 } = this.#options;
    if (!isReachable() || this.#nowMs() - this.#advancedMs < stallMs) this.#keepAlive.start();
    else events.lost();
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}
