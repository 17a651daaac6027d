/**
 * Builds what one stream is made of: picture, sound, push and steering, under one light and on one zero of time. Part of the
 * agent's composition root; decides nothing while a stream runs.
 */
import type { SpawnChild } from '../shared/child-process.ts';
import type { Clock } from '../shared/clock.ts';
import type { FfmpegBinary } from '../shared/ffmpeg-binary.ts';
import type { Log } from '../shared/log.ts';
import type { FlvTag } from '../shared/rtmp/flv.ts';
import type { PublishUrl } from '../shared/rtmp/publish-url.ts';
import { createRtmpPush, type PushMode } from '../shared/rtmp/push.ts';
import type { EncoderSettings, PictureQuality } from '../shared/stream.ts';
import { type CaptureSource, checkMicrophone, type Microphone } from './capture/capture-source.ts';
import { captureUnderLight, type Lamp } from './capture/lit-capture.ts';
import { lookIntoFile, type MediaFile, placeInFile } from './capture/media-file.ts';
import { createEncoder, type Encoder } from './encoding/encoder.ts';
import { soundArguments } from './encoding/encoder-arguments.ts';
import { causeOf } from './encoding/ffmpeg-causes.ts';
import { createPicture } from './encoding/picture.ts';
import { createPictureWays } from './encoding/picture-ways.ts';
import { createSound } from './encoding/sound.ts';
import { streamDescription } from './encoding/stream-description.ts';
import type { VideoEncoder } from './encoding/video-encoders.ts';
import { createGovernor } from './publishing/governor.ts';
import type { PublisherOptions, SoundSource } from './publishing/publisher.ts';
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
  telemetry: Telemetry;
  url: PublishUrl;
  settings: EncoderSettings;
  pushMode: PushMode;
  maxBacklogMs: number | undefined;
  ca: string | undefined;
}

export type StreamParts = Pick<PublisherOptions, 'openPicture' | 'openSound' | 'openPush' | 'openSteering'>;

/** From this rate on sound is fetched with the pictures: one wake-up instead of two and a half for each. */
const RIDING_FRAME_RATE = 24;

export function streamParts(options: StreamPartsOptions): StreamParts {
  const { clock, log, url, settings, telemetry, ca, pushMode, maxBacklogMs } = options;
  // One zero of time for the whole stream: each run continues where the one before it would be.
  const epochMs = clock.now();
  const look = fileLook(options);
  const ways = createPictureWays({ ...options, epochMs, lookIntoFile: look });
  return {
    openPicture: (events) =>
      createPicture({
        ...{ clock, log, quality: settings, findWays: ways.find, ...events },
        describe: (quality: PictureQuality) => streamDescription({ ...settings, ...quality }),
      }),
    openSound: (events) => openSound(options, { epochMs, look }, events),
    openPush: (events) =>
      createRtmpPush({
        ...{ url, clock, log, mode: pushMode, ...events },
        ...(maxBacklogMs === undefined ? {} : { maxAgeMs: maxBacklogMs }),
        ...(ca === undefined ? {} : { ca }),
      }),
    openSteering: (events) =>
      createSteering({
        ...{ clock, ...events, readTelemetry: telemetry.read },
        governor: createGovernor({ asked: settings, audioBitrateBps: settings.audioBitrateBps }),
      }),
  };
}

function openSound(
  options: StreamPartsOptions,
  { epochMs, look }: { epochMs: number; look: () => Promise<MediaFile | undefined> },
  events: Parameters<StreamParts['openSound']>[0],
): SoundSource {
  const { clock, log, spawn, binary, source, settings, lamp } = options;
  const rides = settings.frameRate >= RIDING_FRAME_RATE;
  const run = (from: CaptureSource, file: MediaFile | undefined, onTag: (tag: FlvTag) => void): Encoder =>
    createEncoder({
      ...{ clock, log, spawn, file: binary.file, kind: 'audio', onTag, isFetched: rides },
      arguments: () => soundArguments({ source: from, settings, epochMs, ...placeInFile(file, clock.now(), epochMs) }),
      causeOf: (lines) => causeOf(lines, from),
    });
  const silence: Microphone = { kind: 'silence' };
  const sound = createSound({
    ...{ clock, log, ...events },
    openWanted: async (onTag) => {
      if (source.kind !== 'file') checkMicrophone(source.microphone, binary);
      const file = await look();
      return captureUnderLight(lamp, async () => run(source, file, onTag));
    },
    openSilence: async (onTag) => run({ kind: 'test-pattern', microphone: silence }, undefined, onTag),
  });
  return Object.assign(sound, { treatment: { echoCancellation: false, noiseSuppression: false } });
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
