/**
 * The recordings that this relay's streams have left at the provider, for operators: listed and deleted. The provider's
 * own list is the only one; it is asked at most every few seconds. Deletes nothing by itself (see `cleanup.ts`).
 */
import * as z from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { LiveInputs, StorageUsage } from './live-inputs.ts';
import { recordingNames } from './recording-names.ts';
import type { StreamApi } from './stream-api.ts';

export interface Recording {
  uid: string;
  /** Absent when its name has been changed at the provider. */
  streamId?: string;
  /** Of one that is kept; else as long as the stream is remembered. */
  userId?: string;
  /** The provider's word; `ready` can be played, `live-inprogress` cannot be deleted yet. */
  state: string;
  /** ISO 8601. */
  createdAt: string;
  /** 0 while live. */
  durationSeconds: number;
  sizeBytes?: number;
  widthPx?: number;
  heightPx?: number;
  urls: { hlsUrl: string; dashUrl: string; thumbnailUrl?: string; previewUrl?: string };
}

export interface RecordingList {
  /** Newest first, at most 100. */
  recordings: Recording[];
  /** False: a recording goes when its stream ends. */
  keepsRecordings: boolean;
  /** Absent when the provider does not say. */
  storage?: StorageUsage;
}

export interface Recordings {
  /** Errors: PROVIDER_*. */
  list(): Promise<RecordingList>;
  /** Errors: RECORDING_NOT_FOUND (other people's too), RECORDING_LIVE, PROVIDER_*. */
  remove(uid: string): Promise<void>;
}

export interface RecordingsOptions {
  api: StreamApi;
  inputs: Pick<LiveInputs, 'storageUsage'>;
  /** What recordings of ours carry as their creator: see `live-inputs.ts`. */
  relayId: string;
  keepsRecordings: boolean;
  hasPreviewPage: boolean;
  userOf: (streamId: string) => string | undefined;
  clock: Clock;
}

const MAX_LISTED = 100;
/** Pages that are left open ask again and again, and share one answer. */
const LIST_FRESH_MS = 3_000;
const STORAGE_FRESH_MS = 15_000;

const videoShape = z.object({
  uid: z.string().min(1),
  creator: z.string().nullish().catch(undefined),
  meta: z.object({ name: z.string() }).nullish().catch(undefined),
  status: z.object({ state: z.string() }).nullish().catch(undefined),
  created: z.string().nullish().catch(undefined),
  duration: z.number().nullish().catch(undefined),
  size: z.number().nullish().catch(undefined),
  input: z.object({ width: z.number(), height: z.number() }).nullish().catch(undefined),
  playback: z
    .object({ hls: z.string().min(1), dash: z.string().min(1) })
    .nullish()
    .catch(undefined),
  thumbnail: z.string().min(1).nullish().catch(undefined),
});
type VideoShape = z.output<typeof videoShape>;
const videosShape = z.array(z.unknown()).transform((all) => all.flatMap((one) => videoShape.safeParse(one).data ?? []));

export function createRecordings(options: RecordingsOptions): Recordings {
  const { api, clock, inputs, keepsRecordings, relayId } = options;

  async function find(): Promise<Recording[]> {
    const query = new URLSearchParams({ creator: relayId, limit: String(MAX_LISTED) });
    const found = videosShape.safeParse(await api.call({ method: 'GET', path: `?${query}` }));
    if (!found.success) throw new GlasscastError('PROVIDER_FAILED', { reason: 'unexpected answer: no list of videos' });
    // A filter that is dropped without a word would show other people's.
    const ours = found.data.filter(({ creator }) => creator === relayId).flatMap((video) => shown(video, options));
    return ours.sort((a, b) => b.createdAt.localeCompare(a.createdAt)).slice(0, MAX_LISTED);
  }
  const recordings = createShared(clock, LIST_FRESH_MS, find);
  // The list is worth showing without it.
  const storage = createShared(clock, STORAGE_FRESH_MS, () => inputs.storageUsage().catch(() => undefined));

  return {
    async list() {
      const [listed, used] = await Promise.all([recordings.get(), storage.get()]);
      return { recordings: listed, keepsRecordings, ...(used ? { storage: used } : {}) };
    },
    async remove(uid) {
      const video = (await recordings.get()).find((recording) => recording.uid === uid);
      if (!video) throw new GlasscastError('RECORDING_NOT_FOUND');
      if (video.state === 'live-inprogress') throw new GlasscastError('RECORDING_LIVE');
      try {
        await api.call({ method: 'DELETE', path: `/${encodeURIComponent(uid)}`, isUrgent: true });
      } catch (error) {
        const code = isGlasscastError(error) ? error.code : undefined;
        if (code === 'PROVIDER_CONFLICT') throw new GlasscastError('RECORDING_LIVE', { cause: error });
        if (code === 'LIVE_INPUT_NOT_FOUND') throw new GlasscastError('RECORDING_NOT_FOUND', { cause: error });
        throw error;
      } finally {
        recordings.forget();
        storage.forget();
      }
    },
  };
}

/** Without addresses there is nothing to replay. */
function shown(video: VideoShape, { hasPreviewPage, userOf }: RecordingsOptions): Recording[] {
  const { uid, meta, status, created, duration, size, input, playback, thumbnail } = video;
  if (!playback || !URL.canParse(playback.hls)) return [];
  const { streamId, userId = streamId && userOf(streamId) } = recordingNames.read(meta?.name ?? '');
  const { origin } = new URL(playback.hls);
  return [
    {
      uid,
      ...(streamId ? { streamId } : {}),
      ...(userId ? { userId } : {}),
      state: status?.state ?? 'unknown',
      createdAt: created ?? '',
      durationSeconds: Math.max(0, duration ?? 0),
      ...(size ? { sizeBytes: size } : {}),
      ...(input && input.width > 0 && input.height > 0 ? { widthPx: input.width, heightPx: input.height } : {}),
      urls: {
        ...{ hlsUrl: playback.hls, dashUrl: playback.dash },
        ...(thumbnail ? { thumbnailUrl: thumbnail } : {}),
        ...(hasPreviewPage ? { previewUrl: `${origin}/${uid}/iframe` } : {}),
      },
    },
  ];
}

/** One answer for everybody who asks while it is fresh, and one question at a time. A failure is not kept. */
function createShared<T>(clock: Clock, freshMs: number, ask: () => Promise<T>) {
  let kept: { answer: Promise<T>; askedMs: number } | undefined;
  return {
    get(): Promise<T> {
      const nowMs = clock.monotonicMs();
      if (kept && nowMs - kept.askedMs < freshMs) return kept.answer;
      const asking = { answer: ask(), askedMs: nowMs };
      kept = asking;
      asking.answer.catch(() => {
        if (kept === asking) kept = undefined;
      });
      return asking.answer;
    },
    forget: () => {
      kept = undefined;
    },
  };
}
