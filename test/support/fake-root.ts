/** A folder with as much of a Debian root file system as flashing looks at; and a package that is only a file. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Board, BoardFile } from '../../scripts/flash/board.ts';

const MACHINES = { amd64: 62, arm64: 183, armhf: 40 };

export interface FakeRootOptions {
  architecture?: keyof typeof MACHINES;
  /** Of the shell, when it differs. */
  machine?: number;
  /** More files, by path. */
  files?: Record<string, string>;
}

export async function makeFakeRoot({
  architecture = 'arm64',
  machine,
  files = {},
}: FakeRootOptions = {}): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'glasscast-root-'));
  const shell = Buffer.alloc(64);
  shell.write('\u007fELF');
  shell.writeUInt16LE(machine ?? MACHINES[architecture], 18);
  const stanza = (name: string, version: string) =>
    `Package: ${name}\nStatus: install ok installed\nArchitecture: ${architecture}\nVersion: ${version}\n`;
  const all: Record<string, string | Buffer> = {
    '/var/lib/dpkg/status': [stanza('dpkg', '1.21.22'), stanza('libc6', '2.36-9+deb12u9')].join('\n'),
    '/etc/os-release': 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    '/usr/bin/dash': shell,
    '/usr/lib/systemd/systemd': 'x',
    '/etc/systemd/system/multi-user.target.wants/keep': '',
    ...files,
  };
  for (const [path, content] of Object.entries(all)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
  await symlink('usr/bin', join(root, 'bin'));
  return root;
}

export function boardFile(name: string, content: Buffer | string): BoardFile {
  const bytes = Buffer.from(content);
  return { name, content: bytes, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** What the engine brings, with a package that is only `content`. */
export async function putFlash(board: Board, more: Record<string, Buffer | string> = {}): Promise<void> {
  const files = {
    'new/package.deb': 'a package',
    'new/settings': 'GLASSCAST_AGENT_RELAY_URL=ws://relay/glasses-ws\n',
    'new/fingerprint': 'f1\n',
    'new/user': 'ada@example.com\n',
    'new/options': 'id=run-1\ngate=agent\ndeadline=120\n',
    'new/release-keys/own.pem': 'a key',
    ...more,
  };
  for (const [name, content] of Object.entries(files)) {
    await board.put(boardFile(name, content), { signal: AbortSignal.timeout(10_000), onProgress: () => {} });
  }
}
