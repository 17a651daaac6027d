/** How an output goes, in our words, from what the provider says of it and for how long it has said so. Pure. */
import { type ErrorCode, errorKinds } from '../../shared/errors.ts';
import type { LiveInputOutput } from './live-inputs.ts';

export interface OutputProgress {
  /** `unknown` until the first push. */
  state: 'connected' | 'disconnected' | 'error' | 'unknown';
  /** For people; holds no key. */
  error: string | undefined;
  /** Since when the provider says that it is not connected; monotonic. */
  unconnectedSinceMs: number | undefined;
}

/** A connection takes seconds, and so does one that is lost and comes back: no reason to worry anybody before. */
const UNCONNECTED_MS = 30_000;

export const noProgress: OutputProgress = { state: 'unknown', error: undefined, unconnectedSinceMs: undefined };

/** @param output undefined: the provider no longer knows it. */
export function progressOf(output: LiveInputOutput | undefined, before: OutputProgress, nowMs: number): OutputProgress {
  if (!output)
    return {
      ...noProgress,
      state: 'error',
      error: 'The provider no longer has this output; remove it and add it again',
    };
  const state = stateOf(output.state);
  if (state === 'error') {
    return { ...noProgress, state, error: sentenceOf(output.reason) ?? 'The destination does not take the stream' };
  }
  if (state !== 'disconnected') return { ...noProgress, state };
  const unconnectedSinceMs = before.unconnectedSinceMs ?? nowMs;
  const isLong = nowMs - unconnectedSinceMs >= UNCONNECTED_MS;
  const why =
    sentenceOf(output.reason) ?? 'Check that a picture comes in, then the address, the key and the destination';
  return { state, unconnectedSinceMs, error: isLong ? `Not connected for 30 s: ${why}` : undefined };
}

/** The provider's words beyond these are ways of not being connected. */
function stateOf(word: string | undefined): OutputProgress['state'] {
  if (word === undefined || word === 'unknown') return 'unknown';
  return word === 'connected' || word === 'error' ? word : 'disconnected';
}

/** Ours for a code of ours; the provider's own words may hold anything. */
function sentenceOf(reason: string | undefined): string | undefined {
  return reason !== undefined && Object.hasOwn(errorKinds, reason)
    ? errorKinds[reason as ErrorCode].sentence
    : undefined;
}
