/** A scripted adb with its device, and a package whose agent is a few lines of JavaScript. */
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createAdbBoard } from '../../scripts/flash/adb-board.ts';
import { createAdbShell } from '../../scripts/flash/adb-shell.ts';
import { debianArchive } from '../../scripts/package/debian-archive.ts';
import { type ChildSpawner, findOnPath } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';

/** What toybox and Android's shell have of what the scripts use. */
const TOYBOX = [
  ...[
    'sh',
    'cat',
    'chmod',
    'cmp',
    'cp',
    'cut',
    'date',
    'dd',
    'df',
    'grep',
    'head',
    'kill',
    'ls',
    'mkdir',
    'mv',
    'readlink',
  ],
  ...['rm', 'sed', 'setsid', 'sha256sum', 'sleep', 'sync', 'tail', 'tar', 'timeout', 'touch', 'tr', 'uname', 'wc'],
];

export type DeviceManners = Partial<{
  state: 'device' | 'offline' | 'unauthorized' | 'gone' | 'no permissions';
  others: string[];
  features: string;
  allowsRoot: boolean;
  su: 'aosp' | 'magisk' | 'none';
  isRoot: boolean;
  cutAfterBytes: number;
}>;

/** How the agent of a package behaves. */
export type AgentManners = 'connects' | 'never connects' | 'dies';

export async function createAndroidWorld({ clock, children }: { clock: Clock; children: ChildSpawner }) {
  const home = await mkdtemp(join(tmpdir(), 'glasscast-adb-'));
  const root = join(home, 'root');
  const bin = join(home, 'bin');
  for (const folder of [
    'root/data/adb',
    'root/system/etc/init',
    'root/vendor',
    'root/dev',
    'root/proc',
    'bin',
    'glibc',
  ]) {
    await mkdir(join(home, folder), { recursive: true });
  }
  for (const name of TOYBOX) await symlink(findOnPath(name) ?? '/nowhere', join(bin, name));
  const program = async (path: string, text: string) => {
    await writeFile(join(home, path), text);
    await chmod(join(home, path), 0o755);
  };
  await program('bin/id', '#!/bin/sh\necho "$SCRIPTED_UID"\n');
  await program('bin/mount', '#!/bin/sh\nexit 0\n');
  await program('bin/setprop', '#!/bin/sh\nexit 0\n');
  const properties =
    'case $1 in ro.product.cpu.abi) echo arm64-v8a;; ro.build.version.release) echo 13;; ro.product.model) echo Glass;; esac';
  await program('bin/getprop', `#!/bin/sh\n${properties}\n`);
  // The loader of this world starts this machine's Node, whatever it is given for one. To who looks it is for ARM; the kernel
  // does not take it, and dash then reads it as a script, whose first line is no command.
  const head = Buffer.from(`\u007fELF=1 ${'#'.repeat(11)}`);
  const elf = Buffer.concat([head, Buffer.from([183, 0]), Buffer.from(`\nshift 3\nexec "${process.execPath}" "$@"\n`)]);
  for (const name of [
    'ld-linux-aarch64.so.1',
    'libc.so.6',
    'libm.so.6',
    'libdl.so.2',
    'libpthread.so.0',
    'librt.so.1',
    'libstdc++.so.6',
    'libgcc_s.so.1',
  ]) {
    await writeFile(join(home, 'glibc', name), elf);
  }
  const set = (manners: DeviceManners) =>
    writeFile(join(home, 'device.json'), JSON.stringify({ state: 'device', allowsRoot: true, ...manners }));
  await set({});
  const adbFile = fileURLToPath(new URL('scripted-adb.mjs', import.meta.url));

  return {
    ...{ home, root, set },
    board(serial?: string) {
      const environment = { PATH: process.env.PATH, SCRIPTED_ADB: home };
      const shell = createAdbShell({ serial, spawn: children.spawn, clock, adbFile, environment });
      return createAdbBoard({ shell, clock, glibcFolder: join(home, 'glibc'), patienceMs: 3_000 });
    },
    /** @returns its path */
    async package(version: string, manners: AgentManners): Promise<string> {
      const path = join(home, `glasscast-agent_${version}_arm64.deb`);
      const agent = `// ${version} ${manners}\n${AGENT}`.replace('MANNERS', manners);
      const entries = [
        { path: 'usr/lib/glasscast/agent.mjs', bytes: Buffer.from(agent) },
        { path: 'usr/lib/glasscast/node', bytes: Buffer.alloc(300_000, version), mode: 0o755 as const },
        { path: 'usr/lib/glasscast/ffmpeg', bytes: Buffer.from('ffmpeg'), mode: 0o755 as const },
        { path: 'usr/lib/glasscast/launch', bytes: Buffer.from('the one for Debian'), mode: 0o755 as const },
      ];
      const control = { Package: 'glasscast-agent', Version: version, Architecture: 'arm64' };
      await writeFile(path, await debianArchive({ control, scripts: {}, entries, modifiedS: 0 }));
      return path;
    },
    read: (path: string) => readFile(join(root, path), 'utf8').catch(() => undefined),
    async close() {
      const pid = Number(await readFile(join(root, 'data/glasscast/state/supervise.pid'), 'utf8').catch(() => ''));
      // The supervisor leads a session of its own.
      if (pid > 1) {
        try {
          process.kill(-pid, 'SIGKILL');
        } catch {
          // gone
        }
      }
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** Uses its code as the real one does, and tells its status by a file beside its token. */
const AGENT = `
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
const { GLASSCAST_AGENT_TOKEN_FILE: token, GLASSCAST_AGENT_ENROLMENT_CODE: code, GLASSCAST_AGENT_STATUS_SOCKET: socket } = process.env;
const manners = 'MANNERS';
if (process.argv[2] === 'run') {
  if (manners === 'dies') process.exit(1);
  if (code && !existsSync(token)) writeFileSync(token, JSON.stringify({ coreToken: 'token-of-' + code }));
  writeFileSync(socket, JSON.stringify({ pid: process.pid, connected: manners === 'connects' && existsSync(token) }));
  setInterval(() => {}, 1000);
} else {
  const { pid, connected } = JSON.parse(readFileSync(socket, 'utf8'));
  process.kill(pid, 0);
  console.log(JSON.stringify({ connected, ...(connected ? {} : { cause: 'nobody there' }) }, null, 2));
}
`;
