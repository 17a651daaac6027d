import { chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { claimFolder, isSomebodyElses } from '../../device/updates/folder-claim.ts';

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

it.runIf(process.getuid?.() === 0)(
  "to root a folder is somebody else's with the one that it lies in, even before it is there",
  () => {
    const outer = mkdtempSync(join(tmpdir(), 'glasscast-claim-'));
    const folder = join(outer, 'releases');
    try {
      expect(isSomebodyElses(folder)).toBe(false);
      chownSync(outer, 12_345, 12_345);
      expect(isSomebodyElses(folder)).toBe(true);
      mkdirSync(folder);
      expect(isSomebodyElses(folder)).toBe(true);
      chownSync(outer, 0, 0);
      expect(isSomebodyElses(folder)).toBe(false);
      chownSync(folder, 12_345, 12_345);
      expect(isSomebodyElses(folder)).toBe(true);
    } finally {
      rmSync(outer, { recursive: true, force: true });
    }
  },
);
