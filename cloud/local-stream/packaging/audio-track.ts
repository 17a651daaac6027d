/**
 * Audio between its arrival and its segment: waits unplaced until it is known which period it belongs to, then takes its place
 * on a clock that counts samples, since FLV's whole milliseconds would make every frame's length wobble.
 *
 * What decides is the video. Its next key frame decides about all that waits. Before that, for parts, sound may be placed early
 * which the pictures of the open segment have passed already, in the order of its arrival, up to the first frame that does not
 * fit: from there on it may be a new timeline, whose video is still to come. The key frame would place those frames just so.
 */
import type { AudioConfig } from '../../../shared/codec-config.ts';
import type { Sample } from './fmp4.ts';

export interface WaitingAudio {
  /** On the publisher's timeline. */
  rawMs: number;
  config: AudioConfig;
  data: Buffer;
}

export interface AudioTrack {
  add(audio: WaitingAudio): void;
  /** Sound with another configuration than this one is waiting. */
  hasOther(config: AudioConfig | undefined): boolean;
  hasWaiting(): boolean;
  /** A new period: publisher time `originMs` is `startMs` on the video's timeline. */
  begin(period: { originMs: number; startMs: number; config: AudioConfig | undefined }): void;
  /** Chooses what belongs before `endMs` (publisher's timeline). `isLast`: the period ends there. */
  place(config: AudioConfig, endMs: number, isLast: boolean): void;
  /** Chooses what certainly belongs before the picture at `pictureMs` (publisher's timeline), which came already. */
  placeEarly(config: AudioConfig, pictureMs: number): void;
  /** Something was placed since the last segment was handed over. */
  hasPlaced(): boolean;
  /** Hands over what is placed, but for the last sample: a hole after it would make it longer. */
  handOverEarly(): void;
  /** Hands over the rest of a segment. */
  handOverRest(): void;
  /** Where the sound ends on the video's timeline. */
  endMs(): number;
}

/** Deviation from the sample clock that is rounding, not a gap. */
const JITTER_MS = 30;
/** Sound this far from its picture belongs to another timeline. */
const MAX_SKEW_MS = 5000;
const MAX_WAITING = 6000;

export function createAudioTrack(options: {
  /** Never without samples. */
  handOver(samples: readonly Sample[], startTicks: number, timescale: number): void;
}): AudioTrack {
  let waiting: WaitingAudio[] = [];
  const placed: Sample[] = [];
  let placedStartTicks = 0;
  let hasPlaced = false;
  let timescale = 0;
  let nextTicks = 0;
  let isFirst = true;
  /** Where the sound of the periods before ended, on the video's timeline. */
  let floorMs = 0;
  let originMs = 0;
  let startMs = 0;
  /** Where the last cut was, on the publisher's timeline. */
  let cutMs = 0;

  function soundEndMs(): number {
    return timescale ? (nextTicks * 1000) / timescale : floorMs;
  }
  function take({ rawMs, data, config }: WaitingAudio): void {
    const exactTicks = Math.round(((rawMs - originMs + startMs) * config.sampleRate) / 1000);
    // A frame that straddles the end of the last period keeps its place; the first one here comes after it.
    if (isFirst) nextTicks = Math.max(exactTicks, Math.ceil((floorMs * config.sampleRate) / 1000));
    const deviationTicks = exactTicks - nextTicks;
    const jitterTicks = (JITTER_MS * config.sampleRate) / 1000;
    // Before the period's first picture, or said already: two frames cannot share one place.
    if (rawMs < originMs || deviationTicks < -jitterTicks) return;
    isFirst = false;
    timescale = config.sampleRate;
    if (deviationTicks > jitterTicks) {
      const before = placed.at(-1);
      if (before) before.durationTicks += deviationTicks;
      nextTicks = exactTicks;
    }
    if (placed.length === 0) placedStartTicks = nextTicks;
    placed.push({ data, durationTicks: config.samplesPerFrame, offsetTicks: 0, isKey: true });
    nextTicks += config.samplesPerFrame;
    hasPlaced = true;
  }
  function handOver(count: number): void {
    const samples = placed.splice(0, count);
    if (samples.length === 0) return;
    const startTicks = placedStartTicks;
    placedStartTicks += samples.reduce((sum, { durationTicks }) => sum + durationTicks, 0);
    options.handOver(samples, startTicks, timescale);
  }
  const isNear = (audio: WaitingAudio, config: AudioConfig) =>
    audio.config === config && audio.rawMs >= cutMs - MAX_SKEW_MS;

  return {
    add(audio) {
      waiting.push(audio);
      if (waiting.length > MAX_WAITING) waiting.shift();
    },
    hasOther: (config) => waiting.some((audio) => audio.config !== config),
    hasWaiting: () => waiting.length > 0,
    begin(period) {
      floorMs = soundEndMs();
      ({ originMs, startMs } = period);
      cutMs = originMs;
      isFirst = true;
      timescale = 0;
      waiting = waiting.filter(({ rawMs, config }) => {
        return config === period.config && Math.abs(rawMs - originMs) <= MAX_SKEW_MS;
      });
    },
    place(config, endMs, isLast) {
      const limitMs = isLast ? endMs + JITTER_MS : endMs;
      const isOurs = (audio: WaitingAudio) => isNear(audio, config) && audio.rawMs < limitMs;
      // At a period's end only the run up to the first stranger is ours: a new timeline may use the same times again.
      const strangerAt = isLast ? waiting.findIndex((audio) => !isOurs(audio)) : -1;
      const candidates = strangerAt < 0 ? waiting : waiting.slice(0, strangerAt);
      const rest = strangerAt < 0 ? [] : waiting.slice(strangerAt);
      for (const audio of candidates) {
        if (isOurs(audio)) take(audio);
        else if (audio.rawMs >= limitMs) rest.push(audio);
      }
      waiting = rest;
      cutMs = endMs;
    },
    placeEarly(config, pictureMs) {
      const undecided = waiting.findIndex((audio) => !isNear(audio, config) || audio.rawMs >= pictureMs);
      for (const audio of waiting.splice(0, undecided < 0 ? waiting.length : undecided)) take(audio);
    },
    hasPlaced: () => hasPlaced,
    handOverEarly: () => handOver(placed.length - 1),
    handOverRest() {
      handOver(placed.length);
      hasPlaced = false;
    },
    endMs: soundEndMs,
  };
}
