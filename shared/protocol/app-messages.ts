/**
 * Messages on /app-ws in their one internal form, per direction. `dialects.ts` turns wire frames into these and back.
 * Normative text: PROTOCOL.md. An app is known by its socket; identity fields inside messages are never trusted.
 */
import * as z from 'zod';
import { audioSettings, deviceStatusWords, managedStatusWords, streamLimits, videoSettings } from '../stream.ts';
import { glassesAnswer, streamStats } from './glasses-messages.ts';

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
/** 3.x: in place of another init after a drop. The app has named itself in the headers of the upgrade. */
export const reconnect = z.object({
  type: z.literal('reconnect'),
  sessionId: z.string().max(500).optional(),
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
/** A transcription names its hints, all of them, in the query of its name. */
const streamName = z.string().max(10_000);
export const subscriptionUpdate = z.object({
  type: z.literal('subscription_update'),
  /** A full replacement, not a delta. A location stream may name how closely it wants to follow. */
  subscriptions: z
    .array(z.union([streamName, z.object({ stream: streamName, rate: z.string().max(50).optional() })]))
    .max(200)
    .transform((entries) => entries.map((entry) => (typeof entry === 'string' ? { stream: entry } : entry))),
});
export type Subscription = z.output<typeof subscriptionUpdate>['subscriptions'][number];
const httpUrl = z.url({ protocol: /^https?$/ }).max(2000);
export const photoRequest = z.object({
  type: z.literal('photo_request'),
  requestId: id,
  saveToGallery: z.boolean().optional(),
  /** Where the glasses put the photo instead of the app's own `/photo-upload`. */
  customWebhookUrl: httpUrl.optional(),
  /** A secret of the app's, for its upload address. */
  authToken: z.string().max(2000).optional(),
  size: z.string().max(20).optional(),
  compress: z.string().max(20).optional(),
});
export const audioPlayRequest = z.object({
  type: z.literal('audio_play_request'),
  requestId: id,
  audioUrl: z.string().max(20_000),
  volume: z.number().optional(),
  stopOtherAudio: z.boolean().optional(),
  trackId: z.number().optional(),
});
export const audioStopRequest = z.object({ type: z.literal('audio_stop_request'), trackId: z.number().optional() });
export const rgbLedControl = z.object({
  type: z.literal('rgb_led_control'),
  requestId: id,
  action: z.enum(['on', 'off']),
  color: z.string().max(20).optional(),
  /** Milliseconds. */
  ontime: z.number().optional(),
  /** Milliseconds. */
  offtime: z.number().optional(),
  count: z.number().optional(),
});
export const displayEvent = z.object({
  type: z.literal('display_event'),
  layout: z.record(z.string(), z.unknown()),
  view: z.string().max(20).optional(),
  durationMs: z.number().optional(),
});
export const locationPollRequest = z.object({
  type: z.literal('location_poll_request'),
  correlationId: id,
  accuracy: z.string().max(50).optional(),
});
export const requestWifiSetup = z.object({
  type: z.literal('request_wifi_setup'),
  reason: z.string().max(1000).optional(),
});
export const appDirectMessage = z.object({
  type: z.literal('app_direct_message'),
  messageId: id,
  targetUserId: z.string().max(320),
});
export const ownershipRelease = z.object({ type: z.literal('ownership_release'), reason: z.string().optional() });
const ping = z.object({ type: z.literal('ping') });
const pong = z.object({ type: z.literal('pong') });
const unknownMessage = z.object({ type: z.literal('unknown'), wireType: z.string() });

export const fromApp = z.discriminatedUnion('type', [
  appConnectionInit,
  reconnect,
  managedStreamRequest,
  managedStreamStop,
  streamStatusCheck,
  streamRequest,
  streamStop,
  subscriptionUpdate,
  photoRequest,
  audioPlayRequest,
  audioStopRequest,
  rgbLedControl,
  displayEvent,
  locationPollRequest,
  requestWifiSetup,
  appDirectMessage,
  ownershipRelease,
  ping,
  pong,
  unknownMessage,
]);
export type FromApp = z.output<typeof fromApp>;
export type ManagedStreamRequest = z.output<typeof managedStreamRequest>;
export type StreamRequest = z.output<typeof streamRequest>;

// ── relay → app ──

export const appConnectionErrorCodes = [
  'MISSING_HEADERS',
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
/** As `tpa_connection_ack`, to an app that came back by `reconnect`. */
export const reconnectAck = appConnectionAck.extend({ type: z.literal('reconnect_ack') });
/** After SESSION_NOT_FOUND a 3.x SDK tries an init on the same socket; the others make it give up. */
export const reconnectRejected = z.object({
  type: z.literal('reconnect_rejected'),
  code: z.enum(['NOT_RUNNING', 'BOOT_TIMEOUT', 'SESSION_NOT_FOUND']),
  message: z.string(),
});
/** The glasses are away: keep the socket, and wait this long for a `reconnect_ack`. */
export const reconnectDeferred = z.object({ type: z.literal('reconnect_deferred'), timeoutMs: z.number() });
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
      /** Of an unmanaged stream: whole to its owner, without the key to others. `streamUrl` in the newer dialect. */
      rtmpUrl: z.string().optional(),
    })
    .extend(playbackUrls.partial().shape)
    .optional(),
});
export type StreamStatusCheckResponse = z.output<typeof streamStatusCheckResponse>;

/** Status of an unmanaged stream, to its owner; inside a `data_stream` to apps that subscribe to its name. */
export const appStreamStatus = z.object({
  type: z.literal('stream_status'),
  streamId: z.string().optional(),
  status: z.enum(deviceStatusWords),
  errorDetails: z.string().optional(),
  /** Ours: a code of our error table, with `error` and `timeout`. */
  errorCode: z.string().optional(),
  stats: streamStats.optional(),
  /** The owner. */
  appId: z.string().optional(),
  sessionId: z.string().optional(),
  resolvedConfig: z.record(z.string(), z.unknown()).optional(),
});
export type AppStreamStatus = z.output<typeof appStreamStatus>;
export const appStopped = z.object({ type: z.literal('app_stopped'), reason: z.string().optional() });
export const dataStream = z.object({
  type: z.literal('data_stream'),
  sessionId: z.string().optional(),
  streamType: z.string(),
  /** The whole original message. */
  data: z.record(z.string(), z.unknown()),
});
/** Subscriptions that were refused; the others stand. */
export const permissionError = z.object({
  type: z.literal('permission_error'),
  message: z.string(),
  details: z.array(z.object({ stream: z.string(), requiredPermission: z.string(), message: z.string() })),
});
export const capabilitiesUpdate = z.object({
  type: z.literal('capabilities_update'),
  capabilities: z.record(z.string(), z.unknown()).nullable(),
  modelName: z.string().nullable(),
});
export const settingsUpdate = z.object({
  type: z.literal('settings_update'),
  packageName: z.string(),
  settings: z.array(z.record(z.string(), z.unknown())),
});
export const appDirectMessageResponse = z.object({
  type: z.literal('app_direct_message_response'),
  messageId: z.string(),
  success: z.boolean(),
  error: z.string().optional(),
  targetUserId: z.string(),
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
  reconnectAck,
  reconnectRejected,
  reconnectDeferred,
  deviceStateUpdate,
  managedStreamStatus,
  streamStatusCheckResponse,
  appStreamStatus,
  appStopped,
  dataStream,
  permissionError,
  capabilitiesUpdate,
  settingsUpdate,
  glassesAnswer,
  appDirectMessageResponse,
  messageError,
  ping,
  pong,
]);
export type ToApp = z.output<typeof toApp>;
