/**
 * Recordings on disk: a folder per video with its segments as they were packaged and a timeline, one JSON line per period or
 * segment, written after the media it names. So whatever the timeline names is whole, also after a SIGKILL.
 * A disk that is full or too slow ends the recording, never the live stream.
 */
import { appendFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { PackagerSink, Period, Segment } from './packager.ts';
import { durationMs, initName, isMediaName, type Presentation, segmentName } from './presentation.ts';

export interface Recording extends PackagerSink {
  /** All that could be written is on disk. Never rejects. */
  finish(): Promise<void>;
  /** What waits is given up; nothing is being written when it returns. Never rejects. */
  abandon(): Promise<void>;
}

export interface Recordings {
  /** Starts writing; an old folder of this name must not exist. */
  begin(videoUid: string): Recording;
  /** Undefined when nothing playable was recorded. */
  read(videoUid: string): Promise<Presentation | undefined>;
  /** Bytes of an init or media segment; undefined when there is no such file. */
  media(videoUid: string, name: string): Promise<Buffer | undefined>;
  /** Also one that is still being written: it is stopped first. */
  remove(videoUid: string): Promise<void>;
}

export interface RecordingsOptions {
  /** Holds one folder per video. */
  folder: string;
  log: Log;
}

type TimelineLine = { period: Period } | { segment: Segment };

const TIMELINE = 'timeline.jsonl';
/** Waiting for the disk; more than this and the disk is too slow to record at all. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
const CACHED_TIMELINES = 4;

export function createRecordings({ folder, log }: RecordingsOptions): Recordings {
  const writing = new Map<string, Recording>();
  const cache = new Map<string, Presentation>();

  return {
    begin(videoUid) {
      const recording = createRecording(join(folder, videoUid), log.child({ videoUid }));
      writing.set(videoUid, recording);
      return {
        ...recording,
        async finish() {
          await recording.finish();
          writing.delete(videoUid);
        },
      };
    },
    async read(videoUid) {
      const known = cache.get(videoUid);
      if (known) return known;
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
  };
}

function createRecording(folder: string, log: Log): Recording {
  let queue: Promise<void> = mkdir(folder, { recursive: true, mode: 0o700 }).then(() => undefined, stop);
  let queuedBytes = 0;
  let isStopped = false;

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
        for (const { name, data } of files) await writeFile(join(folder, name), data, { mode: 0o600 });
        await appendFile(join(folder, TIMELINE), `${JSON.stringify(line)}\n`, { mode: 0o600 });
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
    segment: (segment, data) => enqueue([{ name: segmentName(segment), data }], { segment }),
    finish: () => queue,
    abandon() {
      isStopped = true;
      return queue;
    },
  };
}

/** A torn or foreign line is what a crash leaves: reading stops there. */
export function readTimeline(text: string): Presentation | undefined {
  const periods: Period[] = [];
  const segments: Record<'video' | 'audio', Segment[]> = { video: [], audio: [] };
  let longestMs = 0;
  for (const line of text.split('\n')) {
    try {
      const parsed = JSON.parse(line) as TimelineLine;
      if ('period' in parsed) periods.push(parsed.period);
      else {
        segments[parsed.segment.track].push(parsed.segment);
        longestMs = Math.max(longestMs, durationMs(parsed.segment));
      }
    } catch {
      break;
    }
  }
  const [first] = periods;
  if (!first || segments.video.length === 0) return undefined;
  return { startedMs: first.wallMs, periods, segments, longestMs, isEnded: true };
}
