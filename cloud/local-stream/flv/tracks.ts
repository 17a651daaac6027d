/**
 * What one viewer's FLV stream may hold: decides once, before anything is sent, which tracks its header promises, and keeps
 * the stream to that promise. By what has really come, not by what a publisher announced: a player waits for ever for a track
 * that was promised, and cannot take one that was not. Pure; knows no socket and no time but the tags' own.
 */
import {
  type FlvTag,
  isConfiguration,
  isKeyFrame,
  isSequenceHeader,
  timestampDiffMs,
} from '../../../shared/rtmp/flv.ts';

export interface FlvTracksEvents {
  /** Once, before any tag. `originMs`: time of the first picture; nothing older is sent. */
  opened(header: { audio: boolean; video: true; originMs: number }): void;
  tag(tag: FlvTag): void;
  /** Sound has come or gone for good: the header is wrong from here on. Once; the tracks that it promised go on. */
  changed(): void;
}

export interface FlvTracks {
  take(tag: FlvTag): void;
}

/** Sound that was announced may be so late behind the first picture; glasses without a clock of their own lag by 0.4 s. */
const SOUND_AWAITED_MS = 800;
/** Pictures without sound, after which it is not expected any more. A player stops where its sound stops. */
const SOUND_MISSED_MS = 3000;
/** One step between two pictures counts as so much at most: a publisher that was away is not one without sound. */
const MAX_STEP_MS = 500;
/** While it is undecided what the header says. */
const MAX_HELD_TAGS = 500;
const MAX_HELD_BYTES = 2 * 1024 * 1024;

export function createFlvTracks(events: FlvTracksEvents): FlvTracks {
  const headers: Partial<Record<FlvTag['kind'], FlvTag>> = {};
  let held: FlvTag[] = [];
  let heldBytes = 0;
  /** Undefined: not decided. */
  let hasAudio: boolean | undefined;
  let originMs = 0;
  let newestPictureMs: number | undefined;
  let soundlessMs = 0;
  let isChanged = false;

  function open(audio: boolean): void {
    hasAudio = audio;
    events.opened({ audio, video: true, originMs });
    for (const tag of [headers.script, headers.video, headers.audio, ...held]) if (tag) pass(tag);
    held = [];
  }
  function pass(tag: FlvTag): void {
    if (tag.kind === 'audio' && !hasAudio) return;
    // Its own words weigh more with some players than the header.
    if (tag.kind === 'script' && !hasAudio && promisesSound(tag)) return;
    if (!isConfiguration(tag) && timestampDiffMs(tag.timestampMs, originMs) < 0) return;
    events.tag(tag);
  }
  function hold(tag: FlvTag): void {
    if (held.length === 0) {
      if (isConfiguration(tag)) headers[tag.kind] = tag;
      if (!isKeyFrame(tag)) return;
      originMs = tag.timestampMs;
    }
    held.push(tag);
    heldBytes += tag.body.length;
    if (!isUndecided(tag)) open(held.some(isSound) && hasAudioConfig());
  }
  /** Sound is expected, has not come, and there is still time for it. */
  function isUndecided(newest: FlvTag): boolean {
    const isPromised = hasAudioConfig() || (headers.script !== undefined && promisesSound(headers.script));
    if (!isPromised || (hasAudioConfig() && held.some(isSound))) return false;
    const waitedMs = newest.kind === 'video' ? timestampDiffMs(newest.timestampMs, originMs) : 0;
    return waitedMs < SOUND_AWAITED_MS && held.length < MAX_HELD_TAGS && heldBytes < MAX_HELD_BYTES;
  }
  function hasAudioConfig(): boolean {
    return headers.audio !== undefined || held.some((tag) => tag.kind === 'audio' && isSequenceHeader(tag));
  }
  function watchSound(tag: FlvTag): void {
    if (isSound(tag)) {
      soundlessMs = 0;
      if (!hasAudio) change();
      return;
    }
    if (tag.kind !== 'video' || isSequenceHeader(tag)) return;
    const stepMs = timestampDiffMs(tag.timestampMs, newestPictureMs ?? tag.timestampMs);
    newestPictureMs = tag.timestampMs;
    soundlessMs += Math.min(MAX_STEP_MS, Math.max(0, stepMs));
    if (hasAudio && soundlessMs >= SOUND_MISSED_MS) change();
  }
  function change(): void {
    if (isChanged) return;
    isChanged = true;
    events.changed();
  }

  return {
    take(tag) {
      if (hasAudio === undefined) {
        hold(tag);
      } else {
        pass(tag);
        watchSound(tag);
      }
    },
  };
}

function isSound(tag: FlvTag): boolean {
  return tag.kind === 'audio' && !isSequenceHeader(tag);
}

function promisesSound({ body }: FlvTag): boolean {
  return body.includes('audiocodecid') || body.includes('hasAudio');
}
