/** The live picture: hls.js where the browser has MSE, the browser's own HLS elsewhere. Knows one URL at a time. */
import Hls from 'hls.js';

export interface Picture {
  /** Plays this address; undefined shows nothing. The same address again changes nothing. */
  show(hlsUrl: string | undefined): void;
  /** Seconds behind the newest segment, when the player knows. */
  delaySeconds(): number | undefined;
}

export function createPicture(video: HTMLVideoElement): Picture {
  let hls: Hls | undefined;
  let shown: string | undefined;

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
    show(url) {
      if (url === shown) return;
      shown = url;
      drop();
      if (url) attach(url);
    },
    delaySeconds() {
      const latency = hls?.latency;
      return latency && Number.isFinite(latency) && latency > 0 ? latency : undefined;
    },
  };
}
