import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createReleaseFolder, type ReleaseFolderOptions } from '../../cloud/updates/release-folder.ts';
import { MAX_RELEASE_BYTES, readReleaseHead, sealRelease } from '../../shared/release.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const sealed = (version = '1.4.0', code = `console.log('${version}');`) =>
  sealRelease({ version, minNode: 20, code: Buffer.from(code), privateKey });

let root = '';
let folder = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'glasscast-releases-'));
  folder = join(root, 'deep', 'releases');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const releasesOf = (options: Partial<ReleaseFolderOptions> = {}) => createReleaseFolder({ folder, ...options });
async function* pieces(bytes: Uint8Array, size = 7) {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
}
const names = () => readdirSync(folder);

describe('the folder of releases', () => {
  it('takes one in whole, lists, gives parts of it, and removes it', async () => {
    const releases = releasesOf();
    expect(await releases.list()).toEqual([]);
    const file = sealed();
    const { release, isNew } = await releases.accept('1.4.0', pieces(file), file.length);
    expect(isNew).toBe(true);
    expect(release).toMatchObject({
      version: '1.4.0',
      bytes: file.length,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    await releases.accept('1.10.0', pieces(sealed('1.10.0')));
    await releases.accept('1.9.0', pieces(sealed('1.9.0')));
    expect((await releases.list()).map(({ version }) => version)).toEqual(['1.10.0', '1.9.0', '1.4.0']);
    const part = await releases.read(release, { start: 3, end: 9 });
    expect(Buffer.concat(await part.toArray())).toEqual(file.subarray(3, 10));
    const whole = await releases.read(release);
    await releases.remove('1.4.0');
    // Whoever reads it reads on.
    expect(Buffer.concat(await whole.toArray())).toEqual(file);
    await expect(releases.get('1.4.0')).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
    await expect(releases.remove('1.4.0')).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
    await expect(releases.read(release)).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, names()[0] ?? '')).mode & 0o777).toBe(0o600);
  });

  it('takes the same bytes again, and no others of the same version, also of two at once', async () => {
    const releases = releasesOf();
    const file = sealed();
    const both = await Promise.all([releases.accept('1.4.0', pieces(file)), releases.accept('1.4.0', pieces(file))]);
    expect(both.map(({ isNew }) => isNew)).toEqual([true, false]);
    const other = releases.accept('1.4.0', pieces(sealed('1.4.0', 'something else')));
    await expect(other).rejects.toMatchObject({ code: 'RELEASE_EXISTS' });
    expect(names()).toHaveLength(1);
  });

  it.each<[string, () => Uint8Array, RegExp]>([
    ['is no release', () => Buffer.from('hello\nworld'), /head is not valid/],
    ['has no end of its head', () => Buffer.alloc(9_000, 'x'), /no release file/],
    ['is empty', () => Buffer.alloc(0), /ends within its head/],
    ['is another version', () => sealed('1.4.1'), /it is 1\.4\.1, and was sent as 1\.4\.0/],
    ['ends too early', () => sealed().subarray(0, -1), /ends too early/],
    ['goes on behind its end', () => Buffer.concat([sealed(), Buffer.from('x')]), /longer than its head says/],
    ['holds other code', () => withPacked((packed) => gzipSync(Buffer.alloc(40, packed[10]))), /damaged|longer|early/],
    ['cannot be unpacked', () => withPacked((packed) => packed.fill(7, 4, 12)), /unpacked|damaged/],
  ])('refuses what %s, and keeps nothing of it', async (_name, file, reason) => {
    const releases = releasesOf();
    await expect(releases.accept('1.4.0', pieces(file(), 1_000))).rejects.toMatchObject({
      code: 'RELEASE_REFUSED',
      message: expect.stringMatching(reason),
    });
    expect(names()).toEqual([]);
  });

  it('reads no more of a wrong one than its head', async () => {
    let taken = 0;
    async function* endless() {
      yield sealed('1.4.1');
      for (;;) {
        taken += 1;
        yield Buffer.alloc(1_000);
      }
    }
    await expect(releasesOf().accept('1.4.0', endless())).rejects.toMatchObject({ code: 'RELEASE_REFUSED' });
    expect(taken).toBe(0);
    const announced = releasesOf().accept('1.4.0', pieces(sealed()), MAX_RELEASE_BYTES);
    await expect(announced).rejects.toThrow(/has 64000000 bytes, and its head says/);
  });

  it('takes only what trusted keys have signed, where it has some', async () => {
    const other = generateKeyPairSync('ed25519').publicKey;
    await expect(releasesOf({ trustedKeys: [other] }).accept('1.4.0', pieces(sealed()))).rejects.toThrow(
      /1\.4\.0 is signed by no key that is trusted here/,
    );
    expect(names()).toEqual([]);
    const taken = await releasesOf({ trustedKeys: [other, publicKey] }).accept('1.4.0', pieces(sealed()));
    expect(taken.isNew).toBe(true);
  });

  it('says so when the disk is full, and leaves nothing', async () => {
    const openFile = async (path: string, flags: string, mode: number) => {
      const file = await open(path, flags, mode);
      let writes = 0;
      const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      const appendFile = async (data: Uint8Array) => {
        writes += 1;
        if (writes > 3) throw full;
        await file.appendFile(data);
      };
      return { appendFile, sync: () => file.sync(), close: () => file.close() } as unknown as FileHandle;
    };
    await expect(releasesOf({ openFile }).accept('1.4.0', pieces(sealed()))).rejects.toMatchObject({
      code: 'RELEASES_FULL',
      message: expect.stringContaining('the disk is full'),
    });
    expect(names()).toEqual([]);
    await releasesOf({ maxReleases: 1 }).accept('1.4.0', pieces(sealed()));
    const more = releasesOf({ maxReleases: 1 }).accept('1.5.0', pieces(sealed('1.5.0')));
    await expect(more).rejects.toMatchObject({ code: 'RELEASES_FULL' });
    expect(names()).toHaveLength(1);
  });

  it('is mended by the same release once more', async () => {
    const file = sealed();
    await releasesOf().accept('1.4.0', pieces(file));
    const path = join(folder, names()[0] ?? '');
    writeFileSync(path, 'damaged');
    const { isNew, release } = await releasesOf().accept('1.4.0', pieces(file));
    expect([isNew, names().length]).toEqual([false, 1]);
    expect(Buffer.concat(await (await releasesOf().read(release)).toArray())).toEqual(file);
  });

  it('says so when it cannot be written, and calls only what is not there not found', async () => {
    writeFileSync(join(root, 'deep'), 'no folder');
    await expect(releasesOf().accept('1.4.0', pieces(sealed()))).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('releasesFolder: the relay cannot write there (E'),
    });
    rmSync(join(root, 'deep'));
    const { release } = await releasesOf().accept('1.4.0', pieces(sealed()));
    const file = join(folder, names()[0] ?? '');
    rmSync(file);
    // Stands for anything but absence: it cannot be opened.
    symlinkSync(file, file);
    await expect(releasesOf().read(release)).rejects.toMatchObject({ code: 'ELOOP' });
  });

  it('forgets what a killed process left half taken, and a body that broke off', async () => {
    const releases = releasesOf();
    await releases.accept('1.4.0', pieces(sealed()));
    writeFileSync(join(folder, 'left.part'), 'half');
    writeFileSync(join(folder, 'README'), 'not ours');
    async function* broken() {
      yield sealed('1.5.0').subarray(0, 300);
      throw new Error('aborted');
    }
    await expect(releases.accept('1.5.0', broken())).rejects.toMatchObject({
      code: 'MALFORMED_MESSAGE',
      message: expect.stringContaining('broke off'),
    });
    expect(names().sort()).toEqual([expect.stringMatching(/^1\.4\.0\./), 'README']);
    expect(await releases.list()).toHaveLength(1);
  });

  it('never leaves its folder, whatever a version is called', async () => {
    const releases = releasesOf();
    await releases.accept('1.4.0', pieces(sealed()));
    const odd = fc.oneof(fc.string(), fc.constantFrom('../1.4.0', '1.4.0/../../x', '1.4', '01.4.0', '1.4.0\0', '..'));
    await fc.assert(
      fc.asyncProperty(odd, async (version) => {
        await expect(releases.get(version)).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
        await expect(releases.remove(version)).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
        await expect(releases.accept(version, pieces(sealed()))).rejects.toMatchObject({ code: 'MALFORMED_MESSAGE' });
      }),
      { numRuns: 50 },
    );
    expect([names().length, readdirSync(join(root, 'deep'))]).toEqual([1, ['releases']]);
    await expect(releasesOf({ folder: undefined }).accept('1.4.0', pieces(sealed()))).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
    });
  });
});

/** A signed head with something else behind it, of the length that it says. */
function withPacked(change: (packed: Buffer) => Buffer): Uint8Array {
  const file = sealed();
  const { headBytes } = readReleaseHead(file) ?? { headBytes: 0 };
  const packed = change(Buffer.from(file.subarray(headBytes)));
  return Buffer.concat([file.subarray(0, headBytes), packed]);
}
