/**
 * The glasses' side of one stream: START sent when they are there, told again when they have forgotten it, their words
 * read, and their stop waited for. Old firmware leaves ids out and repeats itself; that is sorted out here.
 * Never decides what a stream does.
 */
import type { Clock } from '../../shared/clock.ts';
import type { DeviceStreamStatus, StartStream } from '../../shared/protocol/glasses-messages.ts';
import { deviceStatusMeaning, newAckId } from '../../shared/stream.ts';
import type { SerialInbox } from './serial-inbox.ts';
import { type GlassesLink, stopOrder } from './stream-orders.ts';
import type { StreamTimings } from './stream-timings.ts';

export type DeviceNews = (typeof deviceStatusMeaning)[keyof typeof deviceStatusMeaning];

export interface GlassesPush {
  /** START has gone out, now or in an earlier life of the relay. */
  readonly isStarted: boolean;
  /** From now on START is wanted. @param isStarted they have it already. */
  want(start: StartStream, isStarted: boolean): void;
  /** They have come back. */
  back(): void;
  /** Whether a status is about this stream. */
  concerns(status: DeviceStreamStatus): boolean;
  /** What a status says about this stream while it is wanted; undefined: what ran before has ended. */
  read(status: DeviceStreamStatus): DeviceNews | undefined;
  /** Tells them to stop and waits for their word, at most `stopTimeoutMs`. @param isIdle they have said already that nothing runs. */
  stop(isIdle: boolean, onDone: () => void): void;
  /** A word of theirs while their stop is awaited. False when none is awaited. */
  readLast(status: DeviceStreamStatus): boolean;
}

export interface GlassesPushOptions {
  clock: Pick<Clock, 'monotonicMs'>;
  glasses: GlassesLink;
  /** Its timers are those of the present generation. */
  inbox: Pick<SerialInbox, 'arm' | 'disarm'>;
  timings: Pick<StreamTimings, 'reconcileMs' | 'stopTimeoutMs'>;
  /** Asks whether they still work on it; their answer counts as `heardSince`. */
  ask: () => void;
  heardSince: (sinceMs: number) => boolean;
  /** The first time and each time again. */
  onStartSent: () => void;
}

/** A timer that fires so late: more waits than the relay can do at once. */
const BEHIND_MS = 100;

export function createGlassesPush(options: GlassesPushOptions): GlassesPush {
  return new Push(options);
}

class Push implements GlassesPush {
  readonly #options: GlassesPushOptions;
  #start: StartStream | undefined;
  #isStarted = false;
  /** They have said that they work on this stream. */
  #isKnownThere = false;
  #onStopped: (() => void) | undefined;

  constructor(options: GlassesPushOptions) {
    this.#options = options;
  }

  get isStarted(): boolean {
    return this.#isStarted;
  }

  want(wanted: StartStream, wasStarted: boolean): void {
    this.#start = wanted;
    this.#isStarted = wasStarted;
    if (!wasStarted) this.#sendStart();
  }

  back(): void {
    const { ask, clock, glasses } = this.#options;
    if (!this.#isStarted) {
      this.#sendStart();
      return;
    }
    // They may still be pushing: asked first, told again only when they do not know the stream any more.
    const askedMs = clock.monotonicMs();
    ask();
    // Glasses that only know the newer names would not understand, and be started anew for nothing.
    if (this.#start && !this.#isDialectKnown()) {
      const { streamId } = this.#start;
      glasses.send({ type: 'keep_stream_alive', streamId, ackId: newAckId() }, 'stream');
    }
    this.#reconcile(askedMs);
  }

  #reconcile(askedMs: number): void {
    const { clock, heardSince, inbox, timings } = this.#options;
    const armedMs = clock.monotonicMs();
    inbox.arm('reconcile', timings.reconcileMs, () => {
      if (heardSince(askedMs)) return;
      const lateMs = clock.monotonicMs() - armedMs - timings.reconcileMs;
      // A relay that is behind has not read yet what they said: of ten thousand that came back at once, all would be told again.
      if (lateMs > BEHIND_MS) this.#reconcile(askedMs);
      else this.#sendStart();
    });
  }

  // Old firmware leaves the id out of its errors and last words: they belong to what was started last.
  concerns({ streamId }: DeviceStreamStatus): boolean {
    return streamId ? streamId === this.#start?.streamId : this.#isStarted;
  }

  read(status: DeviceStreamStatus): DeviceNews | undefined {
    const news = deviceStatusMeaning[status.status];
    // Firmware ends what ran before when it gets START, and says so without an id: not about us.
    const isLastWord = news === 'ended' || status.errorDetails === 'not_streaming';
    if (!status.streamId && isLastWord && !this.#isKnownThere) return undefined;
    if (['starting', 'publishing', 'retrying'].includes(news)) this.#isKnownThere = true;
    return news;
  }

  stop(isIdle: boolean, onDone: () => void): void {
    const { glasses, inbox, timings } = this.#options;
    const { streamId = '', sessionId = '', appId = '' } = this.#start ?? {};
    const isRunning = !isIdle && this.#isStarted && this.#start !== undefined;
    if (!isRunning || !glasses.send(stopOrder({ streamId, userId: sessionId, appId }))) {
      onDone();
      return;
    }
    this.#onStopped = onDone;
    inbox.arm('device-stop', timings.stopTimeoutMs, () => {
      this.#onStopped = undefined;
      onDone();
    });
  }

  readLast(status: DeviceStreamStatus): boolean {
    if (!this.#onStopped) return false;
    const news = deviceStatusMeaning[status.status];
    if (news !== 'ended' && news !== 'failed') return true;
    const done = this.#onStopped;
    this.#onStopped = undefined;
    this.#options.inbox.disarm('device-stop');
    done();
    return true;
  }

  #isDialectKnown(): boolean {
    return this.#options.glasses.knowsDialect?.() ?? true;
  }

  #sendStart(): void {
    const { glasses, onStartSent } = this.#options;
    if (!this.#start || !glasses.send(this.#start)) return;
    this.#isStarted = true;
    this.#isKnownThere = false;
    onStartSent();
    if (!this.#isDialectKnown()) this.#tryOtherDialect(this.#start);
  }

  /** Glasses that only know the newer names cannot say so before they are asked something in them. */
  #tryOtherDialect(order: StartStream): void {
    const { clock, glasses, heardSince, inbox, timings } = this.#options;
    const sentMs = clock.monotonicMs();
    inbox.arm('other-dialect', timings.reconcileMs, () => {
      if (!heardSince(sentMs) && !this.#isDialectKnown()) glasses.send(order, 'stream');
    });
  }
}
