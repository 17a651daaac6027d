/** What a media file holds, as ffmpeg reads it (the bundled ffmpeg has no ffprobe beside it). Owns one short look, never decodes. */
import type { SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';

const LOOK_TIMEOUT_MS = 10_000;

export interface MediaFile {
  hasAudio: boolean;
  /** Undefined when the file does not tell. */
  durationMs: number | undefined;
}

/**
 * Where in the file a run begins that starts now. What is at a place of the file stands at the same place of the timeline,
 * round after round, so picture and sound of two runs agree. @param file undefined: the source is none
 */
export function placeInFile(
  file: MediaFile | undefined,
  nowMs: number,
  epochMs: number,
): { hasAudio: boolean; nowMs: number; startAtMs?: number; fileDurationMs?: number } {
  const { hasAudio = true, durationMs } = file ?? {};
  if (!durationMs) return { hasAudio, nowMs };
  return { hasAudio, nowMs, startAtMs: Math.max(0, nowMs - epochMs) % durationMs, fileDurationMs: durationMs };
}

/** @throws GlasscastError CAPTURE_FILE_UNREADABLE when there is no picture in it. */
export async function lookIntoFile(
  path: string,
  { spawn, clock, binary }: { spawn: SpawnChild; clock: Clock; binary: FfmpegBinary },
): Promise<MediaFile> {
  const child = spawn({
    name: 'file-look',
    file: binary.file,
    args: ['-hide_banner', '-nostdin', '-i', `file:${path}`],
  });
  const slow = () => new GlasscastError('CAPTURE_FILE_UNREADABLE', { reason: `${path}: reading it takes too long` });
  try {
    // Ends at once, and with an error: "At least one output file must be specified".
    const { lastLines } = await withTimeout(clock, 'file-look', LOOK_TIMEOUT_MS, child.exited, slow);
    const kinds = lastLines.flatMap((line) => /^\s*Stream #0:\d+.*?: (Video|Audio):/.exec(line)?.[1] ?? []);
    if (kinds.includes('Video')) return { hasAudio: kinds.includes('Audio'), durationMs: durationOf(lastLines) };
  } finally {
    void child.stop();
  }
  throw new GlasscastError('CAPTURE_FILE_UNREADABLE', { reason: `${path}: no picture in it` });
}

/** `  Duration: 00:01:02.34, start: 0.000000, …` */
function durationOf(lines: readonly string[]): number | undefined {
  for (const line of lines) {
    const [, hours, minutes, seconds] = /^\s*Duration: (\d+):(\d\d):(\d\d\.\d+),/.exec(line) ?? [];
    if (seconds) return Math.round((Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000);
  }
  return undefined;
}
