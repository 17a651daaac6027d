/**
 * Keeps pictures out that no viewer could decode: those after a change of publisher which do not go on where the pictures
 * before them stopped. Two rivals on one key then cost their viewers a pause, never a broken picture. One input's; knows no socket.
 */
import { type FlvTag, isKeyFrame, isSequenceHeader, timestampDiffMs } from '../../../shared/rtmp/flv.ts';

export interface Continuity {
  /** A new connection publishes from here on. */
  begin(): void;
  /** A new timeline begins with the tag that `passes` is asked about next. */
  restart(): void;
  /**
   * False: a picture that needs others which viewers have not had.
   * Tags that were dropped for other reasons are not to be shown here.
   */
  passes(tag: FlvTag): boolean;
}

/** An AVC tag that holds no picture, though its first byte says key frame. */
const END_OF_SEQUENCE = 2;
/** Further apart, a picture of another connection is none that follows the last. As long as a pause may be in one period. */
const MAX_STEP_MS = 2000;

export function createContinuity(): Continuity {
  let configuration: Buffer | undefined;
  let newestMs: number | undefined;
  let isFirst = false;
  let awaitsKey = false;

  /** Whether the first picture of a connection can follow the last one of the connection before. */
  function follows({ timestampMs }: FlvTag): boolean {
    if (newestMs === undefined) return true;
    const stepMs = timestampDiffMs(timestampMs, newestMs);
    return stepMs > 0 && stepMs <= MAX_STEP_MS;
  }

  return {
    begin() {
      isFirst = true;
    },
    restart() {
      awaitsKey = true;
    },
    passes(tag) {
      if (tag.kind !== 'video') return true;
      if (isSequenceHeader(tag)) {
        if (configuration && !configuration.equals(tag.body)) awaitsKey = true;
        configuration = tag.body;
        return true;
      }
      if (tag.body[1] === END_OF_SEQUENCE) return true;
      if (isFirst && !follows(tag)) awaitsKey = true;
      isFirst = false;
      if (isKeyFrame(tag)) awaitsKey = false;
      if (awaitsKey) return false;
      newestMs = tag.timestampMs;
      return true;
    },
  };
}
