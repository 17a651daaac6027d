/** A scripted adb with its device, and a package whose agent is a few lines of JavaScript. */
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createAdbBoard } from '../../scripts/flash/adb-board.ts';
import { createAdbShell } from '../../scripts/flash/adb-shell.ts';
import type { Board } from '../../scripts/flash/board.ts';
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
    'case $1 in ro.product.cpu.abi) echo x86_64;; ro.build.version.release) echo 13;; ro.product.model) echo Glass;; esac';
  await program('bin/getprop', `#!/bin/sh\n${properties}\n`);
  for (const name of LIBRARIES) await copyFile(await placeOf(name), join(home, 'glibc', name));
  const set = (manners: DeviceManners) =>
    writeFile(join(home, 'device.json'), JSON.stringify({ state: 'device', allowsRoot: true, ...manners }));
  await set({});
  const adbFile = fileURLToPath(new URL('scripted-adb.mjs', import.meta.url));

  const boards: Board[] = [];
  async function powerCut(): Promise<void> {
    for (let isAnyLeft = true; isAnyLeft; ) {
      isAnyLeft = false;
      for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
        const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
        if (!environment.includes(`SCRIPTED_ADB=${home}\0`) || Number(pid) === process.pid) continue;
        isAnyLeft = true;
        try {
          process.kill(Number(pid), 'SIGKILL');
        } catch {
          // gone meanwhile
        }
      }
    }
  }

  return {
    ...{ home, root, set },
    board(serial?: string) {
      const environment = { PATH: process.env.PATH, SCRIPTED_ADB: home };
      const shell = createAdbShell({ serial, spawn: children.spawn, clock, adbFile, environment });
      const board = createAdbBoard({ shell, clock, glibcFolder: join(home, 'glibc'), patienceMs: 3_000 });
      boards.push(board);
      return board;
    },
    /** @returns its path */
    async package(version: string, manners: AgentManners): Promise<string> {
      const path = join(home, `glasscast-agent_${version}_amd64.deb`);
      const agent = `# ${version}\nmanners='${manners}'\n${AGENT}`;
      const entries = [
        { path: 'usr/lib/glasscast/agent.mjs', bytes: Buffer.from(agent) },
        { path: 'usr/lib/glasscast/node', bytes: await readFile('/usr/bin/dash'), mode: 0o755 as const },
        { path: 'usr/lib/glasscast/ffmpeg', bytes: Buffer.from('ffmpeg'), mode: 0o755 as const },
        { path: 'usr/lib/glasscast/launch', bytes: Buffer.from('the one for Debian'), mode: 0o755 as const },
      ];
      const control = { Package: 'glasscast-agent', Version: version, Architecture: 'amd64' };
      await writeFile(path, await debianArchive({ control, scripts: {}, entries, modifiedS: 0 }));
      return path;
    },
    read: (path: string) => readFile(join(root, path), 'utf8').catch(() => undefined),
    /** Every process of the device at once. */
    powerCut,
    /** A program of the device that fails from now on. */
    breakProgram: async (name: string) => {
      await rm(join(bin, name), { force: true });
      await program(`bin/${name}`, '#!/bin/sh\necho "$0: No space left on device" >&2\nexit 1\n');
    },
    mendProgram: async (name: string) => {
      await rm(join(bin, name));
      await symlink(findOnPath(name) ?? '/nowhere', join(bin, name));
    },
    /** As init does at boot. */
    boot() {
      const env = { PATH: bin, SCRIPTED_ADB: home, GLASSCAST_FLASH_PAUSE: '0.2' };
      const args = [join(root, 'data/glasscast/supervise'), root];
      return children.spawn({ name: 'init', file: join(bin, 'sh'), args, env });
    },
    async close() {
      await powerCut();
      for (const board of boards) await board.close();
      await rm(home, { recursive: true, force: true });
    },
  };
}

/**
 * Uses its code as the real one does, and tells its status by a file beside its token. The "Node" of this package is dash, started
 * by this machine's real loader.
 */
const AGENT = `
if [ "$1" = run ]; then
  [ "$manners" != dies ] || exit 1
  token=$GLASSCAST_AGENT_TOKEN_FILE
  [ -z "\${GLASSCAST_AGENT_ENROLMENT_CODE:-}" ] || [ -f "$token" ] || echo "token of $GLASSCAST_AGENT_ENROLMENT_CODE" >"$token"
  [ "$manners" = connects ] && [ -f "$token" ] && connected=true || connected=false
  echo "$$ $connected" >"$GLASSCAST_AGENT_STATUS_SOCKET"
  while :; do sleep 0.2; done
fi
read -r pid connected <"$GLASSCAST_AGENT_STATUS_SOCKET" && kill -0 "$pid" || exit 1
printf '{\\n  "connected": %s,\\n  "cause": "nobody there"\\n}\\n' "$connected"
`;

const LIBRARIES = [
  ...['ld-linux-x86-64.so.2', 'libc.so.6', 'libm.so.6', 'libdl.so.2', 'libpthread.so.0', 'librt.so.1'],
  ...['libstdc++.so.6', 'libgcc_s.so.1'],
];

async function placeOf(name: string): Promise<string> {
  for (const folder of ['/lib/x86_64-linux-gnu', '/usr/lib/x86_64-linux-gnu', '/lib64']) {
    if (await stat(join(folder, name)).catch(() => undefined)) return join(folder, name);
  }
  throw new Error(`this machine has no ${name}`);
}
