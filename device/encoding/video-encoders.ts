/**
 * The H.264 encoders we know how to speak to, best first: hardware in the order of the boards that glasses are made of, then
 * software. A table of arguments; whether one works here is found out by `encoder-probe.ts`, never here.
 */
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { EncoderSettings } from '../../shared/stream.ts';

type Binary = Pick<FfmpegBinary, 'hasFpsMode'>;

export interface VideoEncoder {
  /** As ffmpeg calls it. */
  readonly name: string;
  readonly isHardware: boolean;
  /** Without this file it cannot work. */
  readonly deviceFile?: string;
  /** Before the inputs: opens the device. */
  readonly deviceArguments: readonly string[];
  /** After scaling: the pixel format it takes, and the way to its memory. */
  readonly tailFilters: readonly string[];
  codecArguments(settings: EncoderSettings, binary: Binary): string[];
}

const RENDER_NODE = '/dev/dri/renderD128';

const software = { isHardware: false, deviceArguments: [], tailFilters: ['format=yuv420p'] } as const;

const hardware = { isHardware: true, deviceArguments: [], tailFilters: ['format=nv12'] } as const;

export const libx264: VideoEncoder = {
  ...software,
  name: 'libx264',
  codecArguments(settings, binary) {
    return [
      ...timing(binary),
      ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline', '-bf', '0'],
      // 4.1 takes the time base for the frame rate (1000/s), which ruins its rate control, unless told.
      ...['-x264-params', `fps=${settings.frameRate}`],
      ...cappedRate(settings),
      ...boundedGroup(settings),
      ...['-sc_threshold', '0'],
      ...forcedKeyFrames(settings),
    ];
  },
};

/** In the order of preference among those that work. */
export const videoEncoders: readonly VideoEncoder[] = [
  {
    ...hardware,
    // Rockchip boards with their maker's kernel. Two encoders bear this name, ffmpeg's own (8.1) and the one of ffmpeg-rockchip
    // and Jellyfin. They share no word for the rate control, and an unknown word ends ffmpeg; unasked, both cap at -maxrate.
    // Baseline by number: ffmpeg's own has no names for profiles, and takes no notice of it, nor of forced key frames.
    name: 'h264_rkmpp',
    codecArguments: (settings, binary) => commonRules('h264_rkmpp', settings, binary, ['-profile:v', '66']),
  },
  {
    ...hardware,
    // Raspberry Pi up to 4, Qualcomm, i.MX.
    name: 'h264_v4l2m2m',
    tailFilters: ['format=yuv420p'],
    codecArguments: (settings, binary) =>
      commonRules('h264_v4l2m2m', settings, binary, [
        // Constrained baseline by number: it has no names for profiles.
        ...['-profile:v', '578'],
        // It leaves the sequence header in the stream, where no RTMP ingest looks. The first header in FLV is then hollow.
        ...['-bsf:v', 'extract_extradata'],
      ]),
  },
  {
    ...hardware,
    name: 'h264_vaapi',
    deviceFile: RENDER_NODE,
    deviceArguments: ['-vaapi_device', RENDER_NODE],
    tailFilters: ['format=nv12', 'hwupload'],
    // CBR because -maxrate equals -b:v; 4.1 has no word for it.
    codecArguments: (settings, binary) =>
      commonRules('h264_vaapi', settings, binary, ['-profile:v', 'constrained_baseline']),
  },
  {
    ...hardware,
    name: 'h264_nvenc',
    codecArguments: (settings, binary) =>
      commonRules('h264_nvenc', settings, binary, [
        ...['-profile:v', 'baseline', '-rc', 'cbr', '-zerolatency', '1', '-delay', '0'],
        ...['-no-scenecut', '1', '-forced-idr', '1'],
      ]),
  },
  {
    ...hardware,
    name: 'h264_qsv',
    codecArguments: (settings, binary) =>
      commonRules('h264_qsv', settings, binary, [
        ...['-profile:v', 'baseline', '-async_depth', '1', '-look_ahead', '0', '-forced_idr', '1'],
      ]),
  },
  {
    ...hardware,
    // Raspberry Pi with its old 32 bit system.
    name: 'h264_omx',
    tailFilters: ['format=yuv420p'],
    codecArguments: (settings, binary) => commonRules('h264_omx', settings, binary, ['-profile:v', 'baseline']),
  },
  libx264,
  {
    ...software,
    name: 'libopenh264',
    codecArguments: (settings, binary) =>
      commonRules('libopenh264', settings, binary, [
        ...['-profile:v', 'constrained_baseline', '-rc_mode', 'bitrate', '-allow_skip_frames', '0'],
      ]),
  },
];

/** The rules in ffmpeg's common words, and what only this encoder understands. */
function commonRules(name: string, settings: EncoderSettings, binary: Binary, own: readonly string[]): string[] {
  return [
    ...timing(binary),
    ...['-c:v', name, ...own, '-bf', '0', '-flags', '+cgop'],
    ...cappedRate(settings),
    ...boundedGroup(settings),
    ...forcedKeyFrames(settings),
  ];
}

/** Time stamps are ours, to the millisecond: neither repeat nor drop pictures to make the rate even. */
function timing({ hasFpsMode }: Binary): string[] {
  return [hasFpsMode ? '-fps_mode' : '-vsync', 'passthrough', '-enc_time_base', '1:1000'];
}

/** Half a second's worth of buffer: more would let a burst wait in a narrow uplink. */
function cappedRate({ videoBitrateBps }: EncoderSettings): string[] {
  const rate = String(videoBitrateBps);
  return ['-b:v', rate, '-maxrate', rate, '-bufsize', String(Math.round(videoBitrateBps / 2))];
}

/** Key frames come by the clock, below; -g only bounds them from above if the clock's should fail. */
function boundedGroup({ frameRate, keyFrameIntervalMs }: EncoderSettings): string[] {
  return ['-g', String(Math.ceil((2 * frameRate * keyFrameIntervalMs) / 1000))];
}

function forcedKeyFrames({ keyFrameIntervalMs }: EncoderSettings): string[] {
  return ['-force_key_frames', keyFrameExpression(keyFrameIntervalMs)];
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
