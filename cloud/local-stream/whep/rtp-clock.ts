/**
 * The feed's milliseconds as RTP time (RFC 3550 §5.1), for the two tracks of one viewer: one origin, so that lips stay in sync,
 * and each track's time only rises, since neither SRTP nor a decoder forgives a step back. Pure.
 */

export interface RtpClock {
  video(timestampMs: number): number;
  audio(timestampMs: number): number;
}

export interface RtpClockOptions {
  /** Feed time that stands for zero. What is older still rises, by the least there is. */
  originMs: number;
  /** Where each track begins: random in production (RFC 3550 §5.1). */
  firstVideo: number;
  firstAudio: number;
}

const WRAP_MS = 2 ** 32;

export function createRtpClock({ originMs, firstVideo, firstAudio }: RtpClockOptions): RtpClock {
  return {
    video: createTrackTime(90, originMs, firstVideo),
    audio: createTrackTime(48, originMs, firstAudio),
  };
}

function createTrackTime(ticksPerMs: number, originMs: number, first: number): (timestampMs: number) => number {
  let last: { ticks: number; timestampMs: number; positionMs: number } = {
    ...{ ticks: first - 1, timestampMs: originMs, positionMs: 0 },
  };
  return (timestampMs) => {
    const positionMs = last.positionMs + differenceMs(timestampMs, last.timestampMs);
    const ticks = Math.max(last.ticks + 1, first + Math.round(positionMs * ticksPerMs));
    last = { ticks, timestampMs, positionMs };
    return ticks % 2 ** 32;
  };
}

/** Right across the wrap of the feed's 32 bits, and for fractions of a millisecond. */
function differenceMs(later: number, earlier: number): number {
  const difference = later - earlier;
  if (difference >= WRAP_MS / 2) return difference - WRAP_MS;
  return difference < -WRAP_MS / 2 ? difference + WRAP_MS : difference;
}
