/**
 * The command line of `glasscast`: its commands, what they share, how a program is run, and what a failure is told as.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { createSystemClock } from '../../shared/clock.ts';
import { asGlasscastError, type GlasscastError } from '../../shared/errors.ts';
import { addAppCommands } from './apps.ts';
import { type Cli, nextSteps, type Run } from './commands.ts';
import { addDeviceCommands } from './devices.ts';
import { addFlashCommand } from './flash.ts';
import { createRelayApi } from './relay-api.ts';
import { addReleaseCommands } from './releases.ts';
import { addStreamCommands } from './streams.ts';
import { createTerminal, harmless, type Output } from './terminal.ts';
import { addTokenCommands } from './tokens.ts';

const programs = new Map([
  ['relay', { file: '../../cloud/main.ts', about: 'run the relay; "glasscast relay --help" tells its flags' }],
  ['local-stream', { file: '../../cloud/local-stream/main.ts', about: 'run a local Stream by itself' }],
]);

const DEFAULT_URL = 'http://127.0.0.1:8787';
const ENVIRONMENT = `
Environment:
  GLASSCAST_URL          where the relay is (default ${DEFAULT_URL})
  GLASSCAST_ADMIN_TOKEN  the admin token; never a flag, as others can see flags
  NO_COLOR               no colours

Exit codes: 0 done, 1 refused or failed, 2 the command line is wrong.`;

interface GlobalOptions {
  relayUrl?: string;
  json?: true;
}

/** What it reads and writes. */
export interface Surroundings {
  environment: NodeJS.ProcessEnv;
  output: Output;
  errors: Output;
}

/** @returns the exit code: 0 done, 1 refused or failed, 2 the command line is wrong; the reason has been told. */
export async function runCommandLine(args: readonly string[], surroundings: Surroundings): Promise<number> {
  if (await runProgramOf(args)) return 0;
  const command = commandLine(surroundings, args);
  try {
    await command.parseAsync(args, { from: 'user' });
    return 0;
  } catch (thrown) {
    // Commander has already said what is wrong with the command line.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    tell(asGlasscastError(thrown), command.opts<GlobalOptions>().json === true, surroundings.errors);
    return 1;
  }
}

function tell({ code, message: said }: GlasscastError, isJson: boolean, errors: Output): void {
  // It may quote an app or a proxy.
  const message = harmless(said);
  const next = nextSteps[code];
  const text = isJson
    ? JSON.stringify({ error: code, message, ...(next ? { next } : {}) })
    : `${message}${next ? `. ${next}` : ''}`;
  errors.write(`${text}\n`);
}

/**
 * @param args what it is made for
 * @throws CommanderError from its parse: it has then said what is wrong
 */
export function commandLine(surroundings: Surroundings, args: readonly string[] = []): Command {
  const { output, errors } = surroundings;
  const run: Run = (work) => runWith(surroundings, work);
  const program = new Command('glasscast')
    .description('Puts what smart glasses see on the internet, live.')
    .option('--relay-url <url>', 'where the relay is; before GLASSCAST_URL', httpUrl)
    .option('--json', 'answers, and refusals on standard error, as JSON')
    .addHelpText('after', ENVIRONMENT)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void output.write(text),
      writeErr: (text) => void errors.write(text),
    })
    .exitOverride();
  // Behind a command it is that command's own, which the program's would take.
  const isCommands = args.slice(0, args.indexOf('--version') + 1).some((word) => !word.startsWith('-'));
  if (!isCommands) program.version(version());
  for (const [name, { file, about }] of programs) {
    program
      .command(name)
      .description(about)
      .action(() => runInPlace(file, []));
  }
  const groups = [addTokenCommands, addAppCommands, addDeviceCommands, addReleaseCommands, addStreamCommands];
  for (const add of [...groups, addFlashCommand]) add(program, run);
  return program;
}

function runWith<Args extends unknown[]>(
  { environment, output, errors }: Surroundings,
  work: (cli: Cli, ...args: Args) => Promise<void>,
) {
  return async (...given: unknown[]): Promise<void> => {
    // Commander's order: the arguments, the options, the command.
    const command = given.at(-1) as Command;
    const { relayUrl, json } = command.optsWithGlobals<GlobalOptions>();
    const clock = createSystemClock();
    const baseUrl = relayUrl ?? urlOf(environment.GLASSCAST_URL || DEFAULT_URL);
    if (baseUrl === undefined) return command.error(`error: GLASSCAST_URL: ${WRONG_URL}`);
    const api = createRelayApi({ baseUrl, adminToken: environment.GLASSCAST_ADMIN_TOKEN, clock });
    const noColor = Boolean(environment.NO_COLOR);
    const terminal = createTerminal({ ...{ output, errors, noColor }, isJson: json === true });
    await work({ api, relayUrl: baseUrl, terminal, clock, environment }, ...(given.slice(0, -1) as Args));
  };
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

const WRONG_URL = 'Give an http:// or https:// address.';

function urlOf(text: string): string | undefined {
  const protocol = URL.canParse(text) ? new URL(text).protocol : '';
  return /^https?:$/.test(protocol) ? text.replace(/\/+$/, '') : undefined;
}

function httpUrl(text: string): string {
  const url = urlOf(text);
  if (url === undefined) throw new InvalidArgumentError(WRONG_URL);
  return url;
}

/** Runs one of the programs if these arguments name one: they read their own flags. */
async function runProgramOf([name = '', ...flags]: readonly string[]): Promise<boolean> {
  const [named] = flags;
  if (name === 'help' && named !== undefined) return programs.has(named) && runProgramOf([named, '--help']);
  const program = programs.get(name);
  if (program) await runInPlace(program.file, flags);
  return program !== undefined;
}

/** In this process, as if it had been started by itself: signals reach it without a middleman. */
async function runInPlace(file: string, flags: readonly string[]): Promise<void> {
  process.argv.splice(1, process.argv.length, fileURLToPath(new URL(file, import.meta.url)), ...flags);
  await import(file);
}
