/**
 * The frame of every benchmark: options, progress on standard error, one JSON document on standard output, and nothing
 * left behind, also on Ctrl-C. Owns the temporary folder and the list of what to close; measures nothing.
 */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { type ChildSpawner, createChildSpawner, type SpawnChild } from '../../shared/child-process.ts';
import { type Clock, createSystemClock } from '../../shared/clock.ts';
import { asGlasscastError, errorText } from '../../shared/errors.ts';
import { type FfmpegBinary, findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { createLog, type Log, type LogLevel } from '../../shared/log.ts';
import { makeOwnFolder } from '../../shared/own-folder.ts';
import { onFirstSignal } from '../../shared/program.ts';
import { createRedactor, type Redactor } from '../../shared/secrets.ts';
import { describeMachine, type Goal, type Headline } from './measuring.ts';

export interface Bench {
  clock: Clock;
  log: Log;
  redactor: Redactor;
  spawn: SpawnChild;
  ffmpeg: FfmpegBinary;
  /** Empty at the start, removed at the end. */
  folder: string;
  runs: number;
  /** `--seconds`: length of one measurement. */
  seconds: number;
  /** The benchmark's own options by name, as given or by default. */
  options: Readonly<Record<string, string>>;
  /** Aborted by Ctrl-C. */
  signal: AbortSignal;
  /** For the programs under test. */
  logLevel: LogLevel;
  /** A line that one of them wrote; shown with --verbose. */
  note(line: string): void;
  /** A line for the person who waits. */
  progress(text: string): void;
  /** Called at the end, the last one first. */
  defer(close: () => unknown): void;
}

export interface BenchReport {
  goals: Goal[];
  /** One to three rows for the table in README. */
  headline?: readonly Headline[];
  /** One sentence per number: from where to where, with which clock. */
  method: Record<string, string>;
  /** What was promised and is not so: the exit code is 1 then. A goal that a machine is too slow for is none. */
  broken?: readonly string[];
  [section: string]: unknown;
}

export interface BenchOption {
  name: string;
  default: string;
  help: string;
  /** Takes no value: `yes` when it is given. */
  isFlag?: boolean;
}

export interface BenchDescription {
  /** `bench:start` */
  name: string;
  /** What it measures, for --help. */
  about: string;
  defaultRuns: number;
  defaultSeconds: number;
  /** False: it has a length of its own, and says nothing of `--runs` and `--seconds`. Default true. */
  hasRuns?: boolean;
  /** Where the temporary folder is made. Default: the system's place, which may be memory. */
  foldersIn?: string;
  /** Beside the common ones. */
  options?: readonly BenchOption[];
  /** It heeds `signal` by itself and then reports what it has; default: nothing is reported when interrupted. */
  reportsInterruption?: boolean;
  measure(bench: Bench): Promise<BenchReport>;
}

const usage = ({
  name,
  about,
  defaultRuns,
  defaultSeconds,
  hasRuns = true,
  options = [],
}: BenchDescription) => `npm run ${name} -- [options]

${about}

${hasRuns ? runsHelp(defaultRuns, defaultSeconds) : ''}${options.map(optionHelp).join('')}  --ffmpeg PATH   this ffmpeg instead of the one that is found
  --verbose       the log of all parts on standard error
  --help          this text

Progress goes to standard error, one JSON document to standard output.
`;

function runsHelp(runs: number, seconds: number): string {
  return `  --runs N        how often each is measured (default ${runs})
  --seconds N     length of one measurement (default ${seconds})
`;
}

function optionHelp({ name, help, isFlag, default: by }: BenchOption): string {
  return `  ${`--${name}${isFlag ? '' : ' X'}`.padEnd(15)} ${help}${isFlag ? '' : ` (default ${by || 'none'})`}\n`;
}

/** Runs the benchmark as this process's program; sets the exit code. */
export async function runBench(description: BenchDescription): Promise<void> {
  const asked = readOptions(description);
  if (asked === 'help') {
    process.stdout.write(usage(description));
    return;
  }
  const { runs, seconds, options, ffmpegFile, isVerbose } = asked;
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = createLog({ program: 'bench', level: isVerbose ? 'debug' : 'silent', redactor });
  const spawner = createChildSpawner({ clock, log, redactor });
  const abort = new AbortController();
  onFirstSignal(clock, () => abort.abort(new Error('interrupted')), 130);
  const closers: (() => unknown)[] = [];
  const folder = await makeOwnFolder(description.foldersIn ?? tmpdir(), 'glasscast-bench');
  try {
    const ffmpeg = await findFfmpeg({
      spawn: spawner.spawn,
      clock,
      explicitFile: ffmpegFile,
    });
    const bench: Bench = {
      clock,
      log,
      redactor,
      spawn: spawner.spawn,
      ffmpeg,
      folder,
      runs,
      seconds,
      options,
      signal: abort.signal,
      logLevel: isVerbose ? 'debug' : 'warn',
      note: (line) => void (isVerbose && process.stderr.write(`${redactor.redact(line)}\n`)),
      progress: (text) => void process.stderr.write(`${description.name}: ${redactor.redact(text)}\n`),
      defer: (close) => void closers.push(close),
    };
    const measuring = description.measure(bench);
    const report = await (description.reportsInterruption ? measuring : orInterrupted(abort.signal, measuring));
    process.stdout.write(`${document(description, bench, report)}\n`);
    for (const name of report.broken ?? []) process.stderr.write(`${description.name}: NOT AS PROMISED: ${name}\n`);
    if (abort.signal.aborted) process.exitCode = 130;
    if (report.broken?.length) process.exitCode = 1;
  } catch (error) {
    const { code, message } = asGlasscastError(error);
    process.exitCode = code === 'INVALID_CONFIG' ? 2 : 1;
    if (abort.signal.aborted) process.exitCode = 130;
    const reason = abort.signal.aborted ? 'interrupted' : redactor.redact(message);
    process.stderr.write(`${description.name}: ${reason}\n`);
  } finally {
    await tidy(closers, spawner, folder);
  }
  // Left to end by itself, Node once waited for ever, busy, for a handle that was already closed.
  process.exit();
}

function document({ name, about }: BenchDescription, { ffmpeg, runs }: Bench, report: BenchReport): string {
  const { goals, method, ...sections } = report;
  const head = { benchmark: name, about, at: new Date().toISOString(), machine: describeMachine(), runs };
  const binary = { file: ffmpeg.file, version: ffmpeg.version, origin: ffmpeg.origin };
  return JSON.stringify({ ...head, ffmpeg: binary, goals, ...sections, method }, null, 2);
}

interface Options {
  runs: number;
  seconds: number;
  options: Record<string, string>;
  ffmpegFile: string | undefined;
  isVerbose: boolean;
}

/** What cannot be understood ends the program: one line, exit code 2. */
function readOptions({ defaultRuns, defaultSeconds, options = [] }: BenchDescription): Options | 'help' {
  try {
    const { values } = parseArgs({
      options: {
        ...Object.fromEntries(options.map((own) => [own.name, parsedAs(own)])),
        runs: { type: 'string', default: String(defaultRuns) },
        seconds: { type: 'string', default: String(defaultSeconds) },
        ffmpeg: { type: 'string', default: process.env.FFMPEG_PATH ?? '' },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) return 'help';
    const runs = Math.ceil(positive('--runs', values.runs));
    const seconds = positive('--seconds', values.seconds);
    const own = Object.fromEntries(options.map(({ name }) => [name, textOf(values[name as keyof typeof values])]));
    return { runs, seconds, options: own, ffmpegFile: values.ffmpeg || undefined, isVerbose: values.verbose };
  } catch (error) {
    process.stderr.write(`${errorText(error)}; see --help\n`);
    return process.exit(2);
  }
}

const parsedAs = ({ isFlag, default: by }: BenchOption) =>
  isFlag ? ({ type: 'boolean', default: false } as const) : ({ type: 'string', default: by } as const);

const textOf = (value: unknown) => (typeof value === 'boolean' ? (value ? 'yes' : '') : String(value));

function positive(name: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new Error(`${name} must be a number above 0, not "${text}"`);
}

async function orInterrupted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const interrupted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  return Promise.race([work, interrupted]);
}

/** Closes what is left in reverse order; one that fails must not keep the others open. */
async function tidy(closers: (() => unknown)[], spawner: ChildSpawner, folder: string): Promise<void> {
  for (const close of closers.reverse()) {
    try {
      await close();
    } catch (error) {
      process.stderr.write(`${asGlasscastError(error).message}\n`);
    }
  }
  await spawner.close();
  await rm(folder, { recursive: true, force: true });
}
