/** What an image gets so that the board installs the package at its first boot, and how that is taken out again. Pure. */
import { FLASH_FOLDER } from './board.ts';
import type { TreeChange, TreeContent } from './root-tree.ts';
import type { WifiSetup } from './wifi-files.ts';

export const FIRST_BOOT_UNIT = '/etc/systemd/system/glasscast-first-boot.service';
export const FIRST_BOOT_LINK = '/etc/systemd/system/multi-user.target.wants/glasscast-first-boot.service';
/** Says what was put in, so that it can be taken out. There from the first change on. */
export const ARMED_FILE = `${FLASH_FOLDER}/armed.json`;

/** The agent that it starts waits for the network itself, so this one need not; and it must not stand before that agent. */
const UNIT_TEXT = `# Written by glasscast flash; gone once the agent is installed.
[Unit]
Description=Glasscast: installs the agent at the first boot
ConditionPathExists=${FLASH_FOLDER}/first-boot.sh
RequiresMountsFor=${FLASH_FOLDER} /etc /usr
Wants=time-sync.target
After=local-fs.target systemd-udev-settle.service glasscast-flash-recover.service time-sync.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh ${FLASH_FOLDER}/first-boot.sh
Restart=on-failure
RestartSec=30
TimeoutStartSec=30min

[Install]
WantedBy=multi-user.target
`;

export interface ArmedParts {
  /** From `new/` on, as apply.sh wants them. */
  files: ReadonlyMap<string, TreeContent>;
  applyScript: Uint8Array;
  firstBootScript: Uint8Array;
  wifi: WifiSetup | undefined;
  /** Of links that the system itself has: they stay when all else is taken out. */
  isThere: (path: string) => boolean;
}

/** What was put in, by path: enough to take it out again. */
export interface Armed {
  version: 1;
  paths: string[];
}

/** In the order in which they are to be made: the link that makes the boot look at all this comes last. */
export function armingChanges({ files, applyScript, firstBootScript, wifi, isThere }: ArmedParts): TreeChange[] {
  const links = (wifi?.links ?? []).filter(({ path }) => !isThere(path));
  const wifiFiles = wifi?.files ?? [];
  const armed: Armed = {
    version: 1,
    paths: [FIRST_BOOT_LINK, FIRST_BOOT_UNIT, ...links.map(({ path }) => path), ...wifiFiles.map(({ path }) => path)],
  };
  const file = (path: string, mode: number, content: TreeContent): TreeChange => ({
    kind: 'file',
    path,
    mode,
    content,
  });
  return [
    { kind: 'folder', path: FLASH_FOLDER, mode: 0o700 },
    file(ARMED_FILE, 0o600, Buffer.from(`${JSON.stringify(armed)}\n`)),
    { kind: 'removal', path: `${FLASH_FOLDER}/new` },
    ...['new', 'new/release-keys'].map((name) => ({
      ...{ kind: 'folder' as const, path: `${FLASH_FOLDER}/${name}`, mode: 0o700 },
    })),
    ...[...files].map(([name, content]) => file(`${FLASH_FOLDER}/${name}`, 0o600, content)),
    file(`${FLASH_FOLDER}/apply.sh`, 0o700, applyScript),
    file(`${FLASH_FOLDER}/first-boot.sh`, 0o700, firstBootScript),
    ...wifiFiles.map(({ path, mode, content }) => file(path, mode, Buffer.from(content))),
    ...links.map(({ path, target }): TreeChange => ({ kind: 'link', path, target })),
    file(FIRST_BOOT_UNIT, 0o644, Buffer.from(UNIT_TEXT)),
    { kind: 'link', path: FIRST_BOOT_LINK, target: FIRST_BOOT_UNIT },
  ];
}

/** @param armed of the image; its link goes first, so that a cut leaves nothing that a boot would start half of */
export function disarmingChanges(armed: Armed): TreeChange[] {
  const ours = armed.paths.filter((path) => path.startsWith('/etc/') && !path.includes('..'));
  return [...ours, FLASH_FOLDER].map((path) => ({ kind: 'removal', path }));
}
