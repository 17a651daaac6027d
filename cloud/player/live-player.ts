/**
 * The live player of the console and of the local Stream's own page: one video element, the best way to fill it.
 * Owns the browser's side of the ladder's decisions: elements, visibility, time.
 */
import { createFlvPlayer } from './flv-player.ts';
import { createHlsPlayer } from './hls-player.ts';
import {
  createPlaybackLadder,
  type PlaybackLadder,
  type PlaybackWay,
  type PlayerState,
  type RunningWay,
  type WayEvents,
} from './playback-ladder.ts';
import { createWhepPlayer } from './whep-player.ts';

export type { PlaybackSources, PlaybackWay, PlayerState } from './playback-ladder.ts';

export type LivePlayer = PlaybackLadder;

export interface LivePlayerOptions {
  onChange?: (state: PlayerState) => void;
}

type Player = (video: HTMLVideoElement, url: string, events: WayEvents) => RunningWay;

const players: Record<PlaybackWay, Player> = {
  whep: createWhepPlayer,
  'ws-flv': createFlvPlayer,
  'll-hls': (video, url, events) => createHlsPlayer(video, url, events, { isLowLatency: true }),
  hls: createHlsPlayer,
};

/** Plays in `video`, which should be `muted` and `playsinline` to start by itself. */
export function createLivePlayer(video: HTMLVideoElement, { onChange }: LivePlayerOptions = {}): LivePlayer {
  return createPlaybackLadder({
    start: (way, url, events) => players[way](video, url, events),
    rehearse(way, url, events) {
      const spare = document.createElement('video');
      spare.muted = true;
      spare.playsInline = true;
      return players[way](spare, url, events);
    },
    pictures: () => (video.paused ? undefined : video.getVideoPlaybackQuality().totalVideoFrames),
    isHidden: () => document.hidden,
    clock: {
      nowMs: () => performance.now(),
      every(ms, fire) {
        const timer = setInterval(fire, ms);
        return () => clearInterval(timer);
      },
    },
    onChange: (state) => onChange?.(state),
  });
}
