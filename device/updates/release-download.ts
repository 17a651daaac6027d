/**
 * Fetches a release from the relay, beside the address for glasses: into one file that is gone on with after a cut of the line
 * or of the power. Knows neither slots nor policy: its end is the proven head and the code, or a refusal, with nothing left.
 */

import type { KeyObject } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type BackoffPolicy, backoffMs, type Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { abortWith } from '../../shared/linked-abort.ts';
import type { Log } from '../../shared/log.ts';
import { AGENT_RELEASES_PATH } from '../../shared/protocol/releases.ts';
import {
  MAX_RELEASE_BYTES,
  MAX_RELEASE_HEAD_BYTES,
  provenManifest,
  type ReleaseManifest,
  readReleaseHead,
  unpackedCode,
} from '../../shared/release.ts';
import type { Secret } from '../../shared/secrets.ts';
import { nodeUnfitness } from './release-slots.ts';

export interface ReleaseDownloadOptions {
  clock: Clock;
  log: Log;
  /** ws(s)://host:port/glasses-ws */
  relayUrl: string;
  coreToken: Secret;
  /** What has come so far, of one release at a time; its ETag is kept beside it. */
  partFile: string;
  trustedKeys: readonly KeyObject[];
  nodeMajor: number;
  random?: () => number;
  fetch?: typeof fetch;
  /** Bytes that the disk of a file has room for. */
  freeBytes?: (folder: string) => Promise<number>;
}

export interface DownloadedRelease {
  headLine: string;
  code: Buffer;
}

export interface ReleaseDownload {
  /**
   * Waits for a relay that is away. What has come stays for the next call when the signal ends it.
   * @param onPercent when the whole number changes
   * @throws GlasscastError RELEASE_REFUSED: not to be had, or not fit to be run; the signal's reason
   */
  fetchRelease(version: string, signal: AbortSignal, onPercent: (percent: number) => void): Promise<DownloadedRelease>;
  /** Forgets what has come. Never throws. */
  discard(): Promise<void>;
}

const BACKOFF: BackoffPolicy = { firstMs: 500, factor: 2, maxMs: 60_000, jitter: 0.5 };
/** Without a byte. */
const SILENCE_MS = 20_000;
/** Without a byte more, over all attempts; the relay may order it again. */
const MAX_WAIT_MS = 6 * 3_600_000;
/** Of the disk, left for others. */
const SPARE_BYTES = 2_000_000;

/** What has come, and of what: `tag` is the relay's ETag, without which it is not gone on with. */
interface Part {
  bytes: number;
  tag: string | undefined;
}

export function createReleaseDownload(options: ReleaseDownloadOptions): ReleaseDownload {
  const { clock, log, partFile, trustedKeys, nodeMajor, random = Math.random, freeBytes = freeBytesOf } = options;
  const tagFile = `${partFile}.tag`;
  const url = (version: string) => releaseUrl(options.relayUrl, version);

  async function discard(): Promise<void> {
    await rm(partFile, { force: true }).catch(() => {});
    await rm(tagFile, { force: true }).catch(() => {});
  }
  async function partOf(version: string): Promise<Part> {
    try {
      const [keptVersion, tag] = (await readFile(tagFile, 'utf8')).split('\n');
      const { size } = await stat(partFile);
      if (keptVersion === version && tag && size <= MAX_RELEASE_BYTES) return { bytes: size, tag };
    } catch {
      // Nothing to go on with.
    }
    await discard();
    return { bytes: 0, tag: undefined };
  }

  /** Attempts until it is whole. */
  async function complete(version: string, signal: AbortSignal, onPercent: (percent: number) => void): Promise<void> {
    let movedMs = clock.monotonicMs();
    let knownBytes = (await partOf(version)).bytes;
    for (let attempt = 0; ; attempt += 1) {
      try {
        await attemptOnce(version, signal, onPercent);
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (isRefusal(error)) throw error;
        const { bytes } = await partOf(version);
        if (bytes !== knownBytes) {
          knownBytes = bytes;
          movedMs = clock.monotonicMs();
          attempt = 0;
        }
        const waitedMs = clock.monotonicMs() - movedMs;
        if (waitedMs > MAX_WAIT_MS) throw refused(`${version} was not to be had for hours (${errorText(error)})`);
        const delayMs = backoffMs(BACKOFF, attempt, random);
        log.info({ version, reason: errorText(error), bytes, delayMs }, 'release-download-waits');
        await clock.sleep(delayMs, { signal, name: 'release-retry' });
      }
    }
  }

  /** @throws GlasscastError RELEASE_REFUSED for good; anything else is worth another attempt */
  async function attemptOnce(
    version: string,
    signal: AbortSignal,
    onPercent: (percent: number) => void,
  ): Promise<void> {
    const part = await partOf(version);
    const silence = new AbortController();
    const watch = () => clock.after('release-silence', SILENCE_MS, () => silence.abort(new Error('no byte came')));
    let timer = watch();
    const release = abortWith(silence, signal);
    try {
      const response = await (options.fetch ?? fetch)(url(version), {
        headers: {
          authorization: `Bearer ${options.coreToken.reveal()}`,
          // Counted as they are.
          'accept-encoding': 'identity',
          ...(part.tag === undefined || part.bytes === 0
            ? {}
            : { range: `bytes=${part.bytes}-`, 'if-range': part.tag }),
        },
        // The token is for this relay only.
        redirect: 'error',
        signal: silence.signal,
      });
      const startBytes = await startOf(response, version, part);
      // In this order: a tag never stands beside bytes of another release.
      await truncated(partFile, startBytes);
      await writeFile(tagFile, `${version}\n${response.headers.get('etag') ?? ''}\n`, { mode: 0o600 });
      await takeBody(response, version, startBytes, onPercent, () => {
        timer.cancel();
        timer = watch();
      });
    } catch (error) {
      throw diskRefusal(error, version) ?? (isRefusal(error) ? error : (silence.signal.reason ?? networkReason(error)));
    } finally {
      timer.cancel();
      release();
    }
  }

  /** Where in the file the body belongs. */
  async function startOf(response: Response, version: string, part: Part): Promise<number> {
    const { status } = response;
    if (status === 200) return 0;
    const from = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
    if (status === 206 && from === String(part.bytes)) return part.bytes;
    await response.body?.cancel();
    if (status === 206 || status === 416) {
      await discard();
      throw new Error('what has come does not fit what there is');
    }
    if (status === 404) throw refused(`the relay has no release ${version}`);
    if (status === 429 || status >= 500) throw new Error(`the relay answered ${status}`);
    throw refused(`the relay gives no ${version} to these glasses (it answered ${status})`);
  }

  async function takeBody(
    response: Response,
    version: string,
    startBytes: number,
    onPercent: (percent: number) => void,
    onBytes: () => void,
  ): Promise<void> {
    const file = await open(partFile, 'r+');
    try {
      const begin = Buffer.alloc(MAX_RELEASE_HEAD_BYTES);
      let bytes = startBytes;
      let whole = startBytes > 0 ? await checkedBytes(file, begin, version) : undefined;
      for await (const chunk of response.body ?? []) {
        if (bytes + chunk.byteLength > (whole ?? MAX_RELEASE_BYTES)) throw refused(`${version} is longer than it says`);
        await writeWhole(file, chunk, bytes);
        bytes += chunk.byteLength;
        // What is not signed, not asked for or too large is known by its first bytes, and the rest is not paid for.
        whole ??= await checkedBytes(file, begin, version);
        if (whole !== undefined) onPercent(Math.floor((bytes * 100) / whole));
        onBytes();
      }
      await file.sync();
      if (whole === undefined && bytes >= MAX_RELEASE_HEAD_BYTES) throw refused(`${version} is no release`);
      if (whole === undefined || bytes < whole) throw new Error(`it broke off after ${bytes} bytes`);
    } finally {
      await file.close();
    }
  }

  /** Length of the whole file, by its proven head; undefined: that has not come yet. */
  async function checkedBytes(file: FileHandle, begin: Buffer, version: string): Promise<number | undefined> {
    const { bytesRead } = await file.read(begin, 0, begin.byteLength, 0);
    const head = readReleaseHead(begin.subarray(0, bytesRead));
    if (!head) return undefined;
    const manifest = provenManifest(head.line, trustedKeys);
    requireWanted(manifest, version);
    const whole = head.headBytes + manifest.packedBytes;
    // The file itself, the code beside it while the one before is still there, and the head.
    const needed = whole + manifest.bytes + SPARE_BYTES - (await file.stat()).size;
    const free = await freeBytes(dirname(partFile));
    if (free < needed)
      throw refused(`the disk has no room for ${version}: ${megabytes(needed)} needed, ${megabytes(free)} free`);
    return whole;
  }
  function requireWanted(manifest: ReleaseManifest, version: string): void {
    if (manifest.version !== version) throw refused(`the relay sent ${manifest.version} for ${version}`);
    const unfit = nodeUnfitness(manifest, nodeMajor);
    if (unfit !== undefined) throw refused(unfit);
  }
  async function unpack(version: string): Promise<DownloadedRelease> {
    const bytes = await readFile(partFile);
    const head = readReleaseHead(bytes);
    if (!head) throw refused(`${version} is no release`);
    const manifest = provenManifest(head.line, trustedKeys);
    requireWanted(manifest, version);
    return { headLine: head.line, code: unpackedCode(bytes.subarray(head.headBytes), manifest) };
  }

  async function fetchOnce(version: string, signal: AbortSignal, onPercent: (percent: number) => void) {
    try {
      await complete(version, signal, onPercent);
      return await unpack(version);
    } catch (error) {
      const refusal = diskRefusal(error, version) ?? error;
      if (isRefusal(refusal)) await discard();
      throw refusal;
    }
  }

  return {
    async fetchRelease(version, signal, onPercent) {
      signal.throwIfAborted();
      let told = -1;
      const tell = (percent: number) => {
        if (percent === told) return;
        told = percent;
        onPercent(percent);
      };
      const { bytes } = await partOf(version);
      try {
        return await fetchOnce(version, signal, tell);
      } catch (error) {
        // What a power cut has left of a file may be anything: that alone refuses no release.
        if (bytes === 0 || signal.aborted || !isRefusal(error)) throw error;
        log.info({ version, reason: errorText(error) }, 'release-download-anew');
        return await fetchOnce(version, signal, tell);
      }
    },
    discard,
  };
}

/** Beside the address for glasses. */
export function releaseUrl(relayUrl: string, version: string): URL {
  const url = new URL(relayUrl.replace(/^ws/, 'http'));
  url.search = '';
  url.pathname = url.pathname.replace(/\/[^/]*$/, `${AGENT_RELEASES_PATH}/${version}`);
  return url;
}

/** Made when it is not there. */
async function truncated(file: string, bytes: number): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const handle = await open(file, 'a', 0o600);
  try {
    await handle.truncate(bytes);
  } finally {
    await handle.close();
  }
}

async function writeWhole(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < chunk.byteLength) {
    const { bytesWritten } = await file.write(chunk, done, chunk.byteLength - done, position + done);
    done += bytesWritten;
  }
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

const DISK_CAUSES: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk is full',
  EROFS: 'the disk takes no writing',
  EACCES: 'the folder of releases may not be written to',
  EPERM: 'the folder of releases may not be written to',
  ENOTDIR: 'something else is in the place of the folder of releases',
  EEXIST: 'something else is in the place of the folder of releases',
  EISDIR: 'something else is in the place of the folder of releases',
  EIO: 'the disk fails',
};

/** Trouble with the disk, which asking the relay again does not help. */
export function diskRefusal(error: unknown, version: string): GlasscastError | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return undefined;
  const cause = DISK_CAUSES[String(error.code)];
  return cause === undefined ? undefined : refused(`${version} cannot be kept: ${cause}`);
}

/** `fetch failed` says nothing; its cause does. */
function networkReason(error: unknown): unknown {
  return error instanceof TypeError && error.cause instanceof Error ? error.cause : error;
}

const isRefusal = (error: unknown) => error instanceof GlasscastError && error.code === 'RELEASE_REFUSED';
const refused = (reason: string) => new GlasscastError('RELEASE_REFUSED', { reason });
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
