/**
 * The doctor's checks of encoder, camera and microphone: each is really used for a moment, as a stream would, unless the
 * running agent has it. Under the privacy light; leaves nothing open.
 */
import type { SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import type { EncoderSettings } from '../../shared/stream.ts';
import { openCameraFeed } from '../capture/camera-feed.ts';
import { type RankedMode, rankModes } from '../capture/camera-modes.ts';
import { type Camera, type CameraFolders, findCamera } from '../capture/cameras.ts';
import {
  type CaptureSource,
  checkCaptureSource,
  checkMicrophone,
  microphoneName,
  soundGraph,
} from '../capture/capture-source.ts';
import { captureUnderLight, type Lamp } from '../capture/lit-capture.ts';
import { checkMicrophoneAccess } from '../capture/microphones.ts';
import { encoderProbeText, probeVideoEncoders } from '../encoding/encoder-probe.ts';
import { causeOf } from '../encoding/ffmpeg-causes.ts';
import { bad, type Check, type Finding, ok, unknown } from './doctor.ts';

export interface CaptureChecksOptions {
  /** @throws GlasscastError INVALID_CONFIG */
  source: () => CaptureSource;
  /** What would be asked for. */
  settings: EncoderSettings;
  /** Undefined: there is none. */
  binary: () => FfmpegBinary | undefined;
  lamp: Lamp | undefined;
  /** Why nothing may be opened now, as a clause: "the agent is streaming". */
  whyTaken: () => Promise<string | undefined>;
  /** Default: this machine's. */
  cameraFolders?: CameraFolders | undefined;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
}

/** With what the check can rely on. */
type Look = CaptureChecksOptions & { found: FfmpegBinary };

export function captureChecks(options: CaptureChecksOptions): Check[] {
  const check = (name: string, isNeeded: boolean, look: (with_: Look) => Promise<Finding>): Check => ({
    ...{ name, isNeeded },
    async look() {
      const found = options.binary();
      return found ? look({ ...options, found }) : unknown('not tried, because there is no ffmpeg');
    },
  });
  // A stream has silence where there is no microphone.
  return [
    check('Encoder', true, lookAtEncoders),
    check('Camera', true, lookAtPicture),
    check('Microphone', false, lookAtSound),
  ];
}

async function lookAtEncoders({ spawn, clock, log, found, settings }: Look): Promise<Finding> {
  const { widthPx, heightPx, frameRate } = settings;
  const probed = await probeVideoEncoders({ spawn, clock, log, binary: found, widthPx, heightPx, frameRate });
  const chosen = probed.find(({ works }) => works);
  const text = encoderProbeText(probed);
  if (chosen) return ok(`${chosen.encoder.name} would be taken (${text})`);
  return bad(text, 'install an ffmpeg with libx264, or name one with --ffmpeg-path');
}

type CameraSource = Extract<CaptureSource, { kind: 'camera' }>;

async function lookAtPicture(look: Look): Promise<Finding> {
  const source = look.source();
  if (source.kind === 'camera') return lookAtCamera(source, look);
  await checkCaptureSource(source, look.found);
  if (source.kind === 'file') return ok(`${source.path} can be read; needs no camera`);
  if (source.kind === 'screen') return ok(`the screen ${source.display}; needs no camera`);
  return ok(`${source.kind}: generated, needs no camera`);
}

/** @param passedOver of `v4l2:auto`: found to be in use, as a stream would find. */
async function lookAtCamera(
  source: CameraSource,
  look: Look,
  passedOver: ReadonlySet<string> = new Set(),
): Promise<Finding> {
  const { spawn, clock, found, settings, cameraFolders: folders, whyTaken } = look;
  const taken = await whyTaken();
  let tried: string | undefined;
  try {
    const search = { spawn, clock, binary: found, ...(folders ? { folders } : {}) };
    const camera = await findCamera(source, search, passedOver);
    tried = camera.device;
    const [mode] = rankModes(camera, settings);
    const title = `${camera.name || 'camera'} (${camera.driver}:${camera.device})`;
    if (!mode)
      return bad(`${title} has no mode that can be used`, 'see glasscast-agent devices, and take another camera');
    const text = `${title} would give ${modeWords(mode)}`;
    if (taken) return unknown(`${text}. Not opened, because ${taken}`);
    const ms = await firstPictureMs(camera, mode, look);
    return ok(`${text}. A picture came after ${ms} ms`);
  } catch (error) {
    const cause = asGlasscastError(error);
    if (taken && cause.code === 'CAMERA_BUSY') return unknown(`not looked at, because ${taken}`);
    const isBusyOfAuto = source.device === 'auto' && cause.code === 'CAMERA_BUSY';
    if (isBusyOfAuto && tried !== undefined && !passedOver.has(tried)) {
      return lookAtCamera(source, look, new Set([...passedOver, tried]));
    }
    throw cause;
  }
}

function modeWords({ pixelFormat, widthPx, heightPx, frameRate, why }: RankedMode): string {
  return `${pixelFormat} ${widthPx}x${heightPx} at ${Math.round(frameRate * 100) / 100}/s: ${why}`;
}

/** Cameras measure light and focus first. */
const PICTURE_TIMEOUT_MS = 10_000;

/** How long until it gave one. @throws GlasscastError CAMERA_…, CAPTURE_FORBIDDEN, PRIVACY_LIGHT_FAILED */
async function firstPictureMs(camera: Camera, mode: RankedMode, look: Look): Promise<number> {
  const { spawn, clock, log, found, lamp, cameraFolders, settings } = look;
  const { keyFrameIntervalMs, videoBitrateBps } = settings;
  const sinceMs = clock.monotonicMs();
  let saw = (_ms: number) => {};
  const seen = new Promise<number>((resolve) => {
    saw = resolve;
  });
  const feed = await captureUnderLight(lamp, async () =>
    openCameraFeed({
      ...{ spawn, clock, log, binary: found, programs: cameraFolders?.programs, camera, mode },
      ...{ keyFrameIntervalMs, videoBitrateBps, onFrame: () => saw(Math.round(clock.monotonicMs() - sinceMs)) },
    }),
  );
  const over = feed.ended.then(({ cause }): never => {
    throw cause ?? new GlasscastError('SHUTTING_DOWN');
  });
  const slow = () => new GlasscastError('CAMERA_SILENT', { reason: camera.device });
  try {
    return await withTimeout(clock, 'first-picture', PICTURE_TIMEOUT_MS, Promise.race([seen, over]), slow);
  } finally {
    await feed.close();
  }
}

async function lookAtSound(look: Look): Promise<Finding> {
  const source = look.source();
  if (!('microphone' in source)) return ok('comes with the file; needs no microphone');
  const { microphone } = source;
  if (microphone.kind === 'beep' || microphone.kind === 'silence') {
    return ok(`${microphone.kind}: generated, needs no microphone`);
  }
  checkMicrophone(microphone, look.found);
  await checkMicrophoneAccess(microphone);
  const title = microphoneName(microphone);
  const taken = await look.whyTaken();
  if (taken) return unknown(`${title}, not recorded from, because ${taken}`);
  const { meanDb, maxDb } = await loudness(source, look);
  if (maxDb <= DEAD_DB) return bad(`${title} gives nothing but silence`, 'see that it is switched on and not muted');
  return ok(`${title} was heard: on average ${meanDb} dB, at most ${maxDb} dB (0 dB is the loudest there is)`);
}

/** Digital silence with a bit of dither. A quiet room is above -70. */
const DEAD_DB = -85;
const RECORDED_S = 0.5;
const SOUND_TIMEOUT_MS = 6_000;

/** Records through the very input of a stream. @throws GlasscastError MICROPHONE_…, CAPTURE_FORBIDDEN, PRIVACY_LIGHT_FAILED */
async function loudness(source: CaptureSource, look: Look): Promise<{ meanDb: number; maxDb: number }> {
  const { spawn, clock, found, settings, lamp } = look;
  const nowMs = clock.now();
  const { input } = soundGraph({ source, settings, hasAudio: true, epochMs: nowMs, nowMs });
  const lines: string[] = [];
  const recording = await captureUnderLight(lamp, async () => {
    const child = spawn({
      name: 'microphone-look',
      file: found.file,
      args: [
        ...['-hide_banner', '-nostdin', '-nostats', '-loglevel', 'level+info', ...input.options, '-i', input.url],
        ...['-t', String(RECORDED_S), '-af', 'volumedetect', '-f', 'null', '-'],
      ],
      onStderrLine: (line) => void lines.push(line),
    });
    return { ended: child.exited, close: async () => void (await child.stop()) };
  });
  const slow = () => new GlasscastError('MICROPHONE_NOT_FOUND', { reason: 'it gives no sound' });
  try {
    await withTimeout(clock, 'microphone-look', SOUND_TIMEOUT_MS, recording.ended, slow);
  } finally {
    await recording.close();
  }
  const [meanDb, maxDb] = ['mean', 'max'].map((name) => decibels(lines, name));
  if (meanDb === undefined || maxDb === undefined) throw causeOf(lines, source);
  return { meanDb, maxDb };
}

/** `[Parsed_volumedetect_0 @ 0x…] [info] mean_volume: -23.1 dB` */
function decibels(lines: readonly string[], name: string): number | undefined {
  const text = lines.map((line) => new RegExp(`${name}_volume: (-?[\\d.]+) dB`).exec(line)?.[1]).find(Boolean);
  return text === undefined ? undefined : Number(text);
}
