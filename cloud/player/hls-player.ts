/**
 * Plays HLS, live and recorded: hls.js where the browser has media buffers, the browser's own HLS elsewhere.
 * Latency: from the moment that the playlist gives a picture (it came to the provider then) to the screen.
 */
import Hls, { type ErrorData } from 'hls.js';
import { autoplay } from './autoplay.ts';
import { notStarted, type RunningWay, type WayEvents } from './playback-ladder.ts';

export interface HlsOptions {
  /** Playlists with parts: play at their edge. */
  isLowLatency?: boolean;
  isRecording?: boolean;
  /** A recording is not started by itself when this is false. */
  startsItself?: boolean;
}

export function createHlsPlayer(
  video: HTMLVideoElement,
  url: string,
  events: WayEvents,
  options: HlsOptions = {},
): RunningWay {
  const { isLowLatency = false, isRecording = false, startsItself = true } = options;
  const onPlaying = () => events.playing();
  const onEnded = () => !isRecording && events.failed('The broadcast has ended');
  video.addEventListener(isRecording ? 'loadeddata' : 'playing', onPlaying);
  video.addEventListener('ended', onEnded);
  const hls = Hls.isSupported() ? new Hls(isRecording ? {} : liveConfig(isLowLatency)) : undefined;
  const endCatchUp = hls && isLowLatency ? catchUp(video, hls) : undefined;
  let hasRecovered = false;

  function onError({ fatal, type, details, response, networkDetails }: ErrorData): void {
    if (!fatal) return;
    if (type === Hls.ErrorTypes.MEDIA_ERROR && !hasRecovered) {
      hasRecovered = true;
      hls?.recoverMediaError();
      return;
    }
    const status = response?.code || (networkDetails as { status?: number } | null)?.status;
    // hls.js has names for what went wrong, and no words.
    const unreached = status ? `The server answered ${status}` : 'The server cannot be reached';
    events.failed(status === 204 ? notStarted : type === Hls.ErrorTypes.NETWORK_ERROR ? unreached : details);
  }
  function startNative(): void {
    video.src = url;
    video.addEventListener('error', onNativeError);
    if (startsItself) autoplay(video);
  }
  const onNativeError = () => events.failed(video.error?.message || notStarted);

  if (hls) {
    hls.on(Hls.Events.ERROR, (_name, data) => onError(data));
    hls.on(Hls.Events.MANIFEST_PARSED, () => startsItself && autoplay(video));
    hls.loadSource(url);
    hls.attachMedia(video);
  } else {
    startNative();
  }
  return {
    latencyMs() {
      const shownMs = hls?.playingDate?.getTime();
      return shownMs === undefined ? undefined : Date.now() - shownMs;
    },
    close() {
      video.removeEventListener('playing', onPlaying);
      video.removeEventListener('loadeddata', onPlaying);
      video.removeEventListener('ended', onEnded);
      video.removeEventListener('error', onNativeError);
      endCatchUp?.();
      hls?.destroy();
      video.removeAttribute('src');
      video.load();
    },
  };
}

/** Without parts, one segment behind the newest: 1.9 s at the glass with 1 s segments, where the default of three gives 4.9 s. */
const SEGMENTS_LIVE = { liveSyncDurationCount: 1, liveMaxLatencyDurationCount: 4, maxLiveSyncPlaybackRate: 1.1 };
/** With parts: the rate is ours, since hls.js speeds up only with more than a second in its buffer, which parts seldom give. */
const PARTS_LIVE = {
  lowLatencyMode: true,
  maxLiveSyncPlaybackRate: 1,
  liveSyncDuration: 0.6,
  liveMaxLatencyDuration: 2.5,
  liveSyncOnStallIncrease: 0.3,
  liveDurationInfinity: true,
};
/** Behind the edge by more than the first, faster; by more than the second, hls.js jumps. */
const CATCH_UP = { everyMs: 200, fromS: 0.8, toS: 3, rate: 1.1 };

function liveConfig(isLowLatency: boolean): object {
  return isLowLatency ? PARTS_LIVE : SEGMENTS_LIVE;
}

/** Returns the way to end it. */
function catchUp(video: HTMLVideoElement, hls: Hls): () => void {
  const timer = setInterval(() => {
    const { latency } = hls;
    video.playbackRate = latency > CATCH_UP.fromS && latency < CATCH_UP.toS ? CATCH_UP.rate : 1;
  }, CATCH_UP.everyMs);
  return () => {
    clearInterval(timer);
    video.playbackRate = 1;
  };
}
