/**
 * Which ffmpeg to run: finds it, proves it by running it, and says in words why this one.
 * Knows versions, encoders and input devices; never encodes. One search per program, its result is passed on.
 */
import { createRequire } from 'node:module';
import { findOnPath, type SpawnChild } from './child-process.ts';
import { type Clock, withTimeout } from './clock.ts';
import { errorText, GlasscastError } from './errors.ts';

export interface FfmpegBinary {
  /** Full path, or what FFMPEG_PATH said. */
  file: string;
  /** As it calls itself: "5.1.9-0+deb12u1", "N-47683-g0e8eb07980-static". */
  version: string;
  origin: 'FFMPEG_PATH' | 'PATH' | 'bundled';
  encoders: ReadonlySet<string>;
  /** Input devices: lavfi, v4l2, alsa, pulse, … */
  inputs: ReadonlySet<string>;
  /** `-fps_mode` replaced `-vsync`, which newer versions warn about and the newest refuse. */
  hasFpsMode: boolean;
  /** Why this one: a sentence for the log. */
  reason: string;
}

export interface FindFfmpegOptions {
  spawn: SpawnChild;
  clock: Clock;
  /** FFMPEG_PATH: this one or none. */
  explicitFile?: string | undefined;
  /** Folders to search, as in PATH; default: ours. */
  searchPath?: string | undefined;
  /** The one that came with npm; default: asks @ffmpeg-installer. */
  bundledFile?: () => string | undefined;
  /** What it must be able to encode. Default: what we publish. */
  needsEncoders?: readonly string[];
  /** Of these at least one. Default: nothing. */
  needsOneOf?: readonly string[];
  /** What else speaks against a candidate, in words that follow its name: "lacks alsa". Default: nothing. */
  objection?: (candidate: FfmpegBinary) => Promise<string | undefined>;
}

const PROBE_TIMEOUT_MS = 10_000;
/** Development builds count commits instead of naming a version; `-fps_mode` came with this one (June 2022). */
const FPS_MODE_COMMIT = 107_200;

/** @throws GlasscastError FFMPEG_MISSING, naming each candidate and what was wrong with it. */
export async function findFfmpeg(options: FindFfmpegOptions): Promise<FfmpegBinary> {
  const needs = options.needsEncoders ?? ['libx264', 'aac'];
  const oneOf = options.needsOneOf ?? needs;
  const refused: string[] = [];
  for (const { origin, file } of candidates(options)) {
    if (!file) {
      refused.push(origin === 'PATH' ? 'no ffmpeg on PATH' : 'no bundled ffmpeg for this machine');
      continue;
    }
    try {
      const probed = await probe(file, options);
      const missing = needs.filter((name) => !probed.encoders.has(name));
      if (!oneOf.some((name) => probed.encoders.has(name))) missing.push(...oneOf.slice(0, 1));
      const before = refused.length > 0 ? ` (${refused.join('; ')})` : '';
      const found = { ...probed, file, origin, reason: `ffmpeg ${probed.version} from ${origin}${before}` };
      const against = missing.length > 0 ? `lacks ${missing.join(', ')}` : await options.objection?.(found);
      if (against === undefined) return found;
      refused.push(`${file} ${against}`);
    } catch (error) {
      refused.push(`${file}: ${errorText(error)}`);
    }
  }
  throw new GlasscastError('FFMPEG_MISSING', { reason: refused.join('; ') });
}

/** Path of the ffmpeg that npm installed beside us, if there is one for this platform. */
export function bundledFfmpeg(): string | undefined {
  try {
    // Its entry throws a plain string on platforms without a binary.
    const { path } = createRequire(import.meta.url)('@ffmpeg-installer/ffmpeg') as { path: string };
    return path;
  } catch {
    return undefined;
  }
}

/** Whether this version knows `-fps_mode` (5.1 and up). */
export function knowsFpsMode(version: string): boolean {
  const commit = /^N-(\d+)/.exec(version)?.[1];
  if (commit) return Number(commit) >= FPS_MODE_COMMIT;
  const [, major = '0', minor = '0'] = /^n?(\d+)(?:\.(\d+))?/.exec(version) ?? [];
  return Number(major) > 5 || (Number(major) === 5 && Number(minor) >= 1);
}

function candidates({ explicitFile, searchPath, bundledFile = bundledFfmpeg }: FindFfmpegOptions) {
  // An explicit wish that fails is an error, not a reason to run something else.
  if (explicitFile) return [{ origin: 'FFMPEG_PATH' as const, file: explicitFile }];
  return [
    { origin: 'PATH' as const, file: findOnPath('ffmpeg', searchPath) },
    { origin: 'bundled' as const, file: bundledFile() },
  ];
}

async function probe(
  file: string,
  options: FindFfmpegOptions,
): Promise<Pick<FfmpegBinary, 'version' | 'encoders' | 'inputs' | 'hasFpsMode'>> {
  const [about, encoders, devices] = await Promise.all(
    ['-version', '-encoders', '-devices'].map((flag) => output(file, flag, options)),
  );
  const version = /^ffmpeg version (\S+)/m.exec(about ?? '')?.[1];
  if (!version) throw new Error('it does not answer like ffmpeg');
  return {
    version,
    encoders: new Set(names(encoders ?? '', /^ [A-Z.]{6} (\S+) /)),
    inputs: new Set(names(devices ?? '', /^ D.{1,3} (\S+) /)),
    hasFpsMode: knowsFpsMode(version),
  };
}

function names(text: string, line: RegExp): string[] {
  // One line may name several: "video4linux2,v4l2".
  return text.split('\n').flatMap((each) => line.exec(each)?.[1]?.split(',') ?? []);
}

async function output(file: string, flag: string, { spawn, clock }: FindFfmpegOptions): Promise<string> {
  const lines: string[] = [];
  const child = spawn({
    name: 'ffmpeg-probe',
    file,
    args: ['-hide_banner', flag],
    stdout: 'lines',
    onStdoutLine: (line) => void lines.push(line),
  });
  const work = child.exited.then((exit) => {
    if (exit.end === 'not-started') throw new Error(exit.error?.message ?? exit.lastLines.at(-1) ?? 'cannot be run');
    // The exit code of lists differs between versions (`-devices` may give 1): the text decides.
    if (exit.signal) throw new Error(`died by ${exit.signal}`);
    return lines.join('\n');
  });
  try {
    return await withTimeout(clock, 'ffmpeg-probe', PROBE_TIMEOUT_MS, work, () => new Error('it does not answer'));
  } catch (error) {
    void child.stop();
    throw error;
  }
}
