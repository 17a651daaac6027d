/** Images that are written by the real debugfs and looked at by the real e2fsck; nothing boots. */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createExtImage } from '../../scripts/flash/ext-image.ts';
import { createProgramRunner, type RunProgram } from '../../scripts/flash/host-programs.ts';
import { createImageBoard } from '../../scripts/flash/image-board.ts';
import type { TreeChange } from '../../scripts/flash/root-tree.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { boardFile, makeFakeRoot, putFlash } from '../support/fake-root.ts';
import { damage, faultsOf, makeDisk, makeTwinDisk, ownersIn, ROOT_OFFSET_BYTES } from '../support/flash-image-world.ts';

const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
const run: RunProgram = createProgramRunner(children.spawn);
const signal = AbortSignal.timeout(300_000);
const call = { signal, runId: 'run-1', onLine: () => {} };
const wifi = { ssid: 'home', password: new Secret('correct horse'), country: 'DE' };
let folder: string;
let fresh: string;

beforeAll(async () => {
  // A name that debugfs would take apart.
  folder = await mkdtemp(join(tmpdir(), 'glasscast disk?"\'-'));
  const root = await makeFakeRoot({ files: { '/usr/sbin/NetworkManager': 'x' } });
  fresh = join(folder, 'fresh.img');
  await makeDisk(run, root, join(root, '..', 'glasscast-fresh.img'), 60);
  await copyFile(join(root, '..', 'glasscast-fresh.img'), fresh);
  await rm(join(root, '..', 'glasscast-fresh.img'));
  await rm(root, { recursive: true });
});
afterAll(async () => {
  await children.close();
  for (const name of await readdir(tmpdir())) {
    if (name.startsWith(`glasscast-image-${process.pid}-`)) await rm(join(tmpdir(), name), { recursive: true });
  }
  await rm(join(tmpdir(), `glasscast-plain-${process.pid}.img`), { force: true });
  await rm(folder, { recursive: true, force: true });
});

let count = 0;
async function disk(): Promise<string> {
  count += 1;
  const file = join(folder, `root fs ${count}?offset=0.img`);
  await copyFile(fresh, file);
  return file;
}
const hashOf = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
/** Where names need no care. */
async function plain(file: string): Promise<string> {
  const place = join(tmpdir(), `glasscast-plain-${process.pid}.img`);
  await copyFile(file, place);
  return place;
}

test('flashed, flashed again, undone: root’s, right modes, sound after each', async () => {
  const file = await disk();
  const flash = async () => {
    const board = await createImageBoard({ path: file, wifi, run });
    await putFlash(board, { 'new/enrolment-code': 'c-1\n' });
    const { outcome } = await board.apply('apply', call);
    await board.close();
    return outcome;
  };
  expect(await flash()).toBe('armed');
  const look = await plain(file);
  expect(await faultsOf(run, look)).toBe('');
  const at = '/var/lib/glasscast-flash';
  expect(
    await ownersIn(run, look, [
      ...[at, `${at}/first-boot/new/settings`, `${at}/first-boot/code`, `${at}/first-boot.sh`],
      '/etc/NetworkManager/system-connections/glasscast-wifi.nmconnection',
      ...['/etc/NetworkManager', '/etc/systemd/system/glasscast-first-boot.service'],
    ]),
  ).toEqual(['0700 0:0', '0600 0:0', '0600 0:0', '0700 0:0', '0600 0:0', '0755 0:0', '0644 0:0']);
  const hash = await hashOf(file);
  expect(await flash()).toBe('already');
  expect(await hashOf(file)).toBe(hash);
  const board = await createImageBoard({ path: file, run });
  expect((await board.look({ signal })).flashed).toEqual({ fingerprint: 'f1', user: 'ada@example.com' });
  expect(await board.apply('undo', call)).toMatchObject({ outcome: 'undone' });
  await board.close();
  const undone = await plain(file);
  expect(await faultsOf(run, undone)).toBe('');
  expect(await ownersIn(run, undone, [at])).toEqual(['undefined undefined:undefined']);
  expect((await readdir(folder)).filter((name) => name.includes('glasscast-part'))).toEqual([]);
  await rm(undone);
});

test('names with spaces and quotes, and many files in a folder', async () => {
  const file = await disk();
  const tree = await createExtImage({ file, offsetBytes: ROOT_OFFSET_BYTES, run });
  const odd = ['a b', "it's", 'say "hi"', '$HOME `x` \\n', 'ünïcode', '-w'];
  const many = Array.from({ length: 400 }, (_, at) => `number-${at}-${'x'.repeat(60)}`);
  const changes = [...odd, ...many].map(
    (name): TreeChange => ({ kind: 'file', path: `/etc/odd "one"/${name}`, mode: 0o640, content: Buffer.from(name) }),
  );
  await tree.change(changes, { signal, onStep: () => {} });
  expect((await tree.list('/etc/odd "one"')).sort()).toEqual([...odd, ...many].sort());
  for (const name of odd) expect((await tree.read(`/etc/odd "one"/${name}`, 1_000))?.toString()).toBe(name);
  await tree.change(
    [
      { kind: 'removal', path: '/etc/odd "one"' },
      { kind: 'link', path: '/etc/l', target: 'a "b" c' },
    ],
    { signal, onStep: () => {} },
  );
  expect(await tree.list('/etc')).not.toContain('odd "one"');
  expect(await faultsOf(run, await plain(file))).toBe('');
  await tree.close();
});

test('links are followed to what they name, in the image', async () => {
  const tree = await createExtImage({ file: await disk(), offsetBytes: ROOT_OFFSET_BYTES, run });
  const long = `/etc/${'long-'.repeat(20)}`;
  const link = (path: string, target: string): TreeChange => ({ kind: 'link', path, target });
  const changes = [
    link('/etc/near', '../bin/../lib/there'),
    link('/etc/far', '/etc/near'),
    link('/etc/slow', long),
    link(long, 'far'),
    link('/etc/loop', 'loop'),
  ];
  const target: TreeChange = { kind: 'file', path: '/usr/lib/there', mode: 0o600, content: Buffer.from('x') };
  await tree.change([target, ...changes], { signal, onStep: () => {} });
  for (const path of ['/etc/near', '/etc/far', '/etc/slow']) expect((await tree.read(path, 10))?.toString()).toBe('x');
  expect(await tree.read('/etc/loop', 10)).toBeUndefined();
  await tree.close();
});

test('cut at any program that it runs, the image is byte for byte as before', async () => {
  const file = await disk();
  const hash = await hashOf(file);
  const order = ['cp', 'e2fsck', 'debugfs -w'];
  for (const program of order) {
    const cut: RunProgram = async (options) => {
      const name = options.args[0] === '-w' ? `${options.name} -w` : options.name;
      const end = await run(options);
      if (name === program) throw new Error('power cut');
      return end;
    };
    const board = await createImageBoard({ path: file, run: cut });
    await putFlash(board);
    await expect(board.apply('apply', call)).rejects.toThrow('power cut');
    expect(await hashOf(file)).toBe(hash);
  }
  // As a cut leaves it, with nobody to tidy up.
  await writeFile(join(folder, `.root fs ${count}?offset=0.img.glasscast-part`), 'half a copy');
  const board = await createImageBoard({ path: file, run });
  await putFlash(board);
  expect((await board.apply('apply', call)).outcome).toBe('armed');
  expect((await readdir(folder)).filter((name) => name.includes('glasscast-part'))).toEqual([]);
});

test('Ctrl-C in the middle leaves the image as it was, and no copy', async () => {
  const file = await disk();
  const hash = await hashOf(file);
  const board = await createImageBoard({ path: file, run });
  await putFlash(board);
  const stop = new AbortController();
  const onLine = (line: string) => void (line.startsWith('writing') && stop.abort());
  await expect(board.apply('apply', { ...call, signal: stop.signal, onLine })).rejects.toThrow();
  expect(await hashOf(file)).toBe(hash);
  expect((await readdir(folder)).filter((name) => name.includes('glasscast-part'))).toEqual([]);
});

test('what a run that was killed left in the folder for temporary files is removed by the next one', async () => {
  const left = join(tmpdir(), 'glasscast-image-4194303-killed');
  await mkdir(left, { recursive: true });
  await writeFile(join(left, 'source-0'), 'a secret');
  const tree = await createExtImage({ file: await disk(), offsetBytes: ROOT_OFFSET_BYTES, run });
  await tree.close();
  expect(await readdir(tmpdir())).not.toContain('glasscast-image-4194303-killed');
});

test('what does not fit is told before anything is written', async () => {
  const file = await disk();
  const hash = await hashOf(file);
  const board = await createImageBoard({ path: file, run });
  await putFlash(board);
  await board.put(boardFile('new/package.deb', Buffer.alloc(70_000_000, 1)), { signal, onProgress: () => {} });
  await expect(board.apply('apply', call)).rejects.toThrow(/75 MB have to go in, and \d+ MB are free/);
  expect(await hashOf(file)).toBe(hash);
});

test('of several systems one has to be named; the other is left alone', async () => {
  const root = await makeFakeRoot();
  const place = join(tmpdir(), `glasscast-twin-${process.pid}.img`);
  try {
    await makeTwinDisk(run, root, place, 40);
    const open = (partition?: number) => createImageBoard({ path: place, partition, run });
    await expect(open()).rejects.toThrow('several partitions hold a system; choose by --partition N, of 1, 2');
    await expect(open(3)).rejects.toThrow('--partition 3 holds no ext file system; these do: 1 (42 MB); 2 (42 MB)');
    const board = await open(2);
    await putFlash(board);
    expect((await board.apply('apply', call)).outcome).toBe('armed');
    expect((await (await open(2)).look({ signal })).flashed?.fingerprint).toBe('f1');
    expect((await (await open(1)).look({ signal })).flashed).toBeUndefined();
    for (const offset of [ROOT_OFFSET_BYTES, ROOT_OFFSET_BYTES + 40 * 1_048_576])
      expect(await faultsOf(run, place, offset)).toBe('');
  } finally {
    await rm(root, { recursive: true });
    await rm(place, { force: true });
  }
});

test('a damaged file system is not written to, and the way out is told', async () => {
  const file = await disk();
  for (let block = 0; block < 40; block += 1) await damage(file, ROOT_OFFSET_BYTES + 4096 * (2 + block) + 8);
  const hash = await hashOf(file);
  const tree = await createExtImage({ file, offsetBytes: ROOT_OFFSET_BYTES, run });
  await expect(
    tree.change([{ kind: 'file', path: '/etc/x', mode: 0o600, content: Buffer.from('x') }], {
      signal,
      onStep: () => {},
    }),
  ).rejects.toMatchObject({ code: 'FLASH_FAILED', message: expect.stringMatching(/nothing was changed/) });
  expect(await hashOf(file)).toBe(hash);
});
