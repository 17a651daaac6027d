/** What a root file system that does not run tells about the board it is for. Reads; changes nothing. */
import { GlasscastError } from '../../shared/errors.ts';
import { architectures, type BoardArchitecture, type BoardFacts } from './board.ts';
import { ARMED_FILE, BEGUN_FILES, FIRST_BOOT_FOLDER } from './first-boot.ts';
import type { RootTree } from './root-tree.ts';
import type { NetworkPrograms } from './wifi-files.ts';

/** e_machine of the ELF header: System V ABI, and the processors' supplements. */
const ELF_MACHINES: Record<number, BoardArchitecture> = { 62: 'amd64', 183: 'arm64', 40: 'armhf' };
const MAX_STATUS_BYTES = 32_000_000;
const MAX_PROGRAM_BYTES = 16_000_000;

/** @throws GlasscastError BOARD_UNFIT: no Debian system with systemd, or for another processor than it says */
export async function readImageFacts(tree: RootTree): Promise<BoardFacts> {
  const packages = (await tree.read('/var/lib/dpkg/status', MAX_STATUS_BYTES))?.toString('utf8');
  if (packages === undefined) throw unfit('it is no Debian system (/var/lib/dpkg/status is missing)');
  const architecture = await architectureOf(tree, packages);
  const flashed = await textOf(tree, `${FIRST_BOOT_FOLDER}/new/fingerprint`);
  const user = await textOf(tree, `${FIRST_BOOT_FOLDER}/new/user`);
  const isArmed = (await tree.look(ARMED_FILE)) !== undefined;
  const begun = await Promise.all(BEGUN_FILES.map((path) => tree.look(path)));
  return {
    architecture,
    os: osName(await textOf(tree, '/etc/os-release')),
    hasDpkg: true,
    hasSystemd: (await firstOf(tree, ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'])) !== undefined,
    libcVersion: /^(\d+\.\d+)/.exec(packageVersion(packages, 'libc6') ?? '')?.[1],
    freeBytes: await tree.freeBytes(),
    clockMs: undefined,
    cameras: [],
    soundCards: [],
    ffmpeg: undefined,
    installedVersion: packageVersion(packages, 'glasscast-agent'),
    isRunning: false,
    hasToken: (await firstOf(tree, TOKEN_FILES)) !== undefined,
    flashed: isArmed && flashed !== undefined ? { fingerprint: flashed, user } : undefined,
    isUnfinished: begun.some((node) => node !== undefined),
    isApplying: false,
    hasBefore: isArmed,
  };
}

/** As the unit keeps it: DynamicUser puts the folder in `private`, with an absolute link to it. */
const TOKEN_FILES = ['/var/lib/glasscast/agent-token.json', '/var/lib/private/glasscast/agent-token.json'];

export async function networkProgramsOf(tree: RootTree): Promise<NetworkPrograms> {
  const has = async (...paths: string[]) => (await firstOf(tree, paths)) !== undefined;
  return {
    networkManager: await has('/usr/sbin/NetworkManager', '/sbin/NetworkManager'),
    wpaSupplicant: await has('/usr/sbin/wpa_supplicant', '/sbin/wpa_supplicant'),
    networkd: await has('/usr/lib/systemd/systemd-networkd', '/lib/systemd/systemd-networkd'),
  };
}

async function architectureOf(tree: RootTree, packages: string): Promise<BoardArchitecture> {
  const told = stanzaOf(packages, 'dpkg')?.match(/^Architecture: (\S+)$/m)?.[1] ?? '';
  const architecture = architectures.find((each) => each === told);
  if (architecture === undefined)
    throw unfit(`it is for ${told || 'an unknown processor'}; ${architectures.join(', ')} are supported`);
  const shell = await firstOf(tree, ['/usr/bin/dash', '/bin/dash', '/bin/bash', '/bin/sh']);
  const head = shell === undefined ? undefined : await tree.read(shell, MAX_PROGRAM_BYTES);
  if (head === undefined || head.length < 20 || head.readUInt32BE(0) !== 0x7f454c46) throw unfit('it has no shell');
  const machine = ELF_MACHINES[head.readUInt16LE(18)];
  if (machine !== architecture) {
    throw unfit(`its packages are for ${architecture}, its programs for ${machine ?? 'another processor'}`);
  }
  return architecture;
}

function packageVersion(packages: string, name: string): string | undefined {
  const stanza = stanzaOf(packages, name);
  if (!/^Status: \S+ ok installed$/m.test(stanza ?? '')) return undefined;
  return stanza?.match(/^Version: (\S+)$/m)?.[1];
}

function stanzaOf(packages: string, name: string): string | undefined {
  return packages.split('\n\n').find((stanza) => stanza.startsWith(`Package: ${name}\n`));
}

/** @param text os-release(5) */
function osName(text: string | undefined): string {
  return /^PRETTY_NAME="?([^"\n]{1,100})"?$/m.exec(text ?? '')?.[1] ?? 'Debian';
}

async function textOf(tree: RootTree, path: string): Promise<string | undefined> {
  return (await tree.read(path, 64_000))?.toString('utf8').trim();
}

async function firstOf(tree: RootTree, paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if ((await tree.look(path)) !== undefined) return path;
  return undefined;
}

const unfit = (reason: string) => new GlasscastError('BOARD_UNFIT', { reason });
