/**
 * The words of a stream towards the apps that watch or own it: one message for each situation, for managed and for
 * unmanaged streams. Pure; every `active` of a managed stream carries all addresses, because the SDK forgets those that
 * are left out.
 */
import { type ErrorCode, errorKinds, GlasscastError } from '../../shared/errors.ts';
import type { AppStreamStatus, ManagedStreamStatus, PlaybackUrls } from '../../shared/protocol/app-messages.ts';
import { resolvedConfigForApps } from '../../shared/protocol/dialects.ts';
import type { DeviceStreamStatus, ResolvedConfig, StreamStats } from '../../shared/protocol/glasses-messages.ts';
import { managedStatusOf, type StreamState, unmanagedStatusOf } from '../../shared/stream.ts';
import { outputsFor } from '../provider/output-views.ts';
import type { RestreamOutput } from '../provider/restream-outputs.ts';

/** Why a picture counts as lost when nobody has said so. */
export const STALLED = 'No new picture arrives';

/** What an app hears of a stream. */
export type AppStatus = ManagedStreamStatus | AppStreamStatus;

export interface Situation {
  streamId: string;
  state: StreamState;
  message: string | undefined;
  urls: PlaybackUrls | undefined;
  /** From the first request to the first proof. */
  liveMs: number | undefined;
  resolvedConfig: ResolvedConfig | undefined;
  outputs: readonly RestreamOutput[];
}

export interface StreamWords {
  /** @param appId who hears it: an output's key is for the app that added it alone. */
  status(situation: Situation, appId: string, stats?: StreamStats): AppStatus;
  /** @param streamId undefined when nothing ran: a stop is answered all the same. */
  stopped(streamId: string | undefined, message?: string): AppStatus;
  failed(error: GlasscastError, streamId?: string): AppStatus;
}

const managedWords: StreamWords = {
  status(situation, appId, stats) {
    const { streamId, state, message, urls, liveMs, resolvedConfig, outputs } = situation;
    return {
      type: 'managed_stream_status',
      status: managedStatusOf[state],
      streamId,
      ...(message ? { message } : {}),
      ...(state === 'active' ? { ...urls, ...(liveMs === undefined ? {} : { timeToLiveMs: liveMs }) } : {}),
      ...(state === 'active' && resolvedConfig ? { resolvedConfig: resolvedConfigForApps(resolvedConfig) } : {}),
      ...(outputs.length === 0 ? {} : { outputs: outputsFor(appId, outputs) }),
      ...(stats ? { stats } : {}),
    };
  },
  stopped: (streamId, message) => ({
    type: 'managed_stream_status',
    status: 'stopped',
    ...(streamId ? { streamId } : {}),
    ...(message ? { message } : {}),
  }),
  failed: (error, streamId) => ({
    type: 'managed_stream_status',
    status: 'error',
    ...(streamId ? { streamId } : {}),
    message: textOf(error),
    errorCode: error.code,
  }),
};

const unmanagedWords: StreamWords = {
  status: ({ streamId, state, resolvedConfig }, appId, stats) => ({
    type: 'stream_status',
    status: unmanagedStatusOf[state],
    streamId,
    appId,
    ...(stats ? { stats } : {}),
    ...(state === 'active' && resolvedConfig ? { resolvedConfig: resolvedConfigForApps(resolvedConfig) } : {}),
  }),
  stopped: (streamId, message) => ({
    type: 'stream_status',
    status: 'stopped',
    ...(streamId ? { streamId } : {}),
    ...(message ? { errorDetails: message } : {}),
  }),
  failed: (error, streamId) => ({
    type: 'stream_status',
    // The glasses fell silent: the SDK has a word of its own for that.
    status: error.code === 'GLASSES_SILENT' ? 'timeout' : 'error',
    ...(streamId ? { streamId } : {}),
    errorDetails: textOf(error),
    errorCode: error.code,
  }),
};

export const wordsOf = { managed: managedWords, unmanaged: unmanagedWords } as const;

/** To one that leaves. @param because it has not asked to: an error, or a sentence that comes with `stopped`. */
export function lastWord(
  kind: keyof typeof wordsOf,
  streamId: string | undefined,
  because?: GlasscastError | string,
): AppStatus {
  if (because instanceof GlasscastError) return wordsOf[kind].failed(because, streamId);
  return wordsOf[kind].stopped(streamId, because);
}

/** The device's own code when it is one of ours; its text goes to the apps as it is. */
export function deviceError({ errorCode, errorDetails, status }: DeviceStreamStatus): GlasscastError {
  const text = errorDetails ?? status;
  const code = isErrorCode(errorCode) ? errorCode : 'DEVICE_REPORTED';
  // Our own glasses begin with the table's sentence.
  const { sentence } = errorKinds[code];
  const reason = text === sentence ? undefined : text.replace(`${sentence}: `, '');
  return new GlasscastError(code, { reason, details: { deviceText: text } });
}

/** With the reason when it lies with the glasses; what an ingest did is nothing that apps could act on. */
export function reconnectingText({ errorCode, errorDetails }: DeviceStreamStatus): string {
  const isTheirs = isErrorCode(errorCode) && errorKinds[errorCode].fault === 'device';
  return `The glasses are reconnecting${isTheirs && errorDetails ? `: ${errorDetails}` : ''}`;
}

function textOf({ details, message }: GlasscastError): string {
  return typeof details.deviceText === 'string' ? details.deviceText : message;
}

function isErrorCode(text: string | undefined): text is ErrorCode {
  return text !== undefined && Object.hasOwn(errorKinds, text);
}
