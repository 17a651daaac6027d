/**
 * The words of a managed stream towards its viewers: one message for each situation. Pure; every `active` carries all
 * addresses, because the SDK forgets those that are left out.
 */
import { type ErrorCode, errorKinds, GlasscastError } from '../../shared/errors.ts';
import type {
  ManagedStreamRequest,
  ManagedStreamStatus,
  OutputStatus,
  PlaybackUrls,
} from '../../shared/protocol/app-messages.ts';
import { resolvedConfigForApps } from '../../shared/protocol/dialects.ts';
import type { DeviceStreamStatus, ResolvedConfig, StreamStats } from '../../shared/protocol/glasses-messages.ts';
import { managedStatusOf, type StreamState } from '../../shared/stream.ts';

export interface Situation {
  streamId: string;
  state: StreamState;
  message: string | undefined;
  urls: PlaybackUrls | undefined;
  /** From the first request to the first proof. */
  liveMs: number | undefined;
  resolvedConfig: ResolvedConfig | undefined;
}

export function statusOf(situation: Situation, stats?: StreamStats): ManagedStreamStatus {
  const { streamId, state, message, urls, liveMs, resolvedConfig } = situation;
  return {
    type: 'managed_stream_status',
    status: managedStatusOf[state],
    streamId,
    ...(message ? { message } : {}),
    ...(state === 'active' ? { ...urls, ...(liveMs === undefined ? {} : { timeToLiveMs: liveMs }) } : {}),
    ...(state === 'active' && resolvedConfig ? { resolvedConfig: resolvedConfigForApps(resolvedConfig) } : {}),
    ...(stats ? { stats } : {}),
  };
}

/** Destinations are told apart from silence: what cannot be pushed on is said to have failed. @returns with full addresses, for their owner only. */
export function unsupportedOutputs(destinations: ManagedStreamRequest['restreamDestinations'] = []): OutputStatus[] {
  return destinations.map(({ url, name }) => ({
    url,
    ...(name === undefined ? {} : { name }),
    status: 'error',
    error: 'Restream outputs are not supported by this relay yet',
  }));
}

/** For operators and tests; no secrets. Times in ms from the first request. */
export interface StreamSnapshot {
  streamId: string;
  userId: string;
  state: StreamState;
  createdAt: string;
  viewers: string[];
  urls: PlaybackUrls | undefined;
  startSentMs: number | undefined;
  publishingMs: number | undefined;
  liveMs: number | undefined;
  stats: StreamStats | undefined;
  resolvedConfig: ResolvedConfig | undefined;
  errorCode: ErrorCode | undefined;
  message: string | undefined;
}

/** The last word to a viewer. @param streamId undefined when nothing ran: a stop is answered all the same. */
export function stoppedStatus(streamId: string | undefined, message?: string): ManagedStreamStatus {
  return {
    type: 'managed_stream_status',
    status: 'stopped',
    ...(streamId ? { streamId } : {}),
    ...(message ? { message } : {}),
  };
}

export function errorStatus(error: GlasscastError, streamId?: string): ManagedStreamStatus {
  const { deviceText } = error.details;
  return {
    type: 'managed_stream_status',
    status: 'error',
    ...(streamId ? { streamId } : {}),
    message: typeof deviceText === 'string' ? deviceText : error.message,
    errorCode: error.code,
  };
}

/** The device's own code when it is one of ours; its text goes to the apps as it is. */
export function deviceError({ errorCode, errorDetails, status }: DeviceStreamStatus): GlasscastError {
  const text = errorDetails ?? status;
  return new GlasscastError(isErrorCode(errorCode) ? errorCode : 'DEVICE_REPORTED', {
    reason: text,
    details: { deviceText: text },
  });
}

function isErrorCode(text: string | undefined): text is ErrorCode {
  return text !== undefined && Object.hasOwn(errorKinds, text);
}
