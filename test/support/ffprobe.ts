/** Asks a real ffprobe, and a real decoder, what lies behind an address. */
import { accessSync, chmodSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';

export interface ProbedStream {
  codec_name: string;
  codec_type: 'video' | 'audio';
  width?: number;
  height?: number;
  sample_rate?: string;
  avg_frame_rate: string;
  /** Only with `countFrames`. */
  nb_read_frames?: string;
}

export interface Probed {
  streams: ProbedStream[];
  durationS: number;
  /** What it complained about, empty when all is well. */
  complaints: string;
}

/** The bundled ffmpeg, and the machine's own when there is one. */
export function ffmpegs(): { name: string; file: string }[] {
  const bundled = bundledFfmpeg();
  const system = findOnPath('ffmpeg');
  return [
    ...(bundled ? [{ name: 'bundled ffmpeg', file: bundled }] : []),
    ...(system ? [{ name: 'system ffmpeg', file: system }] : []),
  ];
}

export async function probe(spawn: SpawnChild, source: string, { countFrames = false } = {}): Promise<Probed> {
  const complaints: string[] = [];
  const child = spawn({
    name: 'ffprobe',
    file: ffprobeFile(),
    args: [
      ...['-v', 'error', '-of', 'json', '-show_streams', '-show_format'],
      ...(countFrames ? ['-count_frames'] : []),
      ...['-protocol_whitelist', 'file,http,tcp,rtmp', source],
    ],
    stdout: 'raw',
    onStderrLine: (line) => void complaints.push(line),
  });
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  await child.exited;
  const { streams = [], format } = JSON.parse(text || '{}') as {
    streams?: ProbedStream[];
    format?: { duration?: string };
  };
  return { streams, durationS: Number(format?.duration ?? 0), complaints: complaints.join('\n') };
}

/** Presentation times of every picture behind an address, in seconds, ascending. */
export async function pictureTimes(spawn: SpawnChild, source: string): Promise<number[]> {
  const times: number[] = [];
  const child = spawn({
    name: 'ffprobe',
    file: ffprobeFile(),
    args: [
      ...['-v', 'error', '-of', 'csv=p=0', '-select_streams', 'v', '-show_entries', 'packet=pts_time'],
      ...['-protocol_whitelist', 'file,http,tcp', source],
    ],
    stdout: 'lines',
    onStdoutLine: (line) => void times.push(Number.parseFloat(line)),
  });
  await child.exited;
  return times.filter(Number.isFinite).sort((a, b) => a - b);
}

/** npm does not run the package's install script here, which would make the file executable. */
function ffprobeFile(): string {
  const { path } = createRequire(import.meta.url)('@ffprobe-installer/ffprobe') as { path: string };
  try {
    accessSync(path, constants.X_OK);
  } catch {
    chmodSync(path, 0o755);
  }
  return path;
}
