/** The ways to a board, as flags of `glasscast flash`: exactly one of ssh, image and adb. */
import type { SpawnChild } from '../../shared/child-process.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import { createAdbBoard } from '../flash/adb-board.ts';
import { createAdbShell } from '../flash/adb-shell.ts';
import type { Board } from '../flash/board.ts';
import { createProgramRunner } from '../flash/host-programs.ts';
import { createImageBoard } from '../flash/image-board.ts';
import { createShellBoard } from '../flash/shell-board.ts';
import { createSshShell } from '../flash/ssh-board.ts';
import type { WifiNetwork } from '../flash/wifi-files.ts';
import type { Cli } from './commands.ts';
import { askHidden } from './hidden-prompt.ts';

export interface BoardFlags {
  ssh?: string;
  port?: number;
  identity?: string[];
  sshOption?: string[];
  image?: string;
  partition?: number;
  wifiSsid?: string;
  wifiCountry?: string;
  wifiInterface?: string;
  /** `--wifi-open` */
  wifiOpen?: true;
  /** `true`: the only device. */
  adb?: string | true;
  glibc?: string;
  undo?: true;
}

/** @throws GlasscastError INVALID_CONFIG: none, several, or flags of another way; as the boards */
export async function openBoard(flags: BoardFlags, cli: Cli, spawn: SpawnChild): Promise<Board> {
  const ways = [flags.ssh, flags.image, flags.adb].filter((way) => way !== undefined);
  if (ways.length !== 1) throw wrong('which board? Give --ssh user@board, --image FILE or --adb, and only one of them');
  requireFlagsOfWay(flags);
  if (flags.image !== undefined) {
    const wifi = flags.undo ? undefined : await wifiOf(flags, cli);
    return createImageBoard({ path: flags.image, partition: flags.partition, wifi, run: createProgramRunner(spawn) });
  }
  if (flags.adb !== undefined) {
    const shell = createAdbShell({ serial: flags.adb === true ? undefined : flags.adb, spawn, clock: cli.clock });
    return createAdbBoard({ shell, clock: cli.clock, glibcFolder: flags.glibc });
  }
  const shell = createSshShell({
    ...{ destination: flags.ssh ?? '', port: flags.port, identityFiles: flags.identity ?? [] },
    ...{ sshOptions: flags.sshOption ?? [], isInteractive: cli.terminal.isWatched && Boolean(process.stdin.isTTY) },
    ...{ spawn, clock: cli.clock },
  });
  return createShellBoard({ shell, clock: cli.clock });
}

function requireFlagsOfWay(flags: BoardFlags): void {
  const { image, adb, partition, wifiSsid, wifiCountry, wifiInterface, wifiOpen, glibc } = flags;
  const ofImage = [partition, wifiSsid, wifiCountry, wifiInterface, wifiOpen];
  if (image === undefined && ofImage.some((flag) => flag !== undefined)) {
    throw wrong('--partition and --wifi-… belong to --image; a running board has its network');
  }
  if (adb === undefined && glibc !== undefined) throw wrong('--glibc belongs to --adb');
  if (wifiSsid === undefined && ofImage.slice(2).some((flag) => flag !== undefined)) {
    throw wrong('--wifi-country, --wifi-interface and --wifi-open belong to --wifi-ssid');
  }
}

async function wifiOf(
  { wifiSsid, wifiCountry, wifiInterface, wifiOpen }: BoardFlags,
  { environment }: Cli,
): Promise<WifiNetwork | undefined> {
  if (wifiSsid === undefined) return undefined;
  return {
    ssid: wifiSsid,
    password: wifiOpen ? undefined : await wifiPassword(wifiSsid, environment),
    country: wifiCountry?.toUpperCase(),
    ...(wifiInterface === undefined ? {} : { interfaceName: wifiInterface }),
  };
}

async function wifiPassword(ssid: string, environment: NodeJS.ProcessEnv): Promise<Secret> {
  const given = environment.GLASSCAST_WIFI_PASSWORD;
  if (given) return new Secret(given);
  const asked = await askHidden(`Password of ${JSON.stringify(ssid)}: `, process.stdin, process.stderr);
  if (asked) return asked;
  throw wrong(
    'the password of the Wi-Fi is missing: set GLASSCAST_WIFI_PASSWORD, or give --wifi-open for a network without one',
  );
}

const wrong = (reason: string) => new GlasscastError('INVALID_CONFIG', { reason });
