/**
 * Real media for many at the price of one encoding: a few seconds of test picture and tone, encoded once, pushed by our own
 * RTMP client again and again. Owns the pushes; knows no relay.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createFlvParser, type FlvTag, isConfiguration } from '../../shared/rtmp/flv.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createRtmpPush } from '../../shared/rtmp/push.ts';
import { createSendQueue } from '../../shared/rtmp/send-queue.ts';
import type { MediaSource } from './simulated-glasses.ts';

const LOOP_SECONDS = 4;
const FRAMES_PER_SECOND = 15;
const PUMP_MS = 1000 / FRAMES_PER_SECOND;

export interface LoopedMediaOptions {
  clock: Clock;
  spawn: SpawnChild;
  ffmpeg: FfmpegBinary;
  /** For the encoded loop. */
  folder: string;
}

export async function createLoopedMedia(options: LoopedMediaOptions): Promise<MediaSource> {
  const { clock } = options;
  const tags = await encodedLoop(options);
  // One reading of the kernel's table for all.
  const sendQueue = createSendQueue();
  return {
    begin(publishUrl, onPublishing, onLost) {
      let isTold = false;
      const push = createRtmpPush({
        ...{ url: parsePublishUrl(publishUrl), clock, log: silentLog(), mode: 'live', sendQueue },
        onChange({ state, attempt, cause }) {
          if (state === 'publishing' && !isTold) {
            isTold = true;
            onPublishing();
          } else if (state === 'retrying' && attempt > 3) onLost(cause?.message ?? 'the ingest cannot be reached');
        },
      });
      push.start();
      const feed = createLoopFeed(tags);
      const sinceMs = clock.monotonicMs();
      const pump = clock.every('looped-media', PUMP_MS, () => {
        for (const tag of feed.until(clock.monotonicMs() - sinceMs)) push.write(tag);
      });
      return () => {
        pump.cancel();
        void push.close();
      };
    },
  };
}

/** Tags in the order of time, each round after the one before; configurations once. */
function createLoopFeed(tags: readonly FlvTag[]): { until(atMs: number): FlvTag[] } {
  const media = tags.filter((tag) => !isConfiguration(tag));
  const lengthMs = LOOP_SECONDS * 1000;
  let round = 0;
  let next = 0;
  let hasBegun = false;
  return {
    until(atMs) {
      const due: FlvTag[] = hasBegun ? [] : tags.filter(isConfiguration);
      hasBegun = true;
      for (let tag = media[next]; tag; tag = media[next]) {
        const timestampMs = tag.timestampMs + round * lengthMs;
        if (timestampMs > atMs) break;
        due.push({ ...tag, timestampMs });
        next += 1;
        if (next < media.length) continue;
        next = 0;
        round += 1;
      }
      return due;
    },
  };
}

async function encodedLoop({ ffmpeg, folder, spawn }: LoopedMediaOptions): Promise<FlvTag[]> {
  const file = join(folder, 'loop.flv');
  const child = spawn({ name: 'loop-encoder', file: ffmpeg.file, args: encoderArgs(file) });
  const { lastLines } = await child.exited;
  const tags: FlvTag[] = [];
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new GlasscastError('CHILD_START_FAILED', { reason: `ffmpeg: ${lastLines.at(-1) ?? 'no loop'}`, cause });
  });
  createFlvParser({ onTag: (tag) => void tags.push(tag) }).push(bytes);
  // What the container says at its end is longer than the round.
  return tags.filter(({ timestampMs }) => timestampMs < LOOP_SECONDS * 1000);
}

function encoderArgs(file: string): string[] {
  const inputs = [
    ...['-f', 'lavfi', '-i', `testsrc2=size=320x240:rate=${FRAMES_PER_SECOND}`],
    ...['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'],
  ];
  const video = ['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '15'];
  const audio = ['-c:a', 'aac', '-b:a', '64k'];
  const output = ['-t', String(LOOP_SECONDS), '-flvflags', 'no_duration_filesize', '-f', 'flv', '-y', file];
  return ['-hide_banner', '-loglevel', 'error', '-nostdin', ...inputs, ...video, '-b:v', '200k', ...audio, ...output];
}
