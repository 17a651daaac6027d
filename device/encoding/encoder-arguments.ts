/**
 * The encoder's command line: H.264 and AAC as FLV on two pipes. A pure function of source, settings and binary.
 * fluent-ffmpeg builds the list and runs nothing. The ingest's address never appears here: ffmpeg does not know it.
 */
import ffmpeg from 'fluent-ffmpeg';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { EncoderSettings } from '../../shared/stream.ts';
import { type CaptureGraphOptions, captureGraph } from '../capture/capture-source.ts';

/**
 * Descriptors that ffmpeg writes to. Picture and sound travel apart because one muxer holds every picture back until sound of
 * the same time has come, 25 to 40 ms; RTMP carries them as separate messages anyhow.
 */
export const encoderPipes = { video: 3, audio: 4 } as const;

export type EncoderArgumentsOptions = CaptureGraphOptions & { binary: Pick<FfmpegBinary, 'hasFpsMode'> };

const FLV = ['-flvflags', 'no_duration_filesize+no_sequence_end', '-flush_packets', '1', '-f', 'flv'];

export function encoderArguments(options: EncoderArgumentsOptions): string[] {
  const { settings, source, binary } = options;
  const graph = captureGraph(options);
  // Without a folder named it looks for its own, which does not exist in a bundle.
  const command = ffmpeg({ presets: '.' });
  for (const { url, options: inputOptions } of graph.inputs) {
    command.input(url).inputOptions(...asWords(inputOptions));
  }
  command
    .output(`pipe:${encoderPipes.video}`)
    .videoFilters(graph.video.filters)
    .outputOptions(...asWords(['-map', graph.video.map, ...videoOptions(settings, binary.hasFpsMode), ...FLV]));
  command
    .output(`pipe:${encoderPipes.audio}`)
    .audioFilters(graph.audio.filters)
    .outputOptions(...asWords(['-map', graph.audio.map, ...audioOptions(settings), ...FLV]));
  const stdin = source.kind === 'rawvideo' ? [] : ['-nostdin'];
  return [
    ...['-hide_banner', ...stdin, '-nostats', '-loglevel', 'level+warning'],
    // Of the builder only this is used: it neither looks for ffmpeg nor starts it. Public in its type, underscored in its name.
    ...command._getArguments(),
  ];
}

function videoOptions(settings: EncoderSettings, hasFpsMode: boolean): string[] {
  const { videoBitrateBps, frameRate, keyFrameIntervalMs } = settings;
  return [
    // Time stamps are ours, to the millisecond: neither repeat nor drop pictures to make the rate even.
    ...[hasFpsMode ? '-fps_mode' : '-vsync', 'passthrough', '-enc_time_base', '1:1000'],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline', '-bf', '0'],
    // 4.1 takes the time base for the frame rate (1000/s), which ruins its rate control, unless told.
    ...['-x264-params', `fps=${frameRate}`],
    ...['-b:v', String(videoBitrateBps), '-maxrate', String(videoBitrateBps)],
    ...['-bufsize', String(Math.round(videoBitrateBps / 2))],
    // Key frames come by the clock, below; -g only bounds them from above if the clock's should fail.
    ...['-g', String(Math.ceil((2 * frameRate * keyFrameIntervalMs) / 1000)), '-sc_threshold', '0'],
    ...['-force_key_frames', keyFrameExpression(keyFrameIntervalMs)],
  ];
}

/**
 * A key frame each interval of the pictures' own time. Counted from the previous one, not from 0: after an encoder's restart
 * the timeline begins late. With short intervals the first two are halved, so that a packager has whole segments sooner.
 */
function keyFrameExpression(intervalMs: number): string {
  const intervalS = intervalMs / 1000;
  const step = intervalMs <= 1000 ? `if(lt(n_forced,3),${intervalS / 2},${intervalS})` : `${intervalS}`;
  // 10 ms early is on time: pictures do not sit exactly on the interval.
  return `expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+${step}-0.01))`;
}

function audioOptions({ audioBitrateBps, sampleRateHz }: EncoderSettings): string[] {
  return ['-c:a', 'aac', '-b:a', String(audioBitrateBps), '-ar', String(sampleRateHz), '-ac', '1'];
}

/** As separate arguments: an array would be split at spaces by the builder, and a name may hold some. */
function asWords(words: string[]): [string, ...string[]] {
  const [first = '', ...rest] = words;
  return [first, ...rest];
}
