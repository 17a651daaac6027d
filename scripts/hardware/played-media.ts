/**
 * What a viewer gets, taken apart: ffmpeg plays the local Stream for a while, decodes every picture and sound and tells codec, size
 * and each frame's time and hash. Measures; judges nothing.
 */
import type { Bench } from '../bench/program.ts';

export interface PlayedMedia {
  /** As ffmpeg names them. Undefined: there was none. */
  videoCodec: string | undefined;
  audioCodec: string | undefined;
  widthPx: number | undefined;
  heightPx: number | undefined;
  sampleRateHz: number | undefined;
  /** Decoded. */
  frames: number;
  /** Pictures that differ from each other: a frozen camera gives one. */
  differentFrames: number;
  /** Over the pictures' own times. */
  framesPerSecond: number | undefined;
  soundSeconds: number;
  /** Loudness of the loudest sample; -91 dB is silence. */
  peakDb: number | undefined;
  /** Lines in which a decoder complains. */
  complaints: string[];
}

const END_PATIENCE_MS = 30_000;

/** @param url holds a key; never printed */
export async function playedMedia(bench: Bench, url: string, seconds: number): Promise<PlayedMedia> {
  const { ffmpeg, spawn, clock } = bench;
  const lines: string[] = [];
  const errors: string[] = [];
  const child = spawn({
    ...{ name: 'viewer', file: ffmpeg.file, stdout: 'lines' },
    args: [
      ...['-hide_banner', '-nostats', '-loglevel', 'info', '-i', url, '-t', String(seconds)],
      ...[
        '-map',
        '0:v?',
        '-map',
        '0:a?',
        '-af',
        'volumedetect',
        ffmpeg.hasFpsMode ? '-fps_mode' : '-vsync',
        'passthrough',
      ],
      ...['-c:v', 'rawvideo', '-c:a', 'pcm_s16le', '-f', 'framemd5', 'pipe:1'],
    ],
    onStdoutLine: (line) => void lines.push(line),
    onStderrLine: (line) => void errors.push(line),
  });
  const limit = clock.after('viewer-limit', seconds * 1000 + END_PATIENCE_MS, () => void child.stop());
  await child.exited;
  limit.cancel();
  return mediaOf(lines, errors);
}

/** @param lines of ffmpeg's framemd5. @param errors its log, of level info */
export function mediaOf(lines: readonly string[], errors: readonly string[]): PlayedMedia {
  const input = errors.slice(0, errors.findIndex((line) => line.startsWith('Output ')) + 1 || undefined);
  const video = input.find((line) => /Stream #.*: Video: /.test(line)) ?? '';
  const audio = input.find((line) => /Stream #.*: Audio: /.test(line)) ?? '';
  const [, width, height] = /, (\d{2,5})x(\d{2,5})/.exec(video) ?? [];
  const timeBase = new Map(
    lines.flatMap((line) => {
      const [, stream, num, den] = /^#tb (\d+): (\d+)\/(\d+)/.exec(line) ?? [];
      return stream === undefined ? [] : [[Number(stream), Number(num) / Number(den)]];
    }),
  );
  const videoStream = lines.some((line) => /^#media_type 0: video/.test(line)) ? 0 : -1;
  const frames = lines.filter((line) => !line.startsWith('#')).map((line) => line.split(/,\s*/));
  const ofStream = (isVideo: boolean) => frames.filter(([stream]) => (Number(stream) === videoStream) === isVideo);
  const times = ofStream(true).map(([, , pts]) => Number(pts) * (timeBase.get(0) ?? 0));
  const spanS = (times.at(-1) ?? 0) - (times[0] ?? 0);
  const audioBase = timeBase.get(videoStream + 1) ?? 0;
  return {
    videoCodec: /Video: (\w+)/.exec(video)?.[1],
    audioCodec: /Audio: (\w+)/.exec(audio)?.[1],
    widthPx: width === undefined ? undefined : Number(width),
    heightPx: height === undefined ? undefined : Number(height),
    sampleRateHz: numberIn(/(\d+) Hz/, audio),
    frames: times.length,
    differentFrames: new Set(ofStream(true).map((fields) => fields.at(-1))).size,
    framesPerSecond: spanS > 0 ? (times.length - 1) / spanS : undefined,
    soundSeconds: ofStream(false).reduce((sum, [, , , duration]) => sum + Number(duration) * audioBase, 0),
    peakDb: numberIn(/max_volume: (-?[\d.]+) dB/, errors.join('\n')),
    complaints: errors.filter((line) => /error while decoding|concealing|corrupt|Invalid data|non.monoton/i.test(line)),
  };
}

function numberIn(pattern: RegExp, text: string): number | undefined {
  const found = pattern.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}
