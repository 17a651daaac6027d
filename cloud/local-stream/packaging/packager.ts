/**
 * FLV tags in, fMP4 segments out, one packaging for HLS and DASH, nothing re-encoded. Owns where segments are cut and how a
 * publisher's timeline maps onto the video's own; never stores, never serves.
 *
 * A *period* is a stretch with one set of codec configurations on one publisher timeline. The video's own timeline is continuous:
 * a pause is spliced out, its wall-clock length stays readable from `wallMs`. Every decision falls at a key frame; until then
 * audio waits unplaced, because audio may jump to a new timeline before the video does. With parts the open segment is given out
 * as it grows, and no decision moves: a picture goes out when the next one has shown how long it stood, sound when the pictures
 * have passed it, and the first of a period when it is settled whether the period has sound.
 */

import {
  type AudioConfig,
  parameterSets,
  readAudioConfig,
  readVideoConfig,
  type VideoConfig,
} from '../../../shared/codec-config.ts';
import type { Log } from '../../../shared/log.ts';
import { type FlvTag, isKeyFrame, isSequenceHeader } from '../../../shared/rtmp/flv.ts';
import { createAudioTrack, type WaitingAudio } from './audio-track.ts';
import { audioInit, type Sample, VIDEO_TIMESCALE, videoInit } from './fmp4.ts';
import { createPartCutter, type Part, type Segment } from './part-cutter.ts';

export type { Part, Segment } from './part-cutter.ts';

export interface TrackDescription {
  codec: string;
  timescale: number;
  /** Picture size; 0 for audio. */
  width: number;
  height: number;
  /** 0 for video. */
  channels: number;
}

export interface Period {
  /** 0, 1, 2, … within one video. */
  index: number;
  /** On the video's own timeline. */
  startMs: number;
  /** Wall clock at the arrival of its first frame, ms since the epoch. */
  wallMs: number;
  video: TrackDescription;
  audio?: TrackDescription;
}

/** What receives the segments. `period` comes before its first segment, and before the first part of that. */
export interface PackagerSink {
  period(period: Period, inits: { video: Buffer; audio?: Buffer }): void;
  /** The parts of a segment come before it and are its bytes. */
  part?(part: Part, data: Buffer): void;
  segment(segment: Segment, data: Buffer): void;
}

export interface PackagerOptions {
  sink: PackagerSink;
  /** Wall clock, ms since the epoch. */
  nowMs: () => number;
  log: Log;
  /** Segments end at the first key frame after about this long. Default 1000. */
  segmentTargetMs?: number;
  /** Gives the open segment out in parts of about this length. Default: no parts. */
  partTargetMs?: number | undefined;
}

export interface Packager {
  /** One tag of the publisher; decode times of one timeline never go back (the ingest sees to it). */
  tag(tag: FlvTag): void;
  /** Ends the open segment and its period; whatever comes later starts a new one. */
  flush(): void;
}

/** The first two segments may be this short, so that a viewer can prove early that the stream advances. */
const FIRST_SEGMENTS_MS = 400;
const SHORT_SEGMENTS = 2;
/** How long a pause inside one timeline may last; a longer one, or a step back, is a new period. */
const MAX_GAP_MS = 2000;
/** When metadata promises sound, how long the first segment waits for it. */
const AUDIO_PATIENCE_MS = 1500;
/** After this long without sound the stream is offered without it: nobody new could start to play otherwise. */
const LOST_SOUND_MS = 4000;
/** A publisher that sends no key frames must not fill the memory. */
const MAX_OPEN_MS = 60_000;
const MAX_OPEN_BYTES = 48 * 1024 * 1024;
const DEFAULT_FRAME_MS = 33;
const TICKS_PER_MS = VIDEO_TIMESCALE / 1000;

interface Picture {
  dtsMs: number;
  ctsMs: number;
  isKey: boolean;
  data: Buffer;
}

interface OpenPeriod {
  video: VideoConfig;
  audio?: AudioConfig;
  /** Publisher's decode and presentation time of the first picture. */
  firstDtsMs: number;
  originMs: number;
  startMs: number;
  wallMs: number;
  /** Set with the first segment. */
  index?: number;
}

export function createPackager(options: PackagerOptions): Packager {
  const { sink, nowMs, log, segmentTargetMs = 1000, partTargetMs } = options;
  const said = {
    partTargetMs,
    part: (part: Part, data: Buffer) => say(() => sink.part?.(part, data)),
    segment: (segment: Segment, data: Buffer) => say(() => sink.segment(segment, data)),
  };
  const cutters = {
    video: createPartCutter({ track: 'video', ...said }),
    audio: createPartCutter({ track: 'audio', ...said }),
  };
  const audioTrack = createAudioTrack({
    handOver: (samples, startTicks, timescale) =>
      cutters.audio.take(samples, { startTicks, timescale, period: current?.index ?? 0 }),
  });
  let videoConfig: VideoConfig | undefined;
  let audioConfig: AudioConfig | undefined;
  /** Undefined until metadata came. */
  let expectsAudio: boolean | undefined;
  let periods = 0;
  let current: OpenPeriod | undefined;
  let pictures: Picture[] = [];
  /** How many of them were handed over as parts. */
  let handedOver = 0;
  let openBytes = 0;
  /** How long there has been no sound. */
  let soundlessMs = 0;
  /** Where the video's own timeline has come to. */
  let endOfVideoMs = 0;
  let awaitsKeyFrame = true;
  /**
   * What was open when the timeline broke off. Said only together with the first of what follows: to whoever
   * watches the newest segment advance, the rest of a dead stream would look like life.
   */
  const brokenOff: (() => void)[] = [];
  let isBreakingOff = false;

  function say(it: () => void): void {
    if (isBreakingOff) {
      brokenOff.push(it);
      return;
    }
    sayBrokenOff();
    it();
  }

  function sayBrokenOff(): void {
    for (const it of brokenOff.splice(0)) it();
  }

  function announce(period: OpenPeriod, hasAudio: boolean): void {
    const { video } = period;
    if (!hasAudio) delete period.audio;
    period.index = periods;
    periods += 1;
    const described: Period = {
      index: period.index,
      startMs: period.startMs,
      wallMs: period.wallMs,
      video: { codec: video.codec, timescale: VIDEO_TIMESCALE, width: video.width, height: video.height, channels: 0 },
    };
    const { audio } = period;
    if (audio) {
      const { codec, sampleRate: timescale, channels } = audio;
      described.audio = { codec, timescale, width: 0, height: 0, channels };
    }
    say(() => sink.period(described, { video: videoInit(video), ...(audio ? { audio: audioInit(audio) } : {}) }));
  }

  /** Sound may be announced after the first picture; until the period is, it still belongs to it. */
  function adoptSound(period: OpenPeriod): void {
    if (period.index === undefined && audioConfig && !audioTrack.hasPlaced()) period.audio = audioConfig;
  }

  /** Hands over the open pictures up to this one, which ends at `endDtsMs`. */
  function handOverPictures(period: OpenPeriod, count: number, endDtsMs: number): void {
    const open = pictures.slice(handedOver, count);
    const [first] = open;
    if (!first) return;
    handedOver = count;
    const startTicks = Math.round((first.dtsMs - period.firstDtsMs + period.startMs) * TICKS_PER_MS);
    const samples = toSamples(open, endDtsMs, period.originMs - period.firstDtsMs);
    cutters.video.take(samples, { startTicks, timescale: VIDEO_TIMESCALE, period: period.index ?? 0 });
  }

  function giveOutParts(): void {
    const period = current;
    const first = pictures[0];
    const newest = pictures.at(-1);
    if (partTargetMs === undefined || !period || !first || !newest) return;
    adoptSound(period);
    if (period.audio) audioTrack.placeEarly(period.audio, newest.dtsMs);
    const openMs = newest.dtsMs - first.dtsMs;
    if (period.index === undefined) {
      const isSettled =
        audioTrack.hasPlaced() || (expectsAudio === false && !audioConfig) || openMs >= AUDIO_PATIENCE_MS;
      if (openMs < partTargetMs || !isSettled) return;
      announce(period, audioTrack.hasPlaced());
    }
    handOverPictures(period, pictures.length - 1, newest.dtsMs);
    audioTrack.handOverEarly();
  }

  /** Closes the open segment. `next` is the key frame that follows on the same timeline; without it the period ends. */
  function cut(next: Picture | undefined): void {
    const period = current;
    const first = pictures[0];
    const last = pictures.at(-1);
    if (!period || !first || !last) return;
    const endDtsMs = next?.dtsMs ?? last.dtsMs + frameMs(pictures);
    const audioEndMs = next ? next.dtsMs + next.ctsMs : endDtsMs + period.originMs - period.firstDtsMs;
    adoptSound(period);
    if (period.audio) audioTrack.place(period.audio, audioEndMs, next === undefined);
    const hasSound = audioTrack.hasPlaced();
    if (period.index === undefined) announce(period, hasSound);
    handOverPictures(period, pictures.length, endDtsMs);
    cutters.video.finish();
    audioTrack.handOverRest();
    cutters.audio.finish();
    soundlessMs = hasSound ? 0 : soundlessMs + endDtsMs - first.dtsMs;
    endOfVideoMs = endDtsMs - period.firstDtsMs + period.startMs;
    pictures = [];
    handedOver = 0;
    openBytes = 0;
  }

  function breakOff(): void {
    // Only the newest rest is held back: publishers that come and go must not fill the memory.
    sayBrokenOff();
    isBreakingOff = true;
    cut(undefined);
    isBreakingOff = false;
  }

  function openPeriod(picture: Picture, continues: boolean): void {
    if (!videoConfig) return;
    const before = current;
    const originMs = picture.dtsMs + picture.ctsMs;
    let startMs = 0;
    if (before) {
      startMs = continues
        ? Math.max(before.startMs + originMs - before.originMs, endOfVideoMs)
        : Math.ceil(Math.max(endOfVideoMs, audioTrack.endMs()));
    }
    current = { video: videoConfig, firstDtsMs: picture.dtsMs, originMs, startMs, wallMs: nowMs() };
    if (audioConfig) current.audio = audioConfig;
    audioTrack.begin({ originMs, startMs, config: audioConfig });
    if (before) log.info({ startMs, continues }, 'packager-period');
  }

  function keyFrame(picture: Picture): void {
    const last = pictures.at(-1);
    const first = pictures[0];
    if (!current || !first || !last) {
      openPeriod(picture, false);
      return;
    }
    const gapMs = picture.dtsMs - last.dtsMs;
    const continues = gapMs >= 0 && gapMs <= MAX_GAP_MS;
    const elapsedMs = picture.dtsMs - first.dtsMs;
    const hasLostSound = current.audio !== undefined && soundlessMs >= LOST_SOUND_MS;
    const hasOtherSound = audioTrack.hasOther(current.audio) || hasLostSound;
    const isChanged = current.video !== videoConfig || (current.index !== undefined && hasOtherSound);
    if (continues && !isChanged && !isLongEnough(elapsedMs)) return;
    if (continues) cut(picture);
    else breakOff();
    if (!continues || isChanged) openPeriod(picture, continues);
  }

  function isLongEnough(elapsedMs: number): boolean {
    const segments = cutters.video.nextNumber();
    const awaitsAudio = expectsAudio && segments === 0 && !audioTrack.hasWaiting() && !audioTrack.hasPlaced();
    if (awaitsAudio && elapsedMs < AUDIO_PATIENCE_MS) return false;
    return elapsedMs >= (segments < SHORT_SEGMENTS ? FIRST_SEGMENTS_MS : segmentTargetMs * 0.95);
  }

  function picture(tag: FlvTag): void {
    if (!videoConfig || tag.body[1] !== 1 || tag.body.length <= 5) return;
    const isKey = isKeyFrame(tag);
    const taken = { dtsMs: tag.timestampMs, ctsMs: tag.body.readIntBE(2, 3), isKey, data: tag.body.subarray(5) };
    const last = pictures.at(-1);
    if (!isKey && !awaitsKeyFrame && last) {
      const gapMs = taken.dtsMs - last.dtsMs;
      const isEndless = taken.dtsMs - (pictures[0]?.dtsMs ?? 0) > MAX_OPEN_MS || openBytes > MAX_OPEN_BYTES;
      if (isEndless) log.warn({ openBytes, pictures: pictures.length }, 'packager-no-key-frames');
      // The configuration has changed but the first picture of the new one is not here yet.
      awaitsKeyFrame = gapMs < 0 || gapMs > MAX_GAP_MS || isEndless || current?.video !== videoConfig;
    }
    if (isKey) {
      awaitsKeyFrame = false;
      const before = current;
      keyFrame(taken);
      // ffmpeg as a player ignores every init segment but the first, so a change has to be in the picture as well.
      if (before && current !== before) taken.data = Buffer.concat([parameterSets(videoConfig), taken.data]);
    }
    if (awaitsKeyFrame) return;
    pictures.push(taken);
    openBytes += taken.data.length;
    giveOutParts();
  }

  function configure(tag: FlvTag): void {
    if (tag.kind === 'video') {
      const record = tag.body.subarray(5);
      if (videoConfig?.record.equals(record)) return;
      const read = readVideoConfig(record);
      if (read) videoConfig = read;
      else log.warn({ bytes: record.length }, 'packager-video-config-unreadable');
      return;
    }
    const record = tag.body.subarray(2);
    if (audioConfig?.record.equals(record)) return;
    const read = readAudioConfig(record);
    if (read) audioConfig = read;
    else log.warn({ bytes: record.length }, 'packager-audio-config-unreadable');
  }

  return {
    tag(tag) {
      if (tag.kind === 'script') {
        expectsAudio = tag.body.includes('audiocodecid');
        return;
      }
      const [head = 0] = tag.body;
      const isSupported = tag.kind === 'video' ? (head & 0x8f) === 7 : head >> 4 === 10;
      if (!isSupported) return;
      if (isSequenceHeader(tag)) configure(tag);
      else if (tag.kind === 'video') picture(tag);
      else if (audioConfig && tag.body[1] === 1 && tag.body.length > 2) {
        const waiting: WaitingAudio = { rawMs: tag.timestampMs, config: audioConfig, data: tag.body.subarray(2) };
        audioTrack.add(waiting);
      }
    },
    flush() {
      sayBrokenOff();
      cut(undefined);
      awaitsKeyFrame = true;
    },
  };
}

/** The last known distance between two pictures: what the last one before a pause is given. */
function frameMs(pictures: readonly Picture[]): number {
  const last = pictures.at(-1);
  const before = pictures.at(-2);
  const gapMs = last && before ? last.dtsMs - before.dtsMs : 0;
  return gapMs > 0 && gapMs <= MAX_GAP_MS ? gapMs : DEFAULT_FRAME_MS;
}

/** @param leadMs composition offset of the period's first picture; taken off so that presentation starts where decoding does. */
function toSamples(pictures: readonly Picture[], endDtsMs: number, leadMs: number): Sample[] {
  return pictures.map((picture, index) => {
    const nextDtsMs = pictures[index + 1]?.dtsMs ?? endDtsMs;
    return {
      data: picture.data,
      durationTicks: Math.max(0, Math.round((nextDtsMs - picture.dtsMs) * TICKS_PER_MS)),
      offsetTicks: Math.round((picture.ctsMs - leadMs) * TICKS_PER_MS),
      isKey: picture.isKey,
    };
  });
}
