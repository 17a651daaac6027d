/** What an id plays at this moment: the broadcast of an input, a video that is live, a recording. Reads only. */
import type { Broadcasts, OnAir } from '../packaging/broadcasts.ts';
import type { TrackKind } from '../packaging/fmp4.ts';
import type { Segment } from '../packaging/packager.ts';
import { newestPeriod, type Presentation } from '../packaging/presentation.ts';
import type { Recordings } from '../recordings/recordings.ts';
import type { Video } from '../recordings/video.ts';
import type { Admitted } from './playback-access.ts';

export interface Playable {
  videoUid: string;
  isLive: boolean;
  presentation: Presentation;
  /** While it is live. */
  onAir?: OnAir;
}

/**
 * `idle`: the input exists and nothing is on air. `off`: its recording was switched off while it was on air. `failed`: the
 * recording is unusable.
 */
export type NotPlayable = 'idle' | 'off' | 'failed' | 'unknown';

export interface Playables {
  of(subject: Pick<Admitted, 'uid' | 'kind'>): Promise<Playable | NotPlayable>;
  /** All of it that can still be fetched, also while it is live. */
  whole(playable: Playable): Presentation;
  /** Bytes of an init or media segment, from memory or from disk. */
  media(videoUid: string, name: string): Promise<Buffer | undefined>;
  /** True while what somebody may watch through this input still includes this video. */
  isOfInput(videoUid: string, inputUid: string): boolean;
}

export interface PlayablesOptions {
  video: (uid: string) => Video | undefined;
  broadcasts: Pick<Broadcasts, 'onAir' | 'onAirVideo' | 'isTakenOff'>;
  recordings: Pick<Recordings, 'read' | 'media' | 'soFar'>;
  /** Wall clock, ms since the epoch. */
  nowMs: () => number;
}

/** Whoever watched a broadcast through its input may be this far behind when it ends. */
const AFTERMATH_MS = 600_000;

export function createPlayables({ video, broadcasts, recordings, nowMs }: PlayablesOptions): Playables {
  return {
    async of({ uid, kind }) {
      const onAir = kind === 'input' ? broadcasts.onAir(uid) : broadcasts.onAirVideo(uid);
      const shown = onAir?.window.presentation();
      if (onAir && shown && newestPeriod(shown))
        return { videoUid: onAir.videoUid, isLive: true, presentation: shown, onAir };
      if (kind === 'input' && broadcasts.isTakenOff(uid)) return 'off';
      if (onAir || kind === 'input') return 'idle';
      const found = video(uid);
      if (!found) return 'unknown';
      const presentation = found.state === 'error' ? undefined : await recordings.read(uid);
      return presentation ? { videoUid: uid, isLive: false, presentation } : 'failed';
    },
    whole({ videoUid, isLive, presentation }) {
      return isLive ? joined(recordings.soFar(videoUid), presentation) : presentation;
    },
    async media(videoUid, name) {
      const held = broadcasts.onAirVideo(videoUid)?.window.media(name);
      if (held) return held;
      // Asked first, so that a name from outside never becomes a folder on its own.
      return video(videoUid) ? recordings.media(videoUid, name) : undefined;
    },
    isOfInput(videoUid, inputUid) {
      const found = video(videoUid);
      if (found?.liveInputUid !== inputUid) return false;
      return found.readyMs === null || nowMs() - found.readyMs < AFTERMATH_MS;
    },
  };
}

/** What is on disk, and what is newer in memory; only the latter when the disk has fallen behind by more than memory holds. */
export function joined(written: Presentation | undefined, live: Presentation): Presentation {
  if (!written) return live;
  const track = (kind: TrackKind): Segment[] | undefined => {
    const newest = written.segments[kind].at(-1)?.number ?? -1;
    const fresh = live.segments[kind].filter(({ number }) => number > newest);
    const isGapless = fresh[0] === undefined || fresh[0].number === newest + 1;
    return isGapless ? [...written.segments[kind], ...fresh] : undefined;
  };
  const video = track('video');
  const audio = track('audio');
  if (!video || !audio) return live;
  const known = new Set(written.periods.map(({ index }) => index));
  return {
    ...live,
    periods: [...written.periods, ...live.periods.filter(({ index }) => !known.has(index))],
    segments: { video, audio },
    longestMs: Math.max(written.longestMs, live.longestMs),
  };
}
