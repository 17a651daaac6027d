import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareVersions,
  MAX_RELEASE_HEAD_BYTES,
  provenManifest,
  readReleaseHead,
  releaseKeyOf,
  requireCode,
  sealRelease,
  unpackedCode,
} from '../../shared/release.ts';
import { codeOf } from '../support/code-of.ts';

const mine = generateKeyPairSync('ed25519');
const other = generateKeyPairSync('ed25519');
const code = Buffer.from('console.log("agent");\n'.repeat(50));
const sealed = (version = '1.4.0') => sealRelease({ version, minNode: 20, code, privateKey: mine.privateKey });

function headOf(file: Uint8Array) {
  const head = readReleaseHead(file);
  if (!head) throw new Error('no head');
  return head;
}

describe('a release', () => {
  it('comes back as it was sealed', () => {
    const file = sealed();
    const { line, headBytes } = headOf(file);
    const manifest = provenManifest(line, [other.publicKey, mine.publicKey]);
    expect(manifest).toMatchObject({ product: 'glasscast-agent', version: '1.4.0', minNode: 20, bytes: code.length });
    expect(file.length).toBe(headBytes + manifest.packedBytes);
    expect(unpackedCode(file.subarray(headBytes), manifest).equals(code)).toBe(true);
  });
  it('is the same file each time', () => {
    expect(sealed().equals(sealed())).toBe(true);
  });
  it('has no version but three numbers', () => {
    for (const version of ['1.4', '1.4.0-rc1', '01.4.0', 'v1.4.0', '../1.4.0']) expect(() => sealed(version)).toThrow();
  });
  it('is run only when a trusted key has signed it', () => {
    const { line } = headOf(sealed());
    expect(codeOf(() => provenManifest(line, []))).toBe('RELEASE_REFUSED');
    expect(codeOf(() => provenManifest(line, [other.publicKey]))).toBe('RELEASE_REFUSED');
  });
  it('is refused when any byte of it is another one', () => {
    const file = sealed();
    fc.assert(
      fc.property(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = Buffer.from(file);
        changed[at] = (changed[at] ?? 0) ^ by;
        const run = () => {
          const head = headOf(changed);
          const manifest = provenManifest(head.line, [mine.publicKey]);
          // A gzip header holds bytes without a meaning; what is run is what counts.
          if (!unpackedCode(changed.subarray(head.headBytes), manifest).equals(code)) throw new Error('other code');
          return 'the code as it was signed';
        };
        let outcome: unknown;
        try {
          outcome = run();
        } catch (error) {
          outcome = codeOf(() => {
            throw error;
          });
          if (error instanceof Error && error.message === 'no head') outcome = 'RELEASE_REFUSED';
        }
        expect(['RELEASE_REFUSED', 'the code as it was signed']).toContain(outcome);
      }),
    );
  });
  it('unpacks to no more than it says', () => {
    const file = sealed();
    const { headBytes, manifest } = headOf(file);
    const packed = file.subarray(headBytes);
    expect(codeOf(() => unpackedCode(packed, { ...manifest, bytes: 10 }))).toBe('RELEASE_REFUSED');
    expect(codeOf(() => requireCode(code.subarray(1), manifest))).toBe('RELEASE_REFUSED');
  });
});

describe('its head', () => {
  it('is not there before its line has ended', () => {
    const file = sealed();
    const { headBytes } = headOf(file);
    for (const at of [0, 1, headBytes - 1]) expect(readReleaseHead(file.subarray(0, at))).toBeUndefined();
    expect(readReleaseHead(file.subarray(0, headBytes))?.headBytes).toBe(headBytes);
  });
  it('is never looked for further than it may reach', () => {
    expect(codeOf(() => readReleaseHead(Buffer.alloc(MAX_RELEASE_HEAD_BYTES, 'x')))).toBe('RELEASE_REFUSED');
  });
  it('is refused, never misread, whatever comes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const run = () => readReleaseHead(Buffer.from(`${text.replaceAll('\n', ' ')}\n`));
        expect(codeOf(run)).toBe('RELEASE_REFUSED');
      }),
    );
  });
});

describe('versions', () => {
  const version = fc.tuple(fc.nat(20), fc.nat(20), fc.nat(20));
  it('are ordered as numbers, not as text', () => {
    expect(compareVersions('1.10.0', '1.9.9')).toBeGreaterThan(0);
    fc.assert(
      fc.property(version, version, (a, b) => {
        const [major, minor, patch] = a.map((part, at) => part - (b[at] ?? 0));
        const expected = Math.sign(major || minor || patch || 0);
        expect(Math.sign(compareVersions(a.join('.'), b.join('.')))).toBe(expected);
      }),
    );
  });
});

describe('release keys', () => {
  it('are public and Ed25519', () => {
    const pem = mine.publicKey.export({ type: 'spki', format: 'pem' }).toString();
    expect(releaseKeyOf(pem).equals(mine.publicKey)).toBe(true);
    const secret = mine.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ type: 'spki', format: 'pem' });
    for (const bad of [secret, rsa.toString(), '', 'junk']) {
      expect(codeOf(() => releaseKeyOf(bad))).toBe('INVALID_CONFIG');
    }
  });
});
