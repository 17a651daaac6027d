/**
 * Releases of the agent on disk: taken in as they come, checked, listed, read by parts and removed. One file each, named by
 * its version and its hash, so that both are known or neither. Never decides who gets which.
 */
import { createHash, type KeyObject, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { errorText, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import {
  compareVersions,
  MAX_RELEASE_BYTES,
  provenManifest,
  type ReleaseHead,
  type ReleaseManifest,
  readReleaseHead,
  releaseVersion,
} from '../../shared/release.ts';

export interface KeptRelease {
  version: string;
  /** Of the whole file. */
  bytes: number;
  /** Of the whole file, hex. */
  sha256: string;
  publishedAtMs: number;
}

export interface ReleaseFolder {
  /**
   * Takes one in, after those that came before. Nothing of one that is refused stays.
   * @param body the file as it comes; @param announcedBytes what its sender says that it has
   * @returns `isNew` false: the same bytes were here already
   * @throws GlasscastError RELEASE_REFUSED, RELEASE_EXISTS, RELEASES_FULL; INVALID_CONFIG: the folder cannot be
   * written; MALFORMED_MESSAGE: the body broke off, or the version is none
   */
  accept(
    version: string,
    body: AsyncIterable<Uint8Array>,
    announcedBytes?: number,
  ): Promise<{ release: KeptRelease; isNew: boolean }>;
  /** The newest version first. */
  list(): Promise<KeptRelease[]>;
  /** @throws GlasscastError RELEASE_NOT_FOUND */
  get(version: string): Promise<KeptRelease>;
  /** What is being read stays readable when it is removed. Both ends are inclusive. @throws GlasscastError RELEASE_NOT_FOUND */
  read(release: KeptRelease, range?: { start: number; end: number }): Promise<Readable>;
  /** @throws GlasscastError RELEASE_NOT_FOUND */
  remove(version: string): Promise<void>;
}

export interface ReleaseFolderOptions {
  /** Made when the first release comes. Undefined: none is kept. */
  folder: string | undefined;
  /** Public, Ed25519. None: whether a release may run is decided by the glasses alone. */
  trustedKeys?: readonly KeyObject[] | undefined;
  /** Default 100. */
  maxReleases?: number;
  /** Default: that of Node. */
  openFile?: (path: string, flags: string, mode: number) => Promise<FileHandle>;
}

const FILE = /^(\d+\.\d+\.\d+)\.([0-9a-f]{64})\.release$/;
const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
const CLOSED = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST']);

export function createReleaseFolder(options: ReleaseFolderOptions): ReleaseFolder {
  const { trustedKeys = [], maxReleases = 100, openFile = open } = options;
  let last: Promise<unknown> = Promise.resolve();

  /** So that of two that publish the same version the second one meets the first. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = last.then(work, work);
    last = done.catch(() => {});
    return done;
  }
  function folderOf(): string {
    if (options.folder !== undefined) return options.folder;
    throw new GlasscastError('INVALID_CONFIG', { reason: 'this relay has no folder for releases' });
  }
  const pathOf = ({ version, sha256 }: KeptRelease) => join(folderOf(), `${version}.${sha256}.release`);

  async function list(): Promise<KeptRelease[]> {
    const kept: KeptRelease[] = [];
    for (const name of options.folder === undefined ? [] : await namesIn(options.folder)) {
      const [, version = '', sha256 = ''] = FILE.exec(name) ?? [];
      const found = version && (await stat(join(folderOf(), name)).catch(() => undefined));
      if (found) kept.push({ version, bytes: found.size, sha256, publishedAtMs: Math.round(found.mtimeMs) });
    }
    return kept.sort((one, other) => compareVersions(other.version, one.version));
  }
  async function find(version: string): Promise<KeptRelease | undefined> {
    return (await list()).find((kept) => kept.version === version);
  }
  async function get(version: string): Promise<KeptRelease> {
    const found = await find(version);
    if (!found) throw new GlasscastError('RELEASE_NOT_FOUND', { reason: version.slice(0, 40) });
    return found;
  }

  async function take(version: string, body: AsyncIterable<Uint8Array>, announcedBytes: number | undefined) {
    const folder = folderOf();
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // One at a time comes in: whatever else is here in part was left by a process that was killed.
    for (const name of await namesIn(folder)) if (name.endsWith('.part')) await unlink(join(folder, name));
    if ((await list()).length >= maxReleases && !(await find(version))) {
      throw new GlasscastError('RELEASES_FULL', { reason: `${maxReleases} are kept` });
    }
    const part = join(folder, `${randomUUID()}.part`);
    try {
      const received = await write(part, (file) => receive(file, { body, version, announcedBytes, trustedKeys }));
      await requireUnpacked(part, received.head);
      const { bytes, sha256 } = received;
      const before = await find(version);
      if (before && before.sha256 !== sha256) throw new GlasscastError('RELEASE_EXISTS', { reason: version });
      // The same again takes the place of what is there: that may have been damaged since.
      await rename(part, pathOf({ version, bytes, sha256, publishedAtMs: 0 }));
      await syncFolder(folder);
      return { release: await get(version), isNew: !before };
    } finally {
      // Gone already where it was taken.
      await unlink(part).catch(() => {});
    }
  }
  async function write<T>(path: string, fill: (file: FileHandle) => Promise<T>): Promise<T> {
    const file = await openFile(path, 'wx', 0o600);
    try {
      const filled = await fill(file);
      await file.sync();
      return filled;
    } finally {
      await file.close();
    }
  }

  return {
    list,
    get,
    async accept(version, body, announcedBytes) {
      const { success } = releaseVersion.safeParse(version);
      if (!success) throw new GlasscastError('MALFORMED_MESSAGE', { reason: 'version: expected MAJOR.MINOR.PATCH' });
      return inTurn(() => take(version, body, announcedBytes).catch(refuseOfDisk));
    },
    async read(release, range) {
      const file = await open(pathOf(release), 'r').catch((error: unknown) => {
        // Glasses give up at "not found", and ask again after anything else.
        if (codeOf(error) !== 'ENOENT') throw error;
      });
      if (!file) throw new GlasscastError('RELEASE_NOT_FOUND', { reason: release.version });
      return file.createReadStream(range ?? {});
    },
    remove: (version) =>
      inTurn(async () => {
        await unlink(pathOf(await get(version))).catch(refuseOfDisk);
        await syncFolder(folderOf());
      }),
  };
}

interface Incoming {
  body: AsyncIterable<Uint8Array>;
  version: string;
  announcedBytes: number | undefined;
  trustedKeys: readonly KeyObject[];
}

async function receive(
  file: Pick<FileHandle, 'appendFile'>,
  { body, ...expected }: Incoming,
): Promise<{ bytes: number; sha256: string; head: ReleaseHead }> {
  const hash = createHash('sha256');
  let beginning = Buffer.alloc(0);
  let head: ReleaseHead | undefined;
  let bytes = 0;
  for await (const piece of unbroken(body)) {
    bytes += piece.byteLength;
    if (!head) {
      beginning = Buffer.concat([beginning, piece]);
      head = readReleaseHead(beginning);
      if (head) requireExpected(head, expected);
    }
    if (bytes > (head ? lengthOf(head) : MAX_RELEASE_BYTES)) throw refused('it is longer than its head says');
    hash.update(piece);
    await file.appendFile(piece);
  }
  if (!head) throw refused('it ends within its head');
  if (bytes < lengthOf(head)) throw refused('it ends too early');
  return { bytes, sha256: hash.digest('hex'), head };
}

const lengthOf = ({ headBytes, manifest }: ReleaseHead) => headBytes + manifest.packedBytes;

/** Before the rest is read. */
function requireExpected(
  head: ReleaseHead,
  { version, announcedBytes, trustedKeys }: Omit<Incoming, 'body'>,
): asserts head is ReleaseHead {
  const { manifest, line } = head;
  if (manifest.version !== version) throw refused(`it is ${manifest.version}, and was sent as ${version}`);
  if (lengthOf(head) > MAX_RELEASE_BYTES) throw refused('it is too large');
  if (announcedBytes !== undefined && announcedBytes !== lengthOf(head)) {
    throw refused(`it has ${announcedBytes} bytes, and its head says ${lengthOf(head)}`);
  }
  if (trustedKeys.length > 0) provenManifest(line, trustedKeys);
}

/** By stream: one of 64 MB is not to hold up everybody else. @throws GlasscastError RELEASE_REFUSED */
async function requireUnpacked(path: string, { headBytes, manifest }: ReleaseHead): Promise<void> {
  const hash = createHash('sha256');
  try {
    await pipeline(
      createReadStream(path, { start: headBytes }),
      createGunzip(),
      async function count(code: AsyncIterable<Uint8Array>) {
        let bytes = 0;
        for await (const piece of code) {
          bytes += piece.byteLength;
          if (bytes > manifest.bytes) throw damaged(manifest);
          hash.update(piece);
        }
        if (bytes !== manifest.bytes || hash.digest('hex') !== manifest.sha256) throw damaged(manifest);
      },
    );
  } catch (error) {
    if (isGlasscastError(error)) throw error;
    throw refused(`${manifest.version} cannot be unpacked (${errorText(error)})`);
  }
}

async function* unbroken(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const pieces = body[Symbol.asyncIterator]();
  for (;;) {
    const next = await pieces.next().catch((cause: unknown) => {
      throw new GlasscastError('MALFORMED_MESSAGE', { reason: 'the body broke off', cause });
    });
    if (next.done) return;
    yield next.value;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** A rename is lasting once its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

/** @throws GlasscastError RELEASES_FULL, INVALID_CONFIG; what it was given when the disk is not to blame */
function refuseOfDisk(error: unknown): never {
  const code = codeOf(error);
  if (FULL.has(code)) throw new GlasscastError('RELEASES_FULL', { reason: 'the disk is full', cause: error });
  if (!CLOSED.has(code)) throw error;
  throw new GlasscastError('INVALID_CONFIG', {
    reason: `releasesFolder: the relay cannot write there (${code})`,
    cause: error,
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

const refused = (reason: string) => new GlasscastError('RELEASE_REFUSED', { reason });
const damaged = ({ version }: ReleaseManifest) => refused(`${version} is damaged`);
