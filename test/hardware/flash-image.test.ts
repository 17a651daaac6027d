/** Flashed without a running board, then booted: the first boot installs, enrols at a real relay, and the picture is decoded. */
import { readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createProgramRunner } from '../../scripts/flash/host-programs.ts';
import { createImageBoard } from '../../scripts/flash/image-board.ts';
import { buildDevicePackage } from '../../scripts/package/device-package.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { makeOwnFolder } from '../../shared/own-folder.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { canBootDebian, type DebianRoot, openDebianRoot } from '../support/debian-root.ts';
import { ffmpegs } from '../support/ffprobe.ts';
import { bring, faultsOf, makeDisk, unpackDisk } from '../support/flash-image-world.ts';
import { createRelayWorld, type Frame, type RelayWorld } from '../support/relay-world.ts';

const USER = 'ada@example.com';
const STREAM = `/api/users/${USER}/managed-stream`;
const FLASH = 'var/lib/glasscast-flash';
const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
const run = createProgramRunner(children.spawn);
const call = { signal: AbortSignal.timeout(1_200_000), runId: 'run-1', onLine: () => {} };

describe.skipIf(!canBootDebian())('a Debian that was flashed before it ever ran', () => {
  let folder: string;
  let packageFile: string;
  let relay: RelayWorld;
  let root: DebianRoot;
  let code: string;

  beforeAll(async () => {
    folder = await makeOwnFolder('/var/tmp', 'glasscast-flash');
    const options = { architecture: 'amd64' as const, version: '1.0.0', outFolder: folder };
    ({ file: packageFile } = await buildDevicePackage({ ...options, spawn: children.spawn, clock }));
  });
  afterAll(async () => {
    await children.close();
    await rm(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    relay = await createRelayWorld();
    ({ code } = await relay.rest<{ code: string }>('POST', '/api/enrolments', { email: USER }));
    root = await openDebianRoot();
    await root.powerOff();
  });
  afterEach(async () => {
    await root.close();
    await relay.close();
  });

  async function flash(path: string): Promise<void> {
    const board = await createImageBoard({ path, run });
    expect(await board.look(call)).toMatchObject({
      architecture: 'amd64',
      hasSystemd: true,
      installedVersion: undefined,
    });
    await bring(board, { packageFile, relayUrl: `${relay.wsUrl}/glasses-ws`, code });
    expect(await board.apply('apply', call)).toMatchObject({ outcome: 'armed' });
    await board.close();
  }
  async function until(what: string, isTrue: () => Promise<boolean> | boolean, timeoutMs = 120_000): Promise<void> {
    const endMs = clock.monotonicMs() + timeoutMs;
    while (!(await isTrue())) {
      if (clock.monotonicMs() > endMs) throw new Error(`${what} did not happen\n${await story()}`);
      await clock.sleep(100);
    }
  }
  const story = async () =>
    (await root.run(`tail -n 40 /${FLASH}/apply.log; journalctl -n 40 --no-pager -o cat; ls -lR /${FLASH}`)).output;
  const isConnected = async () => {
    const { sessions } = await relay.rest<{ sessions: Frame[] }>('GET', '/api/sessions');
    return sessions.some(({ userId, connected }) => userId === USER && connected);
  };

  /** Pictures that a decoder makes of what the local Stream plays. */
  async function decodedPictures(): Promise<number> {
    expect((await relay.rest('POST', STREAM, {})).status).toBeLessThan(300);
    let hlsUrl = '';
    await until('a live stream', async () => {
      const { streams } = await relay.rest<{ streams: (Frame & { playback?: { hlsUrl: string } })[] }>(
        'GET',
        '/api/streams',
      );
      hlsUrl = streams[0]?.playback?.hlsUrl ?? '';
      return streams[0]?.state === 'active' && hlsUrl !== '';
    });
    const [ffmpeg] = ffmpegs();
    let bytes = 0;
    const picture = ['-frames:v', '30', '-vf', 'scale=64:36', '-pix_fmt', 'gray', '-f', 'rawvideo', '-'];
    const args = ['-v', 'error', '-i', hlsUrl, '-map', '0:v:0', ...picture];
    const child = children.spawn({ name: 'ffmpeg', file: ffmpeg?.file ?? 'ffmpeg', args, stdout: 'raw' });
    child.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await child.exited;
    return bytes / (64 * 36);
  }

  async function expectInstalledAndTidy(): Promise<void> {
    await until('the end of the first boot', () => !names(`${FLASH}`).includes('first-boot.sh'));
    const about = await root.must('dpkg-query -s glasscast-agent');
    expect(about).toMatch(/^Status: install ok installed$/m);
    expect(about).toMatch(/^Version: 1\.0\.0$/m);
    expect(await root.must('systemctl is-enabled glasscast-agent')).toBe('enabled');
    expect(names('etc/systemd/system/multi-user.target.wants').join()).not.toMatch(/first-boot|flash-recover/);
    expect(names('etc/systemd/system').join()).not.toMatch(/first-boot|flash-recover/);
    const kept = await root.must(
      `cat /etc/default/glasscast-agent; grep -rl -- '${code}' /etc /${FLASH} /var/log || true`,
    );
    expect(kept).toContain('GLASSCAST_AGENT_SOURCE=test-pattern');
    expect(kept).not.toMatch(/ENROLMENT_CODE|^\//m);
  }
  function names(path: string): string[] {
    try {
      return readdirSync(join(root.folder, path));
    } catch {
      return [];
    }
  }

  test('a folder: installs itself at the first boot, enrols, and streams; the second boot is an ordinary one', async () => {
    await flash(root.folder);
    await root.boot();
    await until('a hello', isConnected);
    expect(await decodedPictures()).toBe(30);
    await expectInstalledAndTidy();
    await relay.rest('DELETE', STREAM);
    await root.powerOff();
    await until('a goodbye', async () => !(await isConnected()));
    await root.boot();
    await until('a hello', isConnected);
  });

  test('an image: the same, though its power is cut in the middle of the first boots', async () => {
    const disk = join(folder, 'rootfs.img');
    await makeDisk(run, root.folder, disk, 1_000);
    await flash(disk);
    expect(await faultsOf(run, disk)).toBe('');
    await unpackDisk(run, disk, root.folder);
    await rm(disk);
    // At the first sign of each.
    const moments: [string, () => boolean][] = [
      ['apply.sh has its files', () => names(`${FLASH}/work`).length > 0 || names(`${FLASH}/current`).length > 0],
      ['dpkg unpacks', () => names('usr/lib/glasscast').length > 0],
      ['the code stands in the settings', () => settings().includes('ENROLMENT_CODE')],
    ];
    for (const [what, isNow] of moments) {
      const booting = root.boot().catch(() => {});
      await until(what, isNow);
      await root.powerCut();
      await booting;
    }
    await root.boot();
    await until('a hello', isConnected);
    expect(await decodedPictures()).toBe(30);
    await expectInstalledAndTidy();
  });

  test('the relay is away at the first boot: enrols once it is there', async () => {
    await flash(root.folder);
    const restarted = relay.restart(undefined, 15_000);
    await root.boot();
    await restarted;
    await until('a hello', isConnected);
    await expectInstalledAndTidy();
  });

  function settings(): string {
    try {
      return readFileSync(join(root.folder, 'etc/default/glasscast-agent'), 'utf8');
    } catch {
      return '';
    }
  }
});
