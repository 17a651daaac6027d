/** `glasscast streams explain`: what happened to one stream and why, ending in one sentence. */
import * as z from 'zod';
import { type Cli, segment } from './commands.ts';
import { harmless, type Style, type Terminal } from './terminal.ts';

const spans = z.looseObject({ count: z.number(), totalMs: z.number(), longestMs: z.number() });
const entry = z.looseObject({
  id: z.number(),
  atMs: z.number(),
  source: z.string(),
  kind: z.string(),
  state: z.string().optional(),
  code: z.string().optional(),
  text: z.string(),
  because: z.number().optional(),
  times: z.number().optional(),
});
type Entry = z.output<typeof entry>;
/** What is shown of it; `--json` passes everything on. */
const explanation = z.looseObject({
  streamId: z.string(),
  userId: z.string(),
  state: z.string(),
  verdict: z.string(),
  record: z.looseObject({
    timeToFirstFrameMs: z.number().optional(),
    liveMs: z.number(),
    stalls: spans,
    reconnects: spans,
    controlLosses: spans,
    worstDelayMs: z.number().optional(),
    framesLost: z.number(),
    stepsDown: z.number(),
    stepsUp: z.number(),
  }),
  entries: z.array(entry),
  leftOut: z.number(),
});
type Explanation = z.output<typeof explanation>;

export async function explain({ api, terminal }: Cli, streamId: string): Promise<void> {
  const found = await api.ask('GET', `/api/streams/${segment(streamId)}/explain`, explanation);
  const rows = found.entries.map((each) => row(each, found.entries, terminal));
  const left = found.leftOut > 0 ? [terminal.style('dim', `… ${found.leftOut} entries had no room`)] : [];
  terminal.result(found, [
    `${terminal.style('dim', 'stream'.padEnd(14))}${harmless(found.streamId)}  ${harmless(found.userId)}  ${terminal.style(styleOf(found.state), harmless(found.state))}`,
    ...figures(found).map(([name, text]) => `${terminal.style('dim', name.padEnd(14))}${text}`),
    '',
    ...terminal.table(['UTC', 'WHERE', 'WHAT', 'BECAUSE'], rows, 'Nothing is known of it.'),
    ...left,
    '',
    terminal.style('bold', harmless(found.verdict)),
  ]);
}

function figures({ record }: Explanation): [string, string][] {
  const { timeToFirstFrameMs: firstMs, worstDelayMs } = record;
  return [
    ['first picture', firstMs === undefined ? 'none' : `${seconds(firstMs)} after the request`],
    ['live', seconds(record.liveMs)],
    ['stalls', spanText(record.stalls)],
    ['reconnects', spanText(record.reconnects)],
    ['relay line', spanText(record.controlLosses)],
    ['worst delay', worstDelayMs === undefined ? 'not told' : `${seconds(worstDelayMs)} waited on the glasses`],
    ['frames lost', String(Math.round(record.framesLost))],
    ['steps', `${record.stepsDown} down, ${record.stepsUp} up`],
  ];
}

function row({ atMs, source, kind, state, code, text, because, times }: Entry, all: readonly Entry[], to: Terminal) {
  const cause = all.find(({ id }) => id === because);
  const style = kind === 'trouble' || state === 'failed' ? 'red' : state === 'active' ? 'green' : undefined;
  const what = `${harmless(text)}${code ? ` (${harmless(code)})` : ''}${times ? `, ${times} times` : ''}`;
  return [
    clockTime(atMs),
    harmless(source),
    style ? to.style(style, what) : what,
    cause ? to.style('dim', `${clockTime(cause.atMs)} ${harmless(cause.code ?? cause.text).slice(0, 40)}`) : '',
  ];
}

function spanText({ count, totalMs, longestMs }: z.output<typeof spans>): string {
  if (count === 0) return 'none';
  return count === 1 ? `1, ${seconds(totalMs)}` : `${count}, ${seconds(totalMs)} in all, longest ${seconds(longestMs)}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** As the verdict has it: in UTC. */
function clockTime(atMs: number): string {
  return new Date(atMs).toISOString().slice(11, 19);
}

function styleOf(state: string): Style {
  if (state === 'active') return 'green';
  return state === 'failed' ? 'red' : 'yellow';
}
