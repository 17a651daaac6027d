/**
 * Live inputs, their outputs and recordings at the provider: every provider fact the relay relies on stands here.
 * Accepts the documented and the observed shapes; checks what it asked for against the echo. Never decides when to delete.
 */
import { z } from 'zod';
import { GlasscastError } from '../../shared/errors.ts';
import type { PlaybackUrls } from '../../shared/protocol/app-messages.ts';
import { Secret } from '../../shared/secrets.ts';
import type { StreamApi } from './stream-api.ts';

/** How a provider has to be treated. */
export interface ProviderProfile {
  /** Cloudflare refuses key frames closer than 2 s; ours packages at any distance. */
  keyFrameIntervalMs: number;
  /** Pace of looking for the first playable segment, and of watching afterwards. */
  provingPollMs: number;
  watchingPollMs: number;
  /** No new segment for this long: the picture is interrupted. */
  stallMs: number;
  maxRequestsPerSecond: number | undefined;
  /** An embeddable player page at `/<uid>/iframe`. */
  hasPreviewPage: boolean;
}

export const providerProfiles = {
  local: {
    keyFrameIntervalMs: 1_000,
    provingPollMs: 100,
    watchingPollMs: 2_000,
    stallMs: 8_000,
    maxRequestsPerSecond: undefined,
    hasPreviewPage: false,
  },
  cloudflare: {
    keyFrameIntervalMs: 2_000,
    provingPollMs: 1_000,
    watchingPollMs: 5_000,
    stallMs: 20_000,
    maxRequestsPerSecond: 3,
    hasPreviewPage: true,
  },
} as const satisfies Record<string, ProviderProfile>;

/** Our word for the provider's many; what it never said before is `unknown`, not offline. */
export type IngestState = 'never-connected' | 'connected' | 'disconnected' | 'unknown';

export interface LiveInput {
  uid: string;
  /** Where to push: address and key in one. */
  publishUrl: Secret;
  urls: PlaybackUrls;
  ingestState: IngestState;
}

export interface LiveInputSummary {
  uid: string;
  /** The stream it was made for, when it is one of ours. */
  streamId: string | undefined;
}

export interface LiveInputOutput {
  uid: string;
  url: string;
  streamKey: Secret;
  enabled: boolean;
  /** A hint only; absent until the first push. */
  state: string | undefined;
}

export interface Video {
  uid: string;
  /** `live-inprogress` cannot be deleted yet. */
  state: string;
}

export interface StorageUsage {
  totalStorageMinutes: number;
  totalStorageMinutesLimit: number;
  videoCount: number;
}

export interface CreateLiveInput {
  streamId: string;
  idempotencyKey: string;
  /** How long the provider keeps a broadcast open for a publisher that is lost. */
  holdSeconds: number;
  /** The provider's own last line of clean-up, 30 to 1096; undefined keeps recordings. */
  deleteRecordingAfterDays?: number | undefined;
}

export interface LiveInputs {
  create(asked: CreateLiveInput): Promise<LiveInput>;
  get(uid: string): Promise<LiveInput>;
  /** False cuts a running broadcast and refuses new ones. */
  setEnabled(uid: string, enabled: boolean): Promise<void>;
  /** Leaves its recordings behind. LIVE_INPUT_NOT_FOUND when it is gone already. */
  delete(uid: string): Promise<void>;
  /** The first window only: the API has no cursor. */
  list(): Promise<LiveInputSummary[]>;
  createOutput(uid: string, target: { url: string; streamKey: Secret }): Promise<LiveInputOutput>;
  outputs(uid: string): Promise<LiveInputOutput[]>;
  setOutputEnabled(uid: string, outputUid: string, enabled: boolean): Promise<void>;
  deleteOutput(uid: string, outputUid: string): Promise<void>;
  /** Recordings of an input, the running one among them. */
  videos(uid: string): Promise<Video[]>;
  /** PROVIDER_CONFLICT while it is live. */
  deleteVideo(videoUid: string): Promise<void>;
  storageUsage(): Promise<StorageUsage>;
}

/** Marks inputs as ours, so that strays can be told from other people's. */
const META_APP = 'glasscast';

const meta = z.object({ app: z.string().optional(), stream: z.string().optional() }).loose().nullish();
const status = z.union([
  z.string(),
  z.object({ current: z.object({ state: z.string().nullish() }).loose().nullish() }).loose(),
]);
const liveInputShape = z.object({
  uid: z.string().min(1),
  meta: meta.catch(undefined),
  deleteRecordingAfterDays: z.number().nullish(),
  recording: z.object({ mode: z.string().nullish(), timeoutSeconds: z.number().nullish() }).loose().nullish(),
  rtmps: z.object({ url: z.string().min(1), streamKey: z.string().min(1) }),
  playback: z.object({ hls: z.string().min(1), dash: z.string().min(1) }).nullish(),
  webRTCPlayback: z.object({ url: z.string().min(1) }).nullish(),
  status: status.nullish().catch('unknown'),
});
const summaryShape = z.object({ uid: z.string().min(1), meta: meta.catch(undefined) });
const listShape = z.union([
  z.array(summaryShape),
  z.object({ liveInputs: z.array(summaryShape) }).transform(({ liveInputs }) => liveInputs),
]);
const outputShape = z.object({
  uid: z.string().min(1),
  url: z.string(),
  streamKey: z.string(),
  enabled: z.boolean().nullish(),
  status: status.nullish().catch('unknown'),
});
const videoShape = z.object({
  uid: z.string().min(1),
  status: z.object({ state: z.string().nullish() }).loose().nullish(),
});
const videosShape = z.union([
  z.array(videoShape),
  z.object({ videos: z.array(videoShape) }).transform(({ videos }) => videos),
  z.object({ result: z.array(videoShape) }).transform(({ result }) => result),
]);
const storageShape = z.object({
  totalStorageMinutes: z.number(),
  totalStorageMinutesLimit: z.number(),
  videoCount: z.number(),
});

export function createLiveInputs({ api, profile }: { api: StreamApi; profile: ProviderProfile }): LiveInputs {
  const at = (uid: string) => `/live_inputs/${encodeURIComponent(uid)}`;
  const outputAt = (uid: string, outputUid: string) => `${at(uid)}/outputs/${encodeURIComponent(outputUid)}`;
  const remove = async (path: string) => void (await api.call({ method: 'DELETE', path }));
  const get = async (path: string) => api.call({ method: 'GET', path });

  return {
    async create(asked) {
      const body = creationBody(asked);
      const { idempotencyKey } = asked;
      const made = read(liveInputShape, await api.call({ method: 'POST', path: '/live_inputs', body, idempotencyKey }));
      const ignored = ignoredSetting(body, made);
      if (!ignored) return liveInput(made, profile);
      await remove(at(made.uid)).catch(() => {});
      throw new GlasscastError('PROVIDER_ECHO_MISMATCH', { reason: ignored, details: { setting: ignored } });
    },
    get: async (uid) => liveInput(read(liveInputShape, await get(at(uid))), profile),
    async setEnabled(uid, enabled) {
      await api.call({ method: 'PUT', path: at(uid), body: { enabled } });
    },
    delete: (uid) => remove(at(uid)),
    async list() {
      const found = read(listShape, await get('/live_inputs'));
      return found.map(({ uid, meta: tags }) => ({
        uid,
        streamId: tags?.app === META_APP ? tags.stream : undefined,
      }));
    },
    async createOutput(uid, { url, streamKey }) {
      const body = { url, streamKey: streamKey.reveal(), enabled: true };
      return output(read(outputShape, await api.call({ method: 'POST', path: `${at(uid)}/outputs`, body })));
    },
    outputs: async (uid) => read(z.array(outputShape), await get(`${at(uid)}/outputs`)).map(output),
    async setOutputEnabled(uid, outputUid, enabled) {
      await api.call({ method: 'PUT', path: outputAt(uid, outputUid), body: { enabled } });
    },
    deleteOutput: (uid, outputUid) => remove(outputAt(uid, outputUid)),
    async videos(uid) {
      const found = read(videosShape, await get(`${at(uid)}/videos`));
      return found.map((video) => ({ uid: video.uid, state: video.status?.state ?? 'unknown' }));
    },
    deleteVideo: (videoUid) => remove(`/${encodeURIComponent(videoUid)}`),
    storageUsage: async () => read(storageShape, await get('/storage-usage')),
  };
}

function creationBody({ streamId, holdSeconds, deleteRecordingAfterDays }: CreateLiveInput) {
  return {
    meta: { name: `glasscast ${streamId}`, app: META_APP, stream: streamId },
    // `off`, the default, is neither recorded nor playable.
    recording: { mode: 'automatic', timeoutSeconds: holdSeconds },
    // Top level: nested in `recording` it is accepted and dropped.
    ...(deleteRecordingAfterDays === undefined ? {} : { deleteRecordingAfterDays }),
  };
}

/** The API answers 200 to settings that it drops: every one we sent has to come back. */
function ignoredSetting(
  asked: ReturnType<typeof creationBody>,
  made: z.output<typeof liveInputShape>,
): string | undefined {
  if (made.recording?.mode !== asked.recording.mode) return 'recording.mode';
  if (made.recording?.timeoutSeconds !== asked.recording.timeoutSeconds) return 'recording.timeoutSeconds';
  const days = asked.deleteRecordingAfterDays;
  return days !== undefined && made.deleteRecordingAfterDays !== days ? 'deleteRecordingAfterDays' : undefined;
}

function liveInput(made: z.output<typeof liveInputShape>, profile: ProviderProfile): LiveInput {
  const { uid, rtmps, playback, webRTCPlayback } = made;
  const origin = originOf(playback?.hls ?? webRTCPlayback?.url);
  return {
    uid,
    publishUrl: new Secret(`${rtmps.url.replace(/\/+$/, '')}/${rtmps.streamKey}`),
    // No webrtcUrl: what comes in by RTMP does not leave by WHEP, though the API names an address for it.
    urls: {
      hlsUrl: playback?.hls ?? `${origin}/${uid}/manifest/video.m3u8`,
      dashUrl: playback?.dash ?? `${origin}/${uid}/manifest/video.mpd`,
      thumbnailUrl: `${origin}/${uid}/thumbnails/thumbnail.jpg`,
      ...(profile.hasPreviewPage ? { previewUrl: `${origin}/${uid}/iframe` } : {}),
    },
    ingestState: ingestState(made.status),
  };
}

/** The customer's host has no endpoint of its own: it is learnt from the addresses of an input. */
function originOf(url: string | undefined): string {
  if (url && URL.canParse(url)) return new URL(url).origin;
  throw new GlasscastError('PROVIDER_FAILED', { reason: 'the live input has no playback address' });
}

function ingestState(given: z.output<typeof status> | null | undefined): IngestState {
  if (given === null || given === undefined) return 'never-connected';
  const word = typeof given === 'string' ? given : given.current?.state;
  switch (word) {
    case 'connected':
    case 'reconnected':
    case 'new_configuration_accepted':
      return 'connected';
    case 'disconnected':
    case 'client_disconnect':
    case 'reconnecting':
    case 'ttl_exceeded':
    case 'failed_to_connect':
    case 'failed_to_reconnect':
      return 'disconnected';
    default:
      return 'unknown';
  }
}

function output(found: z.output<typeof outputShape>): LiveInputOutput {
  const state = typeof found.status === 'string' ? found.status : (found.status?.current?.state ?? undefined);
  return {
    uid: found.uid,
    url: found.url,
    streamKey: new Secret(found.streamKey),
    enabled: found.enabled ?? true,
    state,
  };
}

function read<T>(schema: z.ZodType<T>, result: unknown): T {
  const parsed = schema.safeParse(result);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join('.') || 'result';
  throw new GlasscastError('PROVIDER_FAILED', { reason: `unexpected answer, ${where}: ${issue?.message ?? '?'}` });
}
