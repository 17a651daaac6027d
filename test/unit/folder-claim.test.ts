import { expect, it } from 'vitest';
import { claimFolder } from '../../device/updates/folder-claim.ts';

it.runIf(process.platform === 'linux')(
  'a folder is one agent’s at a time, and free again when that lets go',
  async () => {
    const folder = `/tmp/glasscast-claim-${process.pid}`;
    const first = await claimFolder(folder);
    expect(first).toBeDefined();
    expect(await claimFolder(`${folder}/../${folder.split('/').at(-1)}`)).toBeUndefined();
    const other = await claimFolder(`${folder}-2`);
    expect(other).toBeDefined();
    other?.release();
    first?.release();
    const again = await claimFolder(folder);
    expect(again).toBeDefined();
    again?.release();
  },
);
