/** How long a stream may stay as it is: interrupted, without its glasses, and in all. Says when; never what follows. */
import { GlasscastError } from '../../shared/errors.ts';
import type { SerialInbox } from './serial-inbox.ts';
import { endings } from './stream-story.ts';
import type { StreamTimings } from './stream-timings.ts';

export interface StreamDeadlines {
  /** @param alreadyMs it has been so for this long, in an earlier process. */
  interrupted(alreadyMs?: number): void;
  /** A picture is there. @param liveForMs since the first one. */
  live(liveForMs: number): void;
  /** @param liveForMs since the first picture. */
  limit(liveForMs: number): void;
  glassesAway(): void;
  glassesBack(): void;
}

export interface StreamDeadlinesOptions {
  /** Its timers are those of the present generation. */
  inbox: Pick<SerialInbox, 'arm' | 'disarm' | 'isArmed'>;
  timings: Pick<StreamTimings, 'interruptedDeadlineMs' | 'glassesAwayMs'>;
  /** Of the whole stream, as its app has asked. */
  limitSeconds: number | undefined;
  fail: (error: GlasscastError) => void;
  stop: (message: string) => void;
}

export function createStreamDeadlines(options: StreamDeadlinesOptions): StreamDeadlines {
  const { inbox, timings, limitSeconds, fail, stop } = options;
  const deadlines: StreamDeadlines = {
    interrupted(alreadyMs = 0) {
      const leftMs = Math.max(0, timings.interruptedDeadlineMs - alreadyMs);
      inbox.arm('interrupted', leftMs, () => fail(new GlasscastError('STREAM_INTERRUPTED')));
    },
    live(liveForMs) {
      inbox.disarm('interrupted');
      deadlines.limit(liveForMs);
    },
    limit(liveForMs) {
      if (limitSeconds === undefined || inbox.isArmed('duration-limit')) return;
      const leftMs = Math.max(0, limitSeconds * 1000 - liveForMs);
      inbox.arm('duration-limit', leftMs, () => stop(endings.limit));
    },
    glassesAway() {
      inbox.arm('glasses-away', timings.glassesAwayMs, () => fail(new GlasscastError('GLASSES_NOT_CONNECTED')));
    },
    glassesBack: () => inbox.disarm('glasses-away'),
  };
  return deadlines;
}
