/** `glasscast flash`: the agent onto a board and back again. Owns what the flags mean and how the steps are told. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError } from 'commander';
import { diagnosisText, type FindingState } from '../../device/runtime/doctor.ts';
import { type ChildSpawner, createChildSpawner } from '../../shared/child-process.ts';
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import type { Board, BoardArchitecture } from '../flash/board.ts';
import {
  type FlashOptions,
  type FlashOutcome,
  type FlashTeller,
  flash,
  type StepState,
  undoFlash,
} from '../flash/engine.ts';
import { type PackageFile, packageFileOf, readReleaseKeys, settingsText } from '../flash/flash-order.ts';
import { createRelaySide } from '../flash/relay-side.ts';
import { type Cli, collected, type Run, wholeNumber } from './commands.ts';
import { type BoardFlags, openBoard } from './flash-boards.ts';
import { harmless, type Terminal } from './terminal.ts';

const HELP = `
Environment:
  GLASSCAST_ADMIN_TOKEN    lets the relay give the board its code, and say whether it came; without it give a code
  GLASSCAST_ENROLMENT_CODE a code of "glasscast device enrol", once; never a flag, as others can see flags
  GLASSCAST_WIFI_PASSWORD  of --wifi-ssid; kept in the image as the key that is made from it

Examples:
  glasscast flash --ssh pi@10.0.0.7 --relay-url https://relay.example --email ada@example.com
  glasscast flash --image raspios.img --wifi-ssid home --wifi-country DE --relay-url … --email ada@example.com
  glasscast flash --adb --glibc ./glibc --relay-url http://10.0.0.2:8787 --email ada@example.com
  glasscast flash --ssh pi@10.0.0.7 … --dry-run       every step, and nothing done
  glasscast flash --ssh pi@10.0.0.7 --undo            back to what was there before the last flash

The settings on the board are those of this command and no others. It may be stopped and given again at any time: what was
brought over is not brought again, and the same package and settings again change nothing. A new version that does not
prove itself on the board is taken back there, with the connection or without.`;

export interface FlashFlags extends BoardFlags {
  package?: string;
  agentVersion?: string;
  agentRelayUrl?: string;
  email?: string;
  source: string;
  microphone?: string;
  releaseKey?: string[];
  set?: string[];
  deadline: number;
  /** `--no-test-stream` */
  testStream: boolean;
  dryRun?: true;
}

export function addFlashCommand(program: Command, run: Run): void {
  program
    .command('flash')
    .description('put the agent on a board: look, install, prove; else put back what was there')
    .option('--ssh <user@board>', 'a running board, by the ssh of this system and its configuration')
    .option('--port <n>', 'of its sshd', wholeNumber)
    .option('--identity <file>', 'private key for ssh; may be repeated', collected)
    .option('--ssh-option <name=value>', 'as -o of ssh; may be repeated', collected)
    .option(
      '--image <file|folder>',
      'a board that does not run: its image (ext4, alone or with partitions) or its mounted root',
    )
    .option('--partition <n>', 'of the image, when several hold a system', wholeNumber)
    .option('--wifi-ssid <name>', 'the image joins this Wi-Fi; its password: GLASSCAST_WIFI_PASSWORD, or you are asked')
    .option('--wifi-country <code>', 'where it is used, as DE: the channels that are allowed there')
    .option('--wifi-interface <name>', 'of the board (default: any, or wlan0 without NetworkManager)')
    .option('--wifi-open', 'that Wi-Fi has no password')
    .option('--adb [serial]', 'an Android board, by the adb of this system')
    .option('--glibc <folder>', "Debian's C library for the Android board, unpacked")
    .option('--package <file>', 'this .deb (default: one is made for the board)')
    .option('--agent-version <version>', 'of the package that is made (default: of these sources)')
    .option('--agent-relay-url <url>', 'ws(s)://…/glasses-ws as the board reaches it (default: from --relay-url)')
    .option('--email <user>', 'whose glasses these are', email)
    .option('--source <source>', 'picture, as of the agent', 'v4l2:auto')
    .option('--microphone <microphone>', 'sound, as of the agent')
    .option('--release-key <file>', 'public key whose updates the board trusts; may be repeated', collected)
    .option('--set <key=value>', "another of the agent's settings; may be repeated", collected)
    .option('--deadline <seconds>', 'the agent has to prove itself within', deadline, 120)
    .option('--no-test-stream', 'leave out the short real stream at the end')
    .option('--dry-run', 'tell every step and change nothing on the board')
    .option('--undo', 'back to what was there before the last flash')
    .addHelpText('after', HELP)
    .action(run(flashBoard));
}

function email(text: string): string {
  if (/^[^\s@]+@[^\s@]+$/.test(text)) return text.toLowerCase();
  throw new InvalidArgumentError('Give an e-mail address.');
}

/** So long that a slow board is no broken one, and not longer than a flash is waited for. */
const DEADLINE_SECONDS = { min: 5, max: 900 };

function deadline(text: string): number {
  const seconds = wholeNumber(text);
  if (seconds >= DEADLINE_SECONDS.min && seconds <= DEADLINE_SECONDS.max) return seconds;
  throw new InvalidArgumentError(`Give ${DEADLINE_SECONDS.min} to ${DEADLINE_SECONDS.max} seconds.`);
}

async function flashBoard(cli: Cli, flags: FlashFlags): Promise<void> {
  const { clock, terminal, environment } = cli;
  const redactor = createRedactor();
  if (environment.GLASSCAST_ADMIN_TOKEN) redactor.add(environment.GLASSCAST_ADMIN_TOKEN);
  const children = createChildSpawner({ clock, log: silentLog(), redactor });
  const stopping = new AbortController();
  const stop = () => stopping.abort(new Error('stopped'));
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const name of signals) process.once(name, stop);
  const steps: object[] = [];
  let board: Board | undefined;
  try {
    board = await openBoard(flags, cli, children.spawn);
    const { code, relay } = sidesOf(cli, flags.deadline);
    const options: Omit<FlashOptions, 'order' | 'packageFor'> = {
      ...{ board, code, relay, redactor, signal: stopping.signal, tell: teller(terminal, steps) },
      ...{ wantsTestStream: flags.testStream, isDryRun: flags.dryRun === true },
      run: { deadlineSeconds: flags.deadline, gate: 'agent' },
      newId: randomUUID,
      nowMs: clock.now,
    };
    if (!flags.undo && flags.adb === undefined && !flags.releaseKey)
      terminal.note('Without --release-key the board trusts no updates: a newer version comes only by flashing again');
    const outcome = flags.undo
      ? await undoFlash(options)
      : await flash({ ...options, order: orderOf(cli, flags), packageFor: packageMaker(flags, cli, children) });
    terminal.result({ board: board.name, ...outcome, steps }, [closing(board, outcome)]);
  } catch (error) {
    terminal.passing('');
    tellLastWords(error, terminal);
    throw error;
  } finally {
    for (const name of signals) process.removeListener(name, stop);
    await board?.close();
    await children.close();
  }
}

/** The board has told that the relay has accepted it: what is missing now is no matter of patience. */
const HELLO_TIMEOUT_MS = 60_000;

function sidesOf({ api, clock, environment }: Cli, deadlineSeconds: number): Pick<FlashOptions, 'code' | 'relay'> {
  const code = environment.GLASSCAST_ENROLMENT_CODE;
  const helloTimeoutMs = Math.min(HELLO_TIMEOUT_MS, deadlineSeconds * 1_000);
  return {
    code: code ? new Secret(code) : undefined,
    relay: environment.GLASSCAST_ADMIN_TOKEN ? createRelaySide({ api, clock, helloTimeoutMs }) : undefined,
  };
}

function orderOf({ relayUrl }: Cli, flags: FlashFlags): FlashOptions['order'] {
  const { source, microphone, set } = flags;
  const agentRelayUrl = flags.agentRelayUrl ?? agentUrlOf(relayUrl);
  const settings = settingsText({ relayUrl: agentRelayUrl, source, microphone, ...(set ? { set } : {}) });
  return { settings, source, releaseKeys: readReleaseKeys(flags.releaseKey ?? []), user: flags.email };
}

/** @param relayUrl `http://HOST:PORT`. @throws GlasscastError INVALID_CONFIG: the board would look for it on itself */
export function agentUrlOf(relayUrl: string): string {
  const { hostname, protocol, host } = new URL(relayUrl);
  if (/^(localhost|127\..*|\[::1\])$/.test(hostname)) {
    const reason = `${relayUrl} is this machine only to itself; give --relay-url with an address that the board reaches, or --agent-relay-url`;
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
  return `${protocol === 'https:' ? 'wss' : 'ws'}://${host}${new URL(relayUrl).pathname.replace(/\/$/, '')}/glasses-ws`;
}

function packageMaker({ package: given, agentVersion }: FlashFlags, { clock, terminal }: Cli, { spawn }: ChildSpawner) {
  return async (architecture: BoardArchitecture): Promise<PackageFile> => {
    if (given !== undefined) return packageFileOf(given);
    const { buildDevicePackage } = await import('../package/device-package.ts');
    const outFolder = fileURLToPath(new URL('../../node_modules/.cache/glasscast/packages', import.meta.url));
    const onProgress = (line: string) => terminal.passing(`  ${line}`);
    const version = agentVersion ?? ownVersion();
    const { file, bytes, sha256 } = await buildDevicePackage({
      architecture,
      version,
      outFolder,
      spawn,
      clock,
      onProgress,
    });
    return { path: file, bytes, sha256, version, architecture };
  };
}

function ownVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

const MARKS: Record<StepState, FindingState> = {
  ok: 'ok',
  warning: 'unknown',
  skipped: 'unknown',
  would: 'unknown',
  failed: 'bad',
};
/** On a terminal a percentage stands; elsewhere it would fill a log. */
const LOGGED_EVERY_PERCENT = 25;

/** As `doctor` tells its checks. */
export function teller(terminal: Terminal, steps: object[]): FlashTeller {
  const isColoured = terminal.style('bold', 'x') !== 'x';
  let logged = '';
  return {
    step(name, state, text) {
      steps.push({ name, state, text });
      const shown = state === 'would' ? `would ${text}` : state === 'warning' ? `note: ${text}` : text;
      const line = diagnosisText({ name, isNeeded: true, state: MARKS[state], text: shown }, isColoured);
      if (!terminal.isJson) terminal.line({}, line);
    },
    progress(name, text, percent) {
      const shown = harmless(text);
      // While a board is connected to, ssh may have a question of its own for the terminal.
      if (terminal.isWatched && name !== 'Board') {
        terminal.passing(`… ${name.padEnd(15)} ${percent === undefined ? '' : `${Math.floor(percent)} % `}${shown}`);
        return;
      }
      const key = percent === undefined ? `${name} ${shown}` : `${name} ${Math.floor(percent / LOGGED_EVERY_PERCENT)}`;
      if (key === logged) return;
      logged = key;
      terminal.note(`… ${name.padEnd(15)} ${percent === undefined ? shown : `${Math.floor(percent)} %, ${shown}`}`);
    },
  };
}

function closing({ name }: Board, { outcome, version }: FlashOutcome): string {
  switch (outcome) {
    case 'dry-run':
      return `Nothing was changed on ${name}`;
    case 'armed':
      return `${name} is ready for its first boot`;
    case 'undone':
      return `${name} is as it was before the last flash`;
    case 'already':
      return `${name} was flashed already, with ${version}`;
    default:
      return `${name} is flashed with ${version}`;
  }
}

function tellLastWords(error: unknown, terminal: Terminal): void {
  const lines = isGlasscastError(error) ? error.details.lines : undefined;
  if (!Array.isArray(lines) || lines.length === 0) return;
  terminal.note('The last words of the board:');
  for (const line of lines) terminal.note(`  ${harmless(String(line))}`);
}
