/** One broadcast's video as the API knows it, live and as a recording, and the JSON it is shown as. Pure. */
import { isoTime, type LiveInput, newUid, playbackJson } from './live-input.ts';

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
}

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

/** When the recording deletes itself, counted from ready; null: never. */
export function deletionMs({ readyMs, deleteAfterDays }: Video): number | null {
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
    thumbnailTimestampPct: 0,
    duration: video.state === 'live-inprogress' ? -1 : video.durationMs / 1000,
    size: video.bytes,
    input: { width: video.width || -1, height: video.height || -1 },
    created: isoTime(video.createdMs),
    modified: isoTime(video.modifiedMs),
    uploaded: isoTime(video.createdMs),
    meta: video.meta,
    requireSignedURLs: video.requireSignedURLs,
    allowedOrigins: video.allowedOrigins,
    scheduledDeletion: dueMs === null ? null : isoTime(dueMs),
  };
}
