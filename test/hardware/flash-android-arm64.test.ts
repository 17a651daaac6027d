/** The tree for Android of the real arm64 package, run by QEMU's user mode with nothing but the tree's own loader and libraries. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { makeAndroidTree } from '../../scripts/flash/android-tree.ts';
import { createProgramRunner } from '../../scripts/flash/host-programs.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { makeOwnFolder } from '../../shared/own-folder.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { packageForTest } from '../support/device-packages.ts';
import { canEmulate, openForeignRoot } from '../support/foreign-root.ts';

const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
const run = createProgramRunner(children.spawn);
afterAll(() => children.close());

describe.skipIf(!canEmulate())('the tree for an Android board with arm64', () => {
  test('starts Node and the agent by its own loader, and ffmpeg without one', async () => {
    const made = await packageForTest({ architecture: 'arm64', version: '1.2.3' });
    const debian = await openForeignRoot(made, children);
    const folder = await makeOwnFolder('/var/tmp', 'glasscast-android');
    try {
      const outFile = join(folder, 'tree.tar');
      const options = { packageFile: made.file, architecture: 'arm64' as const, glibcFolder: debian.folder, outFile };
      expect(await makeAndroidTree(options)).toEqual({ version: '1.2.3' });
      // Only the tree is left to run.
      debian.close();
      const home = join(folder, 'a');
      await run({ name: 'mkdir', args: [home], package: 'coreutils' });
      expect((await run({ name: 'tar', args: ['-xf', outFile, '-C', home], package: 'tar' })).code).toBe(0);
      const told = async (name: string, ...args: string[]) => {
        const { output, errors } = await run({ name, args, package: 'qemu-user-static' });
        return `${output.toString('utf8')}${errors.join('\n')}`;
      };
      const loader = [join(home, 'lib/ld-linux-aarch64.so.1'), '--library-path', join(home, 'lib')];
      const emulator = 'qemu-aarch64-static';
      expect(await told(emulator, ...loader, join(home, 'node'), '-p', 'process.arch + process.version')).toMatch(
        /^arm64v22\./,
      );
      expect(await told(emulator, join(home, 'ffmpeg'), '-version')).toMatch(/^ffmpeg version/);
      // On a board the kernel takes the loader; here QEMU has to be named.
      const launch = join(home, 'launch');
      const text = await readFile(launch, 'utf8');
      await writeFile(launch, text.replace('exec "$tree/lib', `exec ${emulator} "$tree/lib`));
      expect((await told('sh', launch, '--version')).trim()).toContain('1.2.3');
      const wrong = { ...options, architecture: 'armhf' as const, glibcFolder: join(home, 'lib') };
      await expect(makeAndroidTree(wrong)).rejects.toThrow('lacks ld-linux-armhf.so.3');
    } finally {
      debian.close();
      await rm(folder, { recursive: true, force: true });
      await rm(dirname(made.file), { recursive: true, force: true });
    }
  });
});
