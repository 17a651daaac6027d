/** Packages for boards as tests need them: built from these sources, what npm's registry gave being kept beside the Debian roots. */
import { tmpdir } from 'node:os';
import {
  buildDevicePackage,
  type DevicePackage,
  type DevicePackageOptions,
} from '../../scripts/package/device-package.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { makeOwnFolder } from '../../shared/own-folder.ts';
import { createRedactor } from '../../shared/secrets.ts';

/** Big, and the same for every checkout. */
const CACHE = '/var/tmp/glasscast-runtimes';

/** Into a new folder; remove it by `dirname(file)`. */
export async function packageForTest(
  options: Pick<DevicePackageOptions, 'architecture'> & Partial<DevicePackageOptions>,
): Promise<DevicePackage> {
  const clock = createSystemClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  try {
    const outFolder = await makeOwnFolder(tmpdir(), 'glasscast-package');
    return await buildDevicePackage({
      ...{ version: '0.1.0', outFolder, cacheFolder: CACHE, spawn: children.spawn, clock },
      ...options,
    });
  } finally {
    await children.close();
  }
}
