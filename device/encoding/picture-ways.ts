/**
 * The ways to make a picture from a source that each run opens itself: test pattern, file, screen, frames of this program.
 * One way for each encoder, best first. Opens runs; never restarts one. Cameras: `camera-ways.ts`.
 */
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import type { EncoderSettings, PictureQuality } from '../../shared/stream.ts';
import { type CaptureSource, checkCaptureSource } from '../capture/capture-source.ts';
import { captureUnderLight, type Lamp } from '../capture/lit-capture.ts';
import { type MediaFile, placeInFile } from '../capture/media-file.ts';
import { createEncoder } from './encoder.ts';
import { pictureArguments } from './encoder-arguments.ts';
import { causeOf } from './ffmpeg-causes.ts';
import type { PictureWay } from './picture.ts';
import { createStreamRules } from './stream-rules.ts';
import type { Timeline } from './timeline.ts';
import type { VideoEncoder } from './video-encoders.ts';

export interface PictureWaysOptions {
  clock: Clock;
  log: Log;
  spawn: SpawnChild;
  binary: FfmpegBinary;
  settings: EncoderSettings;
  findEncoders: () => Promise<readonly VideoEncoder[]>;
  lamp: Lamp | undefined;
  timeline: Timeline;
}

export interface PictureWays {
  /** @throws GlasscastError CAMERA_NOT_FOUND, CAMERA_BUSY, CAPTURE_FORBIDDEN, CAPTURE_FILE_UNREADABLE */
  find(): Promise<readonly PictureWay[]>;
  /** Ends what runs share. */
  close(): Promise<void>;
}

export function createDirectWays(
  source: Exclude<CaptureSource, { kind: 'camera' }>,
  options: PictureWaysOptions & {
    /** What a file source holds; undefined of the others. */
    lookIntoFile: () => Promise<MediaFile | undefined>;
  },
): PictureWays {
  const { clock, log, spawn, binary, lamp, timeline, findEncoders, lookIntoFile } = options;
  const way = (videoEncoder: VideoEncoder): PictureWay => ({
    encoder: videoEncoder.name,
    isShared: true,
    newRules: newRulesFor(options),
    open: (quality, onTag) =>
      captureUnderLight(lamp, async () => {
        const settings = { ...options.settings, ...quality };
        const file = await lookIntoFile();
        return createEncoder({
          ...{ clock, log, spawn, file: binary.file, kind: 'video' },
          onTag: (tag) => onTag(timeline.placed(tag)),
          arguments: () => {
            const epochMs = timeline.epochMs();
            const place = placeInFile(file, clock.now(), epochMs);
            return pictureArguments({ source, settings, epochMs, binary, videoEncoder, ...place });
          },
          causeOf: (lines) => causeOf(lines, source),
          stallTimeoutMs: stallTimeoutMs(quality),
          feed: source.kind === 'rawvideo' ? source.attach : undefined,
        });
      }),
  });
  return {
    async find() {
      await checkCaptureSource(source, binary);
      return (await findEncoders()).map(way);
    },
    close: async () => {},
  };
}

const STALL_MS = 3_000;
/** At one frame a second three seconds of silence are no stall. */
const STALL_FRAMES = 4;

export function stallTimeoutMs({ frameRate }: PictureQuality): number {
  return Math.max(STALL_MS, (STALL_FRAMES * 1000) / frameRate);
}

export function newRulesFor({ settings }: Pick<PictureWaysOptions, 'settings'>): NonNullable<PictureWay['newRules']> {
  return (quality) => createStreamRules({ ...settings, ...quality }).take;
}
