/**
 * Who listens to which input's Opus: one transcoder for all viewers of an input, from the first that listens to the last that
 * leaves. Without an ffmpeg that makes Opus the picture goes on alone.
 */
import type { SpawnChild } from '../../../shared/child-process.ts';
import type { Clock } from '../../../shared/clock.ts';
import { errorText } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { isSequenceHeader } from '../../../shared/rtmp/flv.ts';
import type { LiveFeed } from '../live-feed.ts';
import { createOpusTranscoder, type OpusTranscoder } from './opus-transcoder.ts';

/** @param timestampMs on the feed's timeline, with fractions; 10 ms from one packet to the next. */
export type HearOpus = (packet: Buffer, timestampMs: number) => void;

export interface WhepSound {
  /** Returns the way to stop listening. */
  listen(inputUid: string, hear: HearOpus): () => void;
  /** Resolves when no child is left. */
  close(): Promise<void>;
}

export interface WhepSoundOptions {
  /** Asked at the first listener, once. */
  ffmpeg: () => Promise<string>;
  feed: Pick<LiveFeed, 'join'>;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
}

interface Source {
  readonly listeners: Set<HearOpus>;
  close(): Promise<void>;
}

export function createWhepSound({ ffmpeg, feed, spawn, clock, log }: WhepSoundOptions): WhepSound {
  const sources = new Map<string, Source>();
  const closing = new Set<Promise<void>>();
  let found: Promise<string | undefined> | undefined;

  function ffmpegFile(): Promise<string | undefined> {
    found ??= ffmpeg().catch((error: unknown) => {
      log.warn({ cause: errorText(error) }, 'whep-sound-off');
      return undefined;
    });
    return found;
  }

  function open(inputUid: string): Source {
    const listeners = new Set<HearOpus>();
    let transcoder: OpusTranscoder | undefined;
    let leave: (() => void) | undefined;
    let isClosed = false;
    const begun = ffmpegFile().then((file) => {
      if (!file || isClosed) return;
      const made = createOpusTranscoder({
        ...{ ffmpeg: file, spawn, clock, log },
        onPacket(packet, timestampMs) {
          for (const hear of listeners) hear(packet, timestampMs);
        },
      });
      transcoder = made;
      // Of what is past only the configuration: old sound would be in the way of the new one.
      let isPast = true;
      leave = feed.join(inputUid, {
        tag: (tag) => {
          if (!isPast || isSequenceHeader(tag)) made.tag(tag);
        },
        ended: () => void made.close(),
      });
      isPast = false;
    });
    return {
      listeners,
      async close() {
        isClosed = true;
        leave?.();
        await begun;
        await transcoder?.close();
      },
    };
  }

  function shut(inputUid: string, source: Source): void {
    sources.delete(inputUid);
    const done = source.close().finally(() => closing.delete(done));
    closing.add(done);
  }

  return {
    listen(inputUid, hear) {
      const source = sources.get(inputUid) ?? open(inputUid);
      sources.set(inputUid, source);
      source.listeners.add(hear);
      return () => {
        const wasThere = source.listeners.delete(hear);
        if (wasThere && source.listeners.size === 0) shut(inputUid, source);
      };
    },
    async close() {
      for (const [inputUid, source] of [...sources]) shut(inputUid, source);
      await Promise.all(closing);
    },
  };
}
