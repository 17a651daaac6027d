/** A booted Debian with sshd on loopback behind a proxy that can cut it, and a user who may become root: a board for flashing. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../scripts/bench/free-port.ts';
import type { Board } from '../../scripts/flash/board.ts';
import type { FlashOptions, StepState } from '../../scripts/flash/engine.ts';
import { packageFileOf } from '../../scripts/flash/flash-order.ts';
import { createShellBoard } from '../../scripts/flash/shell-board.ts';
import { createSshShell } from '../../scripts/flash/ssh-board.ts';
import { type Child, createChildSpawner, type SpawnChild } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { type DebianRoot, openDebianRoot } from './debian-root.ts';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';

export type ToyMood = 'good' | 'crash' | 'sick' | 'hang' | 'mute';

export interface SshBoard {
  root: DebianRoot;
  proxy: TcpProxy;
  folder: string;
  spawn: SpawnChild;
  /** As `ssh` takes them, for this board alone. */
  sshOptions: string[];
  port: number;
  /** Every argument of every ssh that was started. */
  sshArguments: string[];
  board(user?: string, more?: { port?: number; identity?: string; sshOptions?: string[] }): Board;
  /** For `flash`, with a toy of this version. */
  options(toy: { version: string; mood?: ToyMood }, more?: Partial<FlashOptions>): Promise<FlashOptions>;
  /** Steps of the last `options`. */
  told: { name: string; state: StepState; text: string }[];
  progress: { name: string; text: string; percent: number | undefined }[];
  mainPid(): Promise<string>;
  version(): Promise<string>;
  close(): Promise<void>;
}

const PROXY_AWAY_MS = 20_000;

/** @param pauseSeconds between apply.sh's looks at the agent; default: its own */
export async function openSshBoard({ pauseSeconds }: { pauseSeconds?: number } = {}): Promise<SshBoard> {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const children = createChildSpawner({ clock, log: silentLog(), redactor });
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-board-'));
  const sshArguments: string[] = [];
  const spawn: SpawnChild = (spec) => {
    sshArguments.push(...spec.args);
    return children.spawn(spec);
  };
  const root = await openDebianRoot();
  const key = join(folder, 'key');
  await ran(
    children.spawn({ name: 'ssh-keygen', file: 'ssh-keygen', args: ['-q', '-t', 'ed25519', '-N', '', '-f', key] }),
  );
  const sshdPort = await freePort();
  await root.must(sshdScript(sshdPort, (await readFile(`${key}.pub`, 'utf8')).trim()));
  if (pauseSeconds !== undefined) await root.must(pauseScript(pauseSeconds));
  const proxy = await startTcpProxy({ clock, targetPort: sshdPort });
  const sshOptions = [
    ...[
      `UserKnownHostsFile=${folder}/known_hosts`,
      'GlobalKnownHostsFile=/dev/null',
      'StrictHostKeyChecking=accept-new',
    ],
    ...['IdentitiesOnly=yes', 'IdentityAgent=none'],
  ];
  const told: SshBoard['told'] = [];
  const progress: SshBoard['progress'] = [];
  const boards: Board[] = [];

  const board: SshBoard['board'] = (user = 'ada', more = {}) => {
    const shell = createSshShell({
      ...{ destination: `${user}@127.0.0.1`, port: more.port ?? proxy.port, identityFiles: [more.identity ?? key] },
      ...{ sshOptions: more.sshOptions ?? sshOptions, isInteractive: false, spawn, clock, sshFile: 'ssh' },
    });
    const made = createShellBoard({ shell, clock, patienceMs: PROXY_AWAY_MS });
    boards.push(made);
    return made;
  };
  return {
    ...{ root, proxy, folder, spawn, sshOptions, sshArguments, told, progress, board },
    port: proxy.port,
    async options(toy, more = {}) {
      told.length = 0;
      progress.length = 0;
      const file = await toyPackage(children.spawn, folder, toy);
      const order = {
        settings: `# toy\nTOY="${toy.version}"\n`,
        releaseKeys: new Map(),
        user: undefined,
        source: 'test-pattern',
      };
      return {
        ...{
          board: board(),
          order,
          relay: undefined,
          code: new Secret('CODE-OF-TESTS-1234'),
          redactor,
          wantsTestStream: true,
        },
        ...{ isDryRun: false, run: { deadlineSeconds: 20, gate: 'agent' }, newId: randomUUID, nowMs: clock.now },
        packageFor: () => packageFileOf(file),
        tell: {
          step: (name, state, text) => void told.push({ name, state, text }),
          progress: (name, text, percent) => void progress.push({ name, text, percent }),
        },
        signal: new AbortController().signal,
        ...more,
      };
    },
    mainPid: async () => (await root.must('systemctl show -p MainPID --value glasscast-agent')).trim(),
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is dpkg's
    version: async () => (await root.run("dpkg-query -W -f='${Version}' glasscast-agent")).output.trim(),
    async close() {
      for (const each of boards) await each.close();
      await proxy.close();
      await root.close();
      await children.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function ran(child: Child): Promise<void> {
  const { code, lastLines } = await child.exited;
  if (code !== 0) throw new Error(lastLines.join('\n'));
}

/** `ada` may become root without a password, `bob` may not. */
const sshdScript = (port: number, publicKey: string) => `
for user in ada bob; do
  useradd --create-home --shell /bin/bash $user
  mkdir -p /home/$user/.ssh && echo '${publicKey}' >/home/$user/.ssh/authorized_keys
  chown -R $user /home/$user/.ssh && chmod -R go= /home/$user/.ssh
done
echo 'ada ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ada
mkdir -p /root/.ssh && cp /home/ada/.ssh/authorized_keys /root/.ssh/ && chown -R root /root/.ssh
cat >/etc/systemd/system/test-sshd.service <<UNIT
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -p ${port} -o ListenAddress=127.0.0.1 -o PidFile=none
KillMode=process
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now test-sshd.service
i=0; while ! ss -Hltn sport = ${port} | grep -q . ; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done`;

const pauseScript = (seconds: number) => `
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\\nDefaultEnvironment=GLASSCAST_FLASH_PAUSE=${seconds}\\n' >/etc/systemd/system.conf.d/pause.conf
systemctl daemon-reexec`;

/** A package that behaves as told, some megabytes large. */
export async function toyPackage(
  spawn: SpawnChild,
  folder: string,
  toy: { version: string; mood?: ToyMood },
): Promise<string> {
  const { version, mood = 'good' } = toy;
  const file = join(folder, `glasscast-agent_${version}_amd64.deb`);
  const script = `set -e
umask 022
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT; chmod 755 "$t"
mkdir -p "$t/DEBIAN" "$t/usr/bin" "$t/usr/lib/glasscast" "$t/lib/systemd/system"
head -c 4000000 /dev/urandom >"$t/usr/lib/glasscast/ballast"
cat >"$t/usr/bin/glasscast-agent" <<'AGENT'
#!/bin/sh
case "$1-${mood}" in
  run-crash) sleep 0.2; echo "the toy crashes, said with CODE-OF-TESTS-1234" >&2; exit 1 ;;
  run-mute) exec sleep infinity ;;
  run-*) systemd-notify --ready; exec sleep infinity ;;
  status-good) printf '{\\n  "connected": true\\n}\\n' ;;
  status-sick) printf '{\\n  "connected": false,\\n  "cause": "the toy is sick"\\n}\\n' ;;
  status-hang) exec sleep infinity ;;
  doctor-*) printf '{\\n  "isWell": true,\\n  "checks": []\\n}\\n' ;;
  *) exit 1 ;;
esac
AGENT
chmod 755 "$t/usr/bin/glasscast-agent"
cat >"$t/lib/systemd/system/glasscast-agent.service" <<'UNIT'
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
Restart=always
RestartSec=1
EnvironmentFile=-/etc/default/glasscast-agent
ExecStart=/usr/bin/glasscast-agent run
[Install]
WantedBy=multi-user.target
UNIT
printf 'Package: glasscast-agent\\nVersion: ${version}\\nArchitecture: amd64\\nMaintainer: Tests <tests@example.com>\\nDescription: toy\\n' >"$t/DEBIAN/control"
(cd "$t" && find usr lib -type f -exec md5sum {} + >DEBIAN/md5sums)
dpkg-deb --root-owner-group -Zgzip -z1 --build "$t" '${file}' >/dev/null`;
  const child = spawn({ name: 'toy', file: 'sh', args: ['-c', script] });
  await ran(child);
  return file;
}
