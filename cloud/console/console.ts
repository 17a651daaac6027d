/** The console page, put together: news of the relay become one state, and every view shows its part of it. */
import { type ConsoleState, emptyState, isRunning, type News, reduce } from './console-state.ts';
import { startShortcutList } from './dialogs.ts';
import { byId, errorText, setText } from './elements.ts';
import { createFigureHistory } from './figure-history.ts';
import { createFiguresView } from './figures-view.ts';
import { createFirstStepsView } from './first-steps-view.ts';
import { clockTime, stateName } from './formatting.ts';
import { glassesRows, rowAt } from './glasses-rows.ts';
import { createGlassesView } from './glasses-view.ts';
import { startKeyboard } from './keyboard.ts';
import { createLiveControl } from './live-control.ts';
import { createLoginView } from './login-view.ts';
import { createRecordingsView } from './recordings-view.ts';
import { createRelayLink, type RelayLink } from './relay-link.ts';
import type { RecordingView, RelayEvent } from './relay-shapes.ts';
import { createSharingView } from './sharing-view.ts';
import { createSnippetsView } from './snippets-view.ts';
import { createStageView } from './stage-view.ts';
import { startTheme } from './theme.ts';
import { createTimelineView } from './timeline-view.ts';
import { createVerdictView } from './verdict-view.ts';

/** Charts move, ages grow. */
const TICK_MS = 1000;
const RECORDINGS_MS = 30_000;
/** While one of them is not ready. */
const RECORDINGS_SOON_MS = 3000;

function startConsole(): void {
  let state: ConsoleState = emptyState(Date.now());
  let link: RelayLink | undefined;
  let isDrawing = false;
  let recordingsAskedMs = 0;
  /** What comes of a stream whose timeline is on its way. */
  const early = new Map<string, RelayEvent[]>();
  const history = createFigureHistory();

  const login = createLoginView(open);
  const glasses = createGlassesView({ select, changed: draw });
  const stage = createStageView();
  const live = createLiveControl(() => link, draw);
  const figures = createFiguresView(history);
  const timeline = createTimelineView(
    wantTimeline,
    createVerdictView(() => link, draw),
    draw,
  );
  const sharing = createSharingView(() => link);
  const recordings = createRecordingsView(() => link, askRecordings);
  const snippets = createSnippetsView();
  const firstSteps = createFirstStepsView(() => link, draw);
  const keys = startShortcutList();

  // ── the relay's word ──

  function take(news: News): void {
    const before = state;
    state = reduce(state, news, Date.now());
    if (state !== before) draw();
  }

  function open(token: string): void {
    link?.close();
    byId('link').hidden = false;
    state = emptyState(Date.now());
    link = createRelayLink(token, {
      snapshot(sessions, streams) {
        login.accepted(token);
        early.clear();
        for (const stream of streams) history.take(stream, Date.now());
        take({ kind: 'snapshot', sessions, streams });
        askEnded();
        askRecordings();
      },
      event(event) {
        if (event.type === 'stream') history.take(event.stream, Date.now());
        const before = event.type === 'stream' ? state.streams.get(event.stream.userId) : undefined;
        take({ kind: 'event', event });
        if (event.type === 'stream-entry') early.get(event.streamId)?.push(event);
        if (event.type !== 'stream') return;
        const hasEnded = isRunning(before) && !isRunning(event.stream);
        if (hasEnded) askEnded();
        if (hasEnded) setTimeout(askRecordings, RECORDINGS_SOON_MS / 3);
      },
      linked(isLinked, reason) {
        take({ kind: 'linked', isLinked });
        if (!isLinked) login.waiting(reason ?? 'The relay cannot be reached; trying again …');
      },
      refused: () => leave('The relay refused this token.'),
    });
    draw();
  }

  function leave(problem: string): void {
    link?.close();
    link = undefined;
    state = emptyState(Date.now());
    firstSteps.forget();
    for (const dialog of document.querySelectorAll('dialog')) dialog.close();
    login.askForToken(problem);
    draw();
  }

  // An older relay has none of these; the page then does without.
  function askEnded(): void {
    link?.ended().then(
      ({ streams }) => take({ kind: 'ended', streams }),
      () => {},
    );
  }
  function askRecordings(): void {
    recordingsAskedMs = Date.now();
    const asked = link;
    asked?.recordings().then(
      (list) => {
        recordings.failed(undefined);
        take({ kind: 'recordings', list });
      },
      // That the relay is away is said already.
      (error: unknown) => asked === link && state.link.state === 'connected' && recordings.failed(errorText(error)),
    );
  }
  function wantTimeline(streamId: string): void {
    if (!link || early.has(streamId)) return;
    const come: RelayEvent[] = [];
    early.set(streamId, come);
    link.timeline(streamId).then(
      ({ entries }) => {
        if (early.get(streamId) !== come) return;
        early.delete(streamId);
        take({ kind: 'timeline', streamId, entries });
        for (const event of come) take({ kind: 'event', event });
      },
      (error: unknown) => {
        const isForgotten = error instanceof Error && error.cause === 404;
        if (isForgotten) take({ kind: 'timeline', streamId, entries: [] });
        // Asked for again, and not at once.
        setTimeout(() => early.get(streamId) === come && early.delete(streamId), RECORDINGS_SOON_MS);
      },
    );
  }

  // ── what people do ──

  function select(userId: string): void {
    take({ kind: 'select', userId });
  }
  function step(steps: number): void {
    const next = rowAt(glassesRows(state, glasses.search()), steps);
    if (next === undefined) return;
    select(next);
    glasses.reveal(next);
  }

  // ── the page ──

  /** At the next frame, however much came in before. A hidden page has no frames and needs none. */
  function draw(): void {
    if (isDrawing) return;
    isDrawing = true;
    requestAnimationFrame(() => {
      isDrawing = false;
      render();
    });
  }

  function render(): void {
    const { selected, sessions, streams } = state;
    const session = selected === undefined ? undefined : sessions.get(selected);
    const stream = selected === undefined ? undefined : streams.get(selected);
    renderLink(state.link);
    renderTitle(selected, stream?.state);
    firstSteps.render(selected !== undefined, state.link.state !== 'connecting');
    byId('stage').hidden = selected === undefined;
    byId('glasses-panel').hidden = selected === undefined;
    byId('beside').hidden = selected === undefined;
    glasses.render(glassesRows(state, glasses.search()), glassesRows(state, '').length);
    stage.render(selected, session, stream);
    live.render(selected, session, stream);
    figures.render(stream);
    timeline.render(state);
    sharing.render(selected, stream);
    recordings.render(state.recordings);
    const { video } = live.settings();
    const facts = { origin: location.origin, video };
    snippets.render(selected === undefined ? undefined : { ...facts, userId: selected, playback: stream?.playback });
  }

  function tick(): void {
    if (!link || document.hidden) return;
    const isUnfinished = state.recordings?.recordings.some((recording) => isBeingFinished(recording, state));
    if (Date.now() - recordingsAskedMs > (isUnfinished ? RECORDINGS_SOON_MS : RECORDINGS_MS)) askRecordings();
    draw();
  }

  startTheme();
  startKeyboard({
    live: () => live.press(true),
    mute: stage.toggleSound,
    fullScreen: stage.toggleFullScreen,
    next: () => step(1),
    previous: () => step(-1),
    search: glasses.focusSearch,
    help: keys.open,
  });
  byId('logout').addEventListener('click', () => leave(''));
  setInterval(tick, TICK_MS);
  const token = login.firstToken();
  if (token) open(token);
  else leave('');
}

/** One of a stream that still runs changes by nothing but its end. */
function isBeingFinished({ state, streamId, userId = '' }: RecordingView, { streams }: ConsoleState): boolean {
  const stream = streams.get(userId);
  return state !== 'ready' && state !== 'error' && !(isRunning(stream) && stream.streamId === streamId);
}

function renderLink({ state, sinceMs }: ConsoleState['link']): void {
  const place = byId('link');
  place.dataset.state = state;
  byId('console').dataset.link = state;
  const words = {
    connecting: 'Connecting …',
    connected: 'Connected to the relay',
    away: `The relay is away since ${clockTime(sinceMs)}; trying again …`,
  };
  setText(byId('link-text'), words[state]);
}

function renderTitle(selected: string | undefined, streamState: string | undefined): void {
  const what = selected === undefined ? '' : `${streamState === 'active' ? '● ' : ''}${selected} · `;
  const title = `${what}Glasscast`;
  if (document.title !== title) document.title = title;
  const isTold = selected !== undefined && streamState !== undefined;
  setText(byId('announcer'), isTold ? `${selected}: ${stateName(streamState)}` : '');
}

startConsole();
