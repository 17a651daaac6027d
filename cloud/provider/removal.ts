/**
 * Taking one live input away from the provider: broadcast ended → recordings → outputs → input. What is gone already
 * is done; anything else that fails is thrown, and the whole is to be repeated.
 */
import { type ErrorCode, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { LedgerEntry } from '../store/records.ts';
import type { LiveInputs } from './live-inputs.ts';

/** A creation that nobody answered may still be at work at the provider: looked for this long before it counts as failed. */
const UNSEEN_MS = 60_000;

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

/**
 * The inputs of an entry: one whose creation was never answered is known only by the mark it carries.
 * @throws GlasscastError PROVIDER_CONFLICT while the creation may still come to something
 */
export async function uidsOf(
  inputs: Pick<DeletableInputs, 'list'>,
  { createdAtMs, streamId, liveInputUid }: LedgerEntry,
  nowMs: number,
): Promise<string[]> {
  if (liveInputUid) return [liveInputUid];
  const uids = (await inputs.list()).filter((input) => input.streamId === streamId).map(({ uid }) => uid);
  const ageMs = nowMs - createdAtMs;
  if (uids.length === 0 && ageMs >= 0 && ageMs < UNSEEN_MS) {
    throw new GlasscastError('PROVIDER_CONFLICT', { reason: 'the creation may still come to something' });
  }
  return uids;
}
