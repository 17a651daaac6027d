/**
 * Where picture and sound come from: test pattern, file, camera and microphone, or raw frames from this program.
 * Turns a source into ffmpeg inputs and filters on one common timeline; never spawns, never encodes.
 */
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { GlasscastError } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { EncoderSettings } from '../../shared/stream.ts';
import { burnedClock, secondMark } from './burned-clock.ts';
import { fileLoop } from './file-loop.ts';

/** `beep`: 100 ms at each second of the wall clock. `silence`: a track all the same, some players wait for ever for one. */
export type Microphone = { kind: 'beep' } | { kind: 'silence' } | { kind: 'alsa' | 'pulse'; name: string };

export type CaptureSource =
  | { kind: 'test-pattern'; microphone: Microphone }
  | { kind: 'file'; path: string }
  | {
      kind: 'camera';
      driver: 'v4l2' | 'libcamera';
      /** `/dev/videoN` or `auto` (the first with a usable mode); of libcamera its number. */
      device: string;
      microphone: Microphone;
    }
  | {
      kind: 'screen';
      /** As X names it: `:0.0`, `host:1`. */
      display: string;
      microphone: Microphone;
    }
  | {
      kind: 'rawvideo';
      /** Of the frames, packed yuv420p. */
      widthPx: number;
      heightPx: number;
      frameRate: number;
      microphone: Microphone;
      /** From now on frames go here too; gives the function that ends it. */
      attach(sink: Writable): () => void;
    };

export interface CaptureGraphOptions {
  source: CaptureSource;
  /** Of a file; the others always have a track. */
  hasAudio: boolean;
  settings: EncoderSettings;
  /** Wall clock at time stamp 0, kept for the life of a stream: a restarted encoder continues the same timeline. */
  epochMs: number;
  nowMs: number;
  /** Of a file: where in it to begin, so that a new run continues where the old one is. Default 0. */
  startAtMs?: number;
  /** Of a camera: what reads the frames that its capture gives, on standard input. */
  feedInput?: readonly string[];
  /** Of a camera: at what rate it gives them. Undefined: not known. */
  feedFrameRate?: number | undefined;
  /** Of a file: how long one round lasts. The caller reckons `startAtMs` by it, so the runs have to go by it too. */
  fileDurationMs?: number | undefined;
}

/** What one kind of medium takes from a source, alone in its process. */
export interface TrackGraph {
  input: { options: string[]; url: string };
  map: string;
  filters: string[];
}

/**
 * `test-pattern`, `file:PATH`, `v4l2:DEVICE`, `v4l2:auto`, `libcamera`, `libcamera:N`, `screen:DISPLAY`; microphone `beep`, `silence`, `alsa:NAME`, `pulse:NAME`.
 * @throws GlasscastError INVALID_CONFIG
 */
export function parseCaptureSource(source: string, microphone?: string): CaptureSource {
  const { kind, rest } = split(source);
  if (kind === 'test-pattern' && !rest) return { kind, microphone: parseMicrophone(microphone ?? 'beep') };
  if (kind === 'file' && rest) {
    if (microphone) throw invalid('a file brings its own sound: leave the microphone out');
    return { kind, path: resolve(rest) };
  }
  if (kind === 'v4l2' && rest) {
    return { kind: 'camera', driver: kind, device: rest, microphone: parseMicrophone(microphone ?? 'silence') };
  }
  if (kind === 'libcamera' && /^(libcamera|libcamera:\d+)$/.test(source)) {
    return { kind: 'camera', driver: kind, device: rest || '0', microphone: parseMicrophone(microphone ?? 'silence') };
  }
  if (kind === 'screen' && rest) return { kind, display: rest, microphone: parseMicrophone(microphone ?? 'silence') };
  const forms = 'test-pattern, file:PATH, v4l2:/dev/videoN, v4l2:auto, libcamera, libcamera:N or screen:DISPLAY';
  throw invalid(`source "${source}": expected ${forms}`);
}

function parseMicrophone(text: string): Microphone {
  const { kind, rest } = split(text);
  if ((kind === 'beep' || kind === 'silence') && !rest) return { kind };
  if ((kind === 'alsa' || kind === 'pulse') && rest) return { kind, name: rest };
  throw invalid(`microphone "${text}": expected beep, silence, alsa:NAME or pulse:NAME`);
}

function split(text: string): { kind: string; rest: string } {
  const colon = text.indexOf(':');
  return colon < 0 ? { kind: text, rest: '' } : { kind: text.slice(0, colon), rest: text.slice(colon + 1) };
}

function invalid(reason: string): GlasscastError {
  return new GlasscastError('INVALID_CONFIG', { reason });
}

/**
 * What can be known without starting an encoder, in a few milliseconds. Of a camera nothing: `findCamera` asks it.
 * @throws GlasscastError CAMERA_NOT_FOUND: this ffmpeg records no screen; CAPTURE_FILE_UNREADABLE
 */
export async function checkCaptureSource(source: CaptureSource, binary: FfmpegBinary): Promise<void> {
  if (source.kind === 'file') await checkFile(source.path);
  if (source.kind === 'screen' && !binary.inputs.has('x11grab')) {
    throw new GlasscastError('CAMERA_NOT_FOUND', { reason: lacks(binary, 'x11grab') });
  }
}

async function checkFile(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r');
    const facts = await handle.stat().finally(() => handle.close());
    if (!facts.isDirectory()) return;
  } catch (cause) {
    throw new GlasscastError('CAPTURE_FILE_UNREADABLE', { reason: `${path} (${codeOf(cause)})`, cause });
  }
  throw new GlasscastError('CAPTURE_FILE_UNREADABLE', { reason: `${path} is a folder` });
}

/** As its setting names it: `alsa:plughw:1,0`. */
export const microphoneName = ({ kind, name }: Extract<Microphone, { name: string }>) => `${kind}:${name}`;

/** @throws GlasscastError MICROPHONE_NOT_FOUND: this ffmpeg cannot record from such a device. */
export function checkMicrophone(microphone: Microphone, binary: FfmpegBinary): void {
  if (microphone.kind !== 'alsa' && microphone.kind !== 'pulse') return;
  if (binary.inputs.has(microphone.kind)) return;
  throw new GlasscastError('MICROPHONE_NOT_FOUND', { reason: lacks(binary, microphone.kind) });
}

const lacks = ({ file, version }: FfmpegBinary, input: string) => `${file} (${version}) cannot record from ${input}`;
const codeOf = (error: unknown) => String((error as { code?: unknown } | undefined)?.code ?? error);

/** The picture alone. */
export function pictureGraph(options: CaptureGraphOptions): TrackGraph {
  const { source, settings, epochMs } = options;
  const filters = [...(source.kind === 'file' ? ['trim=start=0'] : []), ...pictureFilters(options)];
  const pattern = source.kind === 'test-pattern' ? burnedClock({ ...settings, epochMs }) : [];
  return { input: videoInput(options), map: '0:v:0', filters: [...filters, ...pattern] };
}

/** The sound alone: what is generated has no picture beside it to set the pace, so it paces itself. */
export function soundGraph(options: CaptureGraphOptions): TrackGraph {
  const { source, settings, epochMs } = options;
  if (source.kind === 'file' && options.hasAudio) {
    const filters = ['atrim=start=0', `asetpts=PTS+${sinceEpochS(options)}/TB`];
    return { input: loopOf(source.path, options), map: '0:a:0', filters };
  }
  const microphone: Microphone = source.kind === 'file' ? { kind: 'silence' } : source.microphone;
  return { input: audioInput(microphone, settings), map: '0:a:0', filters: soundFilters(microphone, epochMs) };
}

const loopOf = (path: string, { fileDurationMs, startAtMs = 0 }: CaptureGraphOptions) =>
  fileLoop({ path, durationMs: fileDurationMs, startAtMs });

/** Nothing to find out about these inputs: reading ahead would only delay the first frame. */
const NO_PROBING = ['-probesize', '32', '-analyzeduration', '0'];

function videoInput(options: CaptureGraphOptions): TrackGraph['input'] {
  const { source, settings, feedInput = [] } = options;
  const size = `${settings.widthPx}x${settings.heightPx}`;
  switch (source.kind) {
    case 'test-pattern':
      return {
        options: [...NO_PROBING, '-re', '-f', 'lavfi'],
        url: `testsrc2=size=${size}:rate=${settings.frameRate}`,
      };
    case 'file':
      return loopOf(source.path, options);
    case 'camera':
      return { options: [...feedInput], url: 'pipe:0' };
    case 'screen':
      return {
        options: [...NO_PROBING, '-f', 'x11grab', '-framerate', String(settings.frameRate)],
        url: source.display,
      };
    case 'rawvideo': {
      const shape = ['-pixel_format', 'yuv420p', '-video_size', `${source.widthPx}x${source.heightPx}`];
      return {
        options: [...NO_PROBING, '-f', 'rawvideo', ...shape, '-framerate', String(source.frameRate)],
        url: 'pipe:0',
      };
    }
    default:
      return source satisfies never;
  }
}

function audioInput(microphone: Microphone, { sampleRateHz }: EncoderSettings): TrackGraph['input'] {
  // Paced, which only a run without a picture bears: beside one a paced sound is read blocking, and first whenever its time
  // stamps are behind, so one late picture left ffmpeg serving two packets of sound per picture for good.
  const generated = ['-re', ...NO_PROBING, '-f', 'lavfi'];
  switch (microphone.kind) {
    case 'beep':
      return { options: generated, url: `sine=frequency=1000:sample_rate=${sampleRateHz}` };
    case 'silence':
      return { options: generated, url: `anullsrc=channel_layout=mono:sample_rate=${sampleRateHz}` };
    case 'alsa':
      return { options: [...NO_PROBING, '-thread_queue_size', '64', '-f', 'alsa'], url: microphone.name };
    case 'pulse':
      return {
        // 20 ms packets instead of 42: less waiting in the recorder.
        options: [...NO_PROBING, '-f', 'pulse', '-sample_rate', '48000', '-channels', '1', '-fragment_size', '1920'],
        url: microphone.name,
      };
    default:
      return microphone satisfies never;
  }
}

function pictureFilters(options: CaptureGraphOptions): string[] {
  const { source, settings, epochMs } = options;
  const { widthPx, heightPx, frameRate } = settings;
  const fit = [
    `scale=${widthPx}:${heightPx}:force_original_aspect_ratio=decrease`,
    `pad=${widthPx}:${heightPx}:(ow-iw)/2:(oh-ih)/2`,
    'setsar=1',
  ];
  const sinceEpochMs = `(RTCTIME-${epochMs}000)/1000`;
  const atArrival = ['settb=1/1000', `setpts='max(PREV_OUTPTS+1,${sinceEpochMs})'`];
  switch (source.kind) {
    case 'test-pattern':
      return ['settb=1/1000', `setpts='${steady(sinceEpochMs, `${1000 / frameRate}`, 100)}'`];
    case 'file':
      return [`fps=${frameRate}`, ...fit, 'settb=1/1000', `setpts=PTS+${sinceEpochS(options)}/TB`];
    case 'camera':
      return [...atArrival, ...thinned(frameRate, options.feedFrameRate), ...fit];
    case 'screen':
      return [...atArrival, ...fit];
    case 'rawvideo':
      return [
        ...atArrival,
        ...thinned(frameRate, source.frameRate),
        ...(source.widthPx === widthPx && source.heightPx === heightPx ? [] : fit),
      ];
    default:
      return source satisfies never;
  }
}

/**
 * Cameras take the nearest rate they know. Of more frames than asked for those are left out that come too soon for a
 * timetable of the rate asked for, without waiting for the next; measured against the frame before, jitter would cost good
 * ones. The timetable begins anew when the source is two frames late. Variable 0 holds when the next frame is due, in
 * seconds.
 */
function thinned(frameRate: number, sourceFrameRate: number | undefined): string[] {
  if (sourceFrameRate !== undefined && sourceFrameRate <= frameRate) return [];
  const step = 1 / frameRate;
  const isDue = `isnan(prev_selected_t)+gte(t,ld(0)-${step / 2})`;
  const next = `if(isnan(prev_selected_t)+gt(t-ld(0),${2 * step}),t,ld(0))+${step}`;
  return [`select='if(${isDue},st(0,${next})*0+1,0)'`];
}

function soundFilters(microphone: Microphone, epochMs: number): string[] {
  const sinceEpoch = `(RTCTIME-${epochMs}000)/1000000/TB`;
  const chunk = 'NB_SAMPLES/SR/TB';
  switch (microphone.kind) {
    case 'beep':
      return [`asetpts='${steady(sinceEpoch, chunk, 1000)}'`, `volume=volume=0:enable='not(${secondMark(epochMs)})'`];
    case 'silence':
      return [`asetpts='${steady(sinceEpoch, chunk, 1000)}'`];
    case 'alsa':
    case 'pulse':
      // A recorder hands over what it heard before, so a chunk began one chunk ago.
      return [`asetpts='${recorded(`${sinceEpoch}-${chunk}`, chunk)}'`, 'aformat=channel_layouts=mono'];
    default:
      return microphone satisfies never;
  }
}

/**
 * Time stamps of a generated source: steps of its own length, drawn towards the wall clock by 1/`softness` of the
 * difference each time. So they are even, and yet never drift away. Variable 0 holds the last time stamp.
 */
function steady(wallClock: string, step: string, softness: number): string {
  return `if(eq(N,0),st(0,${wallClock}),st(0,ld(0)+${step}+(${wallClock}-ld(0)-${step})/${softness}))`;
}

/**
 * The same for a recorder, whose chunks vary in length and whose clock drifts (50 ppm are 180 ms an hour). After a gap of
 * more than 300 ms the time stamps jump forward at once. Variables: 0 last time stamp, 1 last length, 2 wall clock, 3 expected.
 */
function recorded(wallClock: string, length: string): string {
  const look = `st(2,${wallClock})*0+st(3,ld(0)+ld(1))*0+st(1,${length})*0`;
  return `${look}+st(0,if(eq(N,0)+gt(ld(2)-ld(3),0.3/TB),ld(2),ld(3)+(ld(2)-ld(3))/1000))`;
}

function sinceEpochS({ epochMs, nowMs }: CaptureGraphOptions): string {
  return (Math.max(0, nowMs - epochMs) / 1000).toFixed(3);
}
