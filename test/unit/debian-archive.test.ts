import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DebianArchive, debianArchive, type PackageEntry } from '../../scripts/package/debian-archive.ts';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

const entries: PackageEntry[] = [
  { path: 'usr/bin/hello', linkTo: '../lib/hello/run' },
  { path: 'usr/lib/hello/run', bytes: Buffer.from('#!/bin/sh\n'), mode: 0o755 },
  { path: 'etc/hello/keys', isFolder: true },
  { path: 'usr/lib/hello/data', bytes: Buffer.alloc(3000) },
];
const parts: DebianArchive = {
  control: { Package: 'hello', Version: '1.2.3', Architecture: 'all', Maintainer: 'A <a@b.example>', Description: 'x' },
  scripts: { postinst: '#!/bin/sh\nexit 0\n' },
  entries,
  modifiedS: 1_767_225_600,
};

describe('a Debian archive', () => {
  it('is the same bytes for the same parts, in whatever order they come', async () => {
    const [one, two] = [await debianArchive(parts), await debianArchive({ ...parts, entries: [...entries].reverse() })];
    expect(one.equals(two)).toBe(true);
    const other = await debianArchive({ ...parts, scripts: {} });
    expect(one.equals(other)).toBe(false);
  });

  it.runIf(findOnPath('dpkg-deb'))('is one to dpkg-deb: fields, sizes, owners, links and sums', async () => {
    const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
    const folder = mkdtempSync(join(tmpdir(), 'glasscast-deb-'));
    const file = join(folder, 'hello.deb');
    writeFileSync(file, await debianArchive(parts));
    const ask = async (...args: string[]) => {
      const lines: string[] = [];
      const onStdoutLine = (line: string) => void lines.push(line.replace(/ +/g, ' '));
      const { code } = await children.spawn({
        ...{ name: 'dpkg-deb', file: 'dpkg-deb', args: [...args, file], stdout: 'lines', onStdoutLine },
      }).exited;
      expect(code).toBe(0);
      return lines;
    };
    // Three KiB of data, one of the script, one for each of the link and seven folders.
    expect(await ask('-f')).toEqual([
      ...['Package: hello', 'Version: 1.2.3', 'Architecture: all', 'Maintainer: A <a@b.example>', 'Description: x'],
      'Installed-Size: 12',
    ]);
    expect(await ask('-c')).toEqual([
      'drwxr-xr-x root/root 0 2026-01-01 00:00 ./',
      'drwxr-xr-x root/root 0 2026-01-01 00:00 ./etc/',
      'drwxr-xr-x root/root 0 2026-01-01 00:00 ./etc/hello/',
      'drwxr-xr-x root/root 0 2026-01-01 00:00 ./etc/hello/keys/',
      'drwxr-xr-x root/root 0 2026-01-01 00:00 ./usr/',
      'drwxr-xr-x root/root 0 2026-01-01 00:00 ./usr/bin/',
      'lrwxrwxrwx root/root 0 2026-01-01 00:00 ./usr/bin/hello -> ../lib/hello/run',
      'drwxr-xr-x root/root 0 2026-01-01 00:00 ./usr/lib/',
      'drwxr-xr-x root/root 0 2026-01-01 00:00 ./usr/lib/hello/',
      '-rw-r--r-- root/root 3000 2026-01-01 00:00 ./usr/lib/hello/data',
      '-rwxr-xr-x root/root 10 2026-01-01 00:00 ./usr/lib/hello/run',
    ]);
    expect((await ask('--ctrl-tarfile')).join('')).toContain('3e2b31c72181b87149ff995e7202c0e3 usr/lib/hello/run');
    rmSync(folder, { recursive: true });
  });
});
