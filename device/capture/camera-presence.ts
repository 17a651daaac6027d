/**
 * Waits for a camera that was unplugged, or that another program holds. Looks, opens nothing for longer than a moment, and
 * leaves it to the caller to begin again.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { type CameraName, type CameraSearch, findCamera } from './cameras.ts';

export interface WaitForCameraOptions extends CameraSearch {
  camera: CameraName;
  signal: AbortSignal;
  /** Between two looks. Default 500; where a program must be asked (libcamera, `v4l2:auto`) 2000. */
  everyMs?: number;
}

/**
 * Resolves when the camera can be opened; the first look is one interval from now, so that a caller who fails again does not
 * spin. That no one else streams from it shows only when it is used. Rejects with the signal's reason.
 */
export async function waitForCamera(options: WaitForCameraOptions): Promise<void> {
  const { camera, clock, signal } = options;
  const isNode = camera.driver === 'v4l2' && camera.device !== 'auto';
  const everyMs = options.everyMs ?? (isNode ? 500 : 2_000);
  for (;;) {
    await clock.sleep(everyMs, { signal, name: 'camera-wait' });
    const isThere = isNode ? await canOpen(camera.device) : await canFind(options);
    signal.throwIfAborted();
    if (isThere) return;
  }
}

/** A node that has just come belongs to root for a moment: being there is not enough. */
async function canOpen(device: string): Promise<boolean> {
  try {
    const handle = await open(device, constants.O_RDWR | constants.O_NONBLOCK);
    await handle.close();
    return true;
  } catch {
    return false;
  }
}

async function canFind(options: WaitForCameraOptions): Promise<boolean> {
  return findCamera(options.camera, options).then(
    () => true,
    () => false,
  );
}
