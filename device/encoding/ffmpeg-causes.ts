/**
 * From the last words of ffmpeg or rpicam-vid to a code of the error table. Reads tagged lines (`-loglevel level+warning`) of 4.1 to 7;
 * the first rule that fits wins, so the particular ones stand before the general ones.
 */
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { type CaptureSource, microphoneName } from '../capture/capture-source.ts';

interface Rule {
  text: RegExp;
  code: ErrorCode;
  /** Of a camera alone: others have nodes below /dev too, such as an encoder's. */
  isOfCamera?: boolean;
}

/** ffmpeg 5.1 says so whenever it closes a camera, whatever was the matter. */
const FAREWELL = /ioctl\(VIDIOC_QBUF\): bad file descriptor/i;

/** The names that ALSA's own configuration makes. A static ffmpeg misses them where that is not there, or loads plugins. */
const NO_ALSA_NAMES = /unknown pcm (hw|plughw|default|sysdefault)\b/i;

const RULES: readonly Rule[] = [
  { text: /cannot open video device .*no such file|\/dev\/video\S*: no such (file|device)/i, code: 'CAMERA_NOT_FOUND' },
  { text: /cannot open video device .*permission denied|\/dev\/\S+: permission denied/i, code: 'CAPTURE_FORBIDDEN' },
  {
    text: /(video|v4l2|VIDIOC).*device or resource busy|\/dev\/video\S*: device or resource busy/i,
    code: 'CAMERA_BUSY',
  },
  // By whatever name it was opened: a link of udev's, one by its maker and serial number.
  { text: /\/dev\/\S+: no such (file|device)/i, code: 'CAMERA_NOT_FOUND', isOfCamera: true },
  { text: /\/dev\/\S+: device or resource busy/i, code: 'CAMERA_BUSY', isOfCamera: true },
  { text: /VIDIOC_QUERYCAP|not a video capture device/i, code: 'CAMERA_NOT_FOUND' },
  { text: /ioctl\(VIDIOC_\w+\): no such device/i, code: 'CAMERA_NOT_FOUND' },
  // libcamera and rpicam-vid.
  { text: /no cameras available|selected camera is not available/i, code: 'CAMERA_NOT_FOUND' },
  { text: /in use by another process|failed to acquire camera/i, code: 'CAMERA_BUSY' },
  { text: /could not open any dma-?buf|could not open any dmaheap/i, code: 'CAPTURE_FORBIDDEN' },
  // The sensor fell silent: its ribbon cable is loose or gone.
  { text: /camera frontend has timed out|device timeout detected/i, code: 'CAMERA_NOT_FOUND' },
  { text: /cannot open audio device .*busy/i, code: 'MICROPHONE_BUSY' },
  { text: /cannot open audio device .*permission denied/i, code: 'CAPTURE_FORBIDDEN' },
  { text: /cannot open audio device/i, code: 'MICROPHONE_NOT_FOUND' },
  { text: /unknown input format: '(pulse|alsa)'/i, code: 'MICROPHONE_NOT_FOUND' },
  { text: /unknown input format: 'v4l2'/i, code: 'CAMERA_NOT_FOUND' },
  {
    text: /impossible to open 'file:|file:.*(invalid data found|no such file|permission denied|moov atom not found)/i,
    code: 'CAPTURE_FILE_UNREADABLE',
  },
  { text: /stream map '0:v:0' matches no streams/i, code: 'CAPTURE_FILE_UNREADABLE' },
  { text: /unknown encoder/i, code: 'FFMPEG_MISSING' },
];

/** The one of npm where ALSA's files are missing or ask for plugins; the packaged one when /etc/asound.conf does. */
const BLIND = 'as this ffmpeg cannot read the ALSA configuration: install the ffmpeg of this system';

/**
 * The cause of an encoder's end.
 * @param said its last lines of standard error, oldest first, already redacted.
 */
export function causeOf(said: readonly string[], source: CaptureSource): GlasscastError {
  const lines = said.filter((line) => !FAREWELL.test(line));
  const rules = RULES.filter(({ isOfCamera }) => !isOfCamera || source.kind === 'camera');
  for (const { text, code } of rules) {
    const line = lines.find((each) => text.test(each));
    if (!line) continue;
    const reason = nameOf(code, line, source) ?? words(line);
    const isBlind = code === 'MICROPHONE_NOT_FOUND' && lines.some((each) => NO_ALSA_NAMES.test(each));
    return new GlasscastError(code, { reason: isBlind ? `${reason}, ${BLIND}` : reason });
  }
  // PulseAudio's errors, and ALSA's later ones, name only the device: "nope: No such process".
  const microphone = recorderOf(source);
  if (microphone && lines.some((line) => line.includes(`${microphone.name}: `))) {
    return new GlasscastError('MICROPHONE_NOT_FOUND', { reason: microphoneName(microphone) });
  }
  const last = lines.findLast((line) => /\[(error|fatal|panic)\]/.test(line)) ?? lines.at(-1);
  return new GlasscastError('ENCODER_FAILED', last ? { reason: words(last) } : {});
}

/** What a person called the thing that failed. */
function nameOf(code: ErrorCode, line: string, source: CaptureSource): string | undefined {
  if (source.kind === 'camera' && code.startsWith('CAMERA_')) return source.device;
  if (source.kind === 'file' && code === 'CAPTURE_FILE_UNREADABLE') return source.path;
  const isOfMicrophone = code.startsWith('MICROPHONE_') || /audio device/i.test(line);
  const microphone = isOfMicrophone ? recorderOf(source) : undefined;
  return microphone && microphoneName(microphone);
}

const recorderOf = (source: CaptureSource) =>
  'microphone' in source && 'name' in source.microphone ? source.microphone : undefined;

/** Without the tags: `[alsa @ 0x55d4] [error] cannot open` → `cannot open`. */
function words(line: string): string {
  return line.replace(/^(\[[^\]]*\]\s*)+/, '').slice(0, 300);
}
