/**
 * All videos of the account: begins one per broadcast, finishes it into a recording, deletes it. Owns the states
 * live-inprogress → inprogress → ready | error; the media itself lies with the recordings.
 */
import type { z } from 'zod';
import type { Clock, Timer } from '../../../shared/clock.ts';
import { errorText } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import type { LiveInput } from '../api/live-input.ts';
import type { Catalogue } from '../catalogue.ts';
import { type Presentation, totalMs } from '../packaging/presentation.ts';
import type { Recordings } from './recordings.ts';
import { deletionMs, editedVideo, newVideo, type Video, type videoBody } from './video.ts';

export interface VideoLibrary {
  /**
   * Videos that a crash left unfinished become recordings of what was written; starts the sweep of expired ones.
   * @returns what was finished so: the caller tells of it, once there are addresses to tell.
   */
  start(): Promise<readonly Video[]>;
  /** Newest first. */
  list(): Video[];
  get(videoUid: string): Video | undefined;
  /** A broadcast has its first picture. */
  begin(input: LiveInput, size: { width: number; height: number }): Video;
  /** The broadcast is over and everything is on disk once `written` settles; `ready` follows after the delay. */
  end(videoUid: string, written: Promise<void>): Promise<void>;
  /** What the recordings weigh, all or one creator's; a broadcast that goes on weighs nothing yet. */
  usage(creator?: string): { minutes: number; bytes: number; videoCount: number };
  /** Written before it is answered. Undefined: no such video. */
  edit(videoUid: string, body: z.output<typeof videoBody>): Video | { wrong: string } | undefined;
  /** Undefined: no such video. False: still live, cannot be deleted. */
  remove(videoUid: string): Promise<boolean | undefined>;
  /** Waits for recordings that are being finished; idempotent. */
  close(): Promise<void>;
}

export interface VideoLibraryOptions {
  catalogue: Pick<Catalogue, 'videos' | 'saveVideo' | 'removeVideo'>;
  recordings: Pick<Recordings, 'read' | 'remove'>;
  clock: Clock;
  log: Log;
  /** From the end of a broadcast to `ready`. */
  readyDelayMs: number;
  /** A recording is ready, or will never be; not called for what `start` returns. */
  onFinished?: (video: Video) => void;
}

const SWEEP_MS = 3_600_000;
const NOTHING_RECORDED: Partial<Video> = {
  state: 'error',
  errorCode: 'ERR_DURATION_TOO_SHORT',
  errorText: 'Nothing could be recorded',
};

export function createVideoLibrary(options: VideoLibraryOptions): VideoLibrary {
  const { catalogue, recordings, clock, log, readyDelayMs } = options;
  const videos = new Map<string, Video>();
  const finishing = new Set<Promise<void>>();
  /** Known in memory alone. */
  const unsaved = new Set<string>();
  const delays = new AbortController();
  let sweep: Timer | undefined;

  /** Called from the path of live media: a full disk costs the memory of a restart until there is room, not the stream. */
  function keep(video: Video): void {
    videos.set(video.uid, video);
    try {
      catalogue.saveVideo(video);
      unsaved.delete(video.uid);
    } catch (error) {
      unsaved.add(video.uid);
      log.warn({ videoUid: video.uid, cause: errorText(error) }, 'video-not-saved');
    }
  }

  function change(videoUid: string, fields: Partial<Video>): void {
    const video = videos.get(videoUid);
    if (!video) return;
    keep({ ...video, ...fields, modifiedMs: clock.now() });
    if (fields.state) log.info({ videoUid, state: fields.state }, 'video-state');
  }

  /** Reads back what really is on disk, so that the length told is the length that plays. */
  async function finish(videoUid: string): Promise<Video | undefined> {
    const presentation = await recordings.read(videoUid);
    change(videoUid, presentation ? landed(presentation) : NOTHING_RECORDED);
    return videos.get(videoUid);
  }
  function landed(presentation: Presentation): Partial<Video> {
    const all = [...presentation.segments.video, ...presentation.segments.audio];
    const bytes = all.reduce((sum, segment) => sum + segment.bytes, 0);
    return { state: 'ready', readyMs: clock.now(), durationMs: Math.round(totalMs(presentation)), bytes };
  }

  function saveAgain(): void {
    for (const uid of [...unsaved]) {
      const video = videos.get(uid);
      if (video) keep(video);
      // One that fails is enough of them.
      if (unsaved.has(uid)) return;
    }
  }

  async function remove(videoUid: string): Promise<boolean | undefined> {
    const video = videos.get(videoUid);
    if (!video) return undefined;
    if (video.state === 'live-inprogress') return false;
    // Files first: on a full disk the catalogue cannot even forget, and what fails half-way can be asked for again.
    await recordings.remove(videoUid);
    catalogue.removeVideo(videoUid);
    unsaved.delete(videoUid);
    if (videos.delete(videoUid)) log.info({ videoUid }, 'video-removed');
    saveAgain();
    return true;
  }
  /** A removal that close waits for. */
  function removed(videoUid: string): Promise<boolean | undefined> {
    const work = remove(videoUid);
    const settled = work.then(
      () => undefined,
      () => undefined,
    );
    finishing.add(settled);
    void settled.then(() => finishing.delete(settled));
    return work;
  }

  async function removeExpired(): Promise<void> {
    saveAgain();
    for (const video of [...videos.values()]) {
      const dueMs = deletionMs(video);
      if (dueMs === null || dueMs > clock.now()) continue;
      await removed(video.uid).catch((error: unknown) => {
        log.warn({ videoUid: video.uid, cause: errorText(error) }, 'video-not-removed');
      });
    }
  }

  return {
    async start() {
      for (const video of catalogue.videos()) videos.set(video.uid, video);
      const cutShort = [...videos.values()].filter(
        ({ state }) => state === 'live-inprogress' || state === 'inprogress',
      );
      const finished: Video[] = [];
      for (const { uid } of cutShort) {
        const video = await finish(uid);
        if (video) finished.push(video);
      }
      await removeExpired();
      sweep = clock.every('video-sweep', SWEEP_MS, () => void removeExpired());
      return finished;
    },
    list: () => [...videos.values()].sort((a, b) => b.createdMs - a.createdMs),
    get: (videoUid) => videos.get(videoUid),
    begin(input, size) {
      const video = { ...newVideo(input, clock.now()), ...size };
      keep(video);
      log.info({ videoUid: video.uid, inputUid: input.uid }, 'video-begun');
      return video;
    },
    async end(videoUid, written) {
      change(videoUid, { state: 'inprogress' });
      const work = written
        .then(() => clock.sleep(readyDelayMs, { signal: delays.signal, name: 'video-ready' }))
        // A closing program does not wait out the delay; the recording is whole all the same.
        .catch(() => undefined)
        .then(() => finish(videoUid))
        .then((video) => video && options.onFinished?.(video));
      finishing.add(work);
      await work.finally(() => finishing.delete(work));
    },
    usage(creator) {
      const recorded = [...videos.values()].filter(
        (video) => video.state !== 'live-inprogress' && (creator === undefined || video.creator === creator),
      );
      const ms = recorded.reduce((sum, { durationMs }) => sum + durationMs, 0);
      const bytes = recorded.reduce((sum, video) => sum + video.bytes, 0);
      return { minutes: Math.ceil(ms / 60_000), bytes, videoCount: recorded.length };
    },
    edit(videoUid, body) {
      const video = videos.get(videoUid);
      const edited = video && editedVideo(video, body, clock.now());
      if (!edited || 'wrong' in edited) return edited;
      catalogue.saveVideo(edited);
      videos.set(videoUid, edited);
      return edited;
    },
    remove: removed,
    async close() {
      sweep?.cancel();
      delays.abort();
      await Promise.all(finishing);
    },
  };
}
