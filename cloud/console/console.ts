/** The console page: glasses, the live picture, statuses as they come, Go live and Stop. */
import { createPicture } from './picture.ts';
import { createRelayLink, type RelayEvent, type SessionView, type StreamView } from './relay-link.ts';

type RelayLink = ReturnType<typeof createRelayLink>;

const ENDED = new Set(['stopped', 'failed']);
const TOKEN_KEY = 'glasscast.adminToken';
const KEPT_ENTRIES = 200;

const sessions = new Map<string, SessionView>();
const streams = new Map<string, StreamView>();
const picture = createPicture(element<HTMLVideoElement>('video'));
let selected: string | undefined;
let link: RelayLink | undefined;
let busy = false;

function element<Kind extends HTMLElement>(id: string): Kind {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as Kind;
}

// ── the relay's word ──

function open(token: string): void {
  link?.close();
  link = createRelayLink(token, {
    snapshot(allSessions, allStreams) {
      sessionStorage.setItem(TOKEN_KEY, token);
      element('login').hidden = true;
      element('console').hidden = false;
      sessions.clear();
      streams.clear();
      for (const session of allSessions) sessions.set(session.userId, session);
      for (const stream of allStreams) takeStream(stream);
      render();
    },
    event: take,
    linked(state) {
      element('link').textContent =
        state === 'connected' ? 'Connected to the relay' : 'The relay is away; trying again…';
    },
    refused() {
      sessionStorage.removeItem(TOKEN_KEY);
      askForToken('The relay refused this token. It is printed when the relay starts.');
    },
  });
}

function take(event: RelayEvent): void {
  switch (event.type) {
    case 'session': {
      const before = sessions.get(event.session.userId)?.connected;
      sessions.set(event.session.userId, event.session);
      if (before !== event.session.connected) {
        note(`${event.session.userId}: glasses ${event.session.connected ? 'connected' : 'away'}`);
      }
      break;
    }
    case 'session-ended':
      sessions.delete(event.userId);
      note(`${event.userId}: session ended`);
      break;
    case 'stream':
      takeStream(event.stream);
      break;
    default:
      event satisfies never;
  }
  render();
}

function takeStream(stream: StreamView): void {
  const before = streams.get(stream.userId);
  // While interrupted the relay names no address, because nothing new is there; the player keeps the last picture.
  const kept = stream.state === 'interrupted' && before?.streamId === stream.streamId ? before.urls : undefined;
  streams.set(stream.userId, kept ? { ...stream, urls: kept } : stream);
  if (before?.streamId === stream.streamId && before.state === stream.state && before.message === stream.message)
    return;
  const live = stream.state === 'active' && stream.liveMs ? ` after ${(stream.liveMs / 1000).toFixed(1)} s` : '';
  const why = stream.message && stream.state !== 'active' ? `: ${stream.message}` : '';
  note(`${stream.userId}: ${stream.state}${live}${why}`, stream.state === 'failed');
}

function askForToken(problem: string): void {
  element('console').hidden = true;
  element('login').hidden = false;
  element('login-error').textContent = problem;
  element('link').textContent = 'Not signed in';
  element<HTMLInputElement>('token').focus();
}

// ── what people do ──

async function goLiveOrStop(): Promise<void> {
  if (!link || !selected || busy) return;
  const userId = selected;
  busy = true;
  element('failure').textContent = '';
  render();
  try {
    if (isRunning(streams.get(userId))) await link.stopStream(userId);
    else await link.startStream(userId, wantedVideo());
  } catch (error) {
    element('failure').textContent = error instanceof Error ? error.message : String(error);
  } finally {
    busy = false;
    render();
  }
}

function wantedVideo(): object {
  const [width, height] = element<HTMLSelectElement>('size').value.split('x').map(Number);
  return { width, height, frameRate: Number(element<HTMLSelectElement>('rate').value) };
}

// ── the page ──

function isRunning(stream: StreamView | undefined): stream is StreamView {
  return stream !== undefined && !ENDED.has(stream.state);
}

function render(): void {
  if (!selected || !sessions.has(selected)) {
    selected = [...sessions.values()].find(({ connected }) => connected)?.userId ?? [...sessions.keys()][0];
  }
  renderGlasses();
  const stream = selected ? streams.get(selected) : undefined;
  const running = isRunning(stream);
  const state = stream?.state ?? 'idle';
  const badge = element('state');
  badge.textContent = state;
  badge.dataset.state = state;
  const button = element<HTMLButtonElement>('live');
  button.textContent = running ? 'Stop' : 'Go live';
  button.classList.toggle('stop', running);
  button.disabled = busy || !selected || (!running && !sessions.get(selected)?.connected);
  const watchable = running && (state === 'active' || state === 'interrupted');
  picture.show(watchable ? stream?.urls?.hlsUrl : undefined);
  element('placeholder').textContent = watchable ? '' : placeholder(stream, running);
  renderFigures(running ? stream : undefined);
  renderUrls(watchable ? stream : undefined);
}

function placeholder(stream: StreamView | undefined, running: boolean): string {
  if (!selected) return 'Waiting for glasses to connect';
  if (running) return stream?.state === 'stopping' ? 'Stopping…' : 'Starting…';
  return stream?.state === 'failed'
    ? (stream.message ?? 'The stream failed')
    : 'Press Go live to see what these glasses see';
}

function renderGlasses(): void {
  element('no-glasses').hidden = sessions.size > 0;
  element('glasses').replaceChildren(
    ...[...sessions.values()].map(({ userId, connected, modelName }) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.setAttribute('aria-current', String(userId === selected));
      const detail = document.createElement('small');
      detail.textContent = connected ? (modelName ?? 'connected') : 'away';
      button.append(userId, detail);
      button.addEventListener('click', () => {
        selected = userId;
        render();
      });
      const item = document.createElement('li');
      item.append(button);
      return item;
    }),
  );
}

function renderFigures(stream: StreamView | undefined): void {
  const { bitrate, fps, droppedFrames, duration, width, height } = stream?.stats ?? {};
  const figures: [string, string | undefined][] = [
    ['Size', width && height ? `${width}×${height}` : undefined],
    ['Bitrate', bitrate === undefined ? undefined : `${(bitrate / 1e6).toFixed(2)} Mbit/s`],
    ['Frame rate', fps === undefined ? undefined : `${fps.toFixed(1)} /s`],
    ['Dropped', droppedFrames === undefined ? undefined : `${droppedFrames} frames`],
    ['On air', duration === undefined ? undefined : `${Math.round(duration)} s`],
    ['Viewers', stream?.viewers ? String(stream.viewers.length) : undefined],
  ];
  element('figures').replaceChildren(
    ...figures.flatMap(([name, value]) => {
      if (value === undefined) return [];
      const box = document.createElement('div');
      box.append(textElement('dt', name), textElement('dd', value));
      return [box];
    }),
  );
}

function renderUrls(stream: StreamView | undefined): void {
  const { hlsUrl, dashUrl, thumbnailUrl } = stream?.urls ?? {};
  const details = element<HTMLDetailsElement>('urls');
  details.hidden = !hlsUrl;
  const key = `${hlsUrl}`;
  if (details.dataset.shown === key) return;
  details.dataset.shown = key;
  element('url-list').replaceChildren(
    ...[hlsUrl, dashUrl, thumbnailUrl].flatMap((url) => {
      if (!url) return [];
      const copy = document.createElement('button');
      copy.type = 'button';
      copy.textContent = 'Copy';
      copy.addEventListener('click', () => void navigator.clipboard?.writeText(url));
      const item = document.createElement('li');
      item.append(copy, textElement('code', url));
      return [item];
    }),
  );
}

function note(text: string, isError = false): void {
  const time = textElement('time', new Date().toLocaleTimeString([], { hour12: false }));
  const what = textElement('span', text);
  what.classList.toggle('error', isError);
  const item = document.createElement('li');
  item.append(time, what);
  const list = element('timeline');
  list.prepend(item);
  while (list.children.length > KEPT_ENTRIES) list.lastChild?.remove();
}

function textElement(tag: string, text: string): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function start(): void {
  element('live').addEventListener('click', () => void goLiveOrStop());
  element('login').addEventListener('submit', (event) => {
    event.preventDefault();
    open(element<HTMLInputElement>('token').value.trim());
  });
  setInterval(() => {
    const delay = picture.delaySeconds();
    element('delay').textContent = delay === undefined ? '' : `${delay.toFixed(1)} s behind`;
  }, 500);
  // The printed address carries the token behind #, which browsers never send; it leaves the address bar at once.
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) history.replaceState(null, '', location.pathname);
  const token = given ?? sessionStorage.getItem(TOKEN_KEY);
  if (token) open(token);
  else askForToken('');
}

start();
