/**
 * A release of the agent as one file: its first line is a signed head, the rest the agent's JavaScript, packed by gzip.
 * Owns the form, the signature (Ed25519, RFC 8032) and what makes a release fit to be run; reads and writes no files.
 */
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import * as z from 'zod';
import { errorText, GlasscastError } from './errors.ts';

/** Three numbers and nothing else: `compareVersions` orders all there are. */
export const releaseVersion = z
  .string()
  .max(40)
  .regex(/^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})$/, 'expected MAJOR.MINOR.PATCH, as 1.4.0');

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const size = z.number().int().min(1).max(64_000_000);

const releaseManifest = z.strictObject({
  product: z.literal('glasscast-agent'),
  version: releaseVersion,
  /** Major version of Node that it needs at least. */
  minNode: z.number().int().min(18).max(99),
  /** Of the code as it is run. */
  bytes: size,
  sha256,
  /** Of what follows the head. */
  packedBytes: size,
});
export type ReleaseManifest = z.output<typeof releaseManifest>;

const releaseHead = z.strictObject({
  format: z.literal(1),
  /** The manifest's JSON, as it was signed. */
  manifest: z.string().max(4_000),
  /** Base64, of the manifest's text behind `SIGNED_AS`. */
  signature: z.string().max(200),
});

/** So that a signature made for something else is none for a release. */
const SIGNED_AS = 'glasscast-agent release 1\n';
export const MAX_RELEASE_HEAD_BYTES = 8_192;
export const MAX_RELEASE_BYTES = 64_000_000;

/** @returns below 0 when `left` is older. */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [left, right].map((text) => text.split('.').map(Number));
  const differing = a?.findIndex((part, at) => part !== b?.[at]) ?? -1;
  return differing < 0 ? 0 : (a?.[differing] ?? 0) - (b?.[differing] ?? 0);
}

export interface ReleaseParts {
  version: string;
  minNode: number;
  /** The agent as one file of JavaScript. */
  code: Uint8Array;
  /** Ed25519. */
  privateKey: KeyObject;
}

/** The whole file. Same parts, same bytes (on one version of Node). */
export function sealRelease({ version, minNode, code, privateKey }: ReleaseParts): Buffer {
  const packed = gzipSync(code, { level: 9 });
  const manifest = JSON.stringify(
    releaseManifest.parse({
      ...{ product: 'glasscast-agent', version, minNode },
      ...{ bytes: code.byteLength, sha256: hashOf(code), packedBytes: packed.byteLength },
    }),
  );
  const signature = sign(null, Buffer.from(SIGNED_AS + manifest), privateKey).toString('base64');
  return Buffer.concat([Buffer.from(`${JSON.stringify({ format: 1, manifest, signature })}\n`), packed]);
}

export interface ReleaseHead {
  /** The first line, without its end. Kept beside unpacked code, it proves that code again at each start. */
  line: string;
  /** With the line's end: where the packed code begins. */
  headBytes: number;
  /** As it says, not yet proven. */
  manifest: ReleaseManifest;
}

/**
 * @param bytes the file, or its beginning
 * @returns undefined: the line has not ended yet
 * @throws GlasscastError RELEASE_REFUSED: that is no release
 */
export function readReleaseHead(bytes: Uint8Array): ReleaseHead | undefined {
  const end = bytes.subarray(0, MAX_RELEASE_HEAD_BYTES).indexOf(0x0a);
  if (end < 0 && bytes.byteLength < MAX_RELEASE_HEAD_BYTES) return undefined;
  if (end < 0) throw refused('this is no release file');
  const line = Buffer.from(bytes.subarray(0, end)).toString('utf8');
  return { line, headBytes: end + 1, manifest: manifestOf(line).manifest };
}

/**
 * @param line of `readReleaseHead`
 * @param trustedKeys public, Ed25519
 * @throws GlasscastError RELEASE_REFUSED: signed by none of them
 */
export function provenManifest(line: string, trustedKeys: readonly KeyObject[]): ReleaseManifest {
  const { manifest, signed, signature } = manifestOf(line);
  if (trustedKeys.length === 0) throw refused('no release key is trusted here');
  const isSigned = trustedKeys.some(
    (key) => key.asymmetricKeyType === 'ed25519' && verify(null, signed, key, signature),
  );
  if (!isSigned) throw refused(`${manifest.version} is signed by no key that is trusted here`);
  return manifest;
}

/** @throws GlasscastError RELEASE_REFUSED: not the code that was signed */
export function unpackedCode(packed: Uint8Array, manifest: ReleaseManifest): Buffer {
  let code: Buffer;
  try {
    code = gunzipSync(packed, { maxOutputLength: manifest.bytes });
  } catch (error) {
    throw refused(`${manifest.version} cannot be unpacked (${errorText(error)})`);
  }
  requireCode(code, manifest);
  return code;
}

/** @throws GlasscastError RELEASE_REFUSED: not the code that was signed */
export function requireCode(code: Uint8Array, { version, bytes, sha256: wanted }: ReleaseManifest): void {
  if (code.byteLength !== bytes || hashOf(code) !== wanted) throw refused(`${version} is damaged`);
}

/** @param pem one public key. @throws GlasscastError INVALID_CONFIG */
export function releaseKeyOf(pem: string): KeyObject {
  try {
    const key = createPublicKey(pem);
    if (key.asymmetricKeyType === 'ed25519' && !/PRIVATE KEY/.test(pem)) return key;
  } catch {
    // Its words could quote the key.
  }
  throw new GlasscastError('INVALID_CONFIG', { reason: 'a release key is a public Ed25519 key as PEM' });
}

function manifestOf(line: string): { manifest: ReleaseManifest; signed: Buffer; signature: Buffer } {
  try {
    const head = releaseHead.parse(JSON.parse(line));
    const manifest = releaseManifest.parse(JSON.parse(head.manifest));
    return {
      manifest,
      signed: Buffer.from(SIGNED_AS + head.manifest),
      signature: Buffer.from(head.signature, 'base64'),
    };
  } catch {
    throw refused('its head is not valid');
  }
}

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const refused = (reason: string) => new GlasscastError('RELEASE_REFUSED', { reason });
