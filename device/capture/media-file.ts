/** What a media file holds, as ffmpeg reads it (the bundled ffmpeg has no ffprobe beside it). Owns one short look, never decodes. */
import type { SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';

const LOOK_TIMEOUT_MS = 10_000;

/** @throws GlasscastError CAPTURE_FILE_UNREADABLE when there is no picture in it. */
export async function lookIntoFile(
  path: string,
  { spawn, clock, binary }: { spawn: SpawnChild; clock: Clock; binary: FfmpegBinary },
): Promise<{ hasAudio: boolean }> {
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
    if (kinds.includes('Video')) return { hasAudio: kinds.includes('Audio') };
  } finally {
    void child.stop();
  }
  throw new GlasscastError('CAPTURE_FILE_UNREADABLE', { reason: `${path}: no picture in it` });
}
