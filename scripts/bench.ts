/**
 * `npm run bench`: all benchmarks one after the other, each as a process of its own, with the time that is left. One that fails
 * does not stop the others. Keeps their documents, and on request the rows that README shows. Measures nothing itself.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type ChildSpawner, createChildSpawner } from '../shared/child-process.ts';
import { createSystemClock } from '../shared/clock.ts';
import { errorText } from '../shared/errors.ts';
import { silentLog } from '../shared/log.ts';
import { onFirstSignal } from '../shared/program.ts';
import { createRedactor } from '../shared/secrets.ts';
import { type BenchResult, benchResults, benchTable, withResults } from './bench/bench-results.ts';
import { keepJson, minutesOf, type Outcome, runSeries } from './bench/bench-series.ts';
import { benchmarks, chosen, type ListedBenchmark } from './bench/catalogue.ts';

const RESULTS_FILE = fileURLToPath(new URL('bench/results.json', import.meta.url));

interface Options {
  list: ListedBenchmark[];
  isQuick: boolean;
  isVerbose: boolean;
  out: string | undefined;
  isSaved: boolean;
}

const say = (text: string) => void process.stderr.write(`${text}\n`);

function usage(): string {
  const names = benchmarks.map(
    ({ name, about, minutes, quickMinutes }) =>
      `  ${name.padEnd(12)} ${about}\n  ${''.padEnd(12)} ${minutes} min, quick ${quickMinutes} min\n`,
  );
  const [all, quick] = [minutesOf(benchmarks, false), minutesOf(benchmarks, true)];
  return `npm run bench -- [options]

All benchmarks, one after the other: about ${Math.round(all)} min, quick ${Math.round(quick)} min. For figures that mean
something nothing else may run on the machine.

  --only A,B      these alone
  --quick         few runs, short: whether all of it works, and a first idea
  --out FOLDER    keep each benchmark's JSON there
  --save          write the rows that README shows into scripts/bench/results.json; then: npm run readme
  --verbose       what the benchmarks' parts log
  --help          this text

${names.join('')}
Each alone, with options of its own: npm run bench:NAME -- --help
Progress goes to standard error, one JSON document to standard output. Exit code 1: one could not be measured, or found
something broken; a goal that is missed is told and is no failure. 130: interrupted.
`;
}

/** What cannot be understood ends the program: one line, exit code 2. */
function readOptions(): Options | 'help' {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', default: '' },
        quick: { type: 'boolean', default: false },
        out: { type: 'string' },
        save: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) return 'help';
    const only = values.only
      .split(',')
      .map((name) => name.trim())
      .filter(Boolean);
    const { quick: isQuick, save: isSaved, verbose: isVerbose, out } = values;
    return { list: chosen(only), isQuick, isSaved, isVerbose, out };
  } catch (error) {
    say(`${errorText(error)}; see --help`);
    return process.exit(2);
  }
}

/** `4f2a91c`, with `+` when there are changes; `unknown` outside of a repository. */
async function commitOf(children: ChildSpawner): Promise<string> {
  const git = async (...args: string[]) => {
    const lines: string[] = [];
    const cwd = fileURLToPath(new URL('..', import.meta.url));
    const onStdoutLine = (line: string) => void lines.push(line);
    const { code } = await children.spawn({ name: 'git', file: 'git', args, cwd, stdout: 'lines', onStdoutLine })
      .exited;
    return code === 0 ? lines : undefined;
  };
  const hash = (await git('rev-parse', '--short', 'HEAD'))?.[0];
  if (hash === undefined) return 'unknown';
  return (await git('status', '--porcelain'))?.length ? `${hash}+` : hash;
}

async function save(results: readonly BenchResult[]): Promise<void> {
  const old = existsSync(RESULTS_FILE)
    ? benchResults.parse(JSON.parse(await readFile(RESULTS_FILE, 'utf8')))
    : { benchmarks: [] };
  const names = benchmarks.map(({ name }) => name);
  await keepJson(RESULTS_FILE, withResults(old, results, names));
  say(`bench: written to ${RESULTS_FILE}; npm run readme puts it into README.md`);
}

function tell(outcomes: readonly Outcome[]): void {
  const results = outcomes.flatMap(({ result }) => result ?? []);
  if (results.length > 0) say(`\n${benchTable({ benchmarks: results })}\n`);
  for (const { name, trouble } of outcomes) if (trouble) say(`bench: ${name} FAILED: ${trouble}`);
  const failed = outcomes.filter(({ trouble }) => trouble).length;
  say(`bench: ${outcomes.length - failed} of ${outcomes.length} measured`);
}

async function run(options: Options): Promise<number> {
  const clock = createSystemClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const { isQuick, isSaved, out } = options;
  const interruption = new AbortController();
  const { signal } = interruption;
  const stop = () => {
    interruption.abort();
    say('bench: interrupted; the benchmark that runs cleans up');
    void children.close();
  };
  onFirstSignal(clock, stop, 130);
  if (out) await mkdir(out, { recursive: true });
  const commit = await commitOf(children);
  const outcomes = await runSeries({ ...options, clock, spawn: children.spawn, commit, say, signal });
  await children.close();
  tell(outcomes);
  const results = outcomes.flatMap(({ result }) => result ?? []);
  if (isSaved && !signal.aborted) await save(results);
  process.stdout.write(`${JSON.stringify({ commit, isQuick, outcomes }, null, 2)}\n`);
  if (signal.aborted) return 130;
  return outcomes.some(({ trouble }) => trouble) ? 1 : 0;
}

const asked = readOptions();
if (asked === 'help') process.stdout.write(usage());
else process.exitCode = await run(asked);
process.exit();
