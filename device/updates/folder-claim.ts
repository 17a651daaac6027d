/**
 * One agent at a time has a folder of releases: the others run what is there and change nothing. The claim is a name that
 * the kernel takes back with the process, however that ends; no file is left to be in somebody's way.
 */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, resolve } from 'node:path';

export interface FolderClaim {
  release(): void;
}

/** Undefined: another process has it. Where there are no such names (they are Linux') nobody is kept out. */
export function claimFolder(folder: string): Promise<FolderClaim | undefined> {
  if (process.platform !== 'linux') return Promise.resolve({ release() {} });
  const name = createHash('sha256').update(resolve(folder)).digest('hex').slice(0, 32);
  return new Promise((settle) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      settle(error.code === 'EADDRINUSE' ? undefined : { release() {} });
    });
    server.listen(`\0glasscast-releases-${name}`, () => {
      server.unref();
      settle({ release: () => void server.close() });
    });
  });
}

/** For root: what another user can replace between its proof and its start, with the folder or within it, is not run at all. */
export function isSomebodyElses(folder: string): boolean {
  return process.getuid?.() === 0 && [dirname(folder), folder].some((each) => ownerOf(each) !== 0);
}

/** What is not there is nobody else's. */
function ownerOf(folder: string): number {
  try {
    return statSync(folder).uid;
  } catch {
    return 0;
  }
}
