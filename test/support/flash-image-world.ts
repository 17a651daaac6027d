/** For tests that flash an image: disks made of a Debian root, and the way back from a disk to a root that boots. */

import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Board } from '../../scripts/flash/board.ts';
import type { RunProgram } from '../../scripts/flash/host-programs.ts';
import { boardFile } from './fake-root.ts';

export const ROOT_OFFSET_BYTES = 8 * 1_048_576;

/** As Raspberry Pi OS is: a FAT partition to boot from (empty here), then the root. */
export async function makeDisk(run: RunProgram, rootFolder: string, file: string, rootMb: number): Promise<void> {
  const sector = Buffer.alloc(512);
  const rootSectors = rootMb * 2048;
  for (const [at, [type, start, sectors]] of [
    [0x0c, 2048, 8192] as const,
    [0x83, ROOT_OFFSET_BYTES / 512, rootSectors] as const,
  ].entries()) {
    sector.writeUInt8(type, 446 + at * 16 + 4);
    sector.writeUInt32LE(start, 446 + at * 16 + 8);
    sector.writeUInt32LE(sectors, 446 + at * 16 + 12);
  }
  sector.writeUInt16LE(0xaa55, 510);
  await writeFile(file, sector);
  await truncate(file, ROOT_OFFSET_BYTES + rootMb * 1_048_576);
  const place = ['-E', `offset=${ROOT_OFFSET_BYTES}`, file, `${rootMb}M`];
  await must(run, 'mke2fs', ['-q', '-F', '-t', 'ext4', '-L', 'rootfs', '-d', rootFolder, ...place]);
}

/** The tree of the disk takes the folder's place. */
export async function unpackDisk(run: RunProgram, file: string, rootFolder: string): Promise<void> {
  for (const name of await readdir(rootFolder)) await rm(join(rootFolder, name), { recursive: true, force: true });
  await mkdir(rootFolder, { recursive: true });
  await must(run, 'debugfs', ['-R', `rdump / "${rootFolder}"`, `${file}?offset=${ROOT_OFFSET_BYTES}`]);
}

/** What e2fsck finds wrong; empty when all is well. */
export async function faultsOf(run: RunProgram, file: string, offsetBytes = ROOT_OFFSET_BYTES): Promise<string> {
  const place = offsetBytes === 0 ? file : `${file}?offset=${offsetBytes}`;
  const { code, output } = await run({ name: 'e2fsck', args: ['-fn', place], package: 'e2fsprogs' });
  return code === 0 ? '' : output.toString('utf8');
}

/** `mode uid:gid` of paths, as debugfs tells them. */
export async function ownersIn(run: RunProgram, file: string, paths: readonly string[]): Promise<string[]> {
  const lines: string[] = [];
  for (const path of paths) {
    const args = ['-R', `stat "${path}"`, `${file}?offset=${ROOT_OFFSET_BYTES}`];
    const text = (await run({ name: 'debugfs', args, package: 'e2fsprogs' })).output.toString('utf8');
    const [, mode, user, group] = /Mode:\s+(\d+)[\s\S]*?User:\s+(\d+)\s+Group:\s+(\d+)/.exec(text) ?? [];
    lines.push(`${mode} ${user}:${group}`);
  }
  return lines;
}

export interface FlashParts {
  packageFile: string;
  relayUrl: string;
  code: string;
  runId?: string;
}

/** What the engine brings to a board. */
export async function bring(board: Board, { packageFile, relayUrl, code, runId = 'run-1' }: FlashParts): Promise<void> {
  const call = { signal: AbortSignal.timeout(60_000), onProgress: () => {} };
  const settings = [`GLASSCAST_AGENT_RELAY_URL=${relayUrl}`, 'GLASSCAST_AGENT_SOURCE=test-pattern', ''].join('\n');
  const texts = {
    'new/settings': settings,
    'new/enrolment-code': `${code}\n`,
    'new/fingerprint': 'f1\n',
    'new/user': 'ada@example.com\n',
    'new/options': `id=${runId}\ngate=agent\ndeadline=120\n`,
  };
  for (const [name, text] of Object.entries(texts)) await board.put(boardFile(name, text), call);
  const bytes = (await stat(packageFile)).size;
  const sha256 = createHash('sha256')
    .update(await readFile(packageFile))
    .digest('hex');
  await board.put({ name: 'new/package.deb', content: { path: packageFile }, bytes, sha256 }, call);
}

export async function must(run: RunProgram, name: string, args: readonly string[]): Promise<void> {
  const { code, errors } = await run({ name, args, package: 'e2fsprogs' });
  if (code !== 0) throw new Error(`${name} ${args.join(' ')} ended with ${code}: ${errors.join('\n')}`);
}

/** Flips a byte of the file. */
export async function damage(file: string, atBytes: number): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, atBytes);
    await handle.write(Buffer.from([0xff ^ (buffer[0] ?? 0)]), 0, 1, atBytes);
  } finally {
    await handle.close();
  }
}
