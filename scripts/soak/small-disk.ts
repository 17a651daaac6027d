/**
 * A disk of its own for the relay's data, small enough to be filled: a tmpfs that is mounted for the soak. Root and Linux only;
 * elsewhere there is none, and nothing can be filled.
 */
import { mkdirSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench } from '../bench/program.ts';

export interface SmallDisk {
  /** Nothing fits any more. */
  fill(): Promise<void>;
  free(): Promise<void>;
}

const SIZE_MB = 32;
const CHUNK_BYTES = 64 * 1024;

/** @param folder is made. Undefined: it could not be mounted, and is a folder as any other. */
export async function mountSmallDisk(bench: Bench, folder: string): Promise<SmallDisk | undefined> {
  mkdirSync(folder, { recursive: true });
  const run = async (file: string, ...args: string[]) => (await bench.spawn({ name: file, file, args }).exited).code;
  const options = `size=${SIZE_MB}m,mode=700`;
  if (process.getuid?.() !== 0 || (await run('mount', '-t', 'tmpfs', '-o', options, 'glasscast-soak', folder)) !== 0) {
    return undefined;
  }
  // Lazily: whoever still looks into it must not keep it.
  bench.defer(() => run('umount', '-l', folder));
  const filler = join(folder, 'filler');
  return {
    async fill() {
      const file = await open(filler, 'w');
      try {
        // To the last byte: what is left when a chunk no longer fits is given to smaller ones.
        for (let bytes = CHUNK_BYTES; bytes >= 1; bytes = Math.floor(bytes / 2)) await writeAll(file, bytes);
      } finally {
        await file.close();
      }
    },
    free: () => rm(filler, { force: true }),
  };
}

async function writeAll(
  file: { write(data: Buffer): Promise<{ bytesWritten: number }> },
  bytes: number,
): Promise<void> {
  const chunk = Buffer.alloc(bytes);
  for (;;) {
    try {
      const { bytesWritten } = await file.write(chunk);
      if (bytesWritten < bytes) return;
    } catch {
      return;
    }
  }
}
