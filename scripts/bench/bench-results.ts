/**
 * The results that README shows: what scripts/bench/results.json holds, how a new run goes into it, and the table that is made
 * of it. Pure; reads and writes no file.
 */
import * as z from 'zod';
import { goalText, readable } from './measuring.ts';

const number = z
  .number()
  .nullish()
  .transform((value) => value ?? undefined);

/** `Headline` of measuring.ts, as JSON keeps it. */
const headline = z.object({
  what: z.string(),
  ours: number,
  peer: number,
  peerName: z.string(),
  unit: z.string(),
  goal: z
    .string()
    .nullish()
    .transform((value) => value ?? undefined),
  met: z
    .boolean()
    .nullish()
    .transform((value) => value ?? undefined),
});

const result = z.object({
  /** As in the catalogue. */
  name: z.string(),
  /** ISO 8601 */
  at: z.string(),
  /** Short hash; `+` behind it: with changes that were not committed. */
  commit: z.string(),
  isQuick: z.boolean(),
  machine: z.object({ cpu: z.string(), cores: z.number(), memoryMb: z.number(), kernel: z.string(), node: z.string() }),
  headline: z.array(headline),
});

export const benchResults = z.object({ benchmarks: z.array(result) });
export type BenchResult = z.output<typeof result>;
export type BenchResults = z.output<typeof benchResults>;

/** What a benchmark's own document says: rows of its headline, or its goals when it has none. */
const benchDocument = z.object({
  at: z.string(),
  machine: result.shape.machine,
  headline: z.array(headline).optional(),
  goals: z.array(
    z.object({
      name: z.string(),
      measured: number,
      atMost: number,
      atLeast: number,
      unit: z.string(),
      met: z.boolean(),
    }),
  ),
});

const MOST_ROWS = 3;

/** @throws ZodError when the document is not one of ours */
export function resultOf(document: unknown, facts: Pick<BenchResult, 'name' | 'commit' | 'isQuick'>): BenchResult {
  const { at, machine, headline: rows, goals } = benchDocument.parse(document);
  const plain = goals.map(({ name, measured, atMost, atLeast, unit, met }) => ({
    ...{ what: name, ours: measured, peer: undefined, peerName: '', unit, met },
    goal: goalText({ atMost, atLeast }),
  }));
  return { ...facts, at, machine, headline: (rows ?? plain).slice(0, MOST_ROWS) };
}

/** Those of the new run in place of the old ones, in the order of `names`; what is in neither is left out. */
export function withResults(old: BenchResults, fresh: readonly BenchResult[], names: readonly string[]): BenchResults {
  const all = [...fresh, ...old.benchmarks];
  return { benchmarks: names.flatMap((name) => all.find((one) => one.name === name) ?? []) };
}

/** GitHub's Markdown: a row per headline, and below it where and when each was measured. */
export function benchTable({ benchmarks }: BenchResults): string {
  if (benchmarks.length === 0) return '';
  const rows = benchmarks.flatMap(({ name, headline: lines }) => lines.map((line) => row(name, line)));
  const head = [
    '| `npm run bench -- --only` | measured | here | beside it, in the same run | goal |',
    '|---|---|---:|---:|---|',
  ];
  return [...head, ...rows, '', ...notes(benchmarks)].join('\n');
}

type Headline = BenchResult['headline'][number];

function row(name: string, { what, ours, peer, peerName, unit, goal, met }: Headline): string {
  const beside = peer === undefined ? peerName || '—' : `${withUnit(peer, unit)} (${peerName})`;
  const wanted = goal === undefined ? '' : `${goal}${met === false ? ', missed' : ''}`;
  return `| ${name} | ${what} | ${withUnit(ours, unit)} | ${beside} | ${wanted} |`.replaceAll('  ', ' ');
}

function withUnit(value: number | undefined, unit: string): string {
  return value === undefined ? 'not measured' : `${readable(value)} ${unit}`;
}

/** One line per machine, commit and day. */
function notes(results: readonly BenchResult[]): string[] {
  const groups = new Map<string, string[]>();
  for (const { name, at, commit, isQuick, machine } of results) {
    const { cpu, cores, memoryMb, kernel, node } = machine;
    const where = `${cpu}, ${cores} cores, ${Math.round(memoryMb / 1024)} GB, Linux ${kernel}, Node ${node.replace(/^v/, '')}`;
    const words = `${at.slice(0, 10)}, commit ${commit}${isQuick ? ', the quick form' : ''}: ${where}.`;
    groups.set(words, [...(groups.get(words) ?? []), name]);
  }
  if (groups.size === 1) return [...groups.keys()].map((words) => `Measured ${words}`);
  return [...groups].map(([words, names]) => `- ${names.join(', ')}: ${words}`);
}
