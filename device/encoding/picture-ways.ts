/**
 * The ways to make a picture from one source, best first: which mode of the camera, which encoder. Opens runs; never
 * restarts one.
 */
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import type { EncoderSettings } from '../../shared/stream.ts';
import { type CaptureSource, checkCaptureSource } from '../capture/capture-source.ts';
import { captureUnderLight, type Lamp } from '../capture/lit-capture.ts';
import { type MediaFile, placeInFile } from '../capture/media-file.ts';
import { createEncoder } from './encoder.ts';
import { pictureArguments } from './encoder-arguments.ts';
import { causeOf } from './ffmpeg-causes.ts';
import type { PictureWay } from './picture.ts';
import { createStreamRules } from './stream-rules.ts';
import type { VideoEncoder } from './video-encoders.ts';

export interface PictureWaysOptions {
  clock: Clock;
  log: Log;
  spawn: SpawnChild;
  binary: FfmpegBinary;
  source: CaptureSource;
  settings: EncoderSettings;
  findEncoders: () => Promise<readonly VideoEncoder[]>;
  lamp: Lamp | undefined;
  /** Wall clock at time stamp 0. */
  epochMs: number;
  /** What a file source holds; undefined of the others. */
  lookIntoFile: () => Promise<MediaFile | undefined>;
}

export interface PictureWays {
  /** @throws GlasscastError CAMERA_NOT_FOUND, CAMERA_BUSY, CAPTURE_FORBIDDEN, CAPTURE_FILE_UNREADABLE */
  find(): Promise<readonly PictureWay[]>;
}

/** At one frame a second three seconds of silence are no stall. */
const STALL_FRAMES = 4;
const STALL_MS = 3_000;

export function createPictureWays(options: PictureWaysOptions): PictureWays {
  const { source, binary, findEncoders } = options;
  return {
    async find() {
      await checkCaptureSource(source, binary);
      const encoders = await findEncoders();
      return encoders.map((videoEncoder) => directWay(options, videoEncoder));
    },
  };
}

/** Each run opens the source itself. */
function directWay(options: PictureWaysOptions, videoEncoder: VideoEncoder): PictureWay {
  const { clock, log, spawn, binary, source, lamp, epochMs } = options;
  return {
    encoder: videoEncoder.name,
    isShared: source.kind !== 'camera',
    open: (quality, onTag) =>
      captureUnderLight(lamp, async () => {
        const settings = { ...options.settings, ...quality };
        const file = await options.lookIntoFile();
        return createEncoder({
          ...{ clock, log, spawn, file: binary.file, kind: 'video', onTag },
          arguments: () =>
            pictureArguments({
              source,
              settings,
              epochMs,
              binary,
              videoEncoder,
              ...placeInFile(file, clock.now(), epochMs),
            }),
          causeOf: (lines) => causeOf(lines, source),
          stallTimeoutMs: Math.max(STALL_MS, (STALL_FRAMES * 1000) / quality.frameRate),
          feed: source.kind === 'rawvideo' ? source.attach : undefined,
        });
      }),
    newRules: (quality) => {
      const { take } = createStreamRules({ ...options.settings, ...quality });
      return take;
    },
  };
}
