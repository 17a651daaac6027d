/**
 * An input's sound as Opus, for WebRTC, which knows no AAC: one ffmpeg child per input that somebody listens to, AAC in ADTS
 * on its standard input, Opus in Ogg from its output. Owns the child and the time of each packet on the feed's timeline.
 */

import type { Child, SpawnChild } from '../../../shared/child-process.ts';
import type { Clock, Timer } from '../../../shared/clock.ts';
import { type AudioConfig, readAudioConfig } from '../../../shared/codec-config.ts';
import type { Log } from '../../../shared/log.ts';
import { type FlvTag, isSequenceHeader } from '../../../shared/rtmp/flv.ts';
import { createOggParser } from './ogg-packets.ts';

export interface OpusTranscoder {
  tag(tag: FlvTag): void;
  /** Resolves when no child is left. */
  close(): Promise<void>;
}

export interface OpusTranscoderOptions {
  /** Path of an ffmpeg with libopus. */
  ffmpeg: string;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  /** @param timestampMs start of the packet on the feed's timeline, with fractions. */
  onPacket: (packet: Buffer, timestampMs: number) => void;
}

/** An Ogg page waits for the next one: short frames keep that short. */
const FRAME_MS = 10;
/** ffmpeg does not read: better none of the sound than late sound. */
const MAX_WAITING_BYTES = 64 * 1024;
const MAX_STARTS = 5;
const STARTS_WITHIN_MS = 60_000;
const RESTART_MS = 500;
/** A packet's place follows the AAC frames it was made of, but small steps would be heard. */
const MAX_DRIFT_MS = 30;
const SAMPLES_PER_MS = 48;
/**
 * While it started, sound piled up in front of it. Sent all at once, that would look like a jittery network: players would keep
 * 0.2 s more of sound from then on. So it is left out, up to where it is in time, or for 2 s where it never is.
 */
const CAUGHT_UP_MS = 80;
const MOST_LEFT_OUT = 2000 / FRAME_MS;

export function createOpusTranscoder(options: OpusTranscoderOptions): OpusTranscoder {
  const { clock, log } = options;
  let config: AudioConfig | undefined;
  let run: Run | undefined;
  let restart: Timer | undefined;
  let startsMs: number[] = [];
  let isClosed = false;
  const ending = new Set<Promise<unknown>>();

  function start(): void {
    if (!config || isClosed || run) return;
    const nowMs = clock.monotonicMs();
    startsMs = startsMs.filter((ms) => nowMs - ms < STARTS_WITHIN_MS);
    if (startsMs.length >= MAX_STARTS) {
      restart = clock.after('opus-restart', STARTS_WITHIN_MS, again);
      log.warn({ starts: startsMs.length }, 'opus-given-up-for-now');
      return;
    }
    startsMs.push(nowMs);
    const started = startRun(options, config);
    run = started;
    const end = started.child.exited.then(({ end: how, code, lastLines }) => {
      ending.delete(end);
      if (run !== started) return;
      run = undefined;
      log.warn({ end: how, code, lastLine: lastLines.at(-1) }, 'opus-transcoder-ended');
      if (!isClosed) restart = clock.after('opus-restart', RESTART_MS, again);
    });
    ending.add(end);
  }
  function again(): void {
    restart = undefined;
    start();
  }
  function stop(): void {
    restart?.cancel();
    restart = undefined;
    const stopped = run;
    run = undefined;
    // Nothing of its output is wanted any more, so it needs no time to finish it.
    stopped?.child.kill();
  }

  return {
    tag(tag) {
      if (tag.kind !== 'audio' || isClosed) return;
      if (isSequenceHeader(tag)) {
        const next = readAudioConfig(tag.body.subarray(2));
        if (next && config && next.record.equals(config.record)) return;
        config = next;
        stop();
        start();
        return;
      }
      if (!config || tag.body.length <= 2 || tag.body.readUInt8(0) >> 4 !== 10) return;
      if (!run && !restart) start();
      run?.feed(tag);
    },
    async close() {
      isClosed = true;
      stop();
      await Promise.all(ending);
    },
  };
}

interface Run {
  child: Child;
  feed(tag: FlvTag): void;
}

function startRun({ ffmpeg, spawn, log, onPacket }: OpusTranscoderOptions, config: AudioConfig): Run {
  const timeline = createSampleTimeline((config.samplesPerFrame * 1000) / config.sampleRate);
  const child = spawn({ name: 'opus', file: ffmpeg, args: opusArguments(config), stdin: 'pipe', stdout: 'raw' });
  let count = 0;
  let preSkipMs = 0;
  let newestFedMs = 0;
  let isCaughtUp = false;
  const parser = createOggParser((packet) => {
    // OpusHead and OpusTags come first (RFC 7845 §3).
    if (count === 0 && packet.length >= 12) preSkipMs = packet.readUInt16LE(10) / SAMPLES_PER_MS;
    count += 1;
    if (count <= 2) return;
    const timestampMs = timeline.place((count - 3) * FRAME_MS - preSkipMs);
    if (timestampMs === undefined) return;
    isCaughtUp ||= newestFedMs - timestampMs <= CAUGHT_UP_MS || count > MOST_LEFT_OUT;
    if (isCaughtUp) onPacket(packet, timestampMs);
  });
  child.stdout?.on('data', (chunk: Buffer) => parser.push(chunk));
  return {
    child,
    feed({ body, timestampMs }) {
      const { stdin } = child;
      if (!stdin?.writable) return;
      if (stdin.writableLength > MAX_WAITING_BYTES) {
        log.warn({}, 'opus-transcoder-stuck');
        child.kill();
        return;
      }
      const frame = body.subarray(2);
      timeline.fed(timestampMs);
      newestFedMs = timestampMs;
      stdin.write(Buffer.concat([adtsHeader(config, frame.length), frame]));
    },
  };
}

function opusArguments({ channels }: AudioConfig): string[] {
  return [
    ...['-hide_banner', '-loglevel', 'error', '-nostdin'],
    ...['-fflags', 'nobuffer', '-flags', 'low_delay', '-probesize', '32', '-analyzeduration', '0', '-threads', '1'],
    ...['-f', 'aac', '-i', 'pipe:0', '-vn', '-c:a', 'libopus', '-application', 'lowdelay', '-b:a', '64k'],
    ...['-frame_duration', String(FRAME_MS), '-ar', '48000', '-ac', String(Math.min(2, channels))],
    ...['-f', 'ogg', '-page_duration', String(FRAME_MS * 1000), '-flush_packets', '1', 'pipe:1'],
  ];
}

interface SampleTimeline {
  /** Another frame went in, with this time. */
  fed(timestampMs: number): void;
  /** The feed's time of what comes out `positionMs` after the start; undefined before anything went in. */
  place(positionMs: number): number | undefined;
}

/** ffmpeg counts samples from zero; the frames that it got say where those belong, gaps and all. */
export function createSampleTimeline(frameMs: number): SampleTimeline {
  /** Of each frame whose output is not all there yet: where it begins among the samples, and its time. */
  const frames: { positionMs: number; timestampMs: number }[] = [];
  let fedFrames = 0;
  let next: number | undefined;
  return {
    fed(timestampMs) {
      frames.push({ positionMs: fedFrames * frameMs, timestampMs });
      fedFrames += 1;
      if (frames.length > 500) frames.shift();
    },
    place(positionMs) {
      while ((frames[1]?.positionMs ?? Number.POSITIVE_INFINITY) <= positionMs) frames.shift();
      const frame = frames[0];
      if (!frame) return undefined;
      const exactMs = frame.timestampMs + positionMs - frame.positionMs;
      const placed = next !== undefined && Math.abs(exactMs - next) <= MAX_DRIFT_MS ? next : exactMs;
      next = placed + FRAME_MS;
      return placed;
    },
  };
}

/** ISO/IEC 13818-7 §6.2, without CRC. HE-AAC goes by its core, which decoders see through. */
function adtsHeader({ record, channels }: AudioConfig, frameBytes: number): Buffer {
  const objectType = record.readUInt8(0) >> 3;
  const profile = objectType >= 1 && objectType <= 4 ? objectType - 1 : 1;
  const rateIndex = ((record.readUInt8(0) & 7) << 1) | (record.readUInt8(1) >> 7);
  const layout = channels === 8 ? 7 : channels;
  const bytes = frameBytes + 7;
  return Buffer.from([
    ...[0xff, 0xf1, (profile << 6) | (rateIndex << 2) | (layout >> 2), ((layout & 3) << 6) | (bytes >> 11)],
    ...[(bytes >> 3) & 0xff, ((bytes & 7) << 5) | 0x1f, 0xfc],
  ]);
}
