/**
 * Our Debian package as a tree for Android, which has neither dpkg nor glibc: the programs of the package, the loader and
 * libraries that they need, and what starts them there. Reads packages (deb(5), gzip) and writes one tar.
 */
import { createWriteStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { gunzipSync } from 'node:zlib';
import { extract, pack } from 'tar-stream';
import { GlasscastError } from '../../shared/errors.ts';
import type { BoardArchitecture } from './board.ts';

interface Needs {
  loader: string;
  machine: number;
  libraries: readonly string[];
  /** Debian's packages that have them. */
  packages: readonly string[];
}

const LIBC = ['libc.so.6', 'libm.so.6', 'libdl.so.2', 'libpthread.so.0', 'librt.so.1'];
const CPP = ['libstdc++.so.6', 'libgcc_s.so.1'];
const PACKAGES = ['libc6', 'libstdc++6', 'libgcc-s1'];
const needs: Readonly<Record<BoardArchitecture, Needs>> = {
  arm64: { loader: 'ld-linux-aarch64.so.1', machine: 183, libraries: [...LIBC, ...CPP], packages: PACKAGES },
  amd64: { loader: 'ld-linux-x86-64.so.2', machine: 62, libraries: [...LIBC, ...CPP], packages: PACKAGES },
  armhf: {
    ...{ loader: 'ld-linux-armhf.so.3', machine: 40, libraries: [...LIBC, ...CPP, 'libatomic.so.1'] },
    packages: [...PACKAGES, 'libatomic1'],
  },
};
/** Of glibc before 2.34, which looks names up by them. */
const OPTIONAL = ['libresolv.so.2', 'libnss_dns.so.2', 'libnss_files.so.2'];
const HOME = 'usr/lib/glasscast/';
const MAX_UNPACKED_BYTES = 1_000_000_000;

export interface AndroidTreeOptions {
  packageFile: string;
  architecture: BoardArchitecture;
  /** Debian's libraries, unpacked, in any folders below it. */
  glibcFolder: string | undefined;
  /** Of the tar. */
  outFile: string;
}

interface TreeFile {
  name: string;
  content: Buffer;
  isProgram: boolean;
}

/** @throws GlasscastError INVALID_CONFIG: no package of ours, or libraries missing: says how to get them */
export async function makeAndroidTree(options: AndroidTreeOptions): Promise<{ version: string }> {
  const { packageFile, architecture, glibcFolder, outFile } = options;
  const { version, files } = await readPackage(packageFile);
  const { loader } = needs[architecture];
  const libraries = await readLibraries(glibcFolder, architecture);
  const starters = await Promise.all(
    ['launch', 'supervise', 'glasscast.rc'].map(async (name): Promise<TreeFile> => {
      const text = await readFile(new URL(`android/${name}`, import.meta.url), 'utf8');
      return { name, content: Buffer.from(text.replaceAll('LOADER', loader)), isProgram: name !== 'glasscast.rc' };
    }),
  );
  const all = [...files.filter(({ name }) => name !== 'launch'), ...starters, ...libraries];
  await writeTar(outFile, [...all, { name: 'VERSION', content: Buffer.from(`${version}\n`), isProgram: false }]);
  return { version };
}

async function writeTar(outFile: string, files: readonly TreeFile[]): Promise<void> {
  const tar = pack();
  const written = pipeline(tar, createWriteStream(outFile, { mode: 0o600 }));
  const add = (name: string, mode: number, content?: Buffer) =>
    new Promise<void>((resolve, reject) => {
      const done = (error?: Error | null) => (error ? reject(error) : resolve());
      const header = { name, mode, uid: 0, gid: 0, mtime: new Date(0) };
      if (content) tar.entry(header, content, done);
      else tar.entry({ ...header, type: 'directory' }, done);
    });
  await add('lib/', 0o755);
  for (const { name, content, isProgram } of files) await add(name, isProgram ? 0o755 : 0o644, content);
  tar.finalize();
  await written;
}

async function readPackage(file: string): Promise<{ version: string; files: TreeFile[] }> {
  const members = arMembers(await readFile(file));
  const [control, data] = ['control.tar.gz', 'data.tar.gz'].map((name) => members.get(name));
  if (!control || !data) throw wrong(`${file} is no package of "npm run package:device"`);
  const about = (await untarred(control)).find(({ name }) => name === 'control')?.content.toString('utf8') ?? '';
  const version = /^Version: ([\w.~+-]{1,60})$/m.exec(about)?.[1];
  const files = (await untarred(data)).flatMap(({ name, ...rest }) =>
    name.startsWith(HOME) ? [{ ...rest, name: name.slice(HOME.length) }] : [],
  );
  const has = (wanted: string) => files.some(({ name }) => name === wanted);
  if (!/^Package: glasscast-agent$/m.test(about) || !version || !['node', 'ffmpeg', 'agent.mjs'].every(has)) {
    throw wrong(`${file} is no package of glasscast-agent`);
  }
  return { version, files };
}

/** ar(5): a head of 60 bytes each, members at even places. */
function arMembers(bytes: Buffer): Map<string, Buffer> {
  const members = new Map<string, Buffer>();
  if (bytes.toString('latin1', 0, 8) !== '!<arch>\n') return members;
  for (let at = 8; at + 60 <= bytes.length; ) {
    const name = bytes.toString('latin1', at, at + 16).replace(/\/? *$/, '');
    const size = Number(bytes.toString('latin1', at + 48, at + 58));
    if (!Number.isSafeInteger(size) || size < 0) return members;
    members.set(name, bytes.subarray(at + 60, at + 60 + size));
    at += 60 + size + (size % 2);
  }
  return members;
}

async function untarred(packed: Buffer): Promise<TreeFile[]> {
  const files: TreeFile[] = [];
  const tar = extract();
  tar.on('entry', ({ name, type, mode }, stream, next) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk) => void chunks.push(chunk as Buffer));
    stream.on('end', () => {
      const isProgram = ((mode ?? 0) & 0o100) !== 0;
      if (type === 'file') files.push({ name: name.replace(/^\.\//, ''), content: Buffer.concat(chunks), isProgram });
      next();
    });
  });
  Readable.from([gunzipSync(packed, { maxOutputLength: MAX_UNPACKED_BYTES })]).pipe(tar);
  await finished(tar);
  return files;
}

async function readLibraries(folder: string | undefined, architecture: BoardArchitecture): Promise<TreeFile[]> {
  const { loader, machine, libraries, packages } = needs[architecture];
  const wanted = packages.map((name) => `${name}:${architecture}`).join(' ');
  const recipe =
    `on Debian: dpkg --add-architecture ${architecture} && apt-get update && apt-get download ${wanted}; ` +
    'for f in *.deb; do dpkg-deb -x "$f" glibc; done; then --glibc glibc';
  if (folder === undefined) throw wrong(`Android has no glibc: give Debian's libraries by --glibc DIR (${recipe})`);
  const places = await placesIn(folder);
  const missing = [loader, ...libraries].filter((name) => !places.has(name));
  if (missing.length > 0) throw wrong(`--glibc ${folder} lacks ${missing.join(', ')} (${recipe})`);
  const found: TreeFile[] = [];
  for (const name of [loader, ...libraries, ...OPTIONAL]) {
    const place = places.get(name);
    if (place === undefined) continue;
    const content = await readFile(place);
    const isOurs =
      content.length > 20 && content.readUInt32BE(0) === 0x7f454c46 && content.readUInt16LE(18) === machine;
    if (!isOurs) throw wrong(`${place} is no library for ${architecture} (${recipe})`);
    found.push({ name: `lib/${name}`, content, isProgram: true });
  }
  return found;
}

/** By name; of several, the last in order. */
async function placesIn(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => {
    throw wrong(`--glibc ${folder} cannot be read`);
  });
  const files = entries.filter((entry) => entry.isFile() || entry.isSymbolicLink());
  return new Map(files.map(({ name, parentPath }) => [name, join(parentPath, name)]));
}

const wrong = (reason: string) => new GlasscastError('INVALID_CONFIG', { reason });
