/**
 * The shape of a stream's story: what happened, what caused what, and how well the stream served. Pure. The store keeps it
 * as it stands here, so what an older version wrote is checked by it.
 */
import * as z from 'zod';
import { type ErrorCode, errorKinds } from '../../shared/errors.ts';
import { streamStates } from '../../shared/stream.ts';

/** Where something happened, or began. */
export const entrySources = ['app', 'relay', 'provider', 'device', 'encoder', 'network'] as const;
export type EntrySource = (typeof entrySources)[number];

/**
 * `step`: of a start; `trouble`: the glasses cannot push; `recovery`: they can again; `notice`: what they told beside that;
 * `glasses`: their line to the relay; `provider`: its API; `takeover`: another process of the relay goes on with it.
 */
export const entryKinds = [
  'state',
  'step',
  'trouble',
  'recovery',
  'notice',
  'glasses',
  'provider',
  'takeover',
  'viewer',
  'output',
] as const;

export const timelineEntry = z.object({
  /** Milliseconds from the request, counted up where two would be the same: one of a stream, also over a take-over. */
  id: z.number(),
  /** Wall clock. */
  atMs: z.number(),
  source: z.enum(entrySources),
  kind: z.enum(entryKinds),
  /** With `state`: the new one. */
  state: z.enum(streamStates).optional(),
  /** Of our error table, a notice of the glasses, or one of `ownCodes`. */
  code: z.string().max(60).optional(),
  text: z.string(),
  /** Units in their names. */
  numbers: z.record(z.string(), z.number()).optional(),
  /** The id of the entry that caused it, where that is known. */
  because: z.number().optional(),
  /** The same happened so often in a row; text and numbers are the newest. */
  times: z.number().optional(),
  /** Wall clock of the newest of those. */
  lastAtMs: z.number().optional(),
});
export type TimelineEntry = z.output<typeof timelineEntry>;

/** Codes that no error and no notice has. */
export const ownCodes = {
  startSent: 'START_SENT',
  publishing: 'PUBLISHING',
  /** Firmware that gives no reason. */
  pushLost: 'PUSH_LOST',
  controlLost: 'CONTROL_LOST',
  controlBack: 'CONTROL_BACK',
  takenOver: 'TAKEN_OVER',
  endedByOperator: 'ENDED_BY_OPERATOR',
  endedByLimit: 'ENDED_BY_LIMIT',
  endedByGlasses: 'ENDED_BY_GLASSES',
  endedByRelay: 'ENDED_BY_RELAY',
  endedByViewers: 'ENDED_BY_VIEWERS',
} as const;

/** With what words a stream is stopped, and what the story calls it. */
export const endings = {
  operator: 'The operator has ended the stream',
  limit: 'The duration limit is reached',
  glasses: 'The glasses stopped the stream',
  relay: 'The relay is shutting down',
} as const;

const spans = z.object({ count: z.number(), totalMs: z.number(), longestMs: z.number() });
export type Spans = z.output<typeof spans>;

/** How a stream served those who watch it. Durations in ms; what is under way counts up to now. */
export const serviceRecord = z.object({
  /** From the request to the first proven picture; absent while there was none. */
  timeToFirstFrameMs: z.number().optional(),
  /** With a proven picture, in all. */
  liveMs: z.number(),
  /** Times without a picture after the first one. */
  stalls: spans,
  /** The same by cause, a code of an entry; UNKNOWN: nobody told one. */
  stallCauses: z.record(z.string(), z.object({ count: z.number(), totalMs: z.number() })),
  /** Times that the glasses could not push, encoder or connection, until they pushed again. */
  reconnects: spans,
  /** Of the line between glasses and relay, which carries no media. */
  controlLosses: spans,
  /** What waited on the glasses to be sent, at worst: queued bytes over the bit rate in use. Absent when they never told. */
  worstDelayMs: z.number().optional(),
  /** That the glasses dropped, as far as they told. */
  framesLost: z.number(),
  stepsDown: z.number(),
  stepsUp: z.number(),
  /** As the glasses measured it when they stepped down; absent when they never had to. */
  uplink: z.object({ lowestBps: z.number().optional(), askedBps: z.number() }).optional(),
  providerRetries: z.number(),
  /** That the provider made the start wait, by our pauses between attempts. */
  providerWaitMs: z.number(),
  takeOvers: z.number(),
});
export type ServiceRecord = z.output<typeof serviceRecord>;

/** What goes on as the record is written, wall clock; and what the next figures are compared with. */
export const openSpans = z.object({
  liveSinceMs: z.number().optional(),
  stalledSinceMs: z.number().optional(),
  pushLostSinceMs: z.number().optional(),
  controlLostSinceMs: z.number().optional(),
  droppedFrames: z.number().optional(),
  videoBps: z.number().optional(),
});
export type OpenSpans = z.output<typeof openSpans>;

export const streamStory = z.object({
  streamId: z.string(),
  userId: z.string(),
  kind: z.enum(['managed', 'unmanaged']),
  state: z.enum(streamStates),
  createdAtMs: z.number(),
  savedAtMs: z.number(),
  /** The process that wrote it has let go of the stream in order: it knew nothing later. */
  isLetGo: z.boolean().optional(),
  /** Once it is over. */
  endedAtMs: z.number().optional(),
  errorCode: z.string().optional(),
  message: z.string().optional(),
  entries: z.array(timelineEntry),
  /** Entries that there was no room for. */
  leftOut: z.number(),
  /** Without what is open. */
  record: serviceRecord,
  open: openSpans,
});
export type StreamStory = z.output<typeof streamStory>;

/** What the verdict is spoken over. */
export type ToldStory = Pick<StreamStory, 'state' | 'record' | 'errorCode'> & {
  entries: readonly TimelineEntry[];
  /** Default: managed. */
  kind?: StreamStory['kind'];
};

export function isErrorCode(text: string | undefined): text is ErrorCode {
  return text !== undefined && Object.hasOwn(errorKinds, text);
}

const SOURCES: readonly (readonly [RegExp, EntrySource])[] = [
  [/^PROVIDER_|^INGEST_(REFUSED_KEY|TLS_FAILED)$|^(KEY_FRAME_INTERVAL|VIDEO_CODEC|AUDIO_CODEC)_REFUSED$/, 'provider'],
  [/^INGEST_|^UPLINK_|^FRAMES_DROPPED$|^CONTROL_|^PUSH_LOST$|^RELAY_UNREACHABLE$/, 'network'],
  [/^ENCODER_|^MALFORMED_FLV$|^FFMPEG_MISSING$/, 'encoder'],
  [/^(START_TIMEOUT|START_UNHEARD|STREAM_INTERRUPTED|TAKEN_OVER|SHUTTING_DOWN|STORE_UNAVAILABLE|INTERNAL)$/, 'relay'],
  [/^(SESSION_MOVED|NODE_UNREACHABLE|ENDED_BY_RELAY|ENDED_BY_LIMIT)$/, 'relay'],
  [/^ENDED_BY_(OPERATOR|VIEWERS)$/, 'app'],
];

/** Where what a code tells has happened. */
export function sourceOf(code: string): EntrySource {
  return SOURCES.find(([pattern]) => pattern.test(code))?.[1] ?? 'device';
}

export function endingCodeOf(message: string | undefined): string {
  switch (message) {
    case endings.operator:
      return ownCodes.endedByOperator;
    case endings.limit:
      return ownCodes.endedByLimit;
    case endings.glasses:
      return ownCodes.endedByGlasses;
    case endings.relay:
      return ownCodes.endedByRelay;
    default:
      return ownCodes.endedByViewers;
  }
}
