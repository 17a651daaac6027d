import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCommandLine } from '../../scripts/cli/command-line.ts';
import { makeFakeRoot } from '../support/fake-root.ts';

async function glasscast(args: readonly string[], environment: Record<string, string> = {}) {
  const [said, complained]: [string[], string[]] = [[], []];
  const code = await runCommandLine(['--relay-url', 'http://192.0.2.1:8787', 'flash', ...args], {
    environment: { GLASSCAST_ENROLMENT_CODE: '2222-3333', ...environment },
    output: { write: (text: string) => said.push(text) },
    errors: { write: (text: string) => complained.push(text) },
  });
  return { code, output: said.join(''), errors: complained.join('') };
}

test.each([
  [[], 'which board? Give --ssh user@board, --image FILE or --adb'],
  [['--ssh', 'a@b', '--image', 'x.img'], 'only one of them'],
  [['--ssh', 'a@b', '--wifi-ssid', 'home'], 'belong to --image'],
  [['--image', 'x.img', '--glibc', 'y'], '--glibc belongs to --adb'],
  [['--image', 'x.img', '--wifi-country', 'DE'], 'belong to --wifi-ssid'],
  [['--image', 'x.img', '--wifi-ssid', 'home'], 'set GLASSCAST_WIFI_PASSWORD, or give --wifi-open'],
  [['--image', '/nowhere.img'], '/nowhere.img is not there'],
])('flags that do not go together are told: %j', async (args, words) => {
  const { code, errors } = await glasscast(args);
  expect([code, errors]).toEqual([1, expect.stringContaining(words)]);
});

test('a root folder is flashed, again, and back, by the command line', async () => {
  const root = await makeFakeRoot({ files: { '/usr/sbin/NetworkManager': 'x' } });
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-package-'));
  const file = join(folder, 'glasscast-agent_1.0.0_arm64.deb');
  try {
    await writeFile(file, 'a package');
    const args = [
      '--image',
      root,
      '--package',
      file,
      '--wifi-ssid',
      'home',
      '--wifi-country',
      'de',
      '--source',
      'test-pattern',
    ];
    const secrets = { GLASSCAST_WIFI_PASSWORD: 'correct horse' };
    const planned = await glasscast([...args, '--dry-run'], secrets);
    expect(planned).toMatchObject({ code: 0, output: expect.stringContaining('Nothing was changed') });
    await expect(readFile(join(root, 'var/lib/glasscast-flash/first-boot/code'))).rejects.toThrow('ENOENT');
    const first = await glasscast(args, secrets);
    expect(first).toMatchObject({ code: 0, output: expect.stringContaining('ready for its first boot') });
    expect(await readFile(join(root, 'var/lib/glasscast-flash/first-boot/code'), 'utf8')).toContain('2222-3333');
    expect(await readFile(join(root, 'etc/modprobe.d/glasscast-wifi.conf'), 'utf8')).toContain('ieee80211_regdom=DE');
    for (const { output, errors } of [planned, first]) expect(output + errors).not.toMatch(/correct horse|2222-3333/);
    expect(await glasscast(args, secrets)).toMatchObject({ code: 0 });
    expect(await glasscast(['--image', root, '--undo'])).toMatchObject({
      code: 0,
      output: expect.stringContaining('as it was before'),
    });
    await expect(readFile(join(root, 'var/lib/glasscast-flash/first-boot/code'))).rejects.toThrow('ENOENT');
  } finally {
    await rm(root, { recursive: true });
    await rm(folder, { recursive: true });
  }
});
