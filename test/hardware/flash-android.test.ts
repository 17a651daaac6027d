/** Android boards: the real scripts on a scripted adb, whose device is a folder and lacks what Android lacks. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { runCommandLine } from '../../scripts/cli/command-line.ts';
import type { ApplyResult, Board } from '../../scripts/flash/board.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { type AgentManners, createAndroidWorld, type DeviceManners } from '../support/android-world.ts';
import { boardFile } from '../support/fake-root.ts';

const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
const signal = AbortSignal.timeout(600_000);
const RELAY = 'GLASSCAST_AGENT_RELAY_URL="ws://192.0.2.1/glasses-ws"\n';
let world: Awaited<ReturnType<typeof createAndroidWorld>>;
let runs = 0;

beforeEach(async () => {
  world = await createAndroidWorld({ clock, children });
});
afterEach(() => world.close());
afterAll(() => children.close());

async function bring(board: Board, version: string, manners: AgentManners, { deadline = 30 } = {}): Promise<string> {
  runs += 1;
  const call = { signal, onProgress: () => {} };
  await board.look({ signal });
  const path = await world.package(version, manners);
  const bytes = await readFile(path);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const texts = {
    'new/settings': RELAY,
    'new/enrolment-code': `code-${runs}\n`,
    'new/fingerprint': `fingerprint of ${version}\n`,
    'new/options': `id=run-${runs}\ngate=agent\ndeadline=${deadline}\n`,
  };
  const sums = [`${sha256}  package.deb`];
  for (const [name, text] of Object.entries(texts)) {
    const file = boardFile(name, text);
    sums.push(`${file.sha256}  ${name.slice(4)}`);
    await board.put(file, call);
  }
  await board.put(boardFile('apply.sh', 'the one for Debian'), call);
  await board.put({ name: 'new/package.deb', content: { path }, bytes: bytes.length, sha256 }, call);
  await board.put(boardFile('new/manifest', `${sums.join('\n')}\n`), call);
  return `run-${runs}`;
}
async function flash(version: string, manners: AgentManners, options = {}): Promise<ApplyResult> {
  const board = world.board();
  const runId = await bring(board, version, manners, options);
  const result = await board.apply('apply', { signal, runId, onLine: () => {} });
  await board.close();
  return result;
}
const undo = () => world.board().apply('undo', { signal, runId: `undo-${runs}`, onLine: () => {} });
const facts = () => world.board().look({ signal });
const token = async () => (await world.read('data/glasscast/state/agent-token.json')) ?? '';

test('installs a tree that brings its own loader, gates it, starts it at boot, and keeps no code', async () => {
  expect(await facts()).toMatchObject({
    architecture: 'amd64',
    os: 'Android 13 (Glass)',
    needsNoDebian: true,
    installedVersion: undefined,
  });
  expect(await flash('1.0.0', 'connects')).toMatchObject({ outcome: 'flashed', version: '1.0.0', reason: '' });
  expect(await facts()).toMatchObject({
    installedVersion: '1.0.0',
    isRunning: true,
    hasToken: true,
    hasBefore: true,
    isUnfinished: false,
    flashed: { fingerprint: 'fingerprint of 1.0.0' },
  });
  expect(await token()).toContain('token of code-');
  expect(await world.read('data/glasscast/settings')).toBe(RELAY);
  const mode = async (path: string) => ((await stat(join(world.root, path))).mode & 0o777).toString(8);
  expect(await mode('data/glasscast/settings')).toBe('600');
  expect(await mode('data/glasscast/a/launch')).toBe('755');
  expect(await world.read('system/etc/init/glasscast.rc')).toContain(
    'service glasscast /system/bin/sh /data/glasscast/supervise',
  );
  expect(await world.read('data/glasscast/a/launch')).toContain('exec "$tree/lib/ld-linux-x86-64.so.2" --library-path');
  expect(
    (await readdir(join(world.root, 'data/glasscast-flash'))).filter((name) => /new|journal|part/.test(name)),
  ).toEqual([]);
});

test('a version that never connects is taken back; so is one that dies; the old one runs', async () => {
  await flash('1.0.0', 'connects');
  for (const [manners, reason] of [
    ['never connects', 'does not reach the relay: nobody there'],
    ['dies', 'did not start'],
  ] as const) {
    const result = await flash('2.0.0', manners, { deadline: 3 });
    expect(result).toMatchObject({ outcome: 'rolled_back', version: '1.0.0', reason: expect.stringContaining(reason) });
    expect(await facts()).toMatchObject({ installedVersion: '1.0.0', isRunning: true, isUnfinished: false });
  }
});

test('undo goes back to the tree of before, and from the first one to nothing', async () => {
  await flash('1.0.0', 'connects');
  expect(await flash('2.0.0', 'connects')).toMatchObject({ outcome: 'flashed', version: '2.0.0' });
  expect(await undo()).toMatchObject({ outcome: 'undone', version: '1.0.0' });
  expect(await facts()).toMatchObject({
    installedVersion: '1.0.0',
    isRunning: true,
    flashed: { fingerprint: 'fingerprint of 1.0.0' },
  });
  await world.close();
  world = await createAndroidWorld({ clock, children });
  await flash('1.0.0', 'connects');
  expect(await undo()).toMatchObject({ outcome: 'undone', version: '' });
  expect(await readdir(join(world.root, 'data'))).toEqual(['adb', 'glasscast-flash']);
  expect(await readdir(join(world.root, 'system/etc/init'))).toEqual([]);
});

test('the cable comes out in the middle of the upload: the next run goes on where it was', async () => {
  await world.set({ cutAfterBytes: 200_000 });
  const board = world.board();
  await expect(bring(board, '1.0.0', 'connects')).rejects.toMatchObject({
    code: 'BOARD_UNREACHABLE',
    message: expect.stringContaining('went away (device offline)'),
  });
  const parts = (await readdir(join(world.root, 'data/glasscast-flash'))).filter((name) => name.endsWith('.part'));
  expect(parts).toHaveLength(1);
  const have = (await stat(join(world.root, 'data/glasscast-flash', parts[0] ?? ''))).size;
  expect(have).toBeGreaterThan(100_000);
  const seen: number[] = [];
  const again = world.board();
  const put = again.put;
  const runId = await bring(
    {
      ...again,
      put: (file, call) =>
        put(file, { ...call, onProgress: (bytes) => void (file.name === 'new/package.deb' && seen.push(bytes)) }),
    },
    '1.0.0',
    'connects',
  );
  expect(seen[0]).toBe(have);
  expect(await again.apply('apply', { signal, runId, onLine: () => {} })).toMatchObject({ outcome: 'flashed' });
});

test('cut while a new tree is tried, the old one comes back at the next boot', async () => {
  await flash('1.0.0', 'connects');
  const board = world.board();
  const runId = await bring(board, '2.0.0', 'never connects');
  const stop = new AbortController();
  const applying = board.apply('apply', {
    signal: stop.signal,
    runId,
    onLine: (line) => void (line.startsWith('gate') && stop.abort()),
  });
  await expect(applying).rejects.toThrow();
  await world.powerCut();
  expect(await world.read('data/glasscast-flash/journal')).toContain('trying a');
  const booted = world.boot();
  while ((await facts()).isUnfinished) await clock.sleep(100);
  while (!(await facts()).isRunning) await clock.sleep(100);
  expect((await facts()).installedVersion).toBe('1.0.0');
  expect(await world.read('data/glasscast-flash/result.json')).toContain('"outcome":"rolled_back"');
  await booted.stop();
});

test('cut at any moment of an update it comes to its end at the next boot, and an agent runs', async () => {
  await flash('1.0.0', 'connects');
  const seen = new Set<string>();
  for (const [at, afterMs] of [0, 300, 800, 1_400, 2_200].entries()) {
    const wanted = `2.0.${at}`;
    const board = world.board();
    const runId = await bring(board, wanted, 'connects');
    const before = (await facts()).installedVersion;
    const stop = new AbortController();
    const applying = board.apply('apply', { signal: stop.signal, runId, onLine: () => {} }).catch(() => {});
    await clock.sleep(afterMs);
    stop.abort();
    await world.powerCut();
    await applying;
    world.boot();
    const isSettled = async () => {
      const now = await facts();
      return now.isRunning && !now.isUnfinished && !now.isApplying && now;
    };
    let settled = await isSettled();
    while (!settled) {
      await clock.sleep(100);
      settled = await isSettled();
    }
    expect([before, wanted]).toContain(settled.installedVersion);
    seen.add(settled.installedVersion === before ? 'old' : 'new');
  }
  expect(await flash('3.0.0', 'connects')).toMatchObject({ outcome: 'flashed', version: '3.0.0' });
  expect(seen.size).toBeGreaterThan(0);
});

test('a full disk is told, and the old tree goes on; with room again the new one comes', async () => {
  await flash('1.0.0', 'connects');
  await world.breakProgram('tar');
  expect(await flash('2.0.0', 'connects')).toMatchObject({
    outcome: 'refused',
    version: '1.0.0',
    reason: expect.stringContaining('is there room on /data?'),
  });
  expect(await facts()).toMatchObject({ installedVersion: '1.0.0', isRunning: true, isUnfinished: false });
  await world.mendProgram('tar');
  await world.breakProgram('cat');
  await expect(bring(world.board(), '2.0.0', 'connects')).rejects.toMatchObject({
    code: 'FLASH_FAILED',
    message: expect.stringContaining('No space left on device'),
  });
  await world.mendProgram('cat');
  expect(await flash('2.0.0', 'connects')).toMatchObject({ outcome: 'flashed', version: '2.0.0' });
});

test.each<[DeviceManners, string, string]>([
  [{ state: 'gone' }, 'BOARD_UNREACHABLE', 'USB debugging'],
  [{ state: 'offline' }, 'BOARD_UNREACHABLE', 'it is offline'],
  [{ state: 'unauthorized' }, 'BOARD_UNREACHABLE', 'accept the key'],
  [{ others: ['OTHER'] }, 'BOARD_UNREACHABLE', 'several devices (SCRIPTED, OTHER)'],
  [{ features: 'cmd\n' }, 'BOARD_UNFIT', 'Android 7 is needed'],
  [{ allowsRoot: false, su: 'none' }, 'BOARD_UNFIT', 'gives no root'],
])('a device that cannot be flashed is told from the others: %o', async (manners, code, words) => {
  await world.set(manners);
  await expect(facts()).rejects.toMatchObject({ code, message: expect.stringContaining(words) });
});

test.each(['aosp', 'magisk'] as const)('root by the su of %s', async (su) => {
  await world.set({ allowsRoot: false, su });
  expect(await facts()).toMatchObject({ architecture: 'amd64' });
});

test('where /system cannot be written Magisk starts it; without either nothing is left behind', async () => {
  await rm(join(world.root, 'system/etc/init'), { recursive: true });
  expect(await flash('1.0.0', 'connects')).toMatchObject({
    outcome: 'rolled_back',
    version: '',
    reason: expect.stringContaining('nothing would start it at the next boot'),
  });
  expect(await readdir(join(world.root, 'data'))).toEqual(['adb', 'glasscast-flash']);

  await mkdir(join(world.root, 'data/adb/magisk'));
  expect(await flash('1.0.0', 'connects')).toMatchObject({ outcome: 'flashed' });
  expect(await world.read('data/adb/service.d/glasscast.sh')).toContain('/data/glasscast/supervise');
});

test('by the command line: flashed, known again, undone, and the code told nowhere', async () => {
  await symlink(fileURLToPath(new URL('../support/scripted-adb.mjs', import.meta.url)), join(world.home, 'adb'));
  const before = { PATH: process.env.PATH, SCRIPTED_ADB: process.env.SCRIPTED_ADB };
  Object.assign(process.env, { PATH: `${world.home}:${before.PATH}`, SCRIPTED_ADB: world.home });
  onTestFinished(() => {
    process.env.PATH = before.PATH;
    delete process.env.SCRIPTED_ADB;
  });
  const file = await world.package('1.0.0', 'connects');
  const glasscast = async (args: string[], environment: Record<string, string> = {}) => {
    const said: string[] = [];
    const output = { write: (text: string) => said.push(text) };
    const all = ['--relay-url', 'http://192.0.2.1:8787', 'flash', '--adb', ...args];
    const code = await runCommandLine(all, { environment, output, errors: output });
    expect(said.join('')).not.toContain('2222-3333');
    return `${code} ${said.join('')}`;
  };
  const flags = ['--glibc', join(world.home, 'glibc'), '--package', file, '--source', 'test-pattern'];
  const code = { GLASSCAST_ENROLMENT_CODE: '2222-3333' };
  expect(await glasscast([...flags, '--dry-run'], code)).toMatch(
    /^0 .*Android 13 \(Glass\), amd64.*Nothing was changed/s,
  );
  expect(await facts()).toMatchObject({ installedVersion: undefined });
  expect(await glasscast(flags, code)).toMatch(/^0 .*is flashed with 1\.0\.0/s);
  expect(await token()).toContain('2222-3333');
  expect(await glasscast(flags)).toMatch(/^0 .*already flashed, and running/s);
  expect(await glasscast(['--undo'])).toMatch(/^0 .*nothing of the agent is left/s);
  expect(await glasscast(['--undo'])).toMatch(/^1 .*nothing to go back to/s);
  await world.set({ state: 'unauthorized' });
  expect(await glasscast(flags, code)).toMatch(/^1 .*accept the key that it shows/s);
});

test('without the libraries of Debian the way to get them is told', async () => {
  await rm(join(world.home, 'glibc/libstdc++.so.6'));
  await expect(bring(world.board(), '1.0.0', 'connects')).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringMatching(
      /lacks libstdc\+\+\.so\.6 \(on Debian: .*apt-get download libc6:amd64 libstdc\+\+6:amd64/,
    ),
  });
});
