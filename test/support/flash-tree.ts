/** A board as a folder: apply.sh runs in it against fakes of dpkg and systemd, and can be cut at any command. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Mood = 'good' | 'crash' | 'sick' | 'hang' | 'blind' | 'unconfigurable';

export interface FlashTree {
  root: string;
  /** Lays what apply.sh takes into new/. */
  stage(content: {
    version: string;
    mood?: Mood;
    settings?: string;
    code?: string;
    user?: string;
    id?: string;
    /** Default: one. */
    hasKeys?: boolean;
  }): void;
  /** @returns the exit code; null: it was cut. */
  run(word: 'apply' | 'undo' | 'recover', options?: { killAt?: number; shell?: string }): number | null;
  /** What a user would see: version that is installed whole, settings, key names, whether it runs, the token. */
  seen(): { version: string; settings: string; runs: boolean; token: string };
  result(): { outcome: string; version: string; reason: string; id: string };
  has(path: string): boolean;
  read(path: string): string;
  write(path: string, text: string): void;
  /** Commands counted in the last run that had a `killAt`. */
  count(): number;
  copy(): FlashTree;
  remove(): void;
}

export const APPLY_SCRIPT = fileURLToPath(new URL('../../scripts/flash/apply.sh', import.meta.url));
const TOOLS = fileURLToPath(new URL('flash-tools/', import.meta.url));
const NAMES = [
  'dpkg',
  'dpkg-query',
  'dpkg-deb',
  'systemctl',
  'systemd-run',
  'journalctl',
  'sync',
  'sleep',
  'timeout',
].concat(['mv', 'rm', 'cp', 'ln', 'mkdir', 'chmod']);
/** From the board's root. */
export const FLASH = 'var/lib/glasscast-flash';

export function createFlashTree(from?: string): FlashTree {
  const root = mkdtempSync(join(tmpdir(), 'glasscast-tree-'));
  if (from === undefined) furnish(root);
  else cpSync(from, root, { recursive: true, verbatimSymlinks: true });
  const at = (path: string) => join(root, path);
  const read = (path: string) => (existsSync(at(path)) ? readFileSync(at(path), 'utf8') : '');
  const write = (path: string, text: string) => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), text);
  };
  return {
    root,
    read,
    write,
    has: (path) => existsSync(at(path)),
    stage({ version, mood = 'good', settings = `A=${version}\n`, code, user, id = 'run-1', hasKeys = true }) {
      rmSync(at(`${FLASH}/new`), { recursive: true, force: true });
      const deb = `Package: glasscast-agent\nVersion: ${version}\nArchitecture: amd64\nMood: ${mood}\n`;
      const files: Record<string, string> = {
        'package.deb': deb,
        settings,
        fingerprint: `${createHash('sha256')
          .update(deb + settings)
          .digest('hex')}\n`,
        options: `id=${id}\ndeadline=20\n`,
        ...(hasKeys ? { 'release-keys/one.pem': `key of ${version}\n` } : {}),
        ...(code === undefined ? {} : { 'enrolment-code': `${code}\n` }),
        ...(user === undefined ? {} : { user: `${user}\n` }),
      };
      for (const [name, text] of Object.entries(files)) write(`${FLASH}/new/${name}`, text);
      const sums = Object.entries(files).map(
        ([name, text]) => `${createHash('sha256').update(text).digest('hex')}  ${name}\n`,
      );
      write(`${FLASH}/new/manifest`, sums.join(''));
    },
    run(word, { killAt, shell = 'dash' } = {}) {
      rmSync(at('fake/count'), { force: true });
      const env = {
        PATH: `${root}/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
        GLASSCAST_FLASH_ROOT: root,
        ...(killAt === undefined ? {} : { KILL_AT: String(killAt) }),
      };
      // setsid: the cut kills the group that it leads, and nobody else.
      const [file = 'dash', ...args] = shell.split(' ');
      return spawnSync('setsid', ['-w', file, ...args, APPLY_SCRIPT, word, 'run-undo'], { env, timeout: 60_000 })
        .status;
    },
    seen() {
      const whole =
        read('fake/status').trim() === 'installed' &&
        read('fake/installed.deb') === read('usr/bin/glasscast-agent.deb');
      const version = /^Version: (.*)$/m.exec(whole ? read('fake/installed.deb') : '')?.[1] ?? '';
      const settings = read('etc/default/glasscast-agent') + read('etc/glasscast/release-keys/one.pem');
      return {
        version,
        settings,
        runs: existsSync(at('fake/running')),
        token: read('var/lib/glasscast/agent-token.json'),
      };
    },
    result: () => JSON.parse(read(`${FLASH}/result.json`) || '{}'),
    count: () => Number(read('fake/count')),
    copy: () => createFlashTree(root),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

function furnish(root: string): void {
  for (const folder of ['bin', 'fake', 'proc', 'etc/systemd/system', 'var/lib']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  writeFileSync(join(root, 'proc/uptime'), '100.00 1.0\n');
  cpSync(join(TOOLS, 'agent.sh'), join(root, 'agent-of-tests'));
  chmodSync(join(root, 'agent-of-tests'), 0o755);
  cpSync(join(TOOLS, 'tool.sh'), join(root, 'bin/tool'));
  chmodSync(join(root, 'bin/tool'), 0o755);
  for (const name of NAMES) symlinkSync('tool', join(root, 'bin', name));
}
