/** The patience of a stream, in one place; each value with the reason it has. Behaviour stands in `live-stream.ts`. */
import type { VideoSettings } from '../../shared/stream.ts';
import type { StreamRecord } from '../store/records.ts';

export interface StreamTimings {
  /** For the first picture, from each viewer's request. The SDK gives up at 30 s. Default 25000. */
  startDeadlineMs: number;
  /** Longer than the 113 s an old firmware retries. Default 120000. */
  interruptedDeadlineMs: number;
  /** Without their control link; as long as firmware publishes on unasked. Default 60000. */
  glassesAwayMs: number;
  /**
   * So that the next process knows how long nobody has been there; what it does not know is taken off the patience with
   * glasses that are away. More often, ten thousand streams would write all the time. Default 60000.
   */
  saveEveryMs: number;
  /** For the device's own word that it has stopped. Default 5000. */
  stopTimeoutMs: number;
  /** No newer segment for this long is an interruption. Default 8000. */
  stallMs: number;
  /** Default 15000. */
  keepAliveIntervalMs: number;
  /** For a sign of the stream after the glasses came back, before START is sent again. Default 3000. */
  reconcileMs: number;
}

export const defaultStreamTimings: StreamTimings = {
  startDeadlineMs: 25_000,
  interruptedDeadlineMs: 120_000,
  glassesAwayMs: 60_000,
  saveEveryMs: 60_000,
  stopTimeoutMs: 5_000,
  stallMs: 8_000,
  keepAliveIntervalMs: 15_000,
  reconcileMs: 3_000,
};

/** Segments end at key frames: far apart, they are no stall. */
export function stallMsFor({ stallMs }: Pick<StreamTimings, 'stallMs'>, video: VideoSettings | undefined): number {
  return Math.max(stallMs, 3 * (video?.keyFrameIntervalMs ?? 0));
}

/** The owner of an unmanaged stream waits for no picture: as long as the glasses try, they may. */
export function timingsFor(kind: StreamRecord['kind'], timings: StreamTimings): StreamTimings {
  return kind === 'managed' ? timings : { ...timings, startDeadlineMs: timings.interruptedDeadlineMs };
}
