/**
 * The wire on one side, the internal form on the other. Two dialects are spoken: `rtmp` (rtmp_* names, MentraOS 2.x)
 * and `stream` (transport-neutral names, 3.x). Both come in; answers go out in the dialect of the peer.
 * Decoding and encoding both validate. Normative text: PROTOCOL.md.
 */
import type { z } from 'zod';
import { GlasscastError } from '../errors.ts';
import { type FromApp, fromApp, type ToApp, toApp } from './app-messages.ts';
import { type FromGlasses, fromGlasses, type ResolvedConfig, type ToGlasses, toGlasses } from './glasses-messages.ts';

export type Dialect = 'rtmp' | 'stream';

export interface Decoded<Message> {
  message: Message;
  /** Which dialect the frame was written in; undefined when its type is the same in both. */
  dialect: Dialect | undefined;
}

type Fields = Record<string, unknown>;

/** Old type name → internal one; the internal names are those of the newer dialect. */
const OLD_TO_NEW: Readonly<Record<string, string>> = {
  start_rtmp_stream: 'start_stream',
  stop_rtmp_stream: 'stop_stream',
  keep_rtmp_stream_alive: 'keep_stream_alive',
  get_rtmp_status: 'get_stream_status',
  rtmp_stream_request: 'stream_request',
  rtmp_stream_stop: 'stream_stop',
  rtmp_stream_status: 'stream_status',
};
const NEW_TO_OLD: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(OLD_TO_NEW).map(([older, newer]) => [newer, older]),
);

/** Types whose publish address is called by another name in each dialect. */
const CARRIES_URL = new Set(['start_stream', 'stream_request']);

/** Largest frame worth parsing; sockets refuse more before it gets here. */
export const MAX_FRAME_BYTES = 256 * 1024;

export const decodeFromGlasses = (frame: string): Decoded<FromGlasses> => decode(fromGlasses, frame);
export const decodeToGlasses = (frame: string): Decoded<ToGlasses> => decode(toGlasses, frame);
export const decodeFromApp = (frame: string): Decoded<FromApp> => decode(fromApp, frame);

/** @param nowMs for `timestamp`; glasses send it as a number, the relay as ISO 8601. */
export function encodeFromGlasses(message: FromGlasses, dialect: Dialect, nowMs: number): string {
  return encode(fromGlasses, message, dialect, { timestamp: nowMs });
}

export function encodeToGlasses(message: ToGlasses, dialect: Dialect, nowMs: number): string {
  // Nothing but its two ids: a phone forwards each keep-alive over Bluetooth.
  const stamp = message.type === 'keep_stream_alive' ? {} : { timestamp: new Date(nowMs).toISOString() };
  return encode(toGlasses, message, dialect, stamp);
}

export function encodeToApp(message: ToApp, dialect: Dialect, nowMs: number): string {
  return encode(toApp, message, dialect, { timestamp: new Date(nowMs).toISOString() });
}

/** As apps know it: `video.frameRate` where the glasses say `video.fps`. */
export function resolvedConfigForApps({ video, ...rest }: ResolvedConfig): Fields {
  if (!video) return rest;
  const { fps, ...others } = video;
  return { ...rest, video: fps === undefined ? others : { ...others, frameRate: fps } };
}

function decode<Schema extends z.ZodType<{ type: string }>>(schema: Schema, frame: string): Decoded<z.output<Schema>> {
  const fields = parseFrame(frame);
  const wireType = fields.type as string;
  const newer = Object.hasOwn(OLD_TO_NEW, wireType) ? OLD_TO_NEW[wireType] : undefined;
  const normal = normalise({ ...fields, type: newer ?? wireType });
  const dialect = newer ? 'rtmp' : isNewer(wireType) ? 'stream' : undefined;
  const parsed = schema.safeParse(normal);
  if (parsed.success) return { message: parsed.data, dialect };
  if (isUnknownType(parsed.error)) {
    // Who hands it on hands on all of it, nulls too.
    const unknown = { type: 'unknown', wireType: wireType.slice(0, 100), fields: JSON.parse(frame) as unknown };
    return { message: schema.parse(unknown), dialect: undefined };
  }
  throw malformed(`${wireType}: ${firstIssue(parsed.error)}`, { type: wireType });
}

/** The SDKs of the older dialect know no `reconnect`. */
function isNewer(wireType: string): boolean {
  return wireType === 'reconnect' || Object.hasOwn(NEW_TO_OLD, wireType);
}

function encode<Schema extends z.ZodType<{ type: string }>>(
  schema: Schema,
  message: z.input<Schema>,
  dialect: Dialect,
  stamp: Fields,
): string {
  const { publishUrl, streamInfo, ...fields } = schema.parse(message) as { type: string } & Fields;
  const isOlder = dialect === 'rtmp';
  const wire: Fields = { ...fields, type: isOlder ? (NEW_TO_OLD[fields.type] ?? fields.type) : fields.type };
  if (publishUrl !== undefined) wire[isOlder ? 'rtmpUrl' : 'streamUrl'] = publishUrl;
  if (streamInfo) wire.streamInfo = isOlder ? streamInfo : renamed(streamInfo, { rtmpUrl: 'streamUrl' });
  return JSON.stringify({ ...wire, ...stamp });
}

const withoutNull = (_key: string, field: unknown) => (field === null ? undefined : field);

function parseFrame(frame: string): Fields {
  let value: unknown;
  try {
    // A null stands for "not given" wherever a peer writes one; few do, and looking for it costs more than all the rest.
    value = frame.includes('null') ? JSON.parse(frame, withoutNull) : JSON.parse(frame);
  } catch (cause) {
    throw malformed('not JSON', {}, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('not a JSON object', {});
  const fields = value as Fields;
  if (typeof fields.type !== 'string') throw malformed('type: expected a string', {});
  return fields;
}

/** Field names of both dialects and the compact Bluetooth forms, brought to the internal names. */
function normalise(fields: Fields): Fields {
  const type = fields.type as string;
  if (CARRIES_URL.has(type)) return normaliseStart(fields);
  if (type === 'stream_status') return normaliseStatus(fields);
  if (type === 'stop_stream') return { ...fields, streamId: fields.streamId ?? '' };
  return fields;
}

function normaliseStart(fields: Fields): Fields {
  const publishUrl = fields.rtmpUrl ?? fields.streamUrl ?? fields.srtUrl ?? fields.whipUrl;
  const short = { w: 'width', h: 'height', br: 'bitrate', fr: 'frameRate' };
  const shortAudio = { br: 'bitrate', sr: 'sampleRate', ec: 'echoCancellation', ns: 'noiseSuppression' };
  const start = fields.type === 'start_stream';
  const none = start ? {} : undefined;
  return {
    ...fields,
    // A start without an address is answered by the glasses (`missing_rtmp_url`), not dropped as malformed.
    publishUrl: publishUrl ?? (start ? '' : undefined),
    streamId: fields.streamId ?? '',
    video: fields.video ?? renamed(fields.v, short) ?? none,
    audio: fields.audio ?? renamed(fields.a, shortAudio) ?? none,
    stream: fields.stream ?? none,
  };
}

function normaliseStatus(fields: Fields): Fields {
  const compact = renamed(fields.m, {
    b: 'bitrate',
    f: 'fps',
    w: 'width',
    h: 'height',
    d: 'droppedFrames',
    u: 'duration',
  });
  const stats = (fields.stats ?? compact) as Fields | undefined;
  return {
    ...fields,
    // A snapshot may carry flags in place of a word.
    status: fields.status ?? (fields.reconnecting ? 'reconnecting' : fields.streaming ? 'streaming' : 'stopped'),
    ...(stats ? { stats } : {}),
    temperatureC: fields.temperatureC ?? fields.tp ?? (isFields(stats) ? stats.temperatureC : undefined),
  };
}

function renamed(value: unknown, names: Record<string, string>): Fields | undefined {
  if (!isFields(value)) return undefined;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [names[key] ?? key, field]));
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isUnknownType(error: z.ZodError): boolean {
  return error.issues.some(({ code, path }) => code === 'invalid_union' && path.join('.') === 'type');
}

function firstIssue(error: z.ZodError): string {
  const [issue] = error.issues;
  return issue ? `${issue.path.join('.') || 'message'}: ${issue.message}` : 'not valid';
}

function malformed(reason: string, details: Fields, cause?: unknown): GlasscastError {
  return new GlasscastError('MALFORMED_MESSAGE', { reason, details, cause });
}
