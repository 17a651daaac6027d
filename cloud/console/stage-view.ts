/** The live picture with what belongs to it: its state in words, the way it comes and how late it is, sound, full screen. */
import { createLivePlayer, type PlaybackWay } from '../player/live-player.ts';
import type { KnownSession, KnownStream } from './console-state.ts';
import { isRunning } from './console-state.ts';
import { byId, make, setAttribute, setText } from './elements.ts';
import { duration, latency, stateName } from './formatting.ts';
import { createLastPicture } from './last-picture.ts';
import type { PlaybackSources } from './relay-shapes.ts';
import { situationWords } from './situation-words.ts';

export interface StageView {
  render(userId: string | undefined, session: KnownSession | undefined, stream: KnownStream | undefined): void;
  toggleSound(): void;
  toggleFullScreen(): void;
  close(): void;
}

interface Way {
  way: PlaybackWay;
  name: string;
  about: string;
  /** How its delay is known, and what is not in it. */
  measured: string;
  source: keyof PlaybackSources;
}

const PLAYLIST_TIME =
  'By the time that the playlist gives each picture: from its arrival at the server to this screen. Wrong by as much as this device’s clock is.';
const ways: readonly Way[] = [
  {
    ...{ way: 'whep', name: 'WebRTC', about: 'the fastest', source: 'webrtcUrl' },
    measured: 'By this browser’s count: half the round trip to the server, then the wait and the decoding here.',
  },
  {
    ...{ way: 'ws-flv', name: 'WS-FLV', about: 'half a second', source: 'flvUrl' },
    measured: 'By the time that the stream itself tells: from the picture’s arrival at the server to this screen.',
  },
  {
    ...{ way: 'll-hls', name: 'LL-HLS', about: 'about a second', source: 'llHlsUrl' },
    measured: PLAYLIST_TIME,
  },
  { ...{ way: 'hls', name: 'HLS', about: 'a few seconds', source: 'hlsUrl' }, measured: PLAYLIST_TIME },
];
const NOT_IN_IT = 'The glasses’ camera and their network come on top.';
const LOOK_MS = 500;

export function createStageView(): StageView {
  const video = byId<HTMLVideoElement>('video');
  const select = byId<HTMLSelectElement>('way');
  const sound = byId<HTMLButtonElement>('sound');
  const lastPicture = createLastPicture(video, byId<HTMLCanvasElement>('last-picture'));
  const player = createLivePlayer(video, { onChange: () => renderPlayer() });
  let shown: { userId: string | undefined; session: KnownSession | undefined; stream: KnownStream | undefined } = {
    ...{ userId: undefined, session: undefined, stream: undefined },
  };
  let showing: string | undefined;
  /** Whose picture was shown last. */
  let pictured: string | undefined;

  select.replaceChildren(
    make('option', { value: '' }, 'Automatic'),
    ...ways.map(({ way, name, about }) => make('option', { value: way }, `${name}: ${about}`)),
  );
  select.addEventListener('change', () => player.prefer(ways.find(({ way }) => way === select.value)?.way));
  sound.addEventListener('click', toggleSound);
  byId('full').addEventListener('click', () => toggleFullScreen());
  video.addEventListener('volumechange', renderSound);
  const looking = setInterval(renderPlayer, LOOK_MS);

  function toggleSound(): void {
    video.muted = !video.muted;
  }
  function toggleFullScreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else
      void byId('picture')
        .requestFullscreen()
        .catch(() => {});
  }
  function renderSound(): void {
    setText(sound, video.muted ? 'Sound off' : 'Sound on');
    setAttribute(sound, 'aria-pressed', String(!video.muted));
  }

  function renderPlayer(): void {
    const state = player.state();
    const { session, stream } = shown;
    const words = situationWords({ session, stream, player: { ...state, hasLastPicture: lastPicture.isThere() } });
    if (state.isPlaying && words.banner === '') lastPicture.take();
    byId('last-picture').hidden = state.isPlaying || !showing || !lastPicture.isThere();
    setText(byId('placeholder-title'), words.title);
    setText(byId('placeholder-text'), words.placeholder);
    setText(byId('banner'), words.banner);
    byId('picture').dataset.still = String(words.banner !== '');
    const way = stream && showing ? ways.find((known) => known.way === state.way) : undefined;
    const automatic = select.options[0];
    if (automatic) setText(automatic, way && select.value === '' ? `Automatic: ${way.name}` : 'Automatic');
    renderDelay(way, words.banner === '' ? state.latencyMs : undefined);
    byId('tools').hidden = !showing;
    const onAir = isRunning(stream) && stream.state === 'active' ? stream.stats?.duration : undefined;
    setText(byId('on-air'), onAir === undefined ? '' : duration(onAir));
  }

  /** A picture from the future is a clock that is wrong: better no word than a wrong one. */
  function renderDelay(way: Way | undefined, latencyMs: number | undefined): void {
    const isKnown = way !== undefined && latencyMs !== undefined && latencyMs >= 0;
    const about = way ? `${way.measured} ${NOT_IN_IT}` : '';
    setText(byId('delay'), isKnown ? `${latency(latencyMs)} behind` : '');
    setAttribute(byId('delay'), 'title', about);
    setText(byId('delay-about'), about);
  }

  function renderWays(playback: PlaybackSources | undefined): void {
    for (const option of select.options) {
      const known = ways.find(({ way }) => way === option.value);
      option.disabled = known !== undefined && !playback?.[known.source];
    }
  }

  renderSound();
  return {
    render(userId, session, stream) {
      shown = { userId, session, stream };
      setText(byId('who'), userId ?? '');
      setAttribute(byId('who'), 'title', userId);
      const badge = byId('state');
      const isThere = session?.connected === true;
      setText(badge, stream ? stateName(stream.state) : isThere ? 'Ready' : 'Away');
      badge.dataset.state = stream?.state ?? (isThere ? 'ready' : 'away');
      const isShown = isRunning(stream) && (stream.state === 'active' || stream.state === 'interrupted');
      const playback = isShown ? stream.playback : undefined;
      const key = playback ? `${stream?.streamId} ${Object.values(playback).join(' ')}` : undefined;
      if (key !== showing) {
        showing = key;
        if (stream?.streamId !== pictured) lastPicture.forget();
        pictured = stream?.streamId;
        player.show(playback);
        renderWays(playback);
      }
      renderPlayer();
    },
    toggleSound,
    toggleFullScreen,
    close() {
      clearInterval(looking);
      player.close();
    },
  };
}
