/**
 * The player page of one address: an input (its live broadcast, or the wait for one) or a video (live, then its recording).
 * Options in the query, as at Cloudflare: autoplay, muted, controls, loop; unlike there a page starts by itself, muted.
 */
import { createHlsPlayer } from './hls-player.ts';
import { createLivePlayer, type LivePlayer, type PlaybackSources, type PlayerState } from './live-player.ts';
import { notStarted, type RunningWay } from './playback-ladder.ts';

type Lifecycle = { isInput: boolean; live: boolean } | { refusal: string };

/** A recording is looked for again after so long, and a live video's end. */
const LOOK_AGAIN_MS = 3000;
const NOT_READY = 'The recording is not ready yet';

const wayNames = { whep: 'WebRTC', 'ws-flv': 'FLV', 'll-hls': 'low latency HLS', hls: 'HLS' } as const;

const query = new URLSearchParams(location.search);
const isOn = (name: string, byDefault: boolean) =>
  query.has(name) ? !['false', '0', 'no'].includes(query.get(name) ?? '') : byDefault;
const id = location.pathname.split('/')[1] ?? '';
const address = (path: string) => new URL(`/${id}/${path}`, location.href).href;

function element<Kind extends HTMLElement>(name: string, kind: new () => Kind): Kind {
  const found = document.getElementById(name);
  if (!(found instanceof kind)) throw new Error(`the page has no ${name}`);
  return found;
}
const video = element('video', HTMLVideoElement);
const message = element('message', HTMLElement);
const badge = element('badge', HTMLElement);
const bar = element('bar', HTMLElement);
const mute = element('mute', HTMLButtonElement);
const full = element('full', HTMLButtonElement);

let live: LivePlayer | undefined;
let recording: RunningWay | undefined;

function say(text: string | undefined): void {
  message.hidden = text === undefined;
  if (text !== undefined && message.textContent !== text) message.textContent = text;
}

function onLive({ way, latencyMs, isPlaying, message: text }: PlayerState): void {
  say(isPlaying ? undefined : (text ?? (message.hidden ? undefined : message.textContent || 'Connecting…')));
  badge.hidden = !isPlaying;
  const delay = latencyMs === undefined ? '' : `, ${(latencyMs / 1000).toFixed(1)} s behind`;
  badge.textContent = way ? `Live by ${wayNames[way]}${delay}` : '';
}

function playLive(isInput: boolean): void {
  const sources: PlaybackSources = { flvUrl: address('live.flv'), hlsUrl: address('manifest/video.m3u8') };
  if (isInput) sources.webrtcUrl = address('webRTC/play');
  live ??= createLivePlayer(video, { onChange: onLive });
  live.show(sources);
  bar.hidden = !isOn('controls', true);
}

function playRecording(): void {
  live?.close();
  live = undefined;
  badge.hidden = true;
  bar.hidden = true;
  video.controls = isOn('controls', true);
  video.loop = isOn('loop', false);
  video.poster = address('thumbnails/thumbnail.jpg');
  const startsItself = isOn('autoplay', true);
  recording = createHlsPlayer(
    video,
    address('manifest/video.m3u8'),
    {
      playing: () => say(undefined),
      failed(reason) {
        recording?.close();
        say(reason === notStarted ? NOT_READY : 'The recording cannot be played');
        setTimeout(playRecording, LOOK_AGAIN_MS);
      },
    },
    { isRecording: true, startsItself },
  );
  if (!startsItself) say(undefined);
}

async function lifecycle(): Promise<Lifecycle | undefined> {
  try {
    const response = await fetch(address('lifecycle'), { cache: 'no-store' });
    if (response.ok) return (await response.json()) as Lifecycle;
    const text = await response.text();
    return response.status < 500 ? { refusal: response.status === 404 ? 'There is no such stream' : text } : undefined;
  } catch {
    return undefined;
  }
}

/** An input is left to the live player, which waits by itself; a video turns into its recording. */
async function look(): Promise<void> {
  const now = await lifecycle();
  if (now && 'refusal' in now) {
    say(now.refusal);
    return;
  }
  if (now && !now.isInput && !now.live) {
    playRecording();
    return;
  }
  if (now && (isOn('autoplay', true) || live)) playLive(now.isInput);
  else if (now) waitForClick(now.isInput);
  if (!now?.isInput) setTimeout(() => void look(), LOOK_AGAIN_MS);
}

function waitForClick(isInput: boolean): void {
  say('Click to play');
  document.body.addEventListener('click', () => playLive(isInput), { once: true });
}

function showSound(): void {
  mute.textContent = video.muted ? 'Sound on' : 'Sound off';
  mute.setAttribute('aria-pressed', String(video.muted));
}
function toggleSound(): void {
  video.muted = !video.muted;
}
function toggleFull(): void {
  const change = document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();
  // Frames may be forbidden to.
  change.catch(() => undefined);
}

video.muted = isOn('muted', true);
video.addEventListener('volumechange', showSound);
mute.addEventListener('click', toggleSound);
full.addEventListener('click', toggleFull);
document.addEventListener('keydown', ({ key, ctrlKey, metaKey, altKey }) => {
  if (ctrlKey || metaKey || altKey) return;
  if (key === 'm') toggleSound();
  if (key === 'f') toggleFull();
});
document.addEventListener('touchstart', () => document.body.classList.toggle('is-touched'), { passive: true });
showSound();
void look();
