/**
 * The live input as the API knows it: its settings with Cloudflare's limits, defaults and silent traps, and the JSON it is shown as.
 * Pure: rules are those measured on the real API (a setting in the wrong place is accepted and dropped, 0 becomes null).
 */
import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import type { ErrorCode } from '../../../shared/errors.ts';
import { Secret } from '../../../shared/secrets.ts';

const recordingBody = z.object({
  mode: z.enum(['off', 'automatic']).default('off'),
  requireSignedURLs: z.boolean().default(false),
  allowedOrigins: z.array(z.string()).nullable().default(null),
  hideLiveViewerCount: z.boolean().default(false),
  // 0 asks for the platform's default, it does not mean "end at once".
  timeoutSeconds: z
    .number()
    .int()
    .min(0)
    .nullable()
    .default(null)
    .transform((seconds) => seconds || null),
});

/** JSON can be read at any depth but only written as deep as the stack is. */
const MAX_META_DEPTH = 32;

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(inner, levels - 1));
}

/** Whatever a client keeps with its objects. */
export const metaBody = z
  .record(z.string(), z.unknown())
  .refine((meta) => !isDeeperThan(meta, MAX_META_DEPTH), 'nested too deeply');

/** Body of create and update. Unknown fields, nested or not, are dropped without a word, as there. */
export const liveInputBody = z.object({
  meta: metaBody.optional(),
  /** No longer than what a video takes over as its `creator`. */
  defaultCreator: z.string().max(64).optional(),
  enabled: z.boolean().optional(),
  preferLowLatency: z.boolean().optional(),
  deleteRecordingAfterDays: z.number().int().nullable().optional(),
  recording: recordingBody.optional(),
});

export type LiveInputBody = z.output<typeof liveInputBody>;
export type RecordingSettings = z.output<typeof recordingBody>;

export const recordingDays = { min: 30, max: 1096 };
/** Per input, as there. */
export const maxOutputs = 50;

export const outputBody = z.object({ url: z.url(), streamKey: z.string().min(1), enabled: z.boolean().default(true) });
/** The destination is fixed for life; only the switch may move. */
export const outputChange = z.object({ enabled: z.boolean() });

export interface Output {
  uid: string;
  url: string;
  streamKey: Secret;
  enabled: boolean;
}

/** How the push of an output goes. */
export interface OutputState {
  state: 'connecting' | 'connected' | 'reconnecting' | 'disconnected' | 'error';
  /** Why it is not connected; a code of our error table. */
  reason?: ErrorCode;
}

export interface StatusEntry {
  ingestProtocol: 'rtmp';
  state: 'connected' | 'disconnected';
  /** `failed_to_connect`: what the publisher sent could not be played. */
  reason: 'connected' | 'client_disconnect' | 'failed_to_connect';
  /** RFC 3339. */
  statusEnteredAt: string;
  statusLastSeen: string;
}

export interface LiveInput {
  uid: string;
  createdMs: number;
  modifiedMs: number;
  meta: Record<string, unknown>;
  defaultCreator?: string;
  enabled: boolean;
  preferLowLatency?: boolean;
  deleteRecordingAfterDays: number | null;
  recording: RecordingSettings;
  publishKey: Secret;
  playbackKey: Secret;
  /** Secret path segment of the WHIP address. */
  webRtcKey: Secret;
  outputs: Output[];
  keysRotatedMs?: number;
  /** Null until the first publisher. */
  status: { current: StatusEntry; history: StatusEntry[] } | null;
}

export const newUid = (): string => randomBytes(16).toString('hex');
const newKey = (uid: string): Secret => new Secret(`${newUid()}k${uid}`);

export function newLiveInput(body: LiveInputBody, nowMs: number): LiveInput {
  const uid = newUid();
  const blank: LiveInput = {
    uid,
    createdMs: nowMs,
    modifiedMs: nowMs,
    meta: {},
    enabled: true,
    deleteRecordingAfterDays: null,
    recording: recordingBody.parse({}),
    publishKey: newKey(uid),
    playbackKey: newKey(uid),
    webRtcKey: newKey(uid),
    outputs: [],
    status: null,
  };
  return changedLiveInput(blank, body, nowMs);
}

/** The same input with other keys. */
export function rotatedLiveInput(input: LiveInput, nowMs: number): LiveInput {
  const { uid } = input;
  const keys = { publishKey: newKey(uid), playbackKey: newKey(uid), webRtcKey: newKey(uid) };
  return { ...input, ...keys, keysRotatedMs: nowMs, modifiedMs: nowMs };
}

/** Merges at the top level; `recording` is replaced as a whole, so a client has to send it complete. */
export function changedLiveInput(input: LiveInput, body: LiveInputBody, nowMs: number): LiveInput {
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
  return { ...input, ...given, modifiedMs: nowMs };
}

/** A step of the publisher: the present entry goes to the history, newest first. */
export function nextStatus(
  status: LiveInput['status'],
  reason: StatusEntry['reason'],
  at: string,
): LiveInput['status'] {
  const state = reason === 'connected' ? 'connected' : 'disconnected';
  const current: StatusEntry = { ingestProtocol: 'rtmp', state, reason, statusEnteredAt: at, statusLastSeen: at };
  return { current, history: status ? [status.current, ...status.history].slice(0, KEPT_STATUSES) : [] };
}
const KEPT_STATUSES = 20;

export interface PublicAddresses {
  /** `http://HOST:PORT` */
  httpOrigin: string;
  /** `rtmps://HOST:PORT/live/`, or `rtmp://…` where there is no RTMPS; the one address, as there. */
  rtmpUrl: string;
}

/** What create, get and update answer: with credentials. Unset optional settings are left out, as there. */
export function liveInputJson(input: LiveInput, { httpOrigin, rtmpUrl }: PublicAddresses): object {
  return {
    ...liveInputListJson(input),
    ...(input.defaultCreator === undefined ? {} : { defaultCreator: input.defaultCreator }),
    ...(input.preferLowLatency ? { preferLowLatency: true } : {}),
    ...(input.keysRotatedMs === undefined ? {} : { keysRotatedAt: isoTime(input.keysRotatedMs) }),
    recording: input.recording,
    rtmps: { url: rtmpUrl, streamKey: input.publishKey.reveal() },
    rtmpsPlayback: { url: rtmpUrl, streamKey: input.playbackKey.reveal() },
    webRTC: { url: `${httpOrigin}/${input.webRtcKey.reveal()}/webRTC/publish` },
    webRTCPlayback: { url: `${httpOrigin}/${input.uid}/webRTC/play` },
    playback: playbackJson(input.uid, httpOrigin),
    status: input.status,
  };
}

/** List items carry no credentials. */
export function liveInputListJson(input: LiveInput): object {
  return {
    uid: input.uid,
    created: isoTime(input.createdMs),
    modified: isoTime(input.modifiedMs),
    meta: input.meta,
    enabled: input.enabled,
    deleteRecordingAfterDays: input.deleteRecordingAfterDays,
  };
}

/** @param state undefined: it has not pushed yet, and has no status. */
export function outputJson({ uid, url, streamKey, enabled }: Output, state: OutputState | undefined): object {
  return { uid, url, streamKey: streamKey.reveal(), enabled, ...(state ? { status: { current: state } } : {}) };
}

export function playbackJson(id: string, httpOrigin: string): { hls: string; dash: string } {
  return { hls: `${httpOrigin}/${id}/manifest/video.m3u8`, dash: `${httpOrigin}/${id}/manifest/video.mpd` };
}

/** RFC 3339 with microseconds, as the real API writes it. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
