/**
 * What the page knows, and how news change it: a pure function from state and news to the next state. Never touches the
 * page or the network.
 */
import type { EndedStream, RecordingList, RelayEvent, SessionView, StreamView, TimelineEntry } from './relay-shapes.ts';

/** The built-in app that the operator's own streams belong to. */
export const CONSOLE_APP = 'glasscast.console';

export interface KnownSession extends SessionView {
  /** When the page saw the glasses go; undefined while they are there, or when they were gone before. */
  awaySinceMs: number | undefined;
}

export interface KnownStream extends StreamView {
  /** When the page saw the state begin, or the relay wrote it down; undefined when neither is known. */
  stateSinceMs: number | undefined;
}

export interface ConsoleState {
  link: { state: 'connecting' | 'connected' | 'away'; sinceMs: number };
  /** By user. */
  sessions: ReadonlyMap<string, KnownSession>;
  /** The newest of each user, also when it has ended. */
  streams: ReadonlyMap<string, KnownStream>;
  /** Newest first. */
  ended: readonly EndedStream[];
  /** By stream, oldest entry first; only of streams that were looked at. */
  timelines: ReadonlyMap<string, readonly TimelineEntry[]>;
  recordings: RecordingList | undefined;
  /** A user. */
  selected: string | undefined;
  /** Whom somebody chose: selected again when they come back, as after a restart of the relay. */
  chosen: string | undefined;
}

export type News =
  | { kind: 'snapshot'; sessions: readonly SessionView[]; streams: readonly StreamView[] }
  | { kind: 'event'; event: RelayEvent }
  | { kind: 'linked'; isLinked: boolean }
  | { kind: 'ended'; streams: readonly EndedStream[] }
  | { kind: 'timeline'; streamId: string; entries: readonly TimelineEntry[] }
  | { kind: 'recordings'; list: RecordingList }
  | { kind: 'select'; userId: string };

const KEPT_ENTRIES = 500;
const KEPT_TIMELINES = 20;

export function emptyState(nowMs: number): ConsoleState {
  return {
    link: { state: 'connecting', sinceMs: nowMs },
    sessions: new Map(),
    streams: new Map(),
    ended: [],
    timelines: new Map(),
    recordings: undefined,
    selected: undefined,
    chosen: undefined,
  };
}

export function isRunning(stream: StreamView | undefined): stream is StreamView {
  return stream !== undefined && stream.state !== 'stopped' && stream.state !== 'failed';
}

/** @param nowMs when the news came. */
export function reduce(state: ConsoleState, news: News, nowMs: number): ConsoleState {
  switch (news.kind) {
    case 'snapshot':
      return withSelection(snapshotTaken(state, news));
    case 'event':
      return withSelection(eventTaken(state, news.event, nowMs));
    case 'linked': {
      const next = news.isLinked ? 'connected' : 'away';
      return state.link.state === next ? state : { ...state, link: { state: next, sinceMs: nowMs } };
    }
    case 'ended':
      return { ...state, ended: news.streams };
    case 'timeline':
      return timelineTaken(state, news);
    case 'recordings':
      return { ...state, recordings: news.list };
    case 'select':
      return { ...state, selected: news.userId, chosen: news.userId };
    default:
      news satisfies never;
      return state;
  }
}

function snapshotTaken(state: ConsoleState, { sessions, streams }: Extract<News, { kind: 'snapshot' }>): ConsoleState {
  const nextStreams = new Map<string, KnownStream>();
  for (const stream of streams) nextStreams.set(stream.userId, knownStream(state, stream, undefined));
  // One that ended meanwhile is not in the relay's list any more, nor is what it showed worth keeping.
  return {
    ...state,
    sessions: new Map(sessions.map((session) => [session.userId, knownSession(state, session, undefined)])),
    streams: nextStreams,
    // They may have gone on while the page was cut off.
    timelines: new Map(),
  };
}

function eventTaken(state: ConsoleState, event: RelayEvent, nowMs: number): ConsoleState {
  switch (event.type) {
    case 'session': {
      const known = knownSession(state, event.session, nowMs);
      return { ...state, sessions: new Map(state.sessions).set(known.userId, known) };
    }
    case 'session-ended': {
      const sessions = new Map(state.sessions);
      sessions.delete(event.userId);
      return { ...state, sessions };
    }
    case 'stream': {
      const before = state.streams.get(event.stream.userId);
      // The last word of an older stream may come after the first one of the next.
      const isOlder = before?.streamId !== event.stream.streamId && isRunning(before);
      if (isOlder && !isRunning(event.stream)) return state;
      const streams = new Map(state.streams).set(event.stream.userId, knownStream(state, event.stream, nowMs));
      return { ...state, streams };
    }
    case 'stream-entry': {
      const known = state.timelines.get(event.streamId);
      if (!known) return state;
      const entries = withEntry(known, event.entry);
      return entries === known ? state : { ...state, timelines: new Map(state.timelines).set(event.streamId, entries) };
    }
    default:
      // A newer relay may say more.
      event satisfies never;
      return state;
  }
}

/** It tells since when a stream is as the page found it. Those that were looked at longest ago go. */
function timelineTaken(state: ConsoleState, { streamId, entries }: Extract<News, { kind: 'timeline' }>): ConsoleState {
  const timelines = new Map(state.timelines);
  timelines.delete(streamId);
  timelines.set(streamId, entries);
  for (const oldest of timelines.keys()) {
    if (timelines.size <= KEPT_TIMELINES) break;
    timelines.delete(oldest);
  }
  const stream = [...state.streams.values()].find((known) => known.streamId === streamId);
  const written = entries.findLast(({ kind }) => kind === 'state');
  if (!stream || stream.stateSinceMs !== undefined || written?.state !== stream.state) return { ...state, timelines };
  const streams = new Map(state.streams).set(stream.userId, { ...stream, stateSinceMs: written.atMs });
  return { ...state, streams, timelines };
}

/** The same entry comes twice when it happened between the event stream's start and the list's answer. */
function withEntry(known: readonly TimelineEntry[], entry: TimelineEntry): readonly TimelineEntry[] {
  const isSame = ({ id, atMs, kind, text }: TimelineEntry) =>
    id === undefined ? atMs === entry.atMs && kind === entry.kind && text === entry.text : id === entry.id;
  const at = known.findIndex(isSame);
  if (at === -1) return [...known, entry].slice(-KEPT_ENTRIES);
  // Once more the same, and how often; or its cause has come to light.
  const isKnown = known[at]?.times === entry.times && known[at]?.because === entry.because;
  return isKnown ? known : known.with(at, entry);
}

function knownSession(state: ConsoleState, session: SessionView, nowMs: number | undefined): KnownSession {
  const before = state.sessions.get(session.userId);
  if (session.connected) return { ...session, awaySinceMs: undefined };
  return { ...session, awaySinceMs: before && !before.connected ? before.awaySinceMs : nowMs };
}

function knownStream(state: ConsoleState, stream: StreamView, nowMs: number | undefined): KnownStream {
  const before = state.streams.get(stream.userId);
  const isSame = before?.streamId === stream.streamId;
  const playback = stream.playback ?? stream.urls ?? (isSame && isRunning(stream) ? before.playback : undefined);
  return {
    ...stream,
    stateSinceMs: isSame && before.state === stream.state ? before.stateSinceMs : nowMs,
    ...(playback ? { playback } : {}),
  };
}

/** Somebody is always selected while there is anybody: who was chosen, else who is live, else who is there. */
function withSelection(state: ConsoleState): ConsoleState {
  const { chosen, selected, sessions, streams } = state;
  const isThere = (user: string | undefined) =>
    user !== undefined && (sessions.has(user) || isRunning(streams.get(user)));
  if (isThere(chosen)) return chosen === selected ? state : { ...state, selected: chosen };
  if (isThere(selected)) return state;
  const live = [...streams.values()].find(isRunning)?.userId;
  const there = [...sessions.values()].find(({ connected }) => connected)?.userId;
  const next = live ?? there ?? [...sessions.keys()][0];
  return next === selected ? state : { ...state, selected: next };
}
