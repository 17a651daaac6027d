/**
 * Messages on /glasses-ws in their one internal form, per direction. `dialects.ts` turns wire frames into these and back.
 * Normative text: PROTOCOL.md. Unknown fields are dropped; unknown types arrive as `unknown` and kill nothing.
 */
import * as z from 'zod';
import { audioSettings, deviceStatusWords, streamLimits, videoSettings } from '../stream.ts';
import { agentFacts, agentRollback, agentUpdate, agentUpdateStatus } from './releases.ts';

/** What the push really does, measured. Rates in bit/s and frames/s, duration in seconds (wire units of MentraOS). */
export const streamStats = z.object({
  bitrate: z.number().nonnegative().optional(),
  fps: z.number().nonnegative().optional(),
  droppedFrames: z.number().nonnegative().optional(),
  duration: z.number().nonnegative().optional(),
  width: z.number().positive().optional(),
  height: z.number().positive().optional(),
  /** Ours: bytes that wait to leave the glasses. */
  queuedBytes: z.number().nonnegative().optional(),
  /** Ours: times the push came back after a loss. */
  reconnects: z.number().nonnegative().optional(),
});
export type StreamStats = z.output<typeof streamStats>;

/** What changed on the glasses while the stream goes on. */
export const noticeCodes = [
  /** The push dropped what waited, to the next key frame. */
  'FRAMES_DROPPED',
  /** The picture is made smaller, or larger again. */
  'UPLINK_NARROW',
  'UPLINK_RECOVERED',
  'HEAT',
  'HEAT_RECOVERED',
  'BATTERY_LOW',
  'BATTERY_RECOVERED',
  /** Silence is sent meanwhile. */
  'MICROPHONE_LOST',
  'MICROPHONE_BACK',
  /** One failed, the next one took over. */
  'ENCODER_CHANGED',
  /** Something asked for cannot be had here, e.g. echo cancellation. */
  'SETTING_UNAVAILABLE',
] as const;

/** Ours: a step that the glasses took by themselves, with its reason and the numbers it went by (units in their names). */
export const streamNotice = z.object({
  code: z.enum(noticeCodes),
  /** A sentence for people. */
  text: z.string().max(500),
  numbers: z.record(z.string().max(60), z.number()).optional(),
});
export type StreamNotice = z.output<typeof streamNotice>;

/** The settings the encoder really uses. Rates in bit/s, frames/s and Hz. */
export const resolvedConfig = z.object({
  transport: z.enum(['rtmp', 'srt', 'whip']).optional(),
  video: z
    .object({
      width: z.number(),
      height: z.number(),
      captureWidth: z.number(),
      captureHeight: z.number(),
      bitrate: z.number(),
      fps: z.number(),
      /** Ours: ffmpeg's name of the encoder, `copy` when the camera's own H.264 is passed on. */
      encoder: z.string().max(60),
    })
    .partial()
    .optional(),
  audio: z
    .object({
      bitrate: z.number(),
      sampleRate: z.number(),
      echoCancellation: z.boolean(),
      noiseSuppression: z.boolean(),
    })
    .partial()
    .optional(),
});
export type ResolvedConfig = z.output<typeof resolvedConfig>;

const id = z.string().max(200);

// ── relay → glasses ──

export const startStream = z.object({
  type: z.literal('start_stream'),
  streamId: id,
  /** RTMP(S) publish URL with its stream key: a secret. */
  publishUrl: z.string(),
  appId: id.optional(),
  sessionId: id.optional(),
  video: videoSettings,
  audio: audioSettings,
  stream: streamLimits,
  /** A chime at start and stop; 3.x apps ask for it. */
  sound: z.boolean().optional(),
});
export const stopStream = z.object({
  type: z.literal('stop_stream'),
  /** Empty: whatever runs. */
  streamId: id,
  appId: id.optional(),
  sessionId: id.optional(),
});
export const keepStreamAlive = z.object({
  type: z.literal('keep_stream_alive'),
  streamId: id.min(1),
  ackId: id.min(1),
});
export const getStreamStatus = z.object({ type: z.literal('get_stream_status') });
export const connectionAck = z.object({
  type: z.literal('connection_ack'),
  sessionId: z.string().optional(),
});
export const connectionError = z.object({
  type: z.literal('connection_error'),
  code: z.string().optional(),
  message: z.string(),
});
export const appStarted = z.object({ type: z.literal('app_started'), packageName: id });
export const appStopped = z.object({ type: z.literal('app_stopped'), packageName: id });
/** All apps of the user, whenever one comes or goes. */
export const appStateChange = z.object({
  type: z.literal('app_state_change'),
  sessionId: z.string(),
  userSession: z.object({
    sessionId: z.string(),
    userId: z.string(),
    activeAppSessions: z.array(z.string()),
    /** Asked to connect and not there yet. */
    loadingApps: z.array(z.string()),
  }),
});
export type AppStateChange = z.output<typeof appStateChange>;
/**
 * What apps ask of the glasses beside streams, handed on with MentraOS' own fields. The first three are answered by
 * the message of `glassesAnswer` that names the same `requestId`.
 */
export const appOrder = z.looseObject({
  type: z.enum([
    'photo_request',
    'audio_play_request',
    'rgb_led_control',
    'audio_stop_request',
    'display_event',
    'request_single_location',
    'set_location_tier',
    'show_wifi_setup',
  ]),
  requestId: id.optional(),
  appId: id.optional(),
});
export type AppOrder = z.output<typeof appOrder>;
const ping = z.object({ type: z.literal('ping') });
const pong = z.object({ type: z.literal('pong') });
/** A well-formed frame of a type we do not handle. */
const unknownMessage = z.object({ type: z.literal('unknown'), wireType: z.string() });

export const toGlasses = z.discriminatedUnion('type', [
  startStream,
  stopStream,
  keepStreamAlive,
  getStreamStatus,
  connectionAck,
  connectionError,
  appStarted,
  appStopped,
  appStateChange,
  appOrder,
  agentUpdate,
  agentRollback,
  ping,
  pong,
  unknownMessage,
]);
export type ToGlasses = z.output<typeof toGlasses>;
export type StartStream = z.output<typeof startStream>;
export type StopStream = z.output<typeof stopStream>;

// ── glasses → relay ──

export const deviceStreamStatus = z.object({
  type: z.literal('stream_status'),
  status: z.enum(deviceStatusWords),
  /** Old firmware leaves it out of command-level errors and terminal statuses. */
  streamId: id.optional(),
  kind: z.enum(['lifecycle', 'snapshot']).optional(),
  errorDetails: z.string().max(2000).optional(),
  /** Ours: a code of our error table beside the free text. */
  errorCode: z.string().max(60).optional(),
  attempt: z.number().optional(),
  stats: streamStats.optional(),
  notice: streamNotice.optional(),
  /** Degrees Celsius. */
  temperatureC: z.number().optional(),
  resolvedConfig: resolvedConfig.optional(),
});
export type DeviceStreamStatus = z.output<typeof deviceStreamStatus>;

export const keepAliveAck = z.object({ type: z.literal('keep_alive_ack'), streamId: id, ackId: id });
export const connectionInit = z.object({ type: z.literal('connection_init') });
/** Loose, here and below: apps that subscribe get the whole message. */
export const glassesConnectionState = z.looseObject({
  type: z.literal('glasses_connection_state'),
  /** CONNECTED, or a word for any other state. */
  status: z.string().max(50),
  modelName: z.string().max(200).optional(),
  wifi: z
    .looseObject({
      connected: z.boolean(),
      ssid: z.string().max(200).nullish(),
      localIp: z.string().max(100).nullish(),
    })
    .optional(),
  /** Ours; of another form it counts as missing. */
  agent: agentFacts.optional().catch(undefined),
});
export const glassesBatteryUpdate = z.looseObject({
  type: z.literal('glasses_battery_update'),
  /** Per cent; -1 when they do not know. */
  level: z.number(),
  charging: z.boolean().optional(),
});
/** `status` is `{status: {core_info, connected_glasses, glasses_settings}}`, or that as JSON text. */
export const coreStatusUpdate = z.looseObject({ type: z.literal('core_status_update'), status: z.unknown() });
/** The glasses' answer to an app's order. What else it carries is MentraOS' own. */
export const glassesAnswer = z.looseObject({
  type: z.enum(['photo_response', 'audio_play_response', 'rgb_led_control_response']),
  requestId: id,
  success: z.boolean().optional(),
});
export type GlassesAnswer = z.output<typeof glassesAnswer>;
/** A type we give no meaning to: an event for the apps that subscribe to its name. `fields` is the frame as it came. */
const glassesEvent = unknownMessage.extend({ fields: z.record(z.string(), z.unknown()) });
export const startApp = z.object({ type: z.literal('start_app'), packageName: id });
export const stopApp = z.object({ type: z.literal('stop_app'), packageName: id });

export const fromGlasses = z.discriminatedUnion('type', [
  deviceStreamStatus,
  keepAliveAck,
  connectionInit,
  glassesConnectionState,
  glassesBatteryUpdate,
  coreStatusUpdate,
  glassesAnswer,
  agentUpdateStatus,
  startApp,
  stopApp,
  ping,
  pong,
  glassesEvent,
]);
export type FromGlasses = z.output<typeof fromGlasses>;
