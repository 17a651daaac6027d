/**
 * The command line of `glasscast`: its commands, what they share, and how a program is run. Reads the environment for all
 * of them; prints nothing by itself.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { createSystemClock } from '../../shared/clock.ts';
import { addAppCommands } from './apps.ts';
import type { Cli } from './commands.ts';
import { addDeviceCommands } from './devices.ts';
import { createRelayApi } from './relay-api.ts';
import { addStreamCommands } from './streams.ts';
import { createTerminal } from './terminal.ts';
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

export interface GlobalOptions {
  relayUrl?: string;
  json?: true;
}

/** @throws CommanderError from its parse: it has then said what is wrong */
export function commandLine(): Command {
  const program = new Command('glasscast')
    .description('Puts what smart glasses see on the internet, live.')
    .version(version())
    .option('--relay-url <url>', 'where the relay is; before GLASSCAST_URL', httpUrl)
    .option('--json', 'answers, and refusals on standard error, as JSON')
    .addHelpText('after', ENVIRONMENT)
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  for (const [name, { file, about }] of programs) {
    program
      .command(name)
      .description(about)
      .action(() => runInPlace(file, []));
  }
  for (const add of [addTokenCommands, addAppCommands, addDeviceCommands, addStreamCommands]) add(program, run);
  return program;
}

function run<Args extends unknown[]>(work: (cli: Cli, ...args: Args) => Promise<void>) {
  return async (...given: unknown[]): Promise<void> => {
    // Commander's order: the arguments, the options, the command.
    const command = given.at(-1) as Command;
    const { relayUrl, json } = command.optsWithGlobals<GlobalOptions>();
    const clock = createSystemClock();
    const environment = process.env;
    const baseUrl = relayUrl ?? urlOf(environment.GLASSCAST_URL || DEFAULT_URL);
    if (baseUrl === undefined) return command.error(`error: GLASSCAST_URL: ${WRONG_URL}`);
    const api = createRelayApi({ baseUrl, adminToken: environment.GLASSCAST_ADMIN_TOKEN, clock });
    const terminal = terminalFor(json === true);
    await work({ api, terminal, clock, environment }, ...(given.slice(0, -1) as Args));
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

const terminalFor = (isJson: boolean) =>
  createTerminal({
    isJson,
    output: process.stdout,
    errors: process.stderr,
    noColor: Boolean(process.env.NO_COLOR),
  });

/** Runs one of the programs if these arguments name one: they read their own flags. */
export async function runProgramOf([name = '', ...flags]: readonly string[]): Promise<boolean> {
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
