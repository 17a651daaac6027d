/** The list of all glasses: who they are, how they are, and what they show. */
import { CONSOLE_APP, isRunning } from './console-state.ts';
import { byId, createKeyedList, type ListItem, make, setAttribute, setText } from './elements.ts';
import { stateName } from './formatting.ts';
import type { GlassesRow } from './glasses-rows.ts';
import type { SessionView } from './relay-shapes.ts';

export interface GlassesView {
  /** What is typed into the search box. */
  search(): string;
  render(rows: readonly GlassesRow[], total: number): void;
  focusSearch(): void;
  /** Scrolls there; with the focus when that is in the list already. */
  reveal(userId: string): void;
}

/** Fewer than this are seen at once. */
const SEARCHABLE = 6;
const THUMBNAIL_MS = 10_000;

export function createGlassesView(actions: { select(userId: string): void; changed(): void }): GlassesView {
  const search = byId<HTMLInputElement>('search');
  const list = byId('glasses');
  const onScreen = new WeakSet<Element>();
  const watcher = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) onScreen[isIntersecting ? 'add' : 'delete'](target);
  });
  const showRows = createKeyedList<GlassesRow>(list, {
    keyOf: ({ userId }) => userId,
    create(row) {
      const item = createRow(row, actions.select, () => onScreen.has(item.node));
      watcher.observe(item.node);
      return item;
    },
  });
  search.addEventListener('input', actions.changed);
  search.addEventListener('keydown', ({ key }) => {
    if (key !== 'Escape') return;
    search.value = '';
    actions.changed();
    search.blur();
  });

  return {
    search: () => search.value,
    render(rows, total) {
      byId('search-box').hidden = total < SEARCHABLE;
      setText(byId('glasses-count'), rows.length === total ? `${total}` : `${rows.length} of ${total}`);
      setText(byId('glasses-summary'), total < SEARCHABLE ? '' : summaryOf(rows));
      byId('nothing-found').hidden = rows.length > 0 || total === 0;
      showRows(rows);
    },
    focusSearch: () => search.focus(),
    reveal(userId) {
      const button = [...list.querySelectorAll<HTMLElement>('button')].find(({ dataset }) => dataset.user === userId);
      if (!button) return;
      button.scrollIntoView({ block: 'nearest' });
      if (list.contains(document.activeElement)) button.focus();
    },
  };
}

function createRow(
  first: GlassesRow,
  select: (userId: string) => void,
  isOnScreen: () => boolean,
): ListItem<GlassesRow> {
  const name = make('span', { class: 'name', title: first.userId }, first.userId);
  const detail = make('span', { class: 'detail' });
  const badge = make('span', { class: 'badge' });
  const picture = make('span', { class: 'thumbnail', 'aria-hidden': 'true' });
  const thumbnail = createThumbnail(picture);
  const button = make(
    'button',
    { type: 'button', 'data-user': first.userId },
    picture,
    make('span', { class: 'words' }, name, make('span', { class: 'second' }, badge, detail)),
  );
  button.addEventListener('click', () => select(first.userId));
  let last: GlassesRow | undefined;
  return {
    node: make('li', {}, button),
    update(row) {
      const url = isRunning(row.stream) ? row.stream.playback?.thumbnailUrl : undefined;
      if (!url || isOnScreen()) thumbnail(url);
      if (last && last.session === row.session && last.stream === row.stream && last.isSelected === row.isSelected)
        return;
      last = row;
      setAttribute(button, 'aria-current', row.isSelected ? 'true' : undefined);
      const [word, look] = stateOf(row);
      setText(badge, word);
      badge.dataset.state = look;
      setText(detail, detailOf(row));
    },
  };
}

/** Of those that are listed, the most pressing first: 2 failed · 1 interrupted · 18 live · 60 ready · 22 away. */
function summaryOf(rows: readonly GlassesRow[]): string {
  const counts = new Map<string, number>();
  for (const row of rows) {
    const [word] = stateOf(row);
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const order = [...(['failed', 'interrupted', 'starting', 'active'] as const).map(stateName), 'Ready', 'Away'];
  const words = [...new Set([...order, ...counts.keys()])].filter((word) => counts.has(word));
  return words.map((word) => `${counts.get(word)} ${word.toLowerCase()}`).join(' · ');
}

function stateOf({ session, stream }: GlassesRow): [string, string] {
  const hasFailed = stream?.state === 'failed';
  if (isRunning(stream)) {
    if (session && !session.connected && stream.state === 'active') return ['Away', 'interrupted'];
    return [stateName(stream.state), stream.state];
  }
  if (!session?.connected) return ['Away', 'away'];
  return hasFailed ? [stateName('failed'), 'failed'] : ['Ready', 'ready'];
}

function detailOf({ session, stream }: GlassesRow): string {
  const { agent, batteryLevel, charging, modelName, update } = session ?? {};
  const battery =
    batteryLevel === undefined ? undefined : `${Math.round(batteryLevel)} %${charging ? ' charging' : ''}`;
  const viewers = isRunning(stream) ? (stream.viewers ?? []) : [];
  const others = viewers.filter((viewer) => viewer !== CONSOLE_APP);
  const watched =
    others.length === 0 ? undefined : others.length === 1 ? '1 app watches' : `${others.length} apps watch`;
  return (
    [modelName, agent && agentText(agent, update), battery, watched].filter(Boolean).join(' · ') ||
    (session ? 'Glasses' : 'No session')
  );
}

function agentText({ version }: NonNullable<SessionView['agent']>, update: SessionView['update']): string {
  if (!update) return version;
  const percent = update.percent === undefined ? '' : ` ${Math.round(update.percent)} %`;
  return update.state === 'trial' ? `${version} on trial` : `${version} → ${update.version} ${update.state}${percent}`;
}

/** A fresh one every so often, by another address for the same picture; what cannot be loaded is not shown. */
function createThumbnail(place: HTMLElement): (url: string | undefined) => void {
  let shown: string | undefined;
  let takenMs = 0;
  return (url) => {
    const nowMs = Date.now();
    if (url === shown && (!url || nowMs - takenMs < THUMBNAIL_MS)) return;
    shown = url;
    takenMs = nowMs;
    if (!url) return place.replaceChildren();
    const image = make('img', { alt: '', src: `${url}${url.includes('?') ? '&' : '?'}at=${nowMs}` });
    image.addEventListener('load', () => shown === url && place.replaceChildren(image));
  };
}
