/** Temporary folders that carry the process in their name: what a killed one left, secrets and gigabytes, the next one removes. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** A new one, empty: `PARENT/NAME-PID-…`. Its owner removes it. */
export async function makeOwnFolder(parent: string, name: string): Promise<string> {
  await mkdir(parent, { recursive: true });
  await removeLeftOvers(parent, name);
  return mkdtemp(join(parent, `${name}-${process.pid}-`));
}

/** Those of other users are theirs. */
export async function removeLeftOvers(parent: string, name: string): Promise<void> {
  for (const entry of await readdir(parent)) {
    const pid = entry.startsWith(`${name}-`) ? /^(\d+)-/.exec(entry.slice(name.length + 1))?.[1] : undefined;
    if (pid === undefined || isAlive(Number(pid))) continue;
    await rm(join(parent, entry), { recursive: true, force: true }).catch(() => {});
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
