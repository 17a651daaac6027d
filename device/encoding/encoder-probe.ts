/**
 * Which H.264 encoders work here, found out by encoding a second of a test picture with each, with the very arguments of a
 * stream. Owns its short runs, one after the other, each bounded in time; knows nothing of sources, streams or ingests.
 */
import { access } from 'node:fs/promises';
import type { Child, ChildExit, SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { readVideoConfig, type VideoConfig } from '../../shared/codec-config.ts';
import { errorText } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import { createFlvParser, type FlvTag, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { defaultEncoderSettings, type EncoderSettings } from '../../shared/stream.ts';
import { flvOutput, trackPipe } from './encoder-arguments.ts';
import { openMediaPipe } from './media-pipe.ts';
import { createStreamRules } from './stream-rules.ts';
import { type VideoEncoder, videoEncoders } from './video-encoders.ts';

export interface EncoderProbeOptions {
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  binary: FfmpegBinary;
  widthPx: number;
  heightPx: number;
  frameRate: number;
  /** The other settings of the stream. Default: ours. */
  settings?: Partial<EncoderSettings>;
  /** Ends the run that is under way; what was not tried is left out. */
  signal?: AbortSignal;
  /** Default: all that are known here. */
  candidates?: readonly VideoEncoder[];
}

export interface ProbedEncoder {
  encoder: VideoEncoder;
  works: boolean;
  /** Why it does not work, or why it comes last although it does; in plain words. */
  reason?: string;
  /** Times real time, the test picture's making included. */
  speed?: number;
  /** Share of one core at real time: 0.2 is a fifth. */
  cpuCores?: number;
  /** Of the picture made: RFC 6381, e.g. `avc1.42c01f`. */
  codec?: string;
}

const PROBE_TIMEOUT_MS = 4000;
/** ffmpeg ends within 20 ms of SIGINT unless a driver holds it. */
const STOP_TIMEOUT_MS = 200;
const PROBE_S = 1;
/** Capture and scaling need their share too. */
const MIN_SPEED = 1.2;
/** A second with its key frame may be above the cap by the buffer, half as much again; this is an encoder that ignores it. */
const MAX_RATE_RATIO = 3;

/** The encoders that this ffmpeg lists, the one to use first. Takes at most 4 s for each; never rejects because of one. */
export async function probeVideoEncoders(options: EncoderProbeOptions): Promise<ProbedEncoder[]> {
  const { binary, log, signal, candidates = videoEncoders } = options;
  const probed: ProbedEncoder[] = [];
  for (const encoder of candidates.filter(({ name }) => binary.encoders.has(name))) {
    if (signal?.aborted) break;
    const result = await probe(encoder, options);
    const { works, reason, speed, cpuCores, codec } = result;
    log.debug({ encoder: encoder.name, works, reason, speed, cpuCores, codec }, 'encoder-probed');
    if (!signal?.aborted) probed.push(result);
  }
  return ranked(probed);
}

/** Working hardware, then working software, then what works too slowly, then what fails; in the table's order within each. */
export function ranked(probed: readonly ProbedEncoder[]): ProbedEncoder[] {
  const place = ({ works, speed = 0, encoder }: ProbedEncoder) => {
    if (!works) return 3;
    if (speed < MIN_SPEED) return 2;
    return encoder.isHardware ? 0 : 1;
  };
  return [...probed].sort((a, b) => place(a) - place(b));
}

/** For `doctor`: "libx264: works, 9.8× real time; h264_v4l2m2m: no V4L2 device encodes H.264". */
export function encoderProbeText(probed: readonly ProbedEncoder[]): string {
  if (probed.length === 0) return 'this ffmpeg has no H.264 encoder';
  return probed.map(textOf).join('; ');
}

function textOf({ encoder, works, reason, speed }: ProbedEncoder): string {
  const parts = [
    ...(works ? ['works'] : []),
    ...(works && speed !== undefined ? [`${speed.toFixed(1)}× real time`] : []),
    ...(reason === undefined ? [] : [reason]),
  ];
  return `${encoder.name}: ${parts.join(', ')}`;
}

/** What a run gave before it ended. */
interface Yield {
  pictures: number;
  bytes: number;
  firstMs: number;
  lastMs: number;
  config: VideoConfig | undefined;
  /** What is wrong with it. */
  unfit: string | undefined;
}

async function probe(encoder: VideoEncoder, options: EncoderProbeOptions): Promise<ProbedEncoder> {
  try {
    if (encoder.deviceFile !== undefined && !(await isThere(encoder.deviceFile))) {
      return { encoder, works: false, reason: `${encoder.deviceFile} is missing` };
    }
    const settings = settingsOf(options);
    const { exit, got } = await encode(encoder, settings, options);
    return judged(encoder, settings, exit, got);
  } catch (error) {
    return { encoder, works: false, reason: errorText(error) };
  }
}

const isThere = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  );

function settingsOf({ settings, widthPx, heightPx, frameRate }: EncoderProbeOptions): EncoderSettings {
  return { ...defaultEncoderSettings, ...settings, widthPx, heightPx, frameRate };
}

async function encode(
  encoder: VideoEncoder,
  settings: EncoderSettings,
  { spawn, clock, binary, signal }: EncoderProbeOptions,
): Promise<{ exit: ChildExit; got: Yield }> {
  const got: Yield = { pictures: 0, bytes: 0, firstMs: 0, lastMs: 0, config: undefined, unfit: undefined };
  const parser = createFlvParser({ onTag: observer(got, settings, clock) });
  const pipe = await openMediaPipe((bytes) => {
    try {
      parser.push(bytes);
    } catch (error) {
      got.unfit ??= errorText(error);
    }
    return true;
  });
  const child = spawn({
    name: 'encoder-probe',
    file: binary.file,
    args: probeArguments(encoder, settings, binary),
    givenSockets: [pipe.childEnd],
    stopTimeoutMs: STOP_TIMEOUT_MS,
  });
  const stop = () => void child.stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const exit = await exitWithin(child, clock);
    await pipe.ended;
    return { exit, got };
  } finally {
    signal?.removeEventListener('abort', stop);
    pipe.close();
  }
}

/** Its exit, if need be by force: what it made until then counts all the same. */
async function exitWithin(child: Child, clock: Clock): Promise<ChildExit> {
  try {
    return await withTimeout(clock, 'encoder-probe', PROBE_TIMEOUT_MS, child.exited, () => new Error('too slow'));
  } catch {
    return child.stop();
  }
}

function observer(got: Yield, settings: EncoderSettings, clock: Clock): (tag: FlvTag) => void {
  const rules = createStreamRules(settings);
  return (tag) => {
    if (tag.kind !== 'video') return;
    const unfit = rules.take(tag);
    if (unfit) got.unfit ??= String(unfit.details.breach);
    if (isSequenceHeader(tag)) {
      got.config = readVideoConfig(tag.body.subarray(5)) ?? got.config;
      return;
    }
    got.lastMs = clock.monotonicMs();
    if (got.pictures === 0) got.firstMs = got.lastMs;
    got.pictures += 1;
    got.bytes += tag.body.length;
  };
}

function probeArguments(encoder: VideoEncoder, settings: EncoderSettings, binary: FfmpegBinary): string[] {
  const { widthPx, heightPx, frameRate } = settings;
  return [
    ...['-hide_banner', '-nostdin', '-nostats', '-loglevel', 'level+info', '-benchmark', ...encoder.deviceArguments],
    ...['-f', 'lavfi', '-i', `testsrc2=size=${widthPx}x${heightPx}:rate=${frameRate}:duration=${PROBE_S}`],
    // Milliseconds, as in a stream: an encoder may take the time base for the frame rate.
    ...['-filter:v', ['settb=1/1000', ...encoder.tailFilters].join(',')],
    ...[...encoder.codecArguments(settings, binary), ...flvOutput, `pipe:${trackPipe}`],
  ];
}

function judged(encoder: VideoEncoder, settings: EncoderSettings, exit: ChildExit, got: Yield): ProbedEncoder {
  const { widthPx, heightPx, frameRate, videoBitrateBps } = settings;
  const fails = (reason: string): ProbedEncoder => ({ encoder, works: false, reason });
  if (exit.end === 'not-started') return fails('this ffmpeg cannot be run');
  if (got.unfit) return fails(got.unfit);
  if (got.pictures < 2) {
    return fails(
      exit.end === 'stopped' ? `no picture within ${PROBE_TIMEOUT_MS / 1000} s` : plainReason(exit.lastLines),
    );
  }
  const { config } = got;
  if (!config) return fails('its sequence header cannot be read');
  if (config.width !== widthPx || config.height !== heightPx) {
    return fails(`it makes ${config.width}x${config.height} of ${widthPx}x${heightPx}`);
  }
  const madeS = got.pictures / frameRate;
  const rateBps = (got.bytes * 8) / madeS;
  if (rateBps > MAX_RATE_RATIO * videoBitrateBps) {
    return fails(`it ignores the bitrate: ${kbps(rateBps)} of ${kbps(videoBitrateBps)} kbit/s`);
  }
  if (exit.end !== 'stopped' && exit.code !== 0) return fails(plainReason(exit.lastLines));
  // From picture to picture, without the program's start. A burst at the end may read as infinitely fast.
  const tookS = Math.max(1, got.lastMs - got.firstMs) / 1000;
  const speed = (got.pictures - 1) / frameRate / tookS;
  const cpuCores = cpuSeconds(exit.lastLines);
  return {
    ...{ encoder, works: true, speed, codec: config.codec },
    ...(cpuCores === undefined ? {} : { cpuCores: cpuCores / madeS }),
    ...(speed < MIN_SPEED ? { reason: `too slow for ${widthPx}x${heightPx} at ${frameRate}/s` } : {}),
  };
}

const kbps = (bps: number) => Math.round(bps / 1000);

/** `bench: utime=0.201s stime=0.034s rtime=0.130s`, ffmpeg's own account at its end. */
function cpuSeconds(lines: readonly string[]): number | undefined {
  const [, user, system] = lines.map((line) => /bench: utime=([\d.]+)s stime=([\d.]+)s/.exec(line)).find(Boolean) ?? [];
  return user === undefined ? undefined : Number(user) + Number(system);
}

/** What ffmpeg says when an encoder cannot be opened (4.1 to 7), and what that means. */
const PLAIN_REASONS: readonly { text: RegExp; reason: string }[] = [
  { text: /permission denied/i, reason: 'its device may not be opened; add this user to the groups video and render' },
  { text: /no va display found|failed to initialise vaapi/i, reason: 'no VA-API driver for the graphics chip' },
  { text: /could not find a valid device/i, reason: 'no device: no /dev/video* encodes H.264' },
  { text: /cannot load libcuda|cannot load libnvidia/i, reason: 'no NVIDIA driver' },
  { text: /no (nvenc )?capable devices|cuda_error_no_device/i, reason: 'no NVIDIA device' },
  { text: /internal MFX session|error creating a MFX session/i, reason: 'no Intel Quick Sync device' },
  { text: /libomx\S*\.so|libopenmaxil/i, reason: 'no OpenMAX library' },
  { text: /mpp_create|failed to (create|init(ialize)?) MPP/i, reason: 'no Rockchip media device' },
];

function plainReason(lines: readonly string[]): string {
  const option = /(?:unrecognized option|option) '?([\w:-]+)'?(?: not found|\.|$)/i;
  for (const { text, reason } of PLAIN_REASONS) if (lines.some((line) => text.test(line))) return reason;
  const unknown = lines.map((line) => option.exec(line)?.[1]).find((name) => name !== undefined);
  if (unknown !== undefined) return `this ffmpeg does not know its option ${unknown}`;
  const first = lines.find((line) => /\[(error|fatal|panic)\]/.test(line)) ?? lines.at(-1);
  return first ? first.replace(/^(\[[^\]]*\]\s*)+/, '').slice(0, 200) : 'it ended without a word';
}
