/**
 * A Debian package (deb(5)) from what is to be in it, without dpkg: it can be made on any system. Same parts, same bytes: owner,
 * times and order are ours, not the disk's. Knows the form and nothing of what the package is for.
 */
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { arArchive } from './ar-archive.ts';

/** Path without a leading slash: `usr/bin/x`. The folders above are made. */
export type PackageEntry =
  | { path: string; bytes: Uint8Array; mode?: 0o644 | 0o755 | 0o600 }
  | { path: string; linkTo: string }
  | { path: string; isFolder: true; mode?: 0o755 | 0o700 };

export interface DebianArchive {
  /** In order; without Installed-Size, which is counted. */
  control: Readonly<Record<string, string>>;
  /** preinst, postinst, prerm, postrm: POSIX sh. */
  scripts: Readonly<Record<string, string>>;
  entries: readonly PackageEntry[];
  /** Seconds since the epoch: of everything inside. */
  modifiedS: number;
}

const compress = promisify(gzip);
/** Where the byte stands that tells the system which packed it; differs between systems, and nobody reads it. */
const GZIP_SYSTEM_AT = 9;
const GZIP_UNIX = 3;

export async function debianArchive({ control, scripts, entries, modifiedS }: DebianArchive): Promise<Buffer> {
  const all = withFolders(entries);
  const files = all.flatMap((entry) => ('bytes' in entry ? [entry] : []));
  const md5sums = files.map(({ path, bytes }) => `${createHash('md5').update(bytes).digest('hex')}  ${path}\n`);
  const fields = { ...control, 'Installed-Size': String(installedKib(all)) };
  const text = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`);
  const controlEntries: PackageEntry[] = [
    { path: 'control', bytes: Buffer.from(text.join('')) },
    { path: 'md5sums', bytes: Buffer.from(md5sums.join('')) },
    ...Object.entries(scripts).map(([path, script]) => ({ path, bytes: Buffer.from(script), mode: 0o755 as const })),
  ];
  return arArchive(
    [
      { name: 'debian-binary', bytes: Buffer.from('2.0\n') },
      { name: 'control.tar.gz', bytes: await packed(controlEntries.sort(byPath), modifiedS) },
      { name: 'data.tar.gz', bytes: await packed(all, modifiedS) },
    ],
    modifiedS,
  );
}

/** @returns bytes that `gunzip` takes; the same ones on every system, for one version of zlib. */
export async function gzipped(bytes: Uint8Array): Promise<Buffer> {
  const result = await compress(bytes, { level: 9 });
  result[GZIP_SYSTEM_AT] = GZIP_UNIX;
  return result;
}

async function packed(entries: readonly PackageEntry[], modifiedS: number): Promise<Buffer> {
  const tar = pack();
  const whole = buffer(tar);
  const owner = { uid: 0, gid: 0, uname: 'root', gname: 'root', mtime: new Date(modifiedS * 1000) };
  const add = (header: Partial<Header> & { name: string }, bytes?: Uint8Array) =>
    new Promise<void>((resolve, reject) => {
      const done = (error?: Error | null) => (error ? reject(error) : resolve());
      if (bytes) tar.entry({ ...owner, ...header }, Buffer.from(bytes), done);
      else tar.entry({ ...owner, ...header }, done);
    });
  await add({ name: './', type: 'directory', mode: 0o755 });
  for (const entry of entries) {
    const name = `./${entry.path}`;
    if ('bytes' in entry) await add({ name, mode: entry.mode ?? 0o644 }, entry.bytes);
    else if ('linkTo' in entry) await add({ name, type: 'symlink', linkname: entry.linkTo, mode: 0o777 });
    else await add({ name: `${name}/`, type: 'directory', mode: entry.mode ?? 0o755 });
  }
  tar.finalize();
  return gzipped(await whole);
}

/** Each folder before what is in it. */
function withFolders(entries: readonly PackageEntry[]): PackageEntry[] {
  const all = new Map<string, PackageEntry>();
  for (const { path } of entries) {
    const parts = path.split('/').slice(0, -1);
    for (const at of parts.keys()) {
      const folder = parts.slice(0, at + 1).join('/');
      all.set(folder, { path: folder, isFolder: true });
    }
  }
  for (const entry of entries) all.set(entry.path, entry);
  return [...all.values()].sort(byPath);
}

/** As dpkg counts: files in whole KiB, everything else as one. */
function installedKib(entries: readonly PackageEntry[]): number {
  const sizes = entries.map((entry) => ('bytes' in entry ? Math.ceil(entry.bytes.byteLength / 1024) : 1));
  return sizes.reduce((sum, size) => sum + size, 0);
}

const byPath = (a: PackageEntry, b: PackageEntry) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0);
