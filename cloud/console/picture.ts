/** The live picture by HLS alone: hls.js where the browser has MSE, the browser's own HLS elsewhere. */
import Hls from 'hls.js';

export type Way = 'whep' | 'ws-flv' | 'll-hls' | 'hls';
export interface LiveSources {
  webrtcUrl?: string | undefined;
  flvUrl?: string | undefined;
  llHlsUrl?: string | undefined;
  hlsUrl?: string | undefined;
}
export interface LivePlayerState {
  way?: Way;
  latencyMs?: number;
  isPlaying: boolean;
  message?: string;
}
export interface LivePlayer {
  show(sources: LiveSources | undefined): void;
  prefer(way: Way | undefined): void;
  state(): LivePlayerState;
  close(): void;
}

export function createLivePlayer(video: HTMLVideoElement, { onChange }: { onChange?: () => void } = {}): LivePlayer {
  let hls: Hls | undefined;
  let shown: string | undefined;
  video.addEventListener('playing', () => onChange?.());

  function drop(): void {
    hls?.destroy();
    hls = undefined;
    video.removeAttribute('src');
    video.load();
  }

  function attach(url: string): void {
    if (!Hls.isSupported()) {
      video.src = url;
      void video.play().catch(() => {});
      return;
    }
    // One segment behind the newest: 1.9 s at the glass with 1 s segments, where the default of three gives 4.9 s.
    const player = new Hls({ liveSyncDurationCount: 1, liveMaxLatencyDurationCount: 4, maxLiveSyncPlaybackRate: 1.1 });
    player.on(Hls.Events.ERROR, (_name, { fatal, type }) => {
      if (!fatal) return;
      if (type === Hls.ErrorTypes.MEDIA_ERROR) player.recoverMediaError();
      else setTimeout(() => hls === player && player.loadSource(url), 1000);
    });
    player.on(Hls.Events.MANIFEST_PARSED, () => void video.play().catch(() => {}));
    player.loadSource(url);
    player.attachMedia(video);
    hls = player;
  }

  return {
    show(sources) {
      const url = sources?.hlsUrl;
      if (url === shown) return;
      shown = url;
      drop();
      if (url) attach(url);
      onChange?.();
    },
    prefer() {},
    state() {
      const latency = hls?.latency;
      const isKnown = latency !== undefined && Number.isFinite(latency) && latency > 0;
      return {
        isPlaying: shown !== undefined && video.readyState >= 2 && video.videoWidth > 0,
        ...(shown ? { way: 'hls' as const } : {}),
        ...(isKnown ? { latencyMs: latency * 1000 } : {}),
      };
    },
    close: drop,
  };
}
