/**
 * Whether what a publisher sends can be played here: H.264 and AAC that browsers decode, key frames that let viewers join, a bit
 * rate that fits. Judges the tags of one publication and names the reason; never ends anything. Codes as Cloudflare's live webhook
 * names them (Stream docs, "Receive live webhooks"). Codec numbers: FLV v10.1 Annex E.4, Enhanced RTMP v2.
 */
import type { Clock } from '../../../shared/clock.ts';
import { readAudioConfig, readVideoConfig } from '../../../shared/codec-config.ts';
import { type FlvTag, isKeyFrame, isSequenceHeader } from '../../../shared/rtmp/flv.ts';

export interface MediaLimits {
  /** Over ten seconds; a burst, as after an outage, may be faster. Default 50 Mbit/s. */
  maxBitrateBps: number;
  /** Pictures for so long without a key frame: nobody could join. Default 30000: x264's 250 pictures at 8.4 a second. */
  maxKeyFrameGapMs: number;
}

export interface MediaRefusal {
  /** Undefined: Cloudflare has no name for it. */
  code: 'ERR_UNSUPPORTED_VIDEO_CODEC' | 'ERR_UNSUPPORTED_AUDIO_CODEC' | 'ERR_GOP_OUT_OF_RANGE' | undefined;
  /** For the publisher and for the log. Holds nothing that the publisher sent but the names of known codecs. */
  sentence: string;
  /** As far as known: `h264`, `hevc`, …; empty before the first tag. */
  videoCodec: string;
  audioCodec: string;
}

export interface MediaCheck {
  /** The reason why the publication is to end; undefined: go on. */
  judge(tag: FlvTag): MediaRefusal | undefined;
  /** True once: there has been sound for ten seconds and no picture, so nothing can be watched. */
  isSoundAlone(): boolean;
}

const BUCKET_MS = 10_000;
/** A longer pause of the pictures is no distance between key frames. */
const LONGEST_STEP_MS = 1000;
const SOUND_ALONE_MS = 10_000;

const H264 = 7;
const AAC = 10;
const videoCodecs: Readonly<Record<number, string>> = {
  2: 'h263',
  3: 'screen',
  4: 'vp6',
  5: 'vp6-alpha',
  6: 'screen2',
  [H264]: 'h264',
  12: 'hevc',
  13: 'av1',
};
const audioCodecs: Readonly<Record<number, string>> = {
  0: 'pcm',
  1: 'adpcm',
  2: 'mp3',
  3: 'pcm',
  4: 'nellymoser',
  5: 'nellymoser',
  6: 'nellymoser',
  7: 'g711-alaw',
  8: 'g711-mulaw',
  [AAC]: 'aac',
  11: 'speex',
  14: 'mp3',
};
/** Enhanced RTMP's four characters. */
const fourCharacters: Readonly<Record<string, string>> = {
  ...{ avc1: 'h264 by enhanced RTMP', hvc1: 'hevc', av01: 'av1', vp08: 'vp8', vp09: 'vp9', vvc1: 'vvc' },
  ...{ mp4a: 'aac by enhanced RTMP', Opus: 'opus', fLaC: 'flac', 'ac-3': 'ac3', 'ec-3': 'eac3', '.mp3': 'mp3' },
};
/** H.264 §A.2: baseline, main, extended, high. Others are 10 bit, 4:2:2, 4:4:4 or layered, which no browser is sure to decode. */
const PLAYABLE_PROFILES = new Set([66, 77, 88, 100]);
/** ISO/IEC 14496-3 §1.5.1.1: main, LC, SSR, LTP, HE, HE with parametric stereo. */
const PLAYABLE_OBJECT_TYPES = /^mp4a\.40\.(1|2|3|4|5|29)$/;

export function createMediaCheck({ clock, limits }: { clock: Clock; limits: MediaLimits }): MediaCheck {
  const { maxBitrateBps, maxKeyFrameGapMs } = limits;
  let videoCodec = '';
  let audioCodec = '';
  /** What was sent beyond the rate, in bits. */
  let excessBits = 0;
  let countedMs = clock.monotonicMs();
  let pictureMs: number | undefined;
  let sinceKeyMs = 0;
  let soundSinceMs: number | undefined;
  let isToldOfSound = false;

  const refusal = (code: MediaRefusal['code'], sentence: string): MediaRefusal => ({
    ...{ code, sentence, videoCodec, audioCodec },
  });

  function judgeRate(bytes: number, nowMs: number): MediaRefusal | undefined {
    excessBits = Math.max(0, excessBits - (maxBitrateBps * (nowMs - countedMs)) / 1000) + bytes * 8;
    countedMs = nowMs;
    if (excessBits <= (maxBitrateBps * BUCKET_MS) / 1000) return undefined;
    return refusal(undefined, `More than ${maxBitrateBps / 1_000_000} Mbit/s for too long; lower the bit rate`);
  }

  function judgeVideo(tag: FlvTag, nowMs: number): MediaRefusal | undefined {
    const first = tag.body[0] ?? 0;
    const isEnhanced = (first & 0x80) !== 0;
    videoCodec = isEnhanced ? fourCharacterName(tag.body) : (videoCodecs[first & 0x0f] ?? 'unknown');
    if (videoCodec !== 'h264') {
      return refusal('ERR_UNSUPPORTED_VIDEO_CODEC', `The picture is ${videoCodec}; send H.264`);
    }
    if (isSequenceHeader(tag)) return judgeConfiguration(tag.body.subarray(5));
    sinceKeyMs = isKeyFrame(tag) ? 0 : sinceKeyMs + Math.min(LONGEST_STEP_MS, nowMs - (pictureMs ?? nowMs));
    pictureMs = nowMs;
    if (sinceKeyMs <= maxKeyFrameGapMs) return undefined;
    const seconds = Math.round(maxKeyFrameGapMs / 1000);
    return refusal('ERR_GOP_OUT_OF_RANGE', `No key frame for ${seconds} s; send one each 1 to 4 s`);
  }

  function judgeConfiguration(record: Buffer): MediaRefusal | undefined {
    const config = readVideoConfig(record);
    if (!config) {
      return refusal('ERR_UNSUPPORTED_VIDEO_CODEC', 'The decoder configuration of the H.264 picture cannot be read');
    }
    if (PLAYABLE_PROFILES.has(config.record[1] ?? 0)) return undefined;
    const sentence = `No browser plays H.264 of profile ${config.record[1]} (10 bit, 4:2:2 or 4:4:4); send 8 bit 4:2:0`;
    return refusal('ERR_UNSUPPORTED_VIDEO_CODEC', `${sentence}, with ffmpeg by -pix_fmt yuv420p`);
  }

  function judgeAudio(tag: FlvTag, nowMs: number): MediaRefusal | undefined {
    const format = (tag.body[0] ?? 0) >> 4;
    audioCodec = format === 9 ? fourCharacterName(tag.body) : (audioCodecs[format] ?? 'unknown');
    if (audioCodec !== 'aac') return refusal('ERR_UNSUPPORTED_AUDIO_CODEC', `The sound is ${audioCodec}; send AAC`);
    if (!isSequenceHeader(tag)) {
      soundSinceMs ??= nowMs;
      return undefined;
    }
    const config = readAudioConfig(tag.body.subarray(2));
    if (!config) {
      return refusal('ERR_UNSUPPORTED_AUDIO_CODEC', 'The decoder configuration of the AAC sound cannot be read');
    }
    if (PLAYABLE_OBJECT_TYPES.test(config.codec)) return undefined;
    return refusal('ERR_UNSUPPORTED_AUDIO_CODEC', `The sound is AAC of a kind that no browser plays; send AAC-LC`);
  }

  return {
    judge(tag) {
      const nowMs = clock.monotonicMs();
      const tooFast = judgeRate(tag.body.length, nowMs);
      if (tooFast || tag.kind === 'script') return tooFast;
      return tag.kind === 'video' ? judgeVideo(tag, nowMs) : judgeAudio(tag, nowMs);
    },
    isSoundAlone() {
      if (isToldOfSound || soundSinceMs === undefined || pictureMs !== undefined) return false;
      isToldOfSound = clock.monotonicMs() - soundSinceMs > SOUND_ALONE_MS;
      return isToldOfSound;
    },
  };
}

/** Only names from our own table: what the peer sent stays out of answers and logs. */
function fourCharacterName(body: Buffer): string {
  return fourCharacters[body.toString('latin1', 1, 5)] ?? 'unknown';
}
