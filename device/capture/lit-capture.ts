/**
 * Captures under the privacy light: lit before anything opens, out when the last capture is gone, and what captures ends when
 * the light goes out. Wraps one run or feed; knows neither lamp nor ffmpeg.
 */
import type { GlasscastError } from '../../shared/errors.ts';

export interface Lamp {
  /** Lights it. @throws GlasscastError PRIVACY_LIGHT_FAILED; gives the function that lets go of it. */
  hold(onOut: (cause: GlasscastError) => void): Promise<() => Promise<void>>;
}

export type CapturedDevice = 'camera' | 'microphone';

/** The seam for devices that are taken away, as a simulation does. */
export interface CaptureMishaps {
  /**
   * A lamp for what captures from this device, over the real one if there is one. While the device is away `hold` throws
   * CAMERA_NOT_FOUND, CAMERA_BUSY or MICROPHONE_NOT_FOUND; when it goes, `onOut` gets that cause.
   */
  lampOver(device: CapturedDevice, lamp: Lamp | undefined): Lamp;
}

/** What captures: begins with `start` (or has begun), is over when `ended` settles. */
export interface Capture {
  start?(): void;
  readonly ended: Promise<unknown>;
  close(because?: GlasscastError): Promise<void>;
}

/** @throws what `open` throws; PRIVACY_LIGHT_FAILED, and then nothing was opened. */
export async function captureUnderLight<Source extends Capture>(
  lamp: Lamp | undefined,
  open: () => Promise<Source>,
): Promise<Source> {
  if (!lamp) return open();
  let source: Source | undefined;
  let out: GlasscastError | undefined;
  const release = await lamp.hold((cause) => {
    out = cause;
    void source?.close(cause);
  });
  try {
    source = await open();
  } catch (error) {
    await release();
    throw error;
  }
  const { start, close } = source;
  let began = start === undefined;
  void source.ended.then(release);
  if (start) {
    source.start = () => {
      began = true;
      start();
    };
  }
  source.close = async (because) => {
    await close(because);
    if (!began) await release();
  };
  if (out) void source.close(out);
  return source;
}
