/** A package for a board's processor beside the libraries that it depends on, unpacked, and its programs run by QEMU's user mode. */
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DevicePackage } from '../../scripts/package/device-package.ts';
import { type ChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { makeOwnFolder } from '../../shared/own-folder.ts';

export interface ForeignRoot {
  folder: string;
  /** Of the package, as dpkg reads it. */
  field(name: string): Promise<string>;
  /** A script of this machine that runs one of the package's programs: `node`, `ffmpeg`. */
  programs: Readonly<Record<'node' | 'ffmpeg', string>>;
  close(): void;
}

const emulators = { amd64: undefined, arm64: 'qemu-aarch64-static', armhf: 'qemu-arm-static' } as const;
/** Not the security updates, whose mirror is now and then in the middle of a change: nothing here serves anybody. */
const MIRROR = 'http://deb.debian.org/debian';

/** A question, not a fact: the tests' set-up may install what is missing. */
export const canEmulate = () =>
  process.getuid?.() === 0 &&
  ['mmdebstrap', 'dpkg-deb', 'qemu-aarch64-static', 'qemu-arm-static'].every((name) => findOnPath(name) !== undefined);

/** Holds exactly the libraries that the package depends on, and theirs. */
export async function openForeignRoot(
  { file, architecture }: DevicePackage,
  children: ChildSpawner,
): Promise<ForeignRoot> {
  const folder = await makeOwnFolder('/var/tmp', 'glasscast-foreign');
  const root = join(folder, 'root');
  async function must(program: string, ...args: string[]): Promise<string> {
    const lines: string[] = [];
    const { code, lastLines } = await children.spawn({
      ...{ name: program, file: program, args, stdout: 'lines', onStdoutLine: (line) => void lines.push(line) },
    }).exited;
    if (code !== 0) throw new Error(`${program} ended with ${code}: ${lastLines.join('\n')}`);
    return lines.join('\n');
  }
  const field = (name: string) => must('dpkg-deb', '-f', file, name);
  function script(program: string): string {
    const emulator = emulators[architecture];
    const path = join(folder, program);
    const inside = join(root, 'usr/lib/glasscast', program);
    writeFileSync(path, `#!/bin/sh\nexec ${emulator ? `${emulator} -L ${root} ` : ''}${inside} "$@"\n`);
    chmodSync(path, 0o755);
    return path;
  }
  const libraries = (await field('Depends')).split(', ').flatMap((text) => /^lib\S+/.exec(text)?.[0] ?? []);
  const about = ['--quiet', '--variant=extract', `--architectures=${architecture}`, `--include=${libraries.join(',')}`];
  await must('mmdebstrap', ...about, 'bookworm', root, MIRROR);
  await must('dpkg-deb', '-x', file, root);
  return {
    folder: root,
    field,
    programs: { node: script('node'), ffmpeg: script('ffmpeg') },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}
