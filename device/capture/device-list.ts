/**
 * Cameras and microphones as text for people: what is there, what would be taken for the picture asked for and why, and what
 * to do when nothing is. Pure: asks no device.
 */
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { CameraMode } from './camera-listings.ts';
import { type RankedMode, rankModes, type WantedPicture } from './camera-modes.ts';
import type { Camera } from './cameras.ts';
import type { FoundMicrophone } from './microphones.ts';

export interface DeviceListOptions {
  cameras: readonly Camera[];
  microphones: readonly FoundMicrophone[];
  wanted: WantedPicture;
  binary: Pick<FfmpegBinary, 'file' | 'version' | 'inputs'>;
}

/** Lines for the terminal, without a newline each. */
export function describeDevices({ cameras, microphones, wanted, binary }: DeviceListOptions): string[] {
  const asked = `${wanted.widthPx}x${wanted.heightPx} at ${rate(wanted.frameRate)}/s`;
  return [
    `Cameras, for ${asked}`,
    ...(cameras.length === 0 ? NO_CAMERA : cameras.flatMap((camera) => cameraLines(camera, wanted, binary))),
    ...autoLines(cameras, wanted),
    '',
    'Microphones',
    ...(microphones.length === 0 ? NO_MICROPHONE : microphones.flatMap((each) => microphoneLines(each, binary))),
  ];
}

const NO_CAMERA = [
  '  None found. Plug one in, or check the ribbon cable; a USB camera shows up as /dev/videoN, one of a Raspberry Pi when',
  '  rpicam-vid is installed (package rpicam-apps). Without a camera: --source test-pattern or --source file:PATH',
];
const NO_MICROPHONE = [
  '  None found. Plug one in; ALSA tells of it in /proc/asound/pcm, PulseAudio by `pactl list short sources`.',
  '  Without a microphone the stream has a silent track: --microphone silence',
];

function cameraLines(camera: Camera, wanted: WantedPicture, binary: DeviceListOptions['binary']): string[] {
  const title = `  ${camera.driver}:${camera.device}  ${camera.name || 'camera without a name'}`;
  if (camera.cause) return [title, `    cannot be used: ${camera.cause.message}`];
  const [best, second] = rankModes(camera, wanted);
  const lacking =
    camera.driver === 'v4l2' && !binary.inputs.has('v4l2')
      ? [`    cannot be used: ${binary.file} (${binary.version}) does not read from v4l2`]
      : [];
  return [
    title,
    ...formatLines(camera.modes),
    ...(best ? [`    would take ${modeWords(best)}: ${best.why}`] : ['    no mode that can be used']),
    ...(best && second ? [`    next best  ${modeWords(second)}: ${second.why}`] : []),
    ...lacking,
    ...(camera.lastingDevice ? [`    keeps its name when plugged in again: v4l2:${camera.lastingDevice}`] : []),
  ];
}

function autoLines(cameras: readonly Camera[], wanted: WantedPicture): string[] {
  const v4l2 = cameras.filter(({ driver, modes }) => driver === 'v4l2' && rankModes({ modes }, wanted).length > 0);
  return v4l2[0] ? [`  --source v4l2:auto takes ${v4l2[0].device}`] : [];
}

const SHOWN_SIZES = 6;

/** One line for each format: sizes from the largest on, each with its highest rate. */
function formatLines(modes: readonly CameraMode[]): string[] {
  const formats = [...new Set(modes.map(({ pixelFormat }) => pixelFormat))];
  return formats.map((format) => {
    const own = modes
      .filter(({ pixelFormat }) => pixelFormat === format)
      .sort((a, b) => b.widthPx * b.heightPx - a.widthPx * a.heightPx);
    const more = own.length > SHOWN_SIZES ? [`${own.length - SHOWN_SIZES} more`] : [];
    return `    ${format.padEnd(8)}  ${[...own.slice(0, SHOWN_SIZES).map(sizeWords), ...more].join(', ')}`;
  });
}

function sizeWords({ widthPx, heightPx, sizes, frameRates }: CameraMode): string {
  const size = `${sizes ? 'up to ' : ''}${widthPx}x${heightPx}`;
  return frameRates ? `${size} at ${rate(Math.max(...frameRates))}/s` : size;
}

function modeWords({ pixelFormat, widthPx, heightPx, frameRate }: RankedMode): string {
  return `${pixelFormat} ${widthPx}x${heightPx} at ${rate(frameRate)}/s`;
}

function microphoneLines(microphone: FoundMicrophone, binary: DeviceListOptions['binary']): string[] {
  const { source, name, sampleSpec, isDefault, isMonitor, cause } = microphone;
  const system = source.startsWith('pulse:') ? 'pulse' : 'alsa';
  const facts = [
    ...(source === `pulse:${name}` ? [] : [name]),
    ...(sampleSpec === undefined ? [] : [sampleSpec]),
    ...(isDefault ? ['the default, also as pulse:default'] : []),
    ...(isMonitor ? ['hears what is played, not the room'] : []),
    ...(cause ? [`cannot be used: ${cause.message}`] : []),
    ...(binary.inputs.has(system)
      ? []
      : [`cannot be used: ${binary.file} (${binary.version}) does not record from ${system}`]),
  ];
  return [`  ${[source, facts.join('; ')].filter(Boolean).join('  ')}`];
}

const rate = (perSecond: number) => String(Math.round(perSecond * 100) / 100);
