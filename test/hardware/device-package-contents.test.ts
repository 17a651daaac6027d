/** The packages for all boards, looked into: right processor, nothing missing, and the programs for ARM run by QEMU's user mode. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { DevicePackage } from '../../scripts/package/device-package.ts';
import { deviceArchitectures, runtimes } from '../../scripts/package/runtimes.ts';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { packageForTest } from '../support/device-packages.ts';
import { elfFacts } from '../support/elf.ts';
import { canEmulate, type ForeignRoot, openForeignRoot } from '../support/foreign-root.ts';
import { createRelayWorld } from '../support/relay-world.ts';

const USER = 'ada-e@example.com';
const machines = { amd64: 62, arm64: 183, armhf: 40 } as const;
/** Which libstdc++6 of Debian first had a symbol version: GCC's ABI policy. */
const gccOf: Record<string, number> = {
  'GLIBCXX_3.4.21': 5,
  'GLIBCXX_3.4.22': 6,
  'GLIBCXX_3.4.25': 8,
  'GLIBCXX_3.4.26': 9,
};

describe.runIf(canEmulate()).each(deviceArchitectures)('the package for %s', (architecture) => {
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  let made: DevicePackage;
  let root: ForeignRoot;

  beforeAll(async () => {
    made = await packageForTest({ architecture });
    root = await openForeignRoot(made, children);
  });
  afterAll(async () => {
    await children.close();
    root?.close();
    if (made) rmSync(dirname(made.file), { recursive: true, force: true });
  });

  async function run(file: string, args: string[]) {
    const lines: string[] = [];
    const { code, lastLines } = await children.spawn({
      ...{ name: 'emulated', file, args, stdout: 'lines', onStdoutLine: (line) => void lines.push(line) },
    }).exited;
    return { code, output: lines.join('\n'), errors: lastLines.join('\n') };
  }
  const inHome = (name: string) => join(root.folder, 'usr/lib/glasscast', name);
  const programs = () =>
    readdirSync(inHome('.')).flatMap((name) => {
      const facts = elfFacts(readFileSync(inHome(name)));
      return facts ? [{ name, ...facts }] : [];
    });

  it('holds programs for that processor alone', () => {
    expect(programs().map(({ name, machine }) => [name, machine])).toEqual([
      ['ffmpeg', machines[architecture]],
      ['node', machines[architecture]],
    ]);
  });

  it('finds each library that they ask for among those it depends on', () => {
    const folders = readdirSync(join(root.folder, 'lib')).filter((name) => name.includes('linux-gnu'));
    const places = ['lib', 'lib64', ...folders.flatMap((name) => [`lib/${name}`, `usr/lib/${name}`])];
    const isThere = (library: string) => places.some((place) => existsSync(join(root.folder, place, library)));
    const asked = programs().flatMap(({ libraries }) => libraries);
    expect(asked).toContain('libstdc++.so.6');
    expect(asked.filter((library) => !isThere(library))).toEqual([]);
  });

  it('depends on libraries as new as the newest symbol that they ask for', async () => {
    const depends = await root.field('Depends');
    const versions = programs().flatMap(({ versions: each }) => each);
    const newest = (prefix: string) =>
      versions
        .filter((version) => version.startsWith(`${prefix}_`))
        .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
        .at(-1);
    expect(depends).toContain(`libc6 (>= ${newest('GLIBC')?.replace('GLIBC_', '')})`);
    expect(depends).toContain(`libstdc++6 (>= ${gccOf[newest('GLIBCXX') ?? '']})`);
  });

  // It takes half a minute, and the others differ by their programs alone.
  if (architecture === 'arm64') {
    it.runIf(findOnPath('lintian') !== undefined)('is without a word of lintian', async () => {
      const { output } = await run('env', [`TMPDIR=${dirname(made.file)}`, 'lintian', '--allow-root', made.file]);
      expect(output).toBe('');
    });
  }

  it('runs: Node, the agent and its launcher, and an ffmpeg that encodes', async () => {
    const { node, ffmpeg } = root.programs;
    expect((await run(node, ['--version'])).output).toBe(`v${runtimes[architecture].node.version}`);
    expect((await run(node, [inHome('agent.mjs'), '--help'])).output).toContain('--relay-url');
    const devices = await run(node, [inHome('agent.mjs'), 'devices', '--ffmpeg-path', ffmpeg]);
    expect([devices.code, devices.output]).toEqual([0, expect.stringContaining('libx264')]);
    const picture = ['-f', 'lavfi', '-i', 'testsrc=size=320x180', '-frames:v', '10', '-c:v', 'libx264', '-c:a', 'aac'];
    const { code, output } = await run(ffmpeg, ['-v', 'error', ...picture, '-f', 'framemd5', '-']);
    expect([code, output.split('\n').filter((line) => line.startsWith('0,')).length]).toEqual([0, 10]);
  });

  it('has an ALSA configuration that its ffmpeg can read', async () => {
    const configuration = `ALSA_CONFIG_PATH=${inHome('alsa.conf')}`;
    const record = ['-v', 'error', '-f', 'alsa', '-i', 'plug:null', '-t', '0.05', '-f', 'null', '-'];
    expect(await run('env', [configuration, root.programs.ffmpeg, ...record])).toMatchObject({ code: 0, errors: '' });
  });

  it('streams to a relay', async () => {
    const relay = await createRelayWorld();
    onTestFinished(async () => void (await relay.close()));
    const { coreToken } = await relay.rest<{ coreToken: string }>('POST', '/api/tokens', { email: USER });
    const settings = {
      GLASSCAST_AGENT_RELAY_URL: `${relay.wsUrl}/glasses-ws`,
      GLASSCAST_AGENT_CORE_TOKEN: coreToken,
      GLASSCAST_AGENT_FFMPEG_PATH: root.programs.ffmpeg,
      GLASSCAST_AGENT_STATUS_SOCKET: 'none',
    };
    const agent = children.spawn({
      ...{ name: 'agent', file: root.programs.node, args: [inHome('agent.mjs'), 'run'] },
      env: { PATH: process.env.PATH ?? '', ...settings },
    });
    const sessions = () => relay.rest<{ sessions: { userId: string }[] }>('GET', '/api/sessions');
    await expect.poll(async () => (await sessions()).sessions.length, { timeout: 60_000 }).toBe(1);
    const video = { width: 320, height: 180, frameRate: 10, bitrate: 300_000 };
    await relay.rest('POST', `/api/users/${USER}/managed-stream`, { video });
    const state = async () =>
      (await relay.rest<{ streams: { state: string }[] }>('GET', '/api/streams')).streams[0]?.state;
    await expect.poll(state, { timeout: 120_000 }).toBe('active');
    await relay.rest('DELETE', `/api/users/${USER}/managed-stream`);
    expect((await agent.stop()).code).toBe(0);
  });
});
