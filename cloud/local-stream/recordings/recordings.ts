/**
 * Recordings on disk: a folder per video with its segments as they were packaged and a timeline, one JSON line per period or
 * segment, written after the media it names. So whatever the timeline names is whole, also after a SIGKILL.
 * A disk that is full or too slow, or a quota, ends the recording, never the live stream.
 */
import { appendFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorText } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import type { TrackKind } from '../packaging/fmp4.ts';
import type { PackagerSink, Period, Segment } from '../packaging/packager.ts';
import {
  durationMs,
  initName,
  isMediaName,
  type Presentation,
  segmentName,
  startMs,
} from '../packaging/presentation.ts';

export interface Recording extends PackagerSink {
  /** All that could be written is on disk. Never rejects. */
  finish(): Promise<void>;
  /** What waits is given up; nothing is being written when it returns. Never rejects. */
  abandon(): Promise<void>;
}

export interface Recordings {
  /** Starts writing; an old folder of this name must not exist. */
  begin(videoUid: string): Recording;
  /** Of one that is being written: what is on disk, its newest segments as far as a live playlist may list them. */
  soFar(videoUid: string): Presentation | undefined;
  /** Undefined when nothing playable was recorded. Of one that is still being written, what waits for the disk included. */
  read(videoUid: string): Promise<Presentation | undefined>;
  /** Bytes of an init or media segment; undefined when there is no such file. */
  media(videoUid: string, name: string): Promise<Buffer | undefined>;
  /** Also one that is still being written: it is stopped first. */
  remove(videoUid: string): Promise<void>;
  /** Of those that are being written. */
  writtenBytes(): number;
}

export interface RecordingsOptions {
  /** Holds one folder per video. */
  folder: string;
  log: Log;
  /** Why so many bytes more may not be written; undefined: they may. Default: whatever the disk takes. */
  refusal?: (bytes: number) => Promise<string | undefined>;
}

type TimelineLine = { period: Period } | { segment: Segment };

const TIMELINE = 'timeline.jsonl';
/** Waiting for the disk; more than this and the disk is too slow to record at all. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
const CACHED_TIMELINES = 4;
/** Of one track, in a playlist of a broadcast that goes on; as at Cloudflare. */
const MAX_DVR_SEGMENTS = 7200;
/** Longer broadcasts go on, their recording ends; as at Cloudflare. */
const MAX_RECORDED_MS = 7 * 86_400_000;

export function createRecordings({ folder, log, refusal = async () => undefined }: RecordingsOptions): Recordings {
  const writing = new Map<string, WrittenRecording>();
  const cache = new Map<string, Presentation>();

  return {
    begin(videoUid) {
      const recording = createRecording(join(folder, videoUid), log.child({ videoUid }), refusal);
      writing.set(videoUid, recording);
      return {
        ...recording,
        async finish() {
          await recording.finish();
          writing.delete(videoUid);
        },
      };
    },
    soFar: (videoUid) => writing.get(videoUid)?.soFar(),
    async read(videoUid) {
      const known = cache.get(videoUid);
      if (known) return known;
      // A playlist that says its end must have all of it.
      await writing.get(videoUid)?.finish();
      const text = await readFile(join(folder, videoUid, TIMELINE), 'utf8').catch(() => '');
      const presentation = readTimeline(text);
      if (presentation && !writing.has(videoUid)) {
        cache.set(videoUid, presentation);
        for (const oldest of cache.keys()) {
          if (cache.size <= CACHED_TIMELINES) break;
          cache.delete(oldest);
        }
      }
      return presentation;
    },
    async media(videoUid, name) {
      if (!isMediaName(name)) return undefined;
      return readFile(join(folder, videoUid, name)).catch(() => undefined);
    },
    async remove(videoUid) {
      await writing.get(videoUid)?.abandon();
      cache.delete(videoUid);
      await rm(join(folder, videoUid), { recursive: true, force: true });
    },
    writtenBytes: () => [...writing.values()].reduce((sum, { bytes }) => sum + bytes(), 0),
  };
}

interface WrittenRecording extends Recording {
  soFar(): Presentation | undefined;
  bytes(): number;
}

function createRecording(
  folder: string,
  log: Log,
  refusal: NonNullable<RecordingsOptions['refusal']>,
): WrittenRecording {
  const written = createTimeline(MAX_DVR_SEGMENTS);
  let writtenBytes = 0;
  let queue: Promise<void> = mkdir(folder, { recursive: true, mode: 0o700 }).then(() => undefined, stop);
  let queuedBytes = 0;
  let isStopped = false;
  let isFull = false;

  function stop(error: unknown): void {
    if (!isStopped) log.warn({ cause: errorText(error) }, 'recording-stopped');
    isStopped = true;
  }
  function enqueue(files: readonly { name: string; data: Buffer }[], line: TimelineLine): void {
    const bytes = files.reduce((sum, { data }) => sum + data.length, 0);
    if (!isStopped && queuedBytes + bytes > MAX_QUEUED_BYTES) stop(new Error('the disk is too slow'));
    if (isStopped) return;
    queuedBytes += bytes;
    queue = queue
      .then(async () => {
        if (isStopped) return;
        const reason = await refusal(bytes);
        if (reason !== undefined) throw new Error(reason);
        for (const { name, data } of files) await writeFile(join(folder, name), data, { mode: 0o600 });
        await appendFile(join(folder, TIMELINE), `${JSON.stringify(line)}\n`, { mode: 0o600 });
        writtenBytes += bytes;
        written.add(line);
      })
      .catch(stop)
      .finally(() => {
        queuedBytes -= bytes;
      });
  }
  return {
    period(period, inits) {
      const files = [{ name: initName('video', period.index), data: inits.video }];
      if (inits.audio) files.push({ name: initName('audio', period.index), data: inits.audio });
      enqueue(files, { period });
    },
    segment(segment, data) {
      // What waits for the disk is still wanted.
      if (startMs(segment) >= MAX_RECORDED_MS) {
        if (!isFull) log.info({ maxMs: MAX_RECORDED_MS }, 'recording-full');
        isFull = true;
      } else enqueue([{ name: segmentName(segment), data }], { segment });
    },
    finish: () => queue,
    abandon() {
      isStopped = true;
      return queue;
    },
    soFar: () => written.presentation(false),
    bytes: () => writtenBytes,
  };
}

/** @param maxSegments of each track; older ones are forgotten. */
function createTimeline(maxSegments = Number.POSITIVE_INFINITY) {
  const periods: Period[] = [];
  const segments: Record<TrackKind, Segment[]> = { video: [], audio: [] };
  let longestMs = 0;
  return {
    /** Throws on what is no line of a timeline. */
    add(line: TimelineLine): void {
      if ('period' in line) {
        periods.push(line.period);
        return;
      }
      const track = segments[line.segment.track];
      track.push(line.segment);
      longestMs = Math.max(longestMs, durationMs(line.segment));
      if (track.length > maxSegments) track.shift();
    },
    /** Undefined while there is nothing to play. */
    presentation(isEnded: boolean): Presentation | undefined {
      const [first] = periods;
      if (!first || segments.video.length === 0) return undefined;
      const { video, audio } = segments;
      return {
        ...{ startedMs: first.wallMs, periods: [...periods], longestMs, isEnded },
        segments: { video: [...video], audio: [...audio] },
      };
    },
  };
}

/** A torn or foreign line is what a crash leaves: reading stops there. */
export function readTimeline(text: string): Presentation | undefined {
  const timeline = createTimeline();
  for (const line of text.split('\n')) {
    try {
      timeline.add(JSON.parse(line) as TimelineLine);
    } catch {
      break;
    }
  }
  return timeline.presentation(true);
}
