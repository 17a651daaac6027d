/** Small charts of the last five minutes, one for each figure, with its value now. */
import { chartPaths, GAP_MS } from './chart-scaling.ts';
import { isRunning, type KnownStream } from './console-state.ts';
import { byId, make, makeSvg, setAttribute, setText } from './elements.ts';
import { type FigureHistory, type FigureName, figureNames, WINDOW_MS } from './figure-history.ts';
import { bitsPerSecond, bytes, spoken } from './formatting.ts';

interface Figure {
  name: FigureName;
  title: string;
  about?: string;
  leastTop: number;
  bottom?: number;
  now: (stream: KnownStream) => string | undefined;
  edge: (value: number) => string;
}

const figures: readonly Figure[] = [
  {
    name: 'bitrate',
    title: 'Bitrate',
    leastTop: 500_000,
    now: ({ stats }) => (stats?.bitrate === undefined ? undefined : bitsPerSecond(stats.bitrate)),
    edge: bitsPerSecond,
  },
  {
    name: 'frameRate',
    title: 'Frame rate',
    leastTop: 30,
    now: ({ stats }) => (stats?.fps === undefined ? undefined : `${stats.fps.toFixed(1)} /s`),
    edge: (value) => `${value} /s`,
  },
  {
    name: 'drops',
    title: 'Dropped frames',
    about:
      'Pictures that were never sent, because the glasses or their network were too slow. The chart has the new ones.',
    leastTop: 10,
    now: ({ stats }) => (stats?.droppedFrames === undefined ? undefined : String(stats.droppedFrames)),
    edge: (value) => `${value} at once`,
  },
  {
    name: 'queue',
    title: 'Uplink queue',
    about: 'Encoded and not sent yet. It grows when the network of the glasses is slower than the bitrate.',
    leastTop: 100_000,
    now: ({ stats }) => (stats?.queuedBytes === undefined ? undefined : bytes(stats.queuedBytes)),
    edge: bytes,
  },
  {
    name: 'temperature',
    title: 'Temperature',
    about: 'Of the glasses, where they measure it.',
    leastTop: 80,
    bottom: 20,
    now: ({ temperatureC }) => (temperatureC === undefined ? undefined : `${temperatureC.toFixed(1)} °C`),
    edge: (value) => `${value} °C`,
  },
];

/** Of the drawing; the page stretches it. */
const SIZE = { widthPx: 300, heightPx: 48 };

export interface FiguresView {
  render(stream: KnownStream | undefined): void;
}

export function createFiguresView(history: FigureHistory): FiguresView {
  const cards = figures.map((figure) => createCard(figure, history));
  byId('figures').replaceChildren(...cards.map(({ node }) => node));
  return {
    render(stream) {
      // Empty charts tell nothing: not before a picture, and not of a stream that never had one.
      const isWithPicture = stream?.state === 'active' || stream?.state === 'interrupted';
      const hasAny =
        stream !== undefined && figureNames.some((name) => history.samples(stream.streamId, name).length > 0);
      byId('figures-panel').hidden = !isWithPicture && !hasAny;
      const { reconnects, width, height } = stream?.stats ?? {};
      const size = width && height ? `${width} × ${height}` : '';
      const back = reconnects ? `came back ${reconnects === 1 ? 'once' : `${reconnects} times`}` : '';
      const shownMs = stream ? windowOf(stream, history).lengthMs : 0;
      setText(byId('figures-note'), [size, back, `last ${spoken(shownMs / 1000)}`].filter(Boolean).join(' · '));
      if (stream) for (const card of cards) card.render(stream);
    },
  };
}

/** Grows with what there is, in whole minutes: one minute of a young stream fills its chart. */
function windowOf(stream: KnownStream, history: FigureHistory): { toMs: number; lengthMs: number } {
  const samples = history.samples(stream.streamId, 'bitrate');
  const lastMs = samples.at(-1)?.atMs ?? Date.now();
  const toMs = isRunning(stream) ? Math.max(lastMs, Date.now()) : lastMs;
  const ageMs = toMs - (samples[0]?.atMs ?? toMs);
  return { toMs, lengthMs: Math.min(WINDOW_MS, Math.max(1, Math.ceil(ageMs / 60_000)) * 60_000) };
}

function createCard(figure: Figure, history: FigureHistory) {
  const value = make('dd', { class: 'value' });
  const edge = make('span', { class: 'edge' });
  const line = makeSvg('path', { class: 'line', 'vector-effect': 'non-scaling-stroke' });
  const area = makeSvg('path', { class: 'area' });
  const box = `0 -2 ${SIZE.widthPx} ${SIZE.heightPx + 4}`;
  const chart = makeSvg('svg', { viewBox: box, preserveAspectRatio: 'none', role: 'img' }, area, line);
  const none = make('span', { class: 'none' }, 'not reported');
  const node = make(
    'div',
    { class: 'figure', 'data-figure': figure.name },
    make('dt', { title: figure.about }, figure.title),
    value,
    make('div', { class: 'chart' }, chart, edge, none),
  );
  return {
    node,
    render(stream: KnownStream) {
      const samples = history.samples(stream.streamId, figure.name);
      const { toMs, lengthMs } = windowOf(stream, history);
      const { leastTop, bottom } = figure;
      const frame = { ...SIZE, fromMs: toMs - lengthMs, toMs, leastTop, ...(bottom === undefined ? {} : { bottom }) };
      // Most glasses measure no temperature of their own.
      node.hidden = figure.name === 'temperature' && samples.length === 0;
      const paths = chartPaths(samples, frame);
      const now = figure.now(stream);
      setText(value, now ?? '–');
      // A figure from before an outage is none of now.
      value.dataset.isOld = String(isRunning(stream) && toMs - (samples.at(-1)?.atMs ?? toMs) > GAP_MS);
      setAttribute(line, 'd', paths.line);
      setAttribute(area, 'd', paths.area);
      setText(edge, samples.length > 0 ? figure.edge(paths.top) : '');
      none.hidden = samples.length > 0;
      const most = Math.max(...samples.map((sample) => sample.value));
      const words = samples.length > 0 ? `at most ${figure.edge(Math.round(most))} in that time` : 'not reported';
      setAttribute(chart, 'aria-label', `${figure.title}: ${now ?? 'unknown'}, ${words}`);
    },
  };
}
