/**
 * Messages on /app-ws in their one internal form, per direction. `dialects.ts` turns wire frames into these and back.
 * Normative text: PROTOCOL.md. An app is known by its socket; identity fields inside messages are never trusted.
 */
import { z } from 'zod';
import { audioSettings, managedStatusWords, streamLimits, videoSettings } from '../stream.ts';
import { resolvedConfig, streamStats } from './glasses-messages.ts';

const id = z.string().max(200);

// ── app → relay ──

export const appConnectionInit = z.object({
  type: z.literal('tpa_connection_init'),
  /** Absent in some 3.x sessions, which name it in a header. */
  sessionId: z.string().max(500).optional(),
  packageName: id,
  apiKey: z.string().max(500),
  sdkVersion: z.string().max(100).optional(),
});
const restreamDestination = z.object({ url: z.string().max(2000), name: z.string().max(200).optional() });
export const managedStreamRequest = z.object({
  type: z.literal('managed_stream_request'),
  quality: z.enum(['720p', '1080p']).optional().catch(undefined),
  enableWebRTC: z.boolean().optional(),
  video: videoSettings.optional(),
  audio: audioSettings.optional(),
  stream: streamLimits.optional(),
  restreamDestinations: z.array(restreamDestination).max(50).optional(),
  sound: z.boolean().optional(),
});
export const managedStreamStop = z.object({ type: z.literal('managed_stream_stop') });
export const streamStatusCheck = z.object({ type: z.literal('stream_status_check'), requestId: id.optional() });
export const streamRequest = z.object({
  type: z.literal('stream_request'),
  publishUrl: z.string().max(2000),
  video: videoSettings.optional(),
  audio: audioSettings.optional(),
  stream: streamLimits.optional(),
  sound: z.boolean().optional(),
});
export const streamStop = z.object({ type: z.literal('stream_stop'), streamId: id.optional() });
export const subscriptionUpdate = z.object({
  type: z.literal('subscription_update'),
  /** A full replacement, not a delta. */
  subscriptions: z
    .array(z.union([z.string(), z.object({ stream: z.string() }).loose()]))
    .max(200)
    .transform((entries) => entries.map((entry) => (typeof entry === 'string' ? entry : entry.stream))),
});
export const ownershipRelease = z.object({ type: z.literal('ownership_release'), reason: z.string().optional() });
const ping = z.object({ type: z.literal('ping') });
const pong = z.object({ type: z.literal('pong') });
const unknownMessage = z.object({ type: z.literal('unknown'), wireType: z.string() });

export const fromApp = z.discriminatedUnion('type', [
  appConnectionInit,
  managedStreamRequest,
  managedStreamStop,
  streamStatusCheck,
  streamRequest,
  streamStop,
  subscriptionUpdate,
  ownershipRelease,
  ping,
  pong,
  unknownMessage,
]);
export type FromApp = z.output<typeof fromApp>;
export type ManagedStreamRequest = z.output<typeof managedStreamRequest>;

// ── relay → app ──

export const appConnectionErrorCodes = [
  'INVALID_JWT',
  'JWT_SIGNATURE_FAILED',
  'PACKAGE_NOT_FOUND',
  'INVALID_API_KEY',
  'SESSION_NOT_FOUND',
  'APP_NOT_STARTED',
  'MALFORMED_MESSAGE',
  'PERMISSION_DENIED',
  'INTERNAL_ERROR',
] as const;

export const appConnectionAck = z.object({
  type: z.literal('tpa_connection_ack'),
  sessionId: z.string().optional(),
  /** Must be an array: the SDK's handshake breaks on an object. */
  settings: z.array(z.record(z.string(), z.unknown())),
  mentraosSettings: z.record(z.string(), z.unknown()),
  /** The older name of the same. */
  augmentosSettings: z.record(z.string(), z.unknown()).optional(),
  capabilities: z.record(z.string(), z.unknown()).nullable(),
});
export const appConnectionError = z.object({
  type: z.literal('tpa_connection_error'),
  code: z.enum(appConnectionErrorCodes),
  message: z.string(),
});
export const deviceStateUpdate = z.object({
  type: z.literal('device_state_update'),
  state: z.record(z.string(), z.unknown()),
  fullSnapshot: z.boolean(),
});
export const outputStatus = z.object({
  /** In full only to the app that added it; its host alone to others. */
  url: z.string(),
  name: z.string().optional(),
  status: z.enum(['active', 'error', 'stopped']),
  error: z.string().optional(),
});
export type OutputStatus = z.output<typeof outputStatus>;

/** Where to watch. `hlsUrl` and `dashUrl` are both needed: the SDK's start promise waits for both. */
export const playbackUrls = z.object({
  hlsUrl: z.string().min(1),
  dashUrl: z.string().min(1),
  webrtcUrl: z.string().optional(),
  previewUrl: z.string().optional(),
  thumbnailUrl: z.string().optional(),
});
export type PlaybackUrls = z.output<typeof playbackUrls>;

export const managedStreamStatus = z
  .object({
    type: z.literal('managed_stream_status'),
    status: z.enum(managedStatusWords),
    streamId: z.string().optional(),
    message: z.string().optional(),
    outputs: z.array(outputStatus).optional(),
    resolvedConfig: z.record(z.string(), z.unknown()).optional(),
    /** Ours: measured by the glasses. */
    stats: streamStats.optional(),
    /** Ours: a code of our error table, with `error`. */
    errorCode: z.string().optional(),
    /** Ours: milliseconds from the request to proven playback, with `active`. */
    timeToLiveMs: z.number().optional(),
  })
  .extend(playbackUrls.partial().shape)
  .refine(({ status, hlsUrl, dashUrl }) => status !== 'active' || (Boolean(hlsUrl) && Boolean(dashUrl)), {
    message: 'active needs hlsUrl and dashUrl',
  })
  .refine(({ status, hlsUrl, dashUrl }) => status !== 'initializing' || (!hlsUrl && !dashUrl), {
    message: 'initializing carries no URLs',
  });
export type ManagedStreamStatus = z.output<typeof managedStreamStatus>;

export const streamStatusCheckResponse = z.object({
  type: z.literal('stream_status_check_response'),
  hasActiveStream: z.boolean(),
  requestId: z.string().optional(),
  streamInfo: z
    .object({
      type: z.enum(['managed', 'unmanaged']),
      streamId: z.string(),
      status: z.string(),
      /** ISO 8601. */
      createdAt: z.string(),
      activeViewers: z.number().optional(),
      requestingAppId: z.string().optional(),
    })
    .extend(playbackUrls.partial().shape)
    .optional(),
});
export type StreamStatusCheckResponse = z.output<typeof streamStatusCheckResponse>;

/** Status of an unmanaged stream, to its owner. */
export const appStreamStatus = z.object({
  type: z.literal('stream_status'),
  streamId: z.string().optional(),
  status: z.string(),
  errorDetails: z.string().optional(),
  stats: streamStats.optional(),
  appId: z.string().optional(),
  resolvedConfig: resolvedConfig.optional(),
});
export const appStopped = z.object({ type: z.literal('app_stopped'), reason: z.string().optional() });
export const dataStream = z.object({
  type: z.literal('data_stream'),
  streamType: z.string(),
  data: z.record(z.string(), z.unknown()),
});
/** Ours, on the open socket: a frame that could not be used, and why. The SDK raises it as an error event and goes on. */
export const messageError = z.object({
  type: z.literal('message_error'),
  code: z.string(),
  message: z.string(),
});

export const toApp = z.discriminatedUnion('type', [
  appConnectionAck,
  appConnectionError,
  deviceStateUpdate,
  managedStreamStatus,
  streamStatusCheckResponse,
  appStreamStatus,
  appStopped,
  dataStream,
  messageError,
  ping,
  pong,
]);
export type ToApp = z.output<typeof toApp>;
