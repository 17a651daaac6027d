/**
 * Benchmarks one after the other, each as a process of its own: what each said, or why it said nothing. One that fails does not
 * stop the others; an interruption does. Writes the documents that it is asked to keep.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import { type BenchResult, resultOf } from './bench-results.ts';
import type { ListedBenchmark } from './catalogue.ts';
import { nodeArgs, plainEnv } from './stream-process.ts';

/** What one benchmark came to. */
export interface Outcome {
  name: string;
  minutes: number;
  /** Why there is no result, or what the result does not say. */
  trouble?: string;
  result?: BenchResult;
}

export interface SeriesOptions {
  clock: Clock;
  spawn: SpawnChild;
  list: readonly ListedBenchmark[];
  isQuick: boolean;
  isVerbose: boolean;
  /** Folder of the documents; undefined: they are not kept. */
  out: string | undefined;
  commit: string;
  /** For the person who waits. */
  say: (text: string) => void;
  /** The one that runs is not ended by it: its owner does that. */
  signal: AbortSignal;
  /** Default: whether the program is among the sources. */
  isThere?: (file: string) => boolean;
}

/** A benchmark ends many processes of its own first. */
const STOP_TIMEOUT_MS = 60_000;

export const minutesOf = (list: readonly ListedBenchmark[], isQuick: boolean): number =>
  list.reduce((sum, { minutes, quickMinutes }) => sum + (isQuick ? quickMinutes : minutes), 0);

export async function runSeries(options: SeriesOptions): Promise<Outcome[]> {
  const { list, isQuick, say, signal } = options;
  const outcomes: Outcome[] = [];
  for (const [index, one] of list.entries()) {
    if (signal.aborted) break;
    const left = Math.ceil(minutesOf(list.slice(index), isQuick));
    say(`bench: ${one.name}, ${index + 1} of ${list.length}, about ${left} min left`);
    outcomes.push(await runOne(options, one));
  }
  return outcomes;
}

async function runOne(options: SeriesOptions, one: ListedBenchmark): Promise<Outcome> {
  const { clock, spawn, isQuick, isVerbose, say, isThere = isSource } = options;
  const { name, quick } = one;
  const file = `scripts/bench-${name}.ts`;
  if (!isThere(file)) return { name, minutes: 0, trouble: `${file} is not there` };
  const beganMs = clock.monotonicMs();
  const child = spawn({
    name: `bench:${name}`,
    file: process.execPath,
    args: nodeArgs(file, ...(isQuick ? quick : []), ...(isVerbose ? ['--verbose'] : [])),
    env: plainEnv(),
    stdout: 'raw',
    onStderrLine: say,
    stopTimeoutMs: STOP_TIMEOUT_MS,
  });
  const chunks: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  const { code, end, lastLines } = await child.exited;
  const minutes = Math.round((clock.monotonicMs() - beganMs) / 6_000) / 10;
  if (end === 'stopped') return { name, minutes, trouble: 'interrupted' };
  const trouble = code === 0 ? undefined : `exit code ${code}: ${lastLines.at(-1) ?? 'it said nothing'}`;
  return { name, minutes, ...(await readDocument(options, name, Buffer.concat(chunks).toString(), trouble)) };
}

async function readDocument(
  { out, commit, isQuick }: SeriesOptions,
  name: string,
  text: string,
  trouble: string | undefined,
): Promise<Pick<Outcome, 'trouble' | 'result'>> {
  if (text.trim() === '') return { trouble: trouble ?? 'it gave no document' };
  try {
    const document = JSON.parse(text) as object;
    if (out) await keepJson(join(out, `${name}.json`), { ...document, commit, isQuick });
    return { result: resultOf(document, { name, commit, isQuick }), ...(trouble ? { trouble } : {}) };
  } catch (error) {
    return { trouble: `its document cannot be read: ${errorText(error)}` };
  }
}

const isSource = (file: string) => existsSync(new URL(`../../${file}`, import.meta.url));

export async function keepJson(file: string, document: object): Promise<void> {
  await writeFile(file, `${JSON.stringify(document, null, 2)}\n`);
}
