/**
 * The encoders' command lines: H.264 or AAC as FLV on a pipe. Pure functions of source, settings, binary and video encoder.
 * fluent-ffmpeg builds the list and runs nothing. The ingest's address never appears here: ffmpeg does not know it.
 */
import ffmpeg from 'fluent-ffmpeg';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { EncoderSettings } from '../../shared/stream.ts';
import type { PassthroughArguments } from '../capture/camera-commands.ts';
import { type CaptureGraphOptions, pictureGraph, soundGraph, type TrackGraph } from '../capture/capture-source.ts';
import { libx264, type VideoEncoder } from './video-encoders.ts';

/** Where a run that makes only picture, or only sound, writes to. */
export const trackPipe = 3;

export type EncoderArgumentsOptions = CaptureGraphOptions & { binary: Pick<FfmpegBinary, 'hasFpsMode'> };

export type PictureArgumentsOptions = EncoderArgumentsOptions & {
  /** Default: libx264. */
  videoEncoder?: VideoEncoder;
};

export type SoundArgumentsOptions = CaptureGraphOptions & {
  /** After the sound's own, e.g. against noise. */
  extraFilters?: readonly string[];
};

/** As every run writes it: each tag at once. */
export const flvOutput = ['-flvflags', 'no_duration_filesize+no_sequence_end', '-flush_packets', '1', '-f', 'flv'];

/** A run that makes the picture alone: H.264 as FLV on descriptor 3. */
export function pictureArguments(options: PictureArgumentsOptions): string[] {
  const { settings, source, binary, videoEncoder = libx264 } = options;
  const { input, map, filters } = pictureGraph(options);
  const readsStdin = source.kind === 'rawvideo' || source.kind === 'camera';
  const command = commandOf([input]);
  command
    .output(`pipe:${trackPipe}`)
    .videoFilters([...filters, ...videoEncoder.tailFilters])
    .outputOptions(...asWords(['-map', map, ...videoEncoder.codecArguments(settings, binary), ...flvOutput]));
  return [...commonArguments(readsStdin), ...videoEncoder.deviceArguments, ...command._getArguments()];
}

/** A run that makes the sound alone: AAC as FLV on descriptor 3. */
export function soundArguments(options: SoundArgumentsOptions): string[] {
  const { input, map, filters } = soundGraph(options);
  const command = commandOf([input]);
  command
    .output(`pipe:${trackPipe}`)
    .audioFilters([...filters, ...(options.extraFilters ?? [])])
    .outputOptions(...asWords(['-map', map, ...audioOptions(options.settings), ...flvOutput]));
  return [...commonArguments(false), ...command._getArguments()];
}

/** A run that passes on what the camera has encoded. */
export function passthroughRun({ inputOptions, url, outputOptions }: PassthroughArguments): string[] {
  const input = [...inputOptions, '-i', url];
  return [...commonArguments(url === 'pipe:0'), ...input, ...outputOptions, ...flvOutput, `pipe:${trackPipe}`];
}

function commandOf(inputs: TrackGraph['input'][]) {
  // Without a folder named it looks for its own, which does not exist in a bundle.
  // Of the builder only `_getArguments` is used: it neither looks for ffmpeg nor starts it. Public in its type, underscored in its name.
  const command = ffmpeg({ presets: '.' });
  for (const { url, options } of inputs) command.input(url).inputOptions(...asWords(options));
  return command;
}

function commonArguments(readsStdin: boolean): string[] {
  return ['-hide_banner', ...(readsStdin ? [] : ['-nostdin']), '-nostats', '-loglevel', 'level+warning'];
}

function audioOptions({ audioBitrateBps, sampleRateHz }: EncoderSettings): string[] {
  return ['-c:a', 'aac', '-b:a', String(audioBitrateBps), '-ar', String(sampleRateHz), '-ac', '1'];
}

/** As separate arguments: an array would be split at spaces by the builder, and a name may hold some. */
function asWords(words: string[]): [string, ...string[]] {
  const [first = '', ...rest] = words;
  return [first, ...rest];
}
