/**
 * Cameras, microphones and encoders of this machine, with what a stream would take: for people and for programs. Part of the
 * `devices` command's composition root; opens no device.
 */
import type { SpawnChild } from '../shared/child-process.ts';
import type { Clock } from '../shared/clock.ts';
import type { GlasscastError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { defaultEncoderSettings } from '../shared/stream.ts';
import { rankModes } from './capture/camera-modes.ts';
import { type Camera, type CameraFolders, listCameras } from './capture/cameras.ts';
import { describeDevices } from './capture/device-list.ts';
import { listMicrophones } from './capture/microphones.ts';
import { findBoardFfmpeg } from './encoding/board-ffmpeg.ts';
import { encoderProbeText, type ProbedEncoder, probeVideoEncoders } from './encoding/encoder-probe.ts';
import type { FoundDevices } from './runtime/commands.ts';

export interface FindDevicesOptions {
  ffmpegPath: string | undefined;
  packagedFfmpeg?: string | undefined;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  /** Default: this machine's. */
  cameraFolders?: CameraFolders | undefined;
  /** Default: /proc/asound. */
  alsaFolder?: string | undefined;
}

/** @throws GlasscastError FFMPEG_MISSING */
export async function findDevices(options: FindDevicesOptions): Promise<FoundDevices> {
  const { spawn, clock, log, cameraFolders: folders, alsaFolder } = options;
  const wanted = defaultEncoderSettings;
  const { widthPx, heightPx, frameRate } = wanted;
  const binary = await findBoardFfmpeg(options);
  const [cameras, microphones] = await Promise.all([
    listCameras({ spawn, clock, binary, ...(folders ? { folders } : {}) }),
    listMicrophones({ spawn, clock, programs: folders?.programs, ...(alsaFolder ? { alsaFolder } : {}) }),
  ]);
  // By itself: the programs that list would slow it down.
  const encoders = await probeVideoEncoders({ spawn, clock, log, binary, widthPx, heightPx, frameRate });
  return {
    lines: [...describeDevices({ cameras, microphones, wanted, binary }), '', ...encoderLines(encoders)],
    data: {
      ffmpeg: { file: binary.file, version: binary.version, reason: binary.reason },
      wanted: { widthPx, heightPx, frameRate },
      cameras: cameras.map(cameraData),
      microphones: microphones.map(({ cause, ...microphone }) => ({ ...microphone, cause: causeData(cause) })),
      encoders: encoders.map(({ encoder, ...facts }) => ({ name: encoder.name, ...facts })),
      encoder: chosenOf(encoders),
    },
  };
}

function cameraData({ cause, ...camera }: Camera) {
  const [best] = rankModes(camera, defaultEncoderSettings);
  return { ...camera, wouldTake: best, cause: causeData(cause) };
}

const causeData = (cause: GlasscastError | undefined) => cause && { code: cause.code, message: cause.message };

/** The name of the first that works; they come best first. */
const chosenOf = (encoders: readonly ProbedEncoder[]) => encoders.find(({ works }) => works)?.encoder.name;

function encoderLines(encoders: readonly ProbedEncoder[]): string[] {
  const { widthPx, heightPx, frameRate } = defaultEncoderSettings;
  const chosen = chosenOf(encoders);
  return [
    `Encoders, for ${widthPx}x${heightPx} at ${frameRate}/s`,
    ...(encoders.length === 0
      ? [`  ${encoderProbeText([])}`]
      : encoders.map((each) => `  ${encoderProbeText([each])}`)),
    chosen === undefined ? '    none works; install an ffmpeg with libx264' : `    would take ${chosen}`,
  ];
}
