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

export function createGlassesPush(options: GlassesPushOptions): GlassesPush {
  const { glasses, inbox, timings, ask, clock, heardSince } = options;
  let start: StartStream | undefined;
  let isStarted = false;
  /** They have said that they work on this stream. */
  let isKnownThere = false;
  let onStopped: (() => void) | undefined;

  const isDialectKnown = () => glasses.knowsDialect?.() ?? true;
  function sendStart(): void {
    if (!start || !glasses.send(start)) return;
    isStarted = true;
    isKnownThere = false;
    options.onStartSent();
    if (!isDialectKnown()) tryOtherDialect(start);
  }
  /** Glasses that only know the newer names cannot say so before they are asked something in them. */
  function tryOtherDialect(order: StartStream): void {
    const sentMs = clock.monotonicMs();
    inbox.arm('other-dialect', timings.reconcileMs, () => {
      if (!heardSince(sentMs) && !isDialectKnown()) glasses.send(order, 'stream');
    });
  }

  return {
    get isStarted() {
      return isStarted;
    },
    want(wanted, wasStarted) {
      start = wanted;
      isStarted = wasStarted;
      if (!wasStarted) sendStart();
    },
    back() {
      if (!isStarted) {
        sendStart();
        return;
      }
      // They may still be pushing: asked first, told again only when they do not know the stream any more.
      const askedMs = clock.monotonicMs();
      ask();
      // Glasses that only know the newer names would not understand, and be started anew for nothing.
      if (start && !isDialectKnown()) {
        glasses.send({ type: 'keep_stream_alive', streamId: start.streamId, ackId: newAckId() }, 'stream');
      }
      inbox.arm('reconcile', timings.reconcileMs, () => {
        if (!heardSince(askedMs)) sendStart();
      });
    },
    // Old firmware leaves the id out of its errors and last words: they belong to what was started last.
    concerns: ({ streamId }) => (streamId ? streamId === start?.streamId : isStarted),
    read(status) {
      const news = deviceStatusMeaning[status.status];
      // Firmware ends what ran before when it gets START, and says so without an id: not about us.
      const isLastWord = news === 'ended' || status.errorDetails === 'not_streaming';
      if (!status.streamId && isLastWord && !isKnownThere) return undefined;
      if (['starting', 'publishing', 'retrying'].includes(news)) isKnownThere = true;
      return news;
    },
    stop(isIdle, onDone) {
      if (isIdle || !isStarted || !start) return onDone();
      const { streamId, sessionId = '', appId = '' } = start;
      if (!glasses.send(stopOrder({ streamId, userId: sessionId, appId }))) return onDone();
      onStopped = onDone;
      inbox.arm('device-stop', timings.stopTimeoutMs, () => {
        onStopped = undefined;
        onDone();
      });
    },
    readLast(status) {
      if (!onStopped) return false;
      const news = deviceStatusMeaning[status.status];
      if (news !== 'ended' && news !== 'failed') return true;
      const done = onStopped;
      onStopped = undefined;
      inbox.disarm('device-stop');
      done();
      return true;
    },
  };
}
