/** One broadcast's video as the API knows it, live and as a recording, and the JSON it is shown as. Pure. */
import * as z from 'zod';
import { isoTime, type LiveInput, metaBody, newUid, playbackJson } from '../api/live-input.ts';

/** `inprogress`: the broadcast is over, the recording is being finished. */
export type VideoState = 'live-inprogress' | 'inprogress' | 'ready' | 'error';

export interface Video {
  uid: string;
  liveInputUid: string;
  state: VideoState;
  errorCode: string;
  errorText: string;
  createdMs: number;
  modifiedMs: number;
  readyMs: number | null;
  /** 0 while live. */
  durationMs: number;
  bytes: number;
  width: number;
  height: number;
  meta: Record<string, unknown>;
  creator: string | null;
  requireSignedURLs: boolean;
  allowedOrigins: string[] | null;
  deleteAfterDays: number | null;
  /** Set by an edit, instead of what the input asked for; null: never. */
  deletionAtMs?: number | null;
  /** Share of the length at which the thumbnail is taken; absent: at the beginning. */
  thumbnailPct?: number;
  publicDetails?: Record<string, unknown>;
}

const publicDetails = z.object({
  title: z.string().nullable().optional(),
  share_link: z.string().nullable().optional(),
  channel_link: z.string().nullable().optional(),
  logo: z.string().nullable().optional(),
});
/** Body of an edit. What concerns uploads alone is taken and dropped. */
export const videoBody = z.object({
  uid: z.string().optional(),
  meta: metaBody.optional(),
  creator: z.string().max(64).nullable().optional(),
  requireSignedURLs: z.boolean().optional(),
  allowedOrigins: z.array(z.string()).nullable().optional(),
  /** Null: never. */
  scheduledDeletion: z.iso.datetime({ offset: true }).nullable().optional(),
  thumbnailTimestampPct: z.number().min(0).max(1).optional(),
  publicDetails: publicDetails.optional(),
});

const DAY_MS = 86_400_000;

/** Takes over the input's settings as they are at the start of the broadcast; later changes apply to later broadcasts. */
export function newVideo(input: LiveInput, nowMs: number): Video {
  const name = typeof input.meta.name === 'string' ? input.meta.name : input.uid;
  return {
    uid: newUid(),
    liveInputUid: input.uid,
    state: 'live-inprogress',
    errorCode: '',
    errorText: '',
    createdMs: nowMs,
    modifiedMs: nowMs,
    readyMs: null,
    durationMs: 0,
    bytes: 0,
    width: 0,
    height: 0,
    meta: { name: `${name} ${isoTime(nowMs)}` },
    creator: input.defaultCreator ?? null,
    requireSignedURLs: input.recording.requireSignedURLs,
    allowedOrigins: input.recording.allowedOrigins,
    deleteAfterDays: input.deleteRecordingAfterDays,
  };
}

/** As there: not earlier than so long after the upload. */
const MIN_KEPT_MS = 30 * DAY_MS;

/** The video with what a body asks for, or what is wrong with that. */
export function editedVideo(video: Video, body: z.output<typeof videoBody>, nowMs: number): Video | { wrong: string } {
  const { uid, scheduledDeletion: deletion, thumbnailTimestampPct: thumbnailPct, ...rest } = body;
  if (uid !== undefined && uid !== video.uid) return { wrong: 'uid: is not the one in the address' };
  const deletionAtMs = typeof deletion === 'string' ? Date.parse(deletion) : deletion;
  if (typeof deletionAtMs === 'number' && deletionAtMs < video.createdMs + MIN_KEPT_MS) {
    return { wrong: 'scheduledDeletion: must be at least 30 days after the upload' };
  }
  const wanted = { ...rest, deletionAtMs, thumbnailPct };
  const given = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
  return { ...video, ...given, modifiedMs: nowMs };
}

/** When the recording deletes itself, counted from ready unless a day was set; null: never. */
export function deletionMs({ readyMs, deleteAfterDays, deletionAtMs }: Video): number | null {
  if (deletionAtMs !== undefined) return deletionAtMs;
  return readyMs === null || deleteAfterDays === null ? null : readyMs + deleteAfterDays * DAY_MS;
}

export function videoJson(video: Video, httpOrigin: string): object {
  const dueMs = deletionMs(video);
  return {
    uid: video.uid,
    liveInput: video.liveInputUid,
    creator: video.creator,
    status: {
      state: video.state,
      ...(video.state === 'ready' ? { pctComplete: '100.000000' } : {}),
      errorReasonCode: video.errorCode,
      errorReasonText: video.errorText,
    },
    readyToStream: video.state === 'ready' || (video.state === 'live-inprogress' && video.width > 0),
    readyToStreamAt: video.readyMs === null ? null : isoTime(video.readyMs),
    playback: playbackJson(video.uid, httpOrigin),
    preview: `${httpOrigin}/${video.uid}/watch`,
    thumbnail: `${httpOrigin}/${video.uid}/thumbnails/thumbnail.jpg`,
    thumbnailTimestampPct: video.thumbnailPct ?? 0,
    duration: video.state === 'live-inprogress' ? -1 : video.durationMs / 1000,
    size: video.bytes,
    input: { width: video.width || -1, height: video.height || -1 },
    created: isoTime(video.createdMs),
    modified: isoTime(video.modifiedMs),
    uploaded: isoTime(video.createdMs),
    meta: video.meta,
    requireSignedURLs: video.requireSignedURLs,
    // Empty lets everybody in, as null does for an input.
    allowedOrigins: video.allowedOrigins ?? [],
    scheduledDeletion: dueMs === null ? null : isoTime(dueMs),
    publicDetails: video.publicDetails ?? null,
    // Of uploads, which there are none of here.
    ...{ uploadExpiry: null, maxDurationSeconds: null, watermark: null, clippedFrom: null },
  };
}
