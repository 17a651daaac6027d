/**
 * A root shell on an Android board by the system's adb. Owns which device is meant, how root is got, and telling a device that
 * went away from a script that failed. No secret and no script is ever an argument.
 */
import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { BoardShell, ShellCall } from './board.ts';
import { type FedRun, runFed } from './fed-program.ts';

export interface AdbShellOptions {
  /** As `adb devices` shows it. Undefined: the only one. */
  serial: string | undefined;
  spawn: SpawnChild;
  clock: Clock;
  /** Default: the one on PATH. */
  adbFile?: string | undefined;
  /** Of adb. Default: this program's, without our own settings. */
  environment?: NodeJS.ProcessEnv;
}

export interface AdbDevice {
  serial: string;
  state: string;
}

const RUN_TIMEOUT_MS = 120_000;
const ROOT_TIMEOUT_MS = 30_000;
/** The script's last word on standard error: without it the connection, not the script, has ended. */
const END = 'glasscast-end';

/** @param text of `adb devices` */
export function adbDevices(text: string): AdbDevice[] {
  return text.split('\n').flatMap((line) => {
    const [, serial, state] =
      /^(\S+)\t(device|offline|unauthorized|authorizing|recovery|sideload|bootloader|no permissions)/.exec(line) ?? [];
    return serial !== undefined && state !== undefined ? [{ serial, state }] : [];
  });
}

const STATES: Readonly<Record<string, string>> = {
  offline: 'it is offline; unplug it and plug it in again, or adb reconnect',
  unauthorized: 'it does not trust this machine yet; unlock it and accept the key that it shows',
  authorizing: 'it asks whether to trust this machine; unlock it and accept the key that it shows',
  'no permissions': 'this user may not open it; install android-sdk-platform-tools-common (udev rules), or use root',
  recovery: 'it is in recovery; let it boot (adb reboot)',
  sideload: 'it is in sideload; let it boot (adb reboot)',
  bootloader: 'it is in its boot loader; let it boot (fastboot reboot)',
};

/** @throws GlasscastError BOARD_UNREACHABLE: none, several, or not ready: says what to do */
export function chosenDevice(devices: readonly AdbDevice[], serial: string | undefined): string {
  const meant = serial === undefined ? devices : devices.filter((device) => device.serial === serial);
  const names = devices.map((device) => device.serial).join(', ');
  const [only, ...more] = meant;
  if (only === undefined) {
    const others = names ? `adb sees ${names}` : 'adb sees none: is it plugged in, with USB debugging on';
    throw unreachable(serial === undefined ? `no device; ${others}` : `no device ${serial}; ${others}`);
  }
  if (more.length > 0) throw unreachable(`several devices (${names}); choose by --adb SERIAL`);
  if (only.state === 'device') return only.serial;
  throw unreachable(`${only.serial}: ${STATES[only.state] ?? only.state}`);
}

/** @throws GlasscastError INVALID_CONFIG: no adb here */
export function createAdbShell(options: AdbShellOptions): BoardShell {
  const { spawn, clock, environment } = options;
  const adb = options.adbFile ?? findOnPath('adb');
  if (adb === undefined) throw new GlasscastError('INVALID_CONFIG', { reason: 'there is no adb here; install adb' });
  const file = adb;
  let connecting: Promise<Connection> | undefined;

  const call = (args: readonly string[], { timeoutMs = RUN_TIMEOUT_MS, ...more }: CallOptions) =>
    runFed({ ...more, timeoutMs, name: 'adb', file, args, env: environment }, { spawn, clock });

  async function connect(signal: AbortSignal): Promise<Connection> {
    const { output } = await call(['devices'], { signal, timeoutMs: ROOT_TIMEOUT_MS });
    const serial = chosenDevice(adbDevices(output), options.serial);
    const features = await call(['-s', serial, 'features'], { signal, timeoutMs: ROOT_TIMEOUT_MS });
    if (!features.output.includes('shell_v2')) {
      throw new GlasscastError('BOARD_UNFIT', {
        reason: `${serial}: its adb is too old (no shell_v2); Android 7 is needed`,
      });
    }
    return { serial, wrap: await rootWay(serial, signal) };
  }

  /** As adbd itself, or by su of a debug build, or by Magisk's. */
  async function rootWay(serial: string, signal: AbortSignal): Promise<Wrap> {
    const isRoot = async (wrap: Wrap) => {
      const { output } = await call(['-s', serial, 'shell', '-T', wrap('id -u')], {
        signal,
        timeoutMs: ROOT_TIMEOUT_MS,
      });
      return output.trim() === '0';
    };
    const direct: Wrap = (command) => command;
    if (await isRoot(direct)) return direct;
    await call(['-s', serial, 'root'], { signal, timeoutMs: ROOT_TIMEOUT_MS });
    await call(['-s', serial, 'wait-for-device'], { signal, timeoutMs: ROOT_TIMEOUT_MS });
    const ways: Wrap[] = [direct, (command) => `su 0 ${command}`, (command) => `su -c ${shellQuoted(command)}`];
    for (const wrap of ways) if (await isRoot(wrap)) return wrap;
    const reason = `${serial} gives no root: adb root and su are refused; a userdebug or eng build, or Magisk, is needed`;
    throw new GlasscastError('BOARD_UNFIT', { reason });
  }

  async function run(script: string, { signal, timeoutMs, input }: ShellCall) {
    connecting ??= connect(signal).catch((error: unknown) => {
      connecting = undefined;
      throw error;
    });
    const { serial, wrap } = await connecting;
    const bytes = Buffer.from(script);
    const command = wrap(bootOf(bytes.byteLength));
    const end = await call(['-s', serial, 'shell', '-T', command], {
      ...{ signal, script: bytes, input },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    if (end.end === 'stopped') throw unreachable(`${serial}: it did not answer in time`);
    const last = end.lastLines.at(-1) ?? '';
    const code = new RegExp(`^${END} (\\d+)$`).exec(last)?.[1];
    if (code !== undefined)
      return { code: Number(code), output: end.output, errors: end.lastLines.slice(0, -1).join('\n') };
    // It may have come back under another state: looked at anew.
    connecting = undefined;
    const told = end.lastLines.map((line) => line.replace(/^(error|adb): /, '')).at(-1);
    throw unreachable(`${serial} went away${told ? ` (${told})` : ''}; is its cable in`);
  }

  return { name: options.serial ?? 'adb', run, close: async () => {} };
}

interface Connection {
  serial: string;
  wrap: Wrap;
}

type Wrap = (command: string) => string;

type CallOptions = Pick<FedRun, 'signal' | 'script' | 'input'> & { timeoutMs?: number };

/** Reads the script by its length and leaves it the rest of standard input: a shell that reads its script there takes more. */
const bootOf = (bytes: number) =>
  `sh -c 's=$(dd bs=1 count=${bytes} 2>/dev/null); (eval "$s"); c=$?; echo "${END} $c" >&2; exit $c'`;

/** One word for a POSIX shell. */
export const shellQuoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

const unreachable = (reason: string) => new GlasscastError('BOARD_UNREACHABLE', { reason });
