/** The options of `npm run simulate`, and what this machine can hold. Reads no environment. */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { GlasscastError } from '../../shared/errors.ts';
import { type FleetScenario, namedScenario, parseScenario, scenarioNames } from './fleet-scenarios.ts';

export interface SimulationOptions {
  glasses: number;
  streams: number;
  media: number;
  packages: number;
  seconds: number;
  seed: number;
  scenarioName: string;
  scenario: FleetScenario;
  /** Undefined: a relay of its own. */
  relayUrl: string | undefined;
  appsHost: string;
  isJson: boolean;
  isVerbose: boolean;
}

export const simulationUsage = `npm run simulate -- [options]

Many simulated glasses and their apps against one relay: real sockets and the real protocol, media only for as many as
asked. Without --relay a relay with its local Stream is started for it, and ended with it.

  --glasses N       how many pairs of glasses connect (default 100)
  --streams N       how many of them stream (default 10, or all when there are less)
  --media N         how many of the streams push real media, all the same few seconds (default 0)
  --scenario NAME   ${scenarioNames.join(', ')}, or a JSON file
                    (default steady)
  --seconds N       how long, once all streams run (default 60)
  --seed N          who streams, and what happens to whom when (default 1)
  --relay URL       this relay, e.g. http://127.0.0.1:8787; its admin token in GLASSCAST_ADMIN_TOKEN.
                    With GLASSCAST_CORE_TOKEN_SECRET the glasses' tokens are signed here, else the relay is asked
                    for each: they are good for a day.
  --apps N          packages that the apps belong to (default 3)
  --apps-host HOST  this machine's address for the apps' webhooks, as the relay reaches it (default 127.0.0.1)
  --json            the report as JSON on standard output
  --verbose         the log of the relay on standard error
  --help            this text

Progress goes to standard error, the report to standard output. Ctrl-C ends it early, with the report.
Exit code: 0 all was well, 1 something was not, 2 the options cannot be used.
`;

const DEFAULT_STREAMS = 10;

/** @throws GlasscastError INVALID_CONFIG */
export async function readSimulationOptions(args: readonly string[]): Promise<SimulationOptions | 'help'> {
  const { values } = parsed(args);
  if (values.help) return 'help';
  const glasses = whole('--glasses', values.glasses, 1, 1_000_000);
  const streams = whole('--streams', values.streams ?? String(Math.min(DEFAULT_STREAMS, glasses)), 0, glasses);
  return {
    glasses,
    streams,
    media: whole('--media', values.media, 0, streams),
    packages: whole('--apps', values.apps, 1, 100),
    seconds: whole('--seconds', values.seconds, 1, 30 * 86_400),
    seed: whole('--seed', values.seed, 0, 2 ** 31),
    scenarioName: values.scenario,
    scenario: await scenarioOf(values.scenario),
    relayUrl: values.relay === undefined ? undefined : relayUrl(values.relay),
    appsHost: values['apps-host'],
    isJson: values.json,
    isVerbose: values.verbose,
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        glasses: { type: 'string', default: '100' },
        streams: { type: 'string' },
        media: { type: 'string', default: '0' },
        scenario: { type: 'string', default: 'steady' },
        seconds: { type: 'string', default: '60' },
        seed: { type: 'string', default: '1' },
        relay: { type: 'string' },
        apps: { type: 'string', default: '3' },
        'apps-host': { type: 'string', default: '127.0.0.1' },
        json: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new GlasscastError('INVALID_CONFIG', { reason: `${reason}; see --help`, cause });
  }
}

async function scenarioOf(name: string): Promise<FleetScenario> {
  const known = namedScenario(name);
  if (known) return known;
  const text = await readFile(name, 'utf8').catch((cause: unknown) => {
    const reason = `--scenario ${name}: no such name and no such file; there are ${scenarioNames.join(', ')}`;
    throw new GlasscastError('INVALID_CONFIG', { reason, cause });
  });
  return parseScenario(text, name);
}

function relayUrl(text: string): string {
  if (/^(https?|wss?):\/\//.test(text) && URL.canParse(text)) return text;
  throw new GlasscastError('INVALID_CONFIG', { reason: `--relay must be as in http://127.0.0.1:8787, not "${text}"` });
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  const reason = `${name} must be a whole number from ${least} to ${most}, not "${text}"`;
  throw new GlasscastError('INVALID_CONFIG', { reason });
}

/** What a process needs beside its sockets: libraries, the database, pipes. */
const SPARE_DESCRIPTORS = 200;
/** The kernel's: Node has raised the soft one to it. */
const LIMITS_FILE = '/proc/self/limits';

/**
 * One for each socket, on both sides.
 * @param limits text of `/proc/self/limits`
 * @throws GlasscastError INVALID_CONFIG with what to do
 */
export function checkDescriptors({ glasses, streams }: { glasses: number; streams: number }, limits: string): void {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
  const needed = glasses + streams + SPARE_DESCRIPTORS;
  if (soft === undefined || Number(soft) >= needed) return;
  throw new GlasscastError('INVALID_CONFIG', {
    reason:
      `${glasses} glasses and ${streams} apps need ${needed} open files, and a process may have ${soft} here. ` +
      `Raise the limit of this shell and of the relay's (ulimit -n ${needed}; for a service LimitNOFILE=${needed}), or ask for fewer`,
  });
}

/** Empty where there is none. */
export const readLimits = (): Promise<string> => readFile(LIMITS_FILE, 'utf8').catch(() => '');
