/**
 * From the last words of ffmpeg or rpicam-vid to a code of the error table. Reads tagged lines (`-loglevel level+warning`) of 4.1 to 7;
 * the first rule that fits wins, so the particular ones stand before the general ones.
 */
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { CaptureSource } from '../capture/capture-source.ts';

interface Rule {
  text: RegExp;
  code: ErrorCode;
}

const RULES: readonly Rule[] = [
  { text: /cannot open video device .*no such file|\/dev\/video\S*: no such (file|device)/i, code: 'CAMERA_NOT_FOUND' },
  { text: /cannot open video device .*permission denied|\/dev\/\S+: permission denied/i, code: 'CAPTURE_FORBIDDEN' },
  {
    text: /(video|v4l2|VIDIOC).*device or resource busy|\/dev\/video\S*: device or resource busy/i,
    code: 'CAMERA_BUSY',
  },
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

/**
 * The cause of an encoder's end.
 * @param lines its last lines of standard error, oldest first, already redacted.
 */
export function causeOf(lines: readonly string[], source: CaptureSource): GlasscastError {
  for (const { text, code } of RULES) {
    const line = lines.find((each) => text.test(each));
    if (line) return new GlasscastError(code, { reason: nameOf(code, source) ?? words(line) });
  }
  // PulseAudio's errors name only the device: "nope: No such process".
  const name = 'microphone' in source && 'name' in source.microphone ? source.microphone.name : undefined;
  if (name !== undefined && lines.some((line) => line.includes(`${name}: `))) {
    return new GlasscastError('MICROPHONE_NOT_FOUND', { reason: name });
  }
  const last = lines.findLast((line) => /\[(error|fatal|panic)\]/.test(line)) ?? lines.at(-1);
  return new GlasscastError('ENCODER_FAILED', last ? { reason: words(last) } : {});
}

/** What a person called the thing that failed. */
function nameOf(code: ErrorCode, source: CaptureSource): string | undefined {
  if (source.kind === 'camera' && code.startsWith('CAMERA_')) return source.device;
  if (source.kind === 'file' && code === 'CAPTURE_FILE_UNREADABLE') return source.path;
  if (!code.startsWith('MICROPHONE_') || !('microphone' in source) || !('name' in source.microphone)) return undefined;
  return `${source.microphone.kind}:${source.microphone.name}`;
}

/** Without the tags: `[alsa @ 0x55d4] [error] cannot open` → `cannot open`. */
function words(line: string): string {
  return line.replace(/^(\[[^\]]*\]\s*)+/, '').slice(0, 300);
}
