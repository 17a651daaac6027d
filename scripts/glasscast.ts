/**
 * `glasscast`: the programs and the relay's operator REST on the command line. Exit code 0 when it is done, 1 when it was
 * refused or failed (one line says why and what to do), 2 when the command line itself is wrong.
 */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { createSystemClock } from '../shared/clock.ts';
import { asGlasscastError, type GlasscastError } from '../shared/errors.ts';
import { addAppCommands } from './cli/apps.ts';
import { type Cli, nextSteps } from './cli/commands.ts';
import { addDeviceCommands } from './cli/devices.ts';
import { createRelayApi } from './cli/relay-api.ts';
import { addStreamCommands } from './cli/streams.ts';
import { createTerminal } from './cli/terminal.ts';
import { addTokenCommands } from './cli/tokens.ts';

/** They read their own flags, so these are not looked at here. */
const programs: Record<string, { file: string; about: string }> = {
  relay: { file: '../cloud/main.ts', about: 'run the relay; "glasscast relay --help" tells its flags' },
  'local-stream': { file: '../cloud/local-stream/main.ts', about: 'run a local Stream by itself' },
};

const DEFAULT_URL = 'http://127.0.0.1:8787';
const ENVIRONMENT = `
Environment:
  GLASSCAST_URL          where the relay is (default ${DEFAULT_URL})
  GLASSCAST_ADMIN_TOKEN  the admin token; never a flag, as others can see flags
  NO_COLOR               no colours`;

interface GlobalOptions {
  relayUrl?: string;
  json?: true;
}

function commandLine(): Command {
  const program = new Command('glasscast')
    .description('Puts what smart glasses see on the internet, live.')
    .option('--relay-url <url>', 'where the relay is; before GLASSCAST_URL', httpUrl)
    .option('--json', 'answers, and refusals on standard error, as JSON')
    .addHelpText('after', ENVIRONMENT)
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  for (const [name, { file, about }] of Object.entries(programs)) {
    program
      .command(name)
      .description(about)
      .helpOption(false)
      .action(() => runProgramOf(file, []));
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

/** In this process, as if it had been started by itself: signals reach it without a middleman. */
async function runProgramOf(file: string, flags: readonly string[]): Promise<void> {
  const { pathname } = new URL(file, import.meta.url);
  process.argv.splice(1, process.argv.length, pathname, ...flags);
  await import(file);
}

function tell(error: GlasscastError, isJson: boolean): void {
  const next = nextSteps[error.code];
  const { code, message } = error;
  const text = isJson
    ? JSON.stringify({ error: code, message, ...(next ? { next } : {}) })
    : `${message}${next ? `. ${next}` : ''}`;
  process.stderr.write(`${text}\n`);
}

async function main(): Promise<number> {
  const [name = '', ...flags] = process.argv.slice(2);
  const program = Object.hasOwn(programs, name) ? programs[name] : undefined;
  if (program) {
    await runProgramOf(program.file, flags);
    return 0;
  }
  const command = commandLine();
  try {
    await command.parseAsync();
    return 0;
  } catch (thrown) {
    // Commander has already said what is wrong with the command line.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    tell(asGlasscastError(thrown), command.opts<GlobalOptions>().json === true);
    return 1;
  }
}

// Who reads our output has seen enough: `glasscast streams watch | head`.
process.stdout.on('error', () => process.exit(0));
process.exitCode = await main();
