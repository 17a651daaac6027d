/** One sentence about the stream whose timeline is shown, and how it served: asked of the relay as entries come. */
import { byId, createKeyedList, make, setText } from './elements.ts';
import { namedNumber } from './formatting.ts';
import type { RelayLink } from './relay-link.ts';
import type { Explanation } from './relay-shapes.ts';

export interface VerdictView {
  /** @param news changes whenever something new is known of it. @param isRunning its figures go on. */
  render(streamId: string | undefined, news: string, isRunning: boolean): void;
}

const SOON_MS = 1_500;
const AGAIN_MS = 10_000;

export function createVerdictView(link: () => RelayLink | undefined, changed: () => void): VerdictView {
  const showFigures = createKeyedList<{ name: string; text: string }>(byId('service-record'), {
    keyOf: ({ name }) => name,
    create({ name }) {
      const value = make('dd');
      return {
        node: make('div', {}, make('dt', {}, name), value),
        update: ({ text }) => setText(value, text),
      };
    },
  });
  let shown: { streamId: string; news: string; askedMs: number; told: Explanation | undefined } | undefined;

  function ask(streamId: string, news: string): void {
    const asked = { streamId, news, askedMs: Date.now(), told: shown?.streamId === streamId ? shown.told : undefined };
    shown = asked;
    link()
      ?.explain(streamId)
      .then(
        (told) => {
          if (shown !== asked) return;
          shown = { ...asked, told };
          changed();
        },
        // An older relay has none; the page then does without.
        () => {},
      );
  }
  return {
    render(streamId, news, isRunning) {
      if (streamId === undefined) shown = undefined;
      else if (shown?.streamId !== streamId) ask(streamId, news);
      else {
        const ageMs = Date.now() - shown.askedMs;
        if ((shown.news !== news && ageMs > SOON_MS) || (isRunning && ageMs > AGAIN_MS)) ask(streamId, news);
      }
      const told = shown?.told;
      byId('verdict').hidden = !told;
      byId('service-record').hidden = !told;
      setText(byId('verdict'), told?.verdict ?? '');
      showFigures(told ? figuresOf(told) : []);
    },
  };
}

function figuresOf({ record }: Explanation): { name: string; text: string }[] {
  const { timeToFirstFrameMs, liveMs, stalls, reconnects, worstDelayMs, framesLost, stepsDown, stepsUp } = record;
  const length = (ms: number) => namedNumber('Ms', ms).trim();
  const spans = ({ count, totalMs }: { count: number; totalMs: number }) =>
    count === 0 ? 'none' : `${count}, ${length(totalMs)}`;
  return [
    { name: 'First picture', text: timeToFirstFrameMs === undefined ? 'none' : length(timeToFirstFrameMs) },
    { name: 'Live', text: length(liveMs) },
    { name: 'Stalls', text: spans(stalls) },
    { name: 'Reconnects', text: spans(reconnects) },
    { name: 'Worst delay', text: worstDelayMs === undefined ? 'not told' : length(worstDelayMs) },
    { name: 'Frames lost', text: String(Math.round(framesLost)) },
    { name: 'Steps', text: `${stepsDown} down, ${stepsUp} up` },
  ];
}
