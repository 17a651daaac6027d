/**
 * Messages on /glasses-ws in their one internal form, per direction. `dialects.ts` turns wire frames into these and back.
 * Normative text: PROTOCOL.md. Unknown fields are dropped; unknown types arrive as `unknown` and kill nothing.
 */
import { z } from 'zod';
import { audioSettings, deviceStatusWords, streamLimits, videoSettings } from '../stream.ts';

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
const ping = z.object({ type: z.literal('ping') });
const pong = z.object({ type: z.literal('pong') });
/** A well-formed frame of a type we do not handle. */
const unknownMessage = z.object({ type: z.literal('unknown'), wireType: z.string() });
export type UnknownMessage = z.output<typeof unknownMessage>;

export const toGlasses = z.discriminatedUnion('type', [
  startStream,
  stopStream,
  keepStreamAlive,
  getStreamStatus,
  connectionAck,
  connectionError,
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
  /** Degrees Celsius. */
  temperatureC: z.number().optional(),
  resolvedConfig: resolvedConfig.optional(),
});
export type DeviceStreamStatus = z.output<typeof deviceStreamStatus>;

export const keepAliveAck = z.object({ type: z.literal('keep_alive_ack'), streamId: id, ackId: id });
export const connectionInit = z.object({ type: z.literal('connection_init') });
export const glassesConnectionState = z.object({
  type: z.literal('glasses_connection_state'),
  status: z.enum(['CONNECTED', 'DISCONNECTED']),
  modelName: z.string().optional(),
  wifi: z.object({ connected: z.boolean(), ssid: z.string().nullish(), localIp: z.string().nullish() }).optional(),
});
export const glassesBatteryUpdate = z.object({
  type: z.literal('glasses_battery_update'),
  /** Per cent. */
  level: z.number(),
  charging: z.boolean().optional(),
});
export const startApp = z.object({ type: z.literal('start_app'), packageName: id });
export const stopApp = z.object({ type: z.literal('stop_app'), packageName: id });

export const fromGlasses = z.discriminatedUnion('type', [
  deviceStreamStatus,
  keepAliveAck,
  connectionInit,
  glassesConnectionState,
  glassesBatteryUpdate,
  startApp,
  stopApp,
  ping,
  pong,
  unknownMessage,
]);
export type FromGlasses = z.output<typeof fromGlasses>;
