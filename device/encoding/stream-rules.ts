/**
 * What providers demand of a picture, watched in the tags of a running encoder: a sequence header, a key frame first, key
 * frames often enough, no B-frames. Says once what is wrong; stops nothing.
 */
import { readVideoConfig } from '../../shared/codec-config.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { type FlvTag, isKeyFrame, isSequenceHeader, timestampDiffMs } from '../../shared/rtmp/flv.ts';

export interface StreamRulesOptions {
  /** As asked of the encoder. */
  keyFrameIntervalMs: number;
  frameRate: number;
}

export interface StreamRules {
  /** ENCODER_UNFIT at the first picture that breaks a rule, in words in its `details.breach`; afterwards nothing more. */
  take(tag: FlvTag): GlasscastError | undefined;
}

/** Cloudflare Stream refuses more (ERR_GOP_OUT_OF_RANGE). */
const MAX_KEY_FRAME_INTERVAL_MS = 10_000;
/** How much later than asked is still as asked: an encoder that ignores forced key frames goes by `-g`, which is twice. */
const INTERVAL_TOLERANCE = 3;
/** Frame and codec, kind, composition offset; the data follow. */
const AVC_HEADER_BYTES = 5;

export function createStreamRules({ keyFrameIntervalMs, frameRate }: StreamRulesOptions): StreamRules {
  // With few pictures a second a key frame waits for the next picture.
  const wantedMs = INTERVAL_TOLERANCE * Math.max(keyFrameIntervalMs, 1000 / frameRate);
  const limitMs = Math.min(MAX_KEY_FRAME_INTERVAL_MS, wantedMs);
  let hasHeader = false;
  let keyFrameMs: number | undefined;
  let isUnfit = false;

  function breach(tag: FlvTag): string | undefined {
    if (!hasHeader) return 'it sends no sequence header';
    if (compositionOffsetMs(tag) !== 0) return 'it makes B-frames';
    if (isKeyFrame(tag)) {
      keyFrameMs = tag.timestampMs;
      return undefined;
    }
    if (keyFrameMs === undefined) return 'its first picture is no key frame';
    // Judged at a picture that is none: after a pause of the whole encoder the first picture is a key frame and no breach.
    const sinceMs = timestampDiffMs(tag.timestampMs, keyFrameMs);
    if (sinceMs <= limitMs) return undefined;
    return `no key frame for ${(sinceMs / 1000).toFixed(1)} s, asked for each ${keyFrameIntervalMs / 1000} s`;
  }

  return {
    take(tag) {
      if (tag.kind !== 'video' || isUnfit) return undefined;
      if (isSequenceHeader(tag)) {
        hasHeader = readVideoConfig(tag.body.subarray(AVC_HEADER_BYTES)) !== undefined || hasHeader;
        return undefined;
      }
      const reason = breach(tag);
      isUnfit = reason !== undefined;
      return isUnfit ? new GlasscastError('ENCODER_UNFIT', { reason, details: { breach: reason } }) : undefined;
    },
  };
}

/** ffmpeg writes such a header first for encoders that say theirs only with the first picture; it must not reach an ingest. */
export function isHollowHeader(tag: FlvTag): boolean {
  return tag.kind === 'video' && isSequenceHeader(tag) && tag.body.length <= AVC_HEADER_BYTES;
}

/** How much later a picture is shown than decoded: other than 0 only where pictures change places. */
function compositionOffsetMs({ body }: FlvTag): number {
  return body.length < AVC_HEADER_BYTES ? 0 : body.readIntBE(2, 3);
}
