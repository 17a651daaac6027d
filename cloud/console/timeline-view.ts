/** What happened to a stream and why, newest first; also of streams that have ended. */
import { CONSOLE_APP, type ConsoleState, isRunning } from './console-state.ts';
import { byId, createKeyedList, make, setText } from './elements.ts';
import { clockTime, dayAndTime, namedNumber, stateName } from './formatting.ts';
import type { EndedStream, StreamView, TimelineEntry } from './relay-shapes.ts';
import type { VerdictView } from './verdict-view.ts';

export interface TimelineView {
  render(state: ConsoleState): void;
}

interface Keyed {
  key: string;
  entry: TimelineEntry;
}

/** @param want asks for the entries of a stream whose timeline the page does not have. */
export function createTimelineView(
  want: (streamId: string) => void,
  verdict: VerdictView,
  changed: () => void,
): TimelineView {
  const select = byId<HTMLSelectElement>('timeline-of');
  const showEntries = createKeyedList<Keyed>(byId('timeline'), {
    keyOf: ({ key }) => key,
    create: ({ entry }) => ({ node: entryNode(entry), update() {} }),
  });
  /** A stream that was chosen, as long as these glasses are selected. */
  let chosen: { userId: string | undefined; streamId: string } | undefined;
  let optionsText = '';

  select.addEventListener('change', () => {
    chosen = { userId: select.dataset.user, streamId: select.value };
    changed();
  });

  function renderOptions(
    userId: string | undefined,
    current: StreamView | undefined,
    past: readonly EndedStream[],
  ): void {
    const nowMs = Date.now();
    const options = [
      ...(current
        ? [{ value: current.streamId, text: isRunning(current) ? 'Now' : `Last: ${titleOf(current, nowMs)}` }]
        : []),
      ...past.map((stream) => ({ value: stream.streamId, text: titleOf(stream, nowMs) })),
    ];
    const text = JSON.stringify(options);
    select.dataset.user = userId;
    select.hidden = options.length < 2;
    if (text === optionsText) return;
    optionsText = text;
    select.replaceChildren(...options.map(({ value, text: words }) => make('option', { value }, words)));
  }

  return {
    render({ ended, selected, streams, timelines }) {
      const current = selected === undefined ? undefined : streams.get(selected);
      const past = ended.filter(({ streamId, userId }) => userId === selected && streamId !== current?.streamId);
      renderOptions(selected, current, past);
      const isChosen =
        chosen?.userId === selected && [current, ...past].some((one) => one?.streamId === chosen?.streamId);
      const streamId = isChosen ? chosen?.streamId : (current?.streamId ?? past[0]?.streamId);
      if (streamId !== undefined && select.value !== streamId) select.value = streamId;
      const entries = streamId === undefined ? [] : timelines.get(streamId);
      if (streamId !== undefined && !entries) want(streamId);
      showEntries(keyed(streamId, entries ?? []).reverse());
      const newest = entries?.at(-1);
      const isOn = streamId === current?.streamId && isRunning(current);
      verdict.render(streamId, `${newest?.id} ${newest?.times} ${newest?.atMs}`, isOn);
      const isEmpty = (entries ?? []).length === 0;
      byId('timeline-empty').hidden = !isEmpty;
      setText(
        byId('timeline-empty'),
        streamId === undefined
          ? 'States, causes and viewers of the stream will stand here, once there is one.'
          : entries
            ? 'The relay remembers nothing of this stream.'
            : 'Asking the relay …',
      );
    },
  };
}

/** By what they say and not by their place, which changes when the oldest go. */
function keyed(streamId: string | undefined, entries: readonly TimelineEntry[]): Keyed[] {
  const seen = new Map<string, number>();
  return entries.map((entry) => {
    const text = `${streamId} ${entry.id} ${entry.atMs} ${entry.times} ${entry.kind} ${entry.text}`;
    const times = (seen.get(text) ?? 0) + 1;
    seen.set(text, times);
    return { key: `${text} ${times}`, entry };
  });
}

/** As the page calls itself everywhere. */
function withNames(text: string): string {
  if (text.startsWith(CONSOLE_APP)) return `The console${text.slice(CONSOLE_APP.length)}`;
  return text.replaceAll(CONSOLE_APP, 'the console');
}

function titleOf({ createdAt, state }: StreamView, nowMs: number): string {
  const at = createdAt === undefined ? Number.NaN : Date.parse(createdAt);
  return `${Number.isFinite(at) ? dayAndTime(at, nowMs) : 'Earlier'} (${stateName(state).toLowerCase()})`;
}

function entryNode({ atMs, kind, source, state, code, text, times, numbers }: TimelineEntry): HTMLElement {
  // The sentence has them already; they are at hand for who wants them exactly.
  const figures = Object.entries(numbers ?? {}).map(([name, value]) => namedNumber(name, value));
  const { liveMs } = numbers ?? {};
  const what = code ?? (liveMs === undefined ? '' : `${(liveMs / 1000).toFixed(1)} s after the request`);
  const small = [source, what, times && `${times} times`].filter(Boolean).join(' · ');
  return make(
    'li',
    { 'data-kind': kind, 'data-source': source, 'data-state': state, title: figures.join(' · ') || undefined },
    make('time', { datetime: new Date(atMs).toISOString() }, clockTime(atMs)),
    make('span', { class: 'what' }, withNames(text), ...(small ? [make('small', {}, small)] : [])),
  );
}
