/**
 * How much recordings may still grow: a quota of bytes for all of them together, and room on the disk that stays free for the
 * catalogue. Only answers; what has to stop is the recordings' business, and live streams never do.
 */
import { statfs } from 'node:fs/promises';

export interface StorageRoom {
  /** Why so many bytes more may not be written, in words for the log; undefined: they may. Never rejects. */
  refusal(bytes: number): Promise<string | undefined>;
}

export interface StorageRoomOptions {
  /** Lies on the disk that is meant. */
  folder: string;
  /** Of all recordings together. Undefined: no limit. */
  limitBytes?: number | undefined;
  /** What the disk has to keep free. */
  minFreeBytes: number;
  /** Of all recordings at this moment. */
  usedBytes: () => number;
  /** For tests. Default: what the system says. */
  freeBytes?: (folder: string) => Promise<number>;
}

export function createStorageRoom(options: StorageRoomOptions): StorageRoom {
  const { folder, limitBytes = Number.POSITIVE_INFINITY, minFreeBytes, usedBytes, freeBytes = freeOn } = options;
  return {
    async refusal(bytes) {
      if (usedBytes() + bytes > limitBytes) return 'the quota of bytes is used up';
      if (minFreeBytes === 0) return undefined;
      // A disk that cannot be asked tells at the write.
      const free = await freeBytes(folder).catch(() => Number.POSITIVE_INFINITY);
      return free - bytes < minFreeBytes ? 'the disk has too little room left' : undefined;
    },
  };
}

async function freeOn(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
