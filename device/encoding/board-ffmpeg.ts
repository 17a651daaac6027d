/**
 * Which ffmpeg the agent runs: the board's own one when it is good enough, for it may know the board's encoder; else the one
 * that came with us. Good enough: AAC, and H.264 by libx264 or by another encoder that works here, found out by encoding.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { isGlasscastError } from '../../shared/errors.ts';
import { bundledFfmpeg, type FfmpegBinary, findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import { defaultEncoderSettings } from '../../shared/stream.ts';
import { encoderProbeText, probeVideoEncoders } from './encoder-probe.ts';
import { libx264, videoEncoders } from './video-encoders.ts';

export interface BoardFfmpegOptions {
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  /** This one or none. */
  ffmpegPath?: string | undefined;
  /** The one that came with the package. Default: the one that npm installed. */
  packagedFfmpeg?: string | undefined;
  /** Folders to search, as in PATH; default: ours. */
  searchPath?: string | undefined;
  /** Ends the trying. */
  signal?: AbortSignal | undefined;
}

/** Of a camera and a microphone on a board. A test pattern needs neither, so it is asked only where another one is at hand. */
const BOARD_INPUTS = ['v4l2', 'alsa'];

/**
 * The packaged ffmpeg cannot load the plugins that a system's ALSA configuration may ask for, and a small system has none: one
 * that it can read lies beside it. A board's own ffmpeg has the board's.
 */
export function ffmpegEnvironment(packagedFfmpeg: string | undefined): (file: string) => NodeJS.ProcessEnv {
  const configuration = packagedFfmpeg === undefined ? '' : join(dirname(packagedFfmpeg), 'alsa.conf');
  return (file) => (file === packagedFfmpeg && existsSync(configuration) ? { ALSA_CONFIG_PATH: configuration } : {});
}

/** @throws GlasscastError FFMPEG_MISSING, naming each candidate and what was wrong with it. */
export async function findBoardFfmpeg(options: BoardFfmpegOptions): Promise<FfmpegBinary> {
  const { spawn, clock, ffmpegPath: explicitFile, packagedFfmpeg, searchPath } = options;
  const wanted = {
    ...{ spawn, clock, explicitFile, searchPath, needsEncoders: ['aac'] },
    needsOneOf: videoEncoders.map(({ name }) => name),
    bundledFile: () => packagedFfmpeg ?? bundledFfmpeg(),
  };
  if (explicitFile) return findFfmpeg(wanted);
  try {
    return await findFfmpeg({ ...wanted, objection: (binary) => objection(binary, options) });
  } catch (error) {
    if (!isGlasscastError(error)) throw error;
    // None is good enough: one whose encoder may work later is better than none.
    return findFfmpeg(wanted);
  }
}

/** What speaks against a candidate. */
async function objection(binary: FfmpegBinary, options: BoardFfmpegOptions): Promise<string | undefined> {
  const { spawn, clock, log, signal, packagedFfmpeg } = options;
  const missing = BOARD_INPUTS.filter((name) => packagedFfmpeg !== undefined && !binary.inputs.has(name));
  if (missing.length > 0) return `lacks ${missing.join(', ')}`;
  if (binary.encoders.has(libx264.name)) return undefined;
  const { widthPx, heightPx, frameRate } = defaultEncoderSettings;
  const probed = await probeVideoEncoders({
    ...{ spawn, clock, log, binary, widthPx, heightPx, frameRate },
    ...(signal ? { signal } : {}),
  });
  return probed.some(({ works }) => works)
    ? undefined
    : `has no H.264 encoder that works (${encoderProbeText(probed)})`;
}
