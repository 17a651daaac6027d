import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { createFolderTree } from '../../scripts/flash/folder-tree.ts';
import { boardOf, createImageBoard } from '../../scripts/flash/image-board.ts';
import type { RootTree } from '../../scripts/flash/root-tree.ts';
import type { WifiNetwork } from '../../scripts/flash/wifi-files.ts';
import { Secret } from '../../shared/secrets.ts';
import { type FakeRootOptions, makeFakeRoot, putFlash } from '../support/fake-root.ts';

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

const signal = AbortSignal.timeout(60_000);
const call = { signal, runId: 'run-1', onLine: () => {} };
const wifi: WifiNetwork = { ssid: 'home', password: new Secret('correct horse'), country: 'DE' };
const noRun = async () => {
  throw new Error('a folder needs no programs');
};
const FLASH = 'var/lib/glasscast-flash';
const LINK = 'etc/systemd/system/multi-user.target.wants/glasscast-first-boot.service';

async function fakeRoot(options?: FakeRootOptions) {
  const root = await makeFakeRoot(options);
  folders.push(root);
  return root;
}
const boardAt = (path: string, network?: WifiNetwork) => createImageBoard({ path, wifi: network, run: noRun });

/** Every path of it with what it is. */
async function treeOf(root: string): Promise<string[]> {
  const names = await readdir(root, { recursive: true });
  const lines = names.map(async (name) => {
    const found = await lstat(join(root, name));
    const content = found.isSymbolicLink()
      ? await readlink(join(root, name))
      : found.isFile()
        ? await readFile(join(root, name), 'hex')
        : '';
    return `${name} ${found.mode.toString(8)} ${content}`;
  });
  return (await Promise.all(lines)).sort();
}

test('tells what the system in it is for', async () => {
  const board = await boardAt(await fakeRoot());
  expect(await board.look({ signal })).toMatchObject({
    architecture: 'arm64',
    os: 'Debian GNU/Linux 12 (bookworm)',
    libcVersion: '2.36',
    hasSystemd: true,
    installedVersion: undefined,
    hasToken: false,
    flashed: undefined,
    isUnfinished: false,
  });
});

test('arms the first boot: secrets are root’s alone, the code stands in no settings, the sums fit', async () => {
  const root = await fakeRoot();
  const board = await boardAt(root);
  await putFlash(board, { 'new/enrolment-code': 'code-123\n' });
  expect(await board.apply('apply', call)).toMatchObject({ id: 'run-1', outcome: 'armed' });
  const mode = async (path: string) => ((await stat(join(root, path))).mode & 0o7777).toString(8);
  expect(await mode(FLASH)).toBe('700');
  expect(await mode(`${FLASH}/first-boot/new/settings`)).toBe('600');
  expect(await mode(`${FLASH}/first-boot/code`)).toBe('600');
  expect(await readdir(join(root, FLASH, 'first-boot/new'))).toEqual(expect.not.arrayContaining(['enrolment-code']));
  const manifest = await readFile(join(root, FLASH, 'first-boot/new/manifest'), 'utf8');
  expect(
    manifest
      .trim()
      .split('\n')
      .map((line) => line.slice(66))
      .sort(),
  ).toEqual(['fingerprint', 'options', 'package.deb', 'release-keys/own.pem', 'settings', 'user']);
  expect(await readFile(join(root, FLASH, 'first-boot/new/options'), 'utf8')).toBe(
    'id=run-1\ndeadline=120\ngate=none\nboot=yes\n',
  );
  expect(await readlink(join(root, LINK))).toBe('/etc/systemd/system/glasscast-first-boot.service');
  expect((await board.look({ signal })).flashed).toEqual({ fingerprint: 'f1', user: 'ada@example.com' });
});

test('the same again changes nothing, another package replaces it, undo leaves what was there before', async () => {
  const root = await fakeRoot({ files: { '/usr/sbin/NetworkManager': 'x' } });
  const before = await treeOf(root);
  const flash = async (more: Record<string, string>, network?: WifiNetwork) => {
    const board = await boardAt(root, network);
    await putFlash(board, more);
    return (await board.apply('apply', call)).outcome;
  };
  expect(await flash({ 'new/enrolment-code': 'c' }, wifi)).toBe('armed');
  const armed = await treeOf(root);
  expect(armed.join()).toContain('glasscast-wifi.nmconnection 100600');
  expect(await flash({ 'new/enrolment-code': 'c', 'new/options': 'id=run-2\n' }, wifi)).toBe('already');
  expect(await treeOf(root)).toEqual(armed);
  expect(await flash({ 'new/package.deb': 'another' })).toBe('armed');
  expect((await treeOf(root)).join()).not.toMatch(/nmconnection|first-boot\/code/);
  const board = await boardAt(root);
  expect(await board.apply('undo', call)).toMatchObject({ outcome: 'undone' });
  expect(withoutMadeFolders(await treeOf(root))).toEqual(before);
  expect(await board.apply('undo', call)).toMatchObject({
    outcome: 'refused',
    reason: expect.stringContaining('nothing waits in it'),
  });
});

/** Empty folders of the network programs, which undo leaves. */
const withoutMadeFolders = (lines: readonly string[]) =>
  lines.filter((line) => !/^etc\/(NetworkManager|modprobe\.d)/.test(line));

test('cut at each of its writes it leaves what boots as before, and the next run ends it', async () => {
  let writes = 1;
  for (let at = 0; at < writes; at += 1) {
    const root = await fakeRoot({ files: { '/usr/sbin/NetworkManager': 'x' } });
    const tree = await createFolderTree(root);
    const cut: RootTree = {
      ...tree,
      async change(changes, options) {
        writes = changes.length;
        await tree.change(changes.slice(0, at), options);
        throw new Error('power cut');
      },
    };
    const first = boardOf(cut, wifi);
    await putFlash(first, { 'new/enrolment-code': 'c' });
    await expect(first.apply('apply', call)).rejects.toThrow('power cut');
    await expect(lstat(join(root, LINK))).rejects.toThrow('ENOENT');
    const second = await boardAt(root, wifi);
    await putFlash(second, { 'new/enrolment-code': 'c' });
    expect((await second.apply('apply', call)).outcome).toBe('armed');
    expect(await second.apply('undo', call)).toMatchObject({ outcome: 'undone' });
    expect((await treeOf(root)).join('\n')).not.toMatch(/glasscast-(flash|first-boot|wifi)/);
  }
  expect(writes).toBeGreaterThan(15);
});

test('a board that has begun to install is left to it', async () => {
  const root = await fakeRoot();
  const board = await boardAt(root);
  await putFlash(board);
  await board.apply('apply', call);
  await writeFile(join(root, FLASH, 'journal'), 'installing 1\nrun-1\n');
  expect((await board.look({ signal })).isUnfinished).toBe(true);
  expect(await board.apply('apply', call)).toMatchObject({
    outcome: 'refused',
    reason: expect.stringContaining('has begun'),
  });
  expect(await board.apply('undo', call)).toMatchObject({ outcome: 'refused' });
});

test('Wi-Fi settings that are not ours are not written over', async () => {
  const own = '/etc/wpa_supplicant/wpa_supplicant-wlan0.conf';
  const programs = { '/usr/sbin/wpa_supplicant': 'x', '/usr/lib/systemd/systemd-networkd': 'x' };
  const root = await fakeRoot({ files: { ...programs, [own]: 'theirs' } });
  const board = await boardAt(root, wifi);
  await putFlash(board);
  await expect(board.apply('apply', call)).rejects.toThrow(`Wi-Fi settings of its own in ${own}`);
  expect(await readFile(join(root, own), 'utf8')).toBe('theirs');
});

test('absolute links in the tree stay in the tree', async () => {
  const root = await fakeRoot();
  const outside = await mkdtemp(join(tmpdir(), 'glasscast-outside-'));
  folders.push(outside);
  await rm(join(root, 'etc/systemd'), { recursive: true });
  await symlink(outside, join(root, 'etc/systemd'));
  await mkdir(join(root, outside), { recursive: true });
  await symlink('../../../../../../../../../../tmp', join(root, 'var/up'));
  const tree = await createFolderTree(root);
  await tree.change([{ kind: 'file', path: '/etc/systemd/system/a', mode: 0o644, content: Buffer.from('x') }], {
    signal,
    onStep: () => {},
  });
  await tree.change([{ kind: 'file', path: '/var/up/glasscast-inside', mode: 0o644, content: Buffer.from('x') }], {
    signal,
    onStep: () => {},
  });
  expect(await readdir(outside)).toEqual([]);
  expect(await readdir(join(root, outside, 'system'))).toEqual(['a']);
  expect(await readdir(join(root, 'tmp'))).toContain('glasscast-inside');
});

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-empty-'));
  folders.push(folder);
  return folder;
}

test.each([
  ['this machine', async () => '/', 'install the package on it instead'],
  ['an empty folder', emptyFolder, 'holds no root file system'],
  ['nothing', async () => '/nowhere/at/all', 'is not there'],
  ['a device', async () => '/dev/null', 'mount its root partition'],
])('%s is refused with what to do', async (_, place, words) => {
  await expect(boardAt(await place())).rejects.toMatchObject({
    code: 'BOARD_UNFIT',
    message: expect.stringContaining(words),
  });
});

test.each([
  [{ machine: 62 }, 'its packages are for arm64, its programs for amd64'],
  [{ files: { '/var/lib/dpkg/status': 'Package: dpkg\nArchitecture: riscv64\n' } }, 'it is for riscv64'],
])('a system for another processor than it says, or for none of ours, is refused', async (options, words) => {
  const board = await boardAt(await fakeRoot(options));
  await expect(board.look({ signal })).rejects.toMatchObject({
    code: 'BOARD_UNFIT',
    message: expect.stringContaining(words),
  });
});

test('a file that could leave its folder is refused', async () => {
  const board = await boardAt(await fakeRoot());
  await expect(putFlash(board, { 'new/../../x': '' })).rejects.toThrow('is no name for a file of a flash');
});
