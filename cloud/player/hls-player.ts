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
  let hasRecovered = false;

  function onError({ fatal, type, details, response, networkDetails }: ErrorData): void {
    if (!fatal) return;
    if (type === Hls.ErrorTypes.MEDIA_ERROR && !hasRecovered) {
      hasRecovered = true;
      hls?.recoverMediaError();
      return;
    }
    const status = response?.code || (networkDetails as { status?: number } | null)?.status;
    events.failed(status === 204 ? notStarted : details);
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
      hls?.destroy();
      video.removeAttribute('src');
      video.load();
    },
  };
}

/** One segment behind the newest: 1.9 s at the glass with 1 s segments, where the default of three gives 4.9 s. */
function liveConfig(isLowLatency: boolean): object {
  const common = { liveMaxLatencyDurationCount: 4, maxLiveSyncPlaybackRate: 1.1, lowLatencyMode: isLowLatency };
  // With parts the playlist says itself how near to go.
  return isLowLatency
    ? { lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.1 }
    : { ...common, liveSyncDurationCount: 1 };
}
