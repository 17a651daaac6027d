/** What an image gets so that the board installs the package at its first boot, and how that is taken out again. Pure. */
import * as z from 'zod';
import { FLASH_FOLDER } from './board.ts';
import type { TreeChange, TreeContent } from './root-tree.ts';
import type { WifiSetup } from './wifi-files.ts';

export const FIRST_BOOT_FOLDER = `${FLASH_FOLDER}/first-boot`;
const FIRST_BOOT_UNIT = '/etc/systemd/system/glasscast-first-boot.service';
const FIRST_BOOT_LINK = '/etc/systemd/system/multi-user.target.wants/glasscast-first-boot.service';
/** Says what was put in, so that it can be taken out; the first of all files. */
export const ARMED_FILE = `${FIRST_BOOT_FOLDER}/armed.json`;
/** There once a board has begun. */
export const BEGUN_FILES = [`${FLASH_FOLDER}/journal`, `${FIRST_BOOT_FOLDER}/installed`];

/** Not oneshot: it waits for the agent's token, maybe for days, and no boot waits for that. */
const UNIT_TEXT = `# Written by glasscast flash; gone once the agent is installed and has its token.
[Unit]
Description=Glasscast: installs the agent at the first boot
ConditionPathExists=${FLASH_FOLDER}/first-boot.sh
RequiresMountsFor=${FLASH_FOLDER} /etc /usr
After=local-fs.target glasscast-flash-recover.service
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/bin/sh ${FLASH_FOLDER}/first-boot.sh
Restart=on-failure
RestartSec=30

[Install]
WantedBy=multi-user.target
`;

/** What was put in, by path: enough to take it out again. */
export const armed = z.object({ version: z.literal(1), paths: z.array(z.string().startsWith('/').max(300)).max(100) });
export type Armed = z.output<typeof armed>;

export interface ArmedParts {
  /** By their names for apply.sh, which begin with `new/`. */
  files: ReadonlyMap<string, TreeContent>;
  enrolmentCode: Uint8Array | undefined;
  applyScript: Uint8Array;
  firstBootScript: Uint8Array;
  wifi: WifiSetup | undefined;
  /** Folders and links that are there and not ours: they stay when all else is taken out. */
  isTheirs: (path: string) => boolean;
}

/** In the order in which they are to be made: the link that makes the boot look at all this comes last. */
export function armingChanges(parts: ArmedParts): TreeChange[] {
  const { files, enrolmentCode, applyScript, firstBootScript, wifi, isTheirs } = parts;
  const links = (wifi?.links ?? []).filter(({ path }) => !isTheirs(path));
  const wifiFiles = wifi?.files ?? [];
  const own = isTheirs(FLASH_FOLDER)
    ? [`${FLASH_FOLDER}/apply.sh`, `${FLASH_FOLDER}/first-boot.sh`, FIRST_BOOT_FOLDER]
    : [FLASH_FOLDER];
  const paths = [FIRST_BOOT_LINK, FIRST_BOOT_UNIT, ...[...links, ...wifiFiles].map(({ path }) => path), ...own];
  const text = `${JSON.stringify({ version: 1, paths } satisfies Armed)}\n`;
  return [
    folder(FLASH_FOLDER),
    folder(FIRST_BOOT_FOLDER),
    file(ARMED_FILE, 0o600, Buffer.from(text)),
    // What an earlier flash put there may have had more files.
    { kind: 'removal', path: `${FIRST_BOOT_FOLDER}/new` },
    folder(`${FIRST_BOOT_FOLDER}/new`),
    ...foldersOf(files.keys()).map((name) => folder(`${FIRST_BOOT_FOLDER}/${name}`)),
    ...[...files].map(([name, content]) => file(`${FIRST_BOOT_FOLDER}/${name}`, 0o600, content)),
    enrolmentCode === undefined
      ? { kind: 'removal', path: `${FIRST_BOOT_FOLDER}/code` }
      : file(`${FIRST_BOOT_FOLDER}/code`, 0o600, enrolmentCode),
    file(`${FLASH_FOLDER}/apply.sh`, 0o700, applyScript),
    file(`${FLASH_FOLDER}/first-boot.sh`, 0o700, firstBootScript),
    ...wifiFiles.map(({ path, mode, content }) => file(path, mode, Buffer.from(content))),
    ...links.map(({ path, target }): TreeChange => ({ kind: 'link', path, target })),
    file(FIRST_BOOT_UNIT, 0o644, Buffer.from(UNIT_TEXT)),
    { kind: 'link', path: FIRST_BOOT_LINK, target: FIRST_BOOT_UNIT },
  ];
}

/** The link goes first, so that no boot starts half of it. @param paths of `armed` */
export function disarmingChanges({ paths }: Armed): TreeChange[] {
  // Of a file in an image, which anybody may have written.
  const isOurs = (path: string) =>
    /^\/(etc|var\/lib\/glasscast-flash)(\/|$)/.test(path) && !path.split('/').includes('..');
  return paths.filter((path) => isOurs(path) && path !== '/etc').map((path) => ({ kind: 'removal', path }));
}

const folder = (path: string): TreeChange => ({ kind: 'folder', path, mode: 0o700 });
const file = (path: string, mode: number, content: TreeContent): TreeChange => ({ kind: 'file', path, mode, content });

function foldersOf(names: Iterable<string>): string[] {
  const folders = [...names].map((name) => name.slice(0, name.lastIndexOf('/')));
  return [...new Set(folders)].filter((name) => name !== 'new').sort();
}
