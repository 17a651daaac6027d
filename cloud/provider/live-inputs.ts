/**
 * Live inputs, their outputs and recordings at the provider: every provider fact the relay relies on stands here.
 * Accepts the documented and the observed shapes; checks what it asked for against the echo. Never decides when to delete.
 */
import * as z from 'zod';
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { PlaybackUrls } from '../../shared/protocol/app-messages.ts';
import { Secret } from '../../shared/secrets.ts';
import { recordingNames } from './recording-names.ts';
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
  /** Pace of asking how one stream's restream outputs go. */
  outputPollMs: number;
  maxRequestsPerSecond: number | undefined;
  /** An embeddable player page at `/<uid>/iframe`. */
  hasPreviewPage: boolean;
  /** What is published by RTMP can be watched by WHEP. Cloudflare names an address for it all the same. */
  playsWebRtc: boolean;
  /** FLV over HTTP and WebSockets at `/<uid>/live.flv`. */
  playsFlv: boolean;
  /**
   * Inputs are made with `preferLowLatency`, and play HLS in parts at `?protocol=llhls`. Cloudflare wants recording for it, and
   * pictures without B-frames, and calls it a beta: not asked for there.
   */
  playsLowLatencyHls: boolean;
  /** A recording may come to light after its input is gone: looked for again so long after that. */
  lateRecordingLooksMs: readonly number[];
}

export const providerProfiles = {
  local: {
    keyFrameIntervalMs: 1_000,
    provingPollMs: 100,
    watchingPollMs: 1_000,
    // Its segments are a second long.
    stallMs: 5_000,
    outputPollMs: 1_000,
    maxRequestsPerSecond: undefined,
    hasPreviewPage: true,
    playsWebRtc: true,
    playsFlv: true,
    playsLowLatencyHls: true,
    lateRecordingLooksMs: [],
  },
  cloudflare: {
    keyFrameIntervalMs: 2_000,
    provingPollMs: 1_000,
    watchingPollMs: 5_000,
    stallMs: 20_000,
    outputPollMs: 5_000,
    maxRequestsPerSecond: 3,
    hasPreviewPage: true,
    playsWebRtc: false,
    playsFlv: false,
    playsLowLatencyHls: false,
    lateRecordingLooksMs: [60_000, 300_000, 900_000],
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
  /** Wall clock of the last change of `ingestState`, as far as it is told. */
  ingestStateSinceMs: number | undefined;
}

export interface LiveInputSummary {
  uid: string;
  /** The stream it was made for, when this relay made it: others may share the account. */
  streamId: string | undefined;
  createdAtMs: number | undefined;
}

export interface LiveInputOutput {
  uid: string;
  url: string;
  streamKey: Secret;
  enabled: boolean;
  /** A hint only; absent until the first push. */
  state: string | undefined;
  /** Why, when the provider says so; ours gives a code of our error table. */
  reason?: string | undefined;
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
  /** Named on its recordings, which outlast what we know of the stream. Undefined: recordings go with it. */
  userId?: string | undefined;
  idempotencyKey: string;
  /** How long the provider keeps a broadcast open for a publisher that is lost. */
  holdSeconds: number;
  /** The provider's own last line of clean-up, 30 to 1096; undefined keeps recordings. */
  deleteRecordingAfterDays?: number | undefined;
  /** See `ApiCall`. */
  onRetry?: ((error: GlasscastError, waitMs: number) => void) | undefined;
}

export interface LiveInputs {
  create(asked: CreateLiveInput): Promise<LiveInput>;
  get(uid: string): Promise<LiveInput>;
  /** False cuts a running broadcast and refuses new ones. PROVIDER_ECHO_MISMATCH when it was accepted and dropped. */
  setEnabled(uid: string, enabled: boolean): Promise<void>;
  /** Leaves its recordings behind. LIVE_INPUT_NOT_FOUND when it is gone already. */
  delete(uid: string): Promise<void>;
  /** The first window only: the API has no cursor. */
  list(): Promise<LiveInputSummary[]>;
  createOutput(uid: string, target: { url: string; streamKey: Secret }): Promise<LiveInputOutput>;
  outputs(uid: string): Promise<LiveInputOutput[]>;
  deleteOutput(uid: string, outputUid: string): Promise<void>;
  /** Recordings of an input, the running one among them, also after the input is gone. */
  videos(uid: string): Promise<Video[]>;
  /** PROVIDER_CONFLICT while it is live. */
  deleteVideo(videoUid: string): Promise<void>;
  /** @param isUrgent somebody waits for a start by it. */
  storageUsage(isUrgent?: boolean): Promise<StorageUsage>;
}

/** Marks inputs as ours, so that strays can be told from other people's. */
const META_APP = 'glasscast';

const meta = z
  .object({ app: z.string().optional(), relay: z.string().optional(), stream: z.string().optional() })
  .loose()
  .nullish();
const status = z.union([
  z.string(),
  z
    .object({
      current: z
        .object({
          state: z.string().nullish(),
          reason: z.string().nullish().catch(undefined),
          statusEnteredAt: z.string().nullish(),
        })
        .loose()
        .nullish(),
    })
    .loose(),
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
const summaryShape = z.object({
  uid: z.string().min(1),
  meta: meta.catch(undefined),
  created: z.string().nullish().catch(undefined),
});
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
  liveInput: z.string().nullish().catch(undefined),
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

export function createLiveInputs(options: {
  api: StreamApi;
  profile: ProviderProfile;
  /** Marks what this relay makes. */
  relayId: string;
}): LiveInputs {
  const { api, profile, relayId } = options;
  const at = (uid: string) => `/live_inputs/${encodeURIComponent(uid)}`;
  const remove = async (path: string) => void (await api.call({ method: 'DELETE', path }));
  const get = async (path: string) => api.call({ method: 'GET', path });

  return {
    async create(asked) {
      const body = creationBody(asked, relayId, profile.playsLowLatencyHls);
      const call = { method: 'POST', path: '/live_inputs', body, idempotencyKey: asked.idempotencyKey } as const;
      const made = read(liveInputShape, await api.call({ ...call, isUrgent: true, onRetry: asked.onRetry }));
      try {
        const ignored = ignoredSetting(body, made);
        if (ignored) {
          throw new GlasscastError('PROVIDER_ECHO_MISMATCH', { reason: ignored, details: { setting: ignored } });
        }
        return liveInput(made, profile);
      } catch (error) {
        // Never one that says it is another stream's.
        const isOurs = (made.meta?.stream ?? asked.streamId) === asked.streamId;
        if (isOurs) await remove(at(made.uid)).catch(() => {});
        throw error;
      }
    },
    get: async (uid) => liveInput(read(liveInputShape, await get(at(uid))), profile),
    async setEnabled(uid, enabled) {
      const echo = await api.call({ method: 'PUT', path: at(uid), body: { enabled }, isUrgent: true });
      // Left out of the echo it says nothing.
      if (read(z.object({ enabled: z.boolean().nullish() }), echo).enabled === !enabled) {
        throw new GlasscastError('PROVIDER_ECHO_MISMATCH', { reason: 'enabled', details: { setting: 'enabled' } });
      }
    },
    delete: (uid) => remove(at(uid)),
    async list() {
      const found = read(listShape, await get('/live_inputs'));
      return found.map(({ uid, meta: tags, created }) => ({
        uid,
        streamId: tags?.app === META_APP && tags.relay === relayId ? tags.stream : undefined,
        createdAtMs: timeOf(created),
      }));
    },
    async createOutput(uid, { url, streamKey }) {
      const body = { url, streamKey: streamKey.reveal(), enabled: true };
      const call = { method: 'POST', path: `${at(uid)}/outputs`, body, isUrgent: true } as const;
      return output(read(outputShape, await api.call(call)));
    },
    outputs: async (uid) => read(z.array(outputShape), await get(`${at(uid)}/outputs`)).map(output),
    deleteOutput: (uid, outputUid) => remove(`${at(uid)}/outputs/${encodeURIComponent(outputUid)}`),
    async videos(uid) {
      const ofInput = await get(`${at(uid)}/videos`).catch((error: unknown) => {
        // With the input goes its own list, not its recordings.
        if (isGlasscastError(error) && error.code === 'LIVE_INPUT_NOT_FOUND') return [];
        throw error;
      });
      const filtered = read(videosShape, await get(`?live_input_id=${encodeURIComponent(uid)}`));
      const found = new Map<string, Video>();
      for (const video of [
        ...read(videosShape, ofInput).filter(({ liveInput: owner }) => (owner ?? uid) === uid),
        // A filter that is dropped without a word would give us everybody's recordings to delete.
        ...filtered.filter(({ liveInput: owner }) => owner === uid),
      ]) {
        found.set(video.uid, { uid: video.uid, state: video.status?.state ?? 'unknown' });
      }
      return [...found.values()];
    },
    deleteVideo: (videoUid) => remove(`/${encodeURIComponent(videoUid)}`),
    async storageUsage(isUrgent = false) {
      return read(storageShape, await api.call({ method: 'GET', path: '/storage-usage', isUrgent }));
    },
  };
}

function creationBody(
  { streamId, userId, holdSeconds, deleteRecordingAfterDays }: CreateLiveInput,
  relayId: string,
  prefersLowLatency: boolean,
) {
  return {
    // The mark on recordings, which do not carry the rest of the meta.
    defaultCreator: relayId,
    meta: { name: recordingNames.write(streamId, userId), app: META_APP, relay: relayId, stream: streamId },
    // `off`, the default, is neither recorded nor playable.
    recording: { mode: 'automatic', timeoutSeconds: holdSeconds },
    ...(prefersLowLatency ? { preferLowLatency: true } : {}),
    // Top level: nested in `recording` it is accepted and dropped.
    ...(deleteRecordingAfterDays === undefined ? {} : { deleteRecordingAfterDays }),
  };
}

function timeOf(text: string | null | undefined): number | undefined {
  const ms = Date.parse(text ?? '');
  return Number.isNaN(ms) ? undefined : ms;
}

/** The API answers 200 to settings that it drops: all but a preference have to come back. */
function ignoredSetting(
  asked: ReturnType<typeof creationBody>,
  made: z.output<typeof liveInputShape>,
): string | undefined {
  // Also the proof that a repeated key was not answered with another stream's input.
  if (made.meta?.stream !== asked.meta.stream) return 'meta.stream';
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
    urls: {
      hlsUrl: playback?.hls ?? `${origin}/${uid}/manifest/video.m3u8`,
      dashUrl: playback?.dash ?? `${origin}/${uid}/manifest/video.mpd`,
      thumbnailUrl: `${origin}/${uid}/thumbnails/thumbnail.jpg`,
      ...(profile.hasPreviewPage ? { previewUrl: `${origin}/${uid}/iframe` } : {}),
      // Never `webRTC`: that is where one publishes, a credential.
      ...(profile.playsWebRtc && webRTCPlayback ? { webrtcUrl: webRTCPlayback.url } : {}),
    },
    ingestState: ingestState(made.status),
    ingestStateSinceMs: typeof made.status === 'object' ? timeOf(made.status?.current?.statusEnteredAt) : undefined,
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
  const current = typeof found.status === 'string' ? { state: found.status, reason: undefined } : found.status?.current;
  return {
    uid: found.uid,
    url: found.url,
    streamKey: new Secret(found.streamKey),
    enabled: found.enabled ?? true,
    state: current?.state ?? undefined,
    reason: current?.reason ?? undefined,
  };
}

function read<T>(schema: z.ZodType<T>, result: unknown): T {
  const parsed = schema.safeParse(result);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join('.') || 'result';
  throw new GlasscastError('PROVIDER_FAILED', { reason: `unexpected answer, ${where}: ${issue?.message ?? '?'}` });
}
