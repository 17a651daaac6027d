/**
 * From nothing to the disk of a board: Debian by mmdebstrap, Debian's kernel with the few modules that count, the first file system
 * and the table of the virtual hardware. All from Debian's archive, checked by apt; each step is a piece that is kept.
 */
import { chmod, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { GlasscastError } from '../../shared/errors.ts';
import type { RunProgram } from '../flash/host-programs.ts';
import { cpioArchive } from './cpio-archive.ts';
import { BOARD_MODULES, DISK_MODULES, guestFiles, guestUnits } from './guest-files.ts';
import { modulesWithNeeds } from './kernel-modules.ts';
import type { Pieces } from './pieces.ts';

export interface BoardImage {
  /** ext4 without partitions: the root file system. Not to be written to. */
  disk: string;
  kernel: string;
  firstFileSystem: string;
  /** ACPI tables of the virtual hardware. */
  hardwareTable: string;
  kernelVersion: string;
}

export interface BoardImageOptions {
  pieces: Pieces;
  run: RunProgram;
  signal: AbortSignal;
}

const SUITE = 'bookworm';
const PACKAGES = [
  ...['systemd', 'systemd-sysv', 'udev', 'dbus', 'kmod', 'iproute2', 'openssh-server', 'ca-certificates', 'procps'],
  ...['alsa-utils', 'v4l-utils'],
];
const DISK_BYTES = 1_200_000_000;

/** @throws GlasscastError FLASH_FAILED: a program is missing or has failed; says which */
export async function buildBoardImage({ pieces, run, signal }: BoardImageOptions): Promise<BoardImage> {
  const must = async (name: string, debianPackage: string, args: readonly string[], cwd?: string): Promise<string> => {
    const options = cwd === undefined ? {} : { cwd };
    const { code, output, errors } = await run({ name, args, package: debianPackage, signal, ...options });
    if (code === 0) return output.toString('utf8');
    const last = errors.filter((line) => !line.startsWith('W: ')).at(-1) ?? 'it said nothing';
    throw new GlasscastError('FLASH_FAILED', { reason: `${name} ended with ${code}: ${last}` });
  };
  const kernelPackage = await kernelPackageName(must);
  const kernel = await pieces.piece('kernel', [kernelPackage], (folder) => unpacked(must, kernelPackage, folder));
  const tools = await pieces.piece('tools', ['busybox-static', 'acpica-tools'], async (folder) => {
    for (const name of ['busybox-static', 'acpica-tools']) await unpacked(must, name, folder);
  });
  const root = await pieces.piece('debian', [SUITE, ...PACKAGES], async (folder) => {
    const packages = `--include=${PACKAGES.join(',')}`;
    const args = ['--quiet', '--variant=minbase', packages, SUITE, join(folder, 'root.tar')];
    // Where its tree is found when it is ended half-way.
    await must('env', 'coreutils', [`TMPDIR=${folder}`, 'mmdebstrap', ...args]);
  });
  const version = (await readdir(join(kernel, 'lib/modules')))[0] ?? '';
  const table = await readFile(new URL('virtual-hardware.asl', import.meta.url), 'utf8');
  const init = initScript((await modulesOf(kernel, version, DISK_MODULES)).map(({ name }) => name));
  const boot = await pieces.piece('boot', [kernelPackage, table, init], async (folder) => {
    await writeFile(join(folder, 'first.cpio.gz'), await firstFileSystem({ kernel, tools, version, init }));
    await writeFile(join(folder, 'hardware.asl'), table);
    const compiler = join(tools, 'usr/bin/iasl');
    await must('env', 'coreutils', [compiler, '-p', join(folder, 'hardware'), join(folder, 'hardware.asl')]);
  });
  const madeOf = [kernelPackage, SUITE, ...PACKAGES, ...BOARD_MODULES, JSON.stringify([guestFiles, guestUnits])];
  const disk = await pieces.piece('disk', [...madeOf, String(DISK_BYTES)], async (folder) => {
    const tree = join(folder, 'root');
    await mkdir(tree);
    await must('tar', 'tar', ['-xf', join(root, 'root.tar'), '-C', tree, '--numeric-owner']);
    await addModules(kernel, version, tree);
    await must('chroot', 'coreutils', [tree, 'depmod', version]);
    await addFiles(tree);
    await must('chroot', 'coreutils', [tree, 'systemctl', '--quiet', 'enable', ...guestUnits]);
    const kib = String(Math.round(DISK_BYTES / 1024));
    await must('mke2fs', 'e2fsprogs', [
      '-q',
      '-t',
      'ext4',
      '-L',
      'glasses',
      '-d',
      tree,
      join(folder, 'disk.ext4'),
      kib,
    ]);
    await must('rm', 'coreutils', ['-rf', tree]);
  });
  return {
    disk: join(disk, 'disk.ext4'),
    kernel: join(kernel, 'boot', `vmlinuz-${version}`),
    firstFileSystem: join(boot, 'first.cpio.gz'),
    hardwareTable: join(boot, 'hardware.aml'),
    kernelVersion: version,
  };
}

type Must = (name: string, debianPackage: string, args: readonly string[], cwd?: string) => Promise<string>;

/** What `linux-image-amd64` stands for today. */
async function kernelPackageName(must: Must): Promise<string> {
  const text = await must('apt-cache', 'apt', ['depends', 'linux-image-amd64']);
  const name = /Depends: (linux-image-\S+)/.exec(text)?.[1];
  if (name !== undefined) return name;
  throw new GlasscastError('FLASH_FAILED', { reason: 'apt knows no linux-image-amd64; run apt-get update' });
}

/** apt checks what it fetches against Debian's signatures. */
async function unpacked(must: Must, debianPackage: string, folder: string): Promise<void> {
  await must('apt-get', 'apt', ['download', '-q', debianPackage], folder);
  for (const name of (await readdir(folder)).filter((entry) => entry.endsWith('.deb'))) {
    await must('dpkg-deb', 'dpkg', ['-x', name, '.'], folder);
    await must('rm', 'coreutils', [join(folder, name)]);
  }
}

const modulesOf = (kernel: string, version: string, wanted: readonly string[]) =>
  modulesWithNeeds(join(kernel, 'lib/modules', version), wanted);

const LISTS = ['modules.builtin', 'modules.builtin.modinfo', 'modules.order'];

async function addModules(kernel: string, version: string, tree: string): Promise<void> {
  const from = join(kernel, 'lib/modules', version);
  const to = join(tree, 'usr/lib/modules', version);
  const modules = await modulesOf(kernel, version, [...DISK_MODULES, ...BOARD_MODULES]);
  for (const path of [...modules.map((module) => module.path), ...LISTS]) {
    await mkdir(dirname(join(to, path)), { recursive: true });
    await copyFile(join(from, path), join(to, path));
  }
}

async function addFiles(tree: string): Promise<void> {
  for (const { path, text, isExecutable } of guestFiles) {
    const file = join(tree, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
    await chmod(file, isExecutable ? 0o755 : 0o644);
  }
}

interface FirstFileSystem {
  kernel: string;
  tools: string;
  version: string;
  init: string;
}

async function firstFileSystem({ kernel, tools, version, init }: FirstFileSystem): Promise<Buffer> {
  const folders = ['bin', 'dev', 'root', 'sys'].map((path) => ({ path }));
  const modules = await modulesOf(kernel, version, DISK_MODULES);
  const files = await Promise.all(
    modules.map(async ({ name, path }) => ({
      path: `${name}.ko`,
      content: await readFile(join(kernel, 'lib/modules', version, path)),
    })),
  );
  const busybox = await readFile(join(tools, 'bin/busybox'));
  const programs = [
    { path: 'bin/busybox', content: busybox, isExecutable: true },
    { path: 'init', content: Buffer.from(init), isExecutable: true },
  ];
  return gzipSync(cpioArchive([...folders, ...programs, ...files]), { level: 1 });
}

function initScript(modules: readonly string[]): string {
  return `#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t sysfs sys /sys
for name in ${modules.join(' ')}; do $b insmod /$name.ko; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 200 ]; do $b sleep 0.05; tries=$((tries + 1)); done
# The keyboard is to be the first input device whatever else comes: its light is named by its number.
tries=0
while [ ! -d /sys/class/leds/input0::scrolllock ] && [ $tries -lt 200 ]; do $b sleep 0.05; tries=$((tries + 1)); done
$b mount -t ext4 -o rw /dev/vda /root
$b umount /dev /sys
exec $b switch_root /root /sbin/init
`;
}
