/**
 * The agent's commands beside `run`: which word means which, what they print and their exit codes. What they look at is
 * given to them.
 */
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { type Check, diagnose, diagnosisText, isWell } from './doctor.ts';
import { statusLines } from './status-report.ts';
import { askStatus } from './status-socket.ts';

const commandNames = ['run', 'status', 'doctor', 'devices'] as const;
/** Of which version the agent is; also `version`. */
const VERSION_FLAG = '--version';
export type CommandName = (typeof commandNames)[number] | 'version';

export interface Command {
  name: CommandName;
  /** Settings alone. */
  args: string[];
  isJson: boolean;
}

/**
 * The first word, or `run` when there is none; `help` is `--help`.
 * @throws GlasscastError INVALID_CONFIG: a word that is no command.
 */
export function parseCommand(given: readonly string[]): Command {
  const [first = ''] = given;
  if (first === 'help') return { name: 'run', args: ['--help'], isJson: false };
  if (first === 'version' || first === VERSION_FLAG) return { name: 'version', args: [], isJson: false };
  if (first === '' || first.startsWith('-')) return { name: 'run', args: [...given], isJson: false };
  const name = commandNames.find((known) => known === first);
  if (!name) {
    const reason = `no command "${first}"; there are ${commandNames.join(', ')}, --version and --help`;
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
  const rest = given.slice(1);
  if (name === 'run') return { name, args: rest, isJson: false };
  return { name, args: rest.filter((arg) => arg !== '--json'), isJson: rest.includes('--json') };
}

export interface Output {
  isTTY?: boolean;
  write(text: string): unknown;
}

/** Whoever reads may stop early, as `head` does: the rest is lost, but the work goes on and closes what it opened. */
export function outliveReader(output: NodeJS.EventEmitter): void {
  output.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

export interface CommandOptions {
  isJson: boolean;
  output: Output;
  errors: Output;
}

/** @param path undefined: the status socket is switched off. @returns the exit code: 0, or 1 when no agent answers. */
export async function runStatus(
  path: string | undefined,
  clock: Clock,
  { isJson, output, errors }: CommandOptions,
): Promise<number> {
  try {
    if (path === undefined) throw new Error('--status-socket is none');
    const answer = await askStatus(path, clock);
    output.write(isJson ? jsonText(answer) : linesText(statusLines(answer)));
    return 0;
  } catch (error) {
    const reason = `${path === undefined ? '' : `${path}: `}${errorText(error)}`;
    if (isJson) output.write(jsonText({ error: 'NOT_REACHABLE', reason }));
    else errors.write(`The agent is not reachable: ${reason}\n`);
    return 1;
  }
}

/** @param isColoured on a terminal, unless NO_COLOR says otherwise. @returns 1 when something needed is missing. */
export async function runDoctor(
  checks: readonly Check[],
  isColoured: boolean,
  { isJson, output }: Omit<CommandOptions, 'errors'>,
): Promise<number> {
  const all = await diagnose(checks, (diagnosis) => {
    if (!isJson) output.write(`${diagnosisText(diagnosis, isColoured)}\n`);
  });
  const code = isWell(all) ? 0 : 1;
  if (isJson) output.write(jsonText({ isWell: code === 0, checks: all }));
  else output.write(code === 0 ? 'Ready to stream\n' : 'Not ready to stream\n');
  return code;
}

export interface FoundDevices {
  /** For people. */
  lines: readonly string[];
  /** For programs: the same as JSON. */
  data: object;
}

export async function runDevices(
  findDevices: () => Promise<FoundDevices>,
  { isJson, output }: Omit<CommandOptions, 'errors'>,
): Promise<number> {
  const { lines, data } = await findDevices();
  output.write(isJson ? jsonText(data) : linesText(lines.map(plain)));
  return 0;
}

const jsonText = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
const linesText = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('');
/** Devices name themselves: nothing that a terminal would obey. */
const plain = (line: string) => line.replace(/\p{Cc}/gu, ' ');
