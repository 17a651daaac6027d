/**
 * Builds what one stream is made of: picture, sound, push and steering, under one light and on one zero of time. Part of the
 * agent's composition root; decides nothing while a stream runs.
 */
import type { SpawnChild } from '../shared/child-process.ts';
import type { Clock } from '../shared/clock.ts';
import type { FfmpegBinary } from '../shared/ffmpeg-binary.ts';
import type { Log } from '../shared/log.ts';
import type { PublishUrl } from '../shared/rtmp/publish-url.ts';
import { createRtmpPush, type RtmpPushOptions } from '../shared/rtmp/push.ts';
import { type EncoderSettings, type PictureQuality, qualityOf } from '../shared/stream.ts';
import type { CameraFolders } from './capture/cameras.ts';
import type { CaptureSource } from './capture/capture-source.ts';
import type { CaptureMishaps, Lamp } from './capture/lit-capture.ts';
import { lookIntoFile, type MediaFile } from './capture/media-file.ts';
import { createCameraWays } from './encoding/camera-ways.ts';
import { createPicture } from './encoding/picture.ts';
import { createDirectWays } from './encoding/picture-ways.ts';
import { createSoundSource } from './encoding/sound-source.ts';
import { streamDescription } from './encoding/stream-description.ts';
import { createTimeline } from './encoding/timeline.ts';
import type { VideoEncoder } from './encoding/video-encoders.ts';
import { createGovernor, type GovernorOptions } from './publishing/governor.ts';
import type { PublisherOptions } from './publishing/publisher.ts';
import { createSteering } from './publishing/steering.ts';
import type { Telemetry } from './publishing/telemetry.ts';

export interface StreamPartsOptions {
  clock: Clock;
  log: Log;
  spawn: SpawnChild;
  binary: FfmpegBinary;
  source: CaptureSource;
  /** Best first; what works here. */
  findEncoders: () => Promise<readonly VideoEncoder[]>;
  lamp: Lamp | undefined;
  /** Where cameras and their programs are looked for; default: this machine's. */
  cameraFolders?: CameraFolders | undefined;
  /** Only of a simulation: takes camera and microphone away. */
  mishaps?: CaptureMishaps | undefined;
  telemetry: Telemetry;
  limits: Pick<GovernorOptions, 'heat' | 'battery'>;
  /** The picture becomes smaller when uplink, heat or battery ask for it. */
  adapts: boolean;
  url: PublishUrl;
  settings: EncoderSettings;
  push: Pick<
    RtmpPushOptions,
    'mode' | 'maxAgeMs' | 'spillFolder' | 'maxSpillBytes' | 'ca' | 'dial' | 'sendQueue' | 'networkInterfaces'
  >;
}

export type StreamParts = Pick<PublisherOptions, 'openPicture' | 'openSound' | 'openPush' | 'openSteering'>;

export function streamParts(options: StreamPartsOptions): StreamParts {
  const { clock, log, url, source, settings, telemetry, limits, lamp, mishaps } = options;
  const { audioBitrateBps, keyFrameIntervalMs } = settings;
  // One zero of time for the whole stream: each run continues where the one before it would be.
  const timeline = createTimeline({ clock, log });
  const common = { ...options, timeline, lookIntoFile: fileLook(options) };
  const seen = mishaps ? { ...common, lamp: mishaps.lampOver('camera', lamp) } : common;
  const heard = mishaps ? { ...common, lamp: mishaps.lampOver('microphone', lamp) } : common;
  const ways = source.kind === 'camera' ? createCameraWays(source, seen) : createDirectWays(source, seen);
  return {
    openPicture(events) {
      const picture = createPicture({
        ...{ clock, log, quality: qualityOf(settings), findWays: ways.find, closeWays: ways.close, ...events },
        describe: (quality: PictureQuality) => streamDescription({ ...settings, ...quality }),
      });
      timeline.watch(() => picture.renew());
      return picture;
    },
    openSound(events) {
      const sound = createSoundSource({ ...heard, ...events });
      timeline.watch(sound.renew);
      return sound;
    },
    openPush: (events) => createRtmpPush({ ...options.push, url, clock, log, ...events }),
    openSteering: (events) =>
      createSteering({
        ...{ clock, ...events, adapts: options.adapts, readTelemetry: telemetry.read },
        governor: createGovernor({ asked: qualityOf(settings), audioBitrateBps, keyFrameIntervalMs, ...limits }),
      }),
  };
}

/** Looked into once: each run of the stream has to go by the same length. */
function fileLook({ source, spawn, clock, binary }: StreamPartsOptions): () => Promise<MediaFile | undefined> {
  const held: { look?: Promise<MediaFile> } = {};
  return async () => {
    if (source.kind !== 'file') return undefined;
    held.look ??= lookIntoFile(source.path, { spawn, clock, binary });
    held.look.catch(() => delete held.look);
    return held.look;
  };
}
