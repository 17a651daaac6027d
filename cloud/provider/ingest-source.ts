/**
 * Where streams get their ingest from: a live input made at the provider, noted in the ledger before and after.
 * Joins the provider's client and the clean-up; knows no stream state.
 */
import { type ErrorCode, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { PlaybackUrls } from '../../shared/protocol/app-messages.ts';
import { type Redactor, Secret } from '../../shared/secrets.ts';
import type { StreamRecord } from '../store/records.ts';
import type { Cleanup } from './cleanup.ts';
import type { LiveInputs, ProviderProfile } from './live-inputs.ts';
import { type OperatorPlayback, operatorPlayback } from './operator-playback.ts';

/** Where the glasses push to and viewers look. */
export interface IngestPoint {
  publishUrl: Secret;
  /** Absent: an address of the app's own choice, where nobody of us can look. */
  urls?: PlaybackUrls | undefined;
  /** Every way to watch it, for operators. */
  playback?: OperatorPlayback | undefined;
  liveInputUid?: string | undefined;
  keyFrameIntervalMs?: number | undefined;
}

export interface IngestSource {
  /** Makes it. The same stream again, after a crash hid the outcome, gets the same one. */
  provision(streamId: string, userId: string): Promise<IngestPoint>;
  /** One that is there already: of an earlier process, or given by an app. */
  adopt(streamId: string, saved: NonNullable<StreamRecord['ingest']>): IngestPoint;
  /** Nothing of it is wanted any more, whether or not its provision has come to an end. */
  discard(streamId: string): void;
  /** Another process goes on with it: nothing is done about it here any more. */
  forget(streamId: string): void;
}

export interface IngestSourceOptions {
  inputs: Pick<LiveInputs, 'create'>;
  cleanup: Pick<Cleanup, 'intend' | 'created' | 'refused' | 'discard'>;
  /** Throws when the provider would take no new broadcast; may ask it first. */
  admit: () => Promise<void> | void;
  /** The creation is asked for again after that. */
  onRetry?: (streamId: string, error: GlasscastError, waitMs: number) => void;
  redactor: Redactor;
  profile: Pick<ProviderProfile, 'keyFrameIntervalMs' | 'playsFlv' | 'playsLowLatencyHls'>;
  holdSeconds: number;
  keepsRecordings: boolean;
  /** Undefined: the provider deletes none by itself. */
  deleteRecordingAfterDays: number | undefined;
}

export function createIngestSource(options: IngestSourceOptions): IngestSource {
  const { inputs, cleanup, redactor, profile, holdSeconds, deleteRecordingAfterDays } = options;
  /** Key → kept masked until the stream is over. */
  const masked = new Map<string, string>();
  /** Removed by a discard that comes before the provision has ended. */
  const provisioning = new Set<string>();

  function mask(streamId: string, publishUrl: Secret): void {
    const url = publishUrl.reveal();
    const key = url.slice(url.lastIndexOf('/') + 1);
    redactor.add(key);
    masked.set(streamId, key);
  }

  function forget(streamId: string): void {
    provisioning.delete(streamId);
    const key = masked.get(streamId);
    if (key) redactor.forget(key);
    masked.delete(streamId);
  }

  return {
    forget,
    adopt(streamId, { publishUrl, ...point }) {
      const secret = new Secret(publishUrl);
      mask(streamId, secret);
      const { urls, liveInputUid } = point;
      if (!urls || !liveInputUid) return { ...point, publishUrl: secret };
      return { ...point, publishUrl: secret, playback: operatorPlayback(profile, urls, liveInputUid) };
    },
    async provision(streamId, userId): Promise<IngestPoint> {
      provisioning.add(streamId);
      try {
        await options.admit();
        // Discarded meanwhile: the ledger knows nothing of it, and nothing is made that it would have to know.
        if (!provisioning.has(streamId)) throw new GlasscastError('STREAM_NOT_FOUND');
        await cleanup.intend(streamId, userId);
      } catch (error) {
        provisioning.delete(streamId);
        throw error;
      }
      try {
        const input = await inputs.create({
          streamId,
          // No business of the provider's unless recordings stay.
          userId: options.keepsRecordings ? userId : undefined,
          idempotencyKey: `glasscast-${streamId}`,
          holdSeconds,
          deleteRecordingAfterDays,
          onRetry: (error, waitMs) => options.onRetry?.(streamId, error, waitMs),
        });
        const { publishUrl, uid: liveInputUid, urls } = input;
        if (provisioning.has(streamId)) mask(streamId, publishUrl);
        await cleanup.created(streamId, liveInputUid);
        const playback = operatorPlayback(profile, urls, liveInputUid);
        return { publishUrl, urls, playback, liveInputUid, keyFrameIntervalMs: profile.keyFrameIntervalMs };
      } catch (thrown) {
        const error = isGlasscastError(thrown) ? thrown : new GlasscastError('PROVIDER_FAILED', { cause: thrown });
        if (isRefusal(error)) await cleanup.refused(streamId);
        else await cleanup.created(streamId, undefined);
        throw error;
      } finally {
        provisioning.delete(streamId);
      }
    },
    discard(streamId) {
      cleanup.discard(streamId);
      forget(streamId);
    },
  };
}

const REFUSALS: readonly ErrorCode[] = [
  'PROVIDER_REJECTED',
  'PROVIDER_UNAUTHORIZED',
  'PROVIDER_RATE_LIMITED',
  'PROVIDER_SUBSCRIPTION_MISSING',
];

/** Nothing was made; after any other failure an input may exist that nobody told us of. */
function isRefusal({ code }: GlasscastError): boolean {
  return REFUSALS.includes(code);
}
