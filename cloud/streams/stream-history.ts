/**
 * The timelines of the streams that run and of those that ended last, for operators. In memory: a restart of the relay
 * begins anew. Watches only; no stream knows of it.
 */
import type { Clock } from '../../shared/clock.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { isStreamOver } from '../../shared/stream.ts';
import { createStreamTimeline, type StreamTimeline, type TimelineEntry } from './stream-timeline.ts';
import type { StreamSnapshot } from './stream-views.ts';

export interface EndedStream extends StreamSnapshot {
  /** ISO 8601. */
  endedAt: string;
}

export interface StreamHistory {
  /** A stream has changed. */
  saw(snapshot: StreamSnapshot): void;
  /** A status is on its way to the user's stream. @param pass hands it on. */
  deviceStatus(userId: string, status: DeviceStreamStatus, pass: () => void): void;
  glasses(userId: string, areThere: boolean): void;
  /** Undefined: no such stream, or too long ago. */
  timeline(streamId: string): readonly TimelineEntry[] | undefined;
  /** Newest first. */
  ended(): EndedStream[];
  /** As long as the stream is remembered. */
  userOf(streamId: string): string | undefined;
}

export interface StreamHistoryOptions {
  clock: Clock;
  redact: (text: string) => string;
  onEntry: (streamId: string, entry: TimelineEntry) => void;
  /** Default 50. */
  maxEnded?: number;
}

interface Chapter {
  snapshot: StreamSnapshot;
  timeline: StreamTimeline;
  endedAt: string | undefined;
}

export function createStreamHistory(options: StreamHistoryOptions): StreamHistory {
  const { clock, redact, onEntry, maxEnded = 50 } = options;
  /** In the order of their beginnings. */
  const chapters = new Map<string, Chapter>();
  /** By user, who has one at a time. */
  const running = new Map<string, Chapter>();

  function chapterOf(snapshot: StreamSnapshot): Chapter {
    const known = chapters.get(snapshot.streamId);
    if (known) return known;
    const made = { snapshot, timeline: createStreamTimeline({ clock, redact }), endedAt: undefined };
    chapters.set(snapshot.streamId, made);
    return made;
  }
  function forgetOldest(): void {
    const over = [...chapters].filter(([, { endedAt }]) => endedAt !== undefined);
    for (const [streamId] of over.slice(0, Math.max(0, over.length - maxEnded))) chapters.delete(streamId);
  }

  return {
    saw(snapshot) {
      const chapter = chapterOf(snapshot);
      chapter.snapshot = snapshot;
      if (!isStreamOver(snapshot.state)) running.set(snapshot.userId, chapter);
      else if (running.get(snapshot.userId) === chapter) running.delete(snapshot.userId);
      for (const entry of chapter.timeline.saw(snapshot)) onEntry(snapshot.streamId, entry);
      if (chapter.endedAt !== undefined || (snapshot.state !== 'stopped' && snapshot.state !== 'failed')) return;
      chapter.endedAt = new Date(clock.now()).toISOString();
      // By their ends from now on.
      chapters.delete(snapshot.streamId);
      chapters.set(snapshot.streamId, chapter);
      forgetOldest();
    },
    deviceStatus(userId, status, pass) {
      const chapter = running.get(userId);
      const { streamId } = chapter?.snapshot ?? {};
      if (!chapter || !streamId || (status.streamId && status.streamId !== streamId)) return pass();
      chapter.timeline.because(status, pass);
      if (status.notice) onEntry(streamId, chapter.timeline.noticed(status.notice));
    },
    glasses(userId, areThere) {
      const chapter = running.get(userId);
      if (chapter) onEntry(chapter.snapshot.streamId, chapter.timeline.glasses(areThere));
    },
    timeline: (streamId) => chapters.get(streamId)?.timeline.entries(),
    ended: () =>
      [...chapters.values()]
        .flatMap(({ snapshot, endedAt }) => (endedAt === undefined ? [] : [{ ...snapshot, endedAt }]))
        .reverse(),
    userOf: (streamId) => chapters.get(streamId)?.snapshot.userId,
  };
}
