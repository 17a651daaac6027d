/**
 * Taking one live input away from the provider: broadcast ended → recordings → outputs → input. What is gone already
 * is done; anything else that fails is thrown, and the whole is to be repeated.
 */
import { type ErrorCode, isGlasscastError } from '../../shared/errors.ts';
import type { LiveInputs } from './live-inputs.ts';

/** The part of the provider that deletion needs. */
export type DeletableInputs = Pick<
  LiveInputs,
  'setEnabled' | 'delete' | 'list' | 'outputs' | 'deleteOutput' | 'videos' | 'deleteVideo'
>;

/** Errors: PROVIDER_CONFLICT while a recording is still live; whatever the provider's calls throw. */
export async function removeInput(
  inputs: DeletableInputs,
  uid: string,
  { keepRecordings }: { keepRecordings: boolean },
): Promise<void> {
  const gone = () => unless(['LIVE_INPUT_NOT_FOUND'], () => inputs.delete(uid));
  await unless(['LIVE_INPUT_NOT_FOUND'], () => inputs.setEnabled(uid, false)).catch(async (error: unknown) => {
    if (!isGlasscastError(error) || error.code !== 'PROVIDER_ECHO_MISMATCH') throw error;
    // Switching off was ignored: the deletion ends the broadcast.
    await gone();
  });
  // Deleting an input leaves its recordings, billed and hard to find: they go first.
  if (!keepRecordings) await removeRecordings(inputs, uid);
  for (const output of (await unless(['LIVE_INPUT_NOT_FOUND'], () => inputs.outputs(uid))) ?? []) {
    await unless(['LIVE_INPUT_NOT_FOUND'], () => inputs.deleteOutput(uid, output.uid));
  }
  await gone();
}

/** Also of an input that is gone. Errors: as above. */
export async function removeRecordings(inputs: DeletableInputs, uid: string): Promise<void> {
  for (const video of (await unless(['LIVE_INPUT_NOT_FOUND'], () => inputs.videos(uid))) ?? []) {
    await unless(['LIVE_INPUT_NOT_FOUND'], () => inputs.deleteVideo(video.uid));
  }
}

async function unless<T>(harmless: readonly ErrorCode[], work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (isGlasscastError(error) && harmless.includes(error.code)) return undefined;
    throw error;
  }
}
