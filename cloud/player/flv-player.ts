/**
 * Plays WS-FLV: mpegts.js puts the stream into the browser's media buffer, and the live edge keeps the picture near its end.
 * Latency: from the picture's arrival at the local Stream to the screen, by the time that the stream itself tells; what the
 * glasses and their uplink took before is not in it.
 */
import mpegts from 'mpegts.js';
import { autoplay } from './autoplay.ts';
import { createLiveEdge } from './live-edge.ts';
import { notStarted, type RunningWay, type WayEvents } from './playback-ladder.ts';

/** The local Stream's script data, see flv/viewer.ts there. */
interface StreamClock {
  wallMs: number;
  /** Of the picture that came then; 0 is the first one. */
  mediaMs?: number;
  isWaiting?: boolean;
  /** It is about to end, for players to come back to other tracks. */
  isChanged?: boolean;
}

const EDGE_EVERY_MS = 100;
/** The stream tells each second that nothing comes. */
const WAITING_BELIEVED_MS = 3000;
/** Clocks that are farther apart than any network takes are not the same clock. */
const MAX_NETWORK_MS = 3000;

export function createFlvPlayer(video: HTMLVideoElement, url: string, events: WayEvents): RunningWay {
  mpegts.LoggingControl.enableAll = false;
  if (!mpegts.getFeatureList().mseLivePlayback) {
    queueMicrotask(() => events.failed('This browser plays no FLV'));
    return { latencyMs: () => undefined, close: () => undefined };
  }
  const player = mpegts.createPlayer({ type: 'flv', isLive: true, url: url.replace(/^http/, 'ws') }, playerConfig);
  const edge = createLiveEdge();
  let clock: { offsetMs: number; skewMs: number } | undefined;
  let leastDelayMs = Number.POSITIVE_INFINITY;
  let waitingMs = Number.NEGATIVE_INFINITY;
  let hasPlayed = false;
  let hasChanged = false;
  let isClosed = false;

  function followEdge(): void {
    const { buffered } = video;
    if (buffered.length === 0 || video.paused || video.seeking) return;
    const endS = buffered.end(buffered.length - 1);
    // A gap in front of us is not waited for.
    const isInGap = video.currentTime < buffered.start(buffered.length - 1) - 0.1;
    const { rate, jumpToS } = edge.advise(endS - video.currentTime, performance.now());
    if (isInGap || jumpToS !== undefined) {
      video.currentTime = Math.max(buffered.start(buffered.length - 1), endS - (jumpToS ?? edge.targetS));
    }
    if (video.playbackRate !== rate) video.playbackRate = rate;
  }
  function onClock({ wallMs, mediaMs, isWaiting, isChanged }: StreamClock): void {
    if (isChanged) hasChanged = true;
    if (isWaiting) waitingMs = performance.now();
    leastDelayMs = Math.min(leastDelayMs, Date.now() - wallMs);
    if (mediaMs === undefined) return;
    waitingMs = Number.NEGATIVE_INFINITY;
    const isOtherClock = leastDelayMs < 0 || leastDelayMs > MAX_NETWORK_MS;
    clock = { offsetMs: wallMs - mediaMs, skewMs: isOtherClock ? leastDelayMs : 0 };
  }
  const onPlaying = () => {
    hasPlayed = true;
    // Who joins is given the pictures since the last key frame first.
    followEdge();
    events.playing();
  };
  const onStarved = () => {
    if (hasPlayed && !video.seeking) edge.starved(performance.now());
  };
  const onResumed = () => {
    // Browsers pause what they do not show; whoever comes back wants the present.
    if (!isClosed && !document.hidden) followEdge();
  };

  player.on(mpegts.Events.ERROR, (kind: string, detail: string) => events.failed(`${kind}: ${detail}`));
  player.on(mpegts.Events.LOADING_COMPLETE, () =>
    events.failed(hasPlayed ? 'The broadcast has ended' : notStarted, hasChanged),
  );
  player.on(mpegts.Events.SCRIPTDATA_ARRIVED, (data: { onGlasscastClock?: StreamClock }) => {
    if (data.onGlasscastClock) onClock(data.onGlasscastClock);
  });
  video.addEventListener('playing', onPlaying);
  video.addEventListener('waiting', onStarved);
  video.addEventListener('play', onResumed);
  player.attachMediaElement(video);
  player.load();
  autoplay(video);
  const following = setInterval(followEdge, EDGE_EVERY_MS);

  return {
    latencyMs() {
      if (!clock) return undefined;
      return Date.now() - clock.skewMs - (clock.offsetMs + video.currentTime * 1000);
    },
    isWaiting: () => performance.now() - waitingMs < WAITING_BELIEVED_MS,
    close() {
      if (isClosed) return;
      isClosed = true;
      clearInterval(following);
      video.removeEventListener('playing', onPlaying);
      video.removeEventListener('waiting', onStarved);
      video.removeEventListener('play', onResumed);
      video.playbackRate = 1;
      player.destroy();
    },
  };
}

const playerConfig = {
  // Each is a wait: for a full stash, for the other thread, for a buffer that is read later.
  enableStashBuffer: false,
  enableWorker: false,
  deferLoadAfterSourceOpen: false,
  lazyLoad: false,
  // Ours follows the edge ten times a second.
  liveSync: false,
  liveBufferLatencyChasing: false,
  autoCleanupSourceBuffer: true,
  autoCleanupMaxBackwardDuration: 20,
  autoCleanupMinBackwardDuration: 5,
};
