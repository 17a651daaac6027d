/**
 * Media bodies that memory has no room for, in one file used as a ring. Writes in batches and reads ahead, never blocking.
 * The file has no name once it is open, so that nothing is left after a crash; a disk that fails is given up, not waited for.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

export interface SpillFileOptions {
  /** Made when it is not there. */
  folder: string;
  /** Size of the file at most. */
  maxBytes: number;
  /** A body that was asked for is in memory, or lost. */
  onReady: () => void;
  /** Once: the disk is full or failing. What is in memory stays usable, `put` takes nothing any more. */
  onFailed: (error: unknown) => void;
  /** Default: a file in `folder` that is removed at once. */
  openFile?: (folder: string) => Promise<SpillStorage>;
}

/** The part of a FileHandle that is used. */
export type SpillStorage = Pick<FileHandle, 'write' | 'read' | 'close'>;

export interface SpillFile {
  /** Takes a body over; undefined when there is no room, or the disk has failed. */
  put(body: Buffer): SpilledBody | undefined;
  /** What it holds in memory: not yet written, or read again. */
  readonly memoryBytes: number;
  /** Of these, what is on its way to the disk. */
  readonly unwrittenBytes: number;
  readonly hasFailed: boolean;
  /** Waits for what is under way, then the file is gone. Idempotent. */
  close(): Promise<void>;
}

export interface SpilledBody {
  /** Undefined: on the disk; `fetch` it. */
  readonly body: Buffer | undefined;
  /** The disk has failed and took it away. */
  readonly isLost: boolean;
  /** Brings it into memory soon; then `onReady`. */
  fetch(): void;
  /** It was used, and may be needed once more. */
  release(): void;
  /** It is never needed again. */
  free(): void;
}

interface Piece extends SpilledBody {
  body: Buffer | undefined;
  isLost: boolean;
  bytes: number;
  /** Counts on over the end of the file; there the ring begins anew. */
  position: number;
  isWritten: boolean;
  isWanted: boolean;
  isFree: boolean;
}

const BATCH_BYTES = 1_000_000;
const READ_BYTES = 512_000;
const NOTHING = Buffer.alloc(0);
const NAME = 'glasscast-backlog-';

export function createSpillFile(options: SpillFileOptions): SpillFile {
  const { folder, maxBytes, onReady, onFailed, openFile = openUnnamed } = options;
  /** In order of position, from the oldest that is not free. */
  const pieces: Piece[] = [];
  const toWrite: Piece[] = [];
  const toRead: Piece[] = [];
  let endPosition = 0;
  let memoryBytes = 0;
  let unwrittenBytes = 0;
  let hasFailed = false;
  let storage: Promise<SpillStorage> | undefined;
  let isWriting = false;
  let isReading = false;
  /** The last of each; for `close`. */
  let writing: Promise<void> | undefined;
  let reading: Promise<void> | undefined;
  let closing: Promise<void> | undefined;

  function hold(piece: Piece, body: Buffer | undefined): void {
    memoryBytes += (body?.length ?? 0) - (piece.body?.length ?? 0);
    piece.body = body;
  }
  function fail(error: unknown): void {
    if (hasFailed) return;
    hasFailed = true;
    onFailed(error);
  }
  function put(body: Buffer): SpilledBody | undefined {
    const oldest = pieces[0]?.position ?? endPosition;
    if (hasFailed || closing || endPosition + body.length - oldest > maxBytes) return undefined;
    const piece: Piece = {
      ...{ body: undefined, bytes: body.length, position: endPosition },
      ...{ isLost: false, isWritten: false, isWanted: false, isFree: false },
      fetch: () => fetch(piece),
      release() {
        piece.isWanted = false;
        if (piece.isWritten) hold(piece, undefined);
      },
      free() {
        if (!piece.isWritten && !piece.isFree) unwrittenBytes -= piece.bytes;
        piece.isFree = true;
        hold(piece, undefined);
        while (pieces[0]?.isFree) pieces.shift();
      },
    };
    hold(piece, body);
    endPosition += body.length;
    unwrittenBytes += body.length;
    pieces.push(piece);
    toWrite.push(piece);
    if (!isWriting) writing = write();
    return piece;
  }
  async function write(): Promise<void> {
    isWriting = true;
    try {
      storage ??= openFile(folder);
      const file = await storage;
      for (let batch = nextBatch(); batch.length > 0 && !hasFailed; batch = nextBatch()) {
        await writeAt(file, Buffer.concat(batch.map(({ body }) => body ?? NOTHING)), batch[0]?.position ?? 0);
        for (const piece of batch) {
          if (!piece.isFree) unwrittenBytes -= piece.bytes;
          piece.isWritten = true;
          if (!piece.isWanted) hold(piece, undefined);
        }
      }
    } catch (error) {
      fail(error);
    }
    isWriting = false;
  }
  /** One stretch of the file; what was freed meanwhile need not be written. */
  function nextBatch(): Piece[] {
    while (toWrite[0]?.isFree) toWrite.shift();
    let bytes = 0;
    const count = toWrite.findIndex((piece) => {
      bytes += piece.bytes;
      return piece.isFree || bytes > BATCH_BYTES;
    });
    return toWrite.splice(0, count < 0 ? toWrite.length : Math.max(1, count));
  }
  async function writeAt(file: SpillStorage, data: Buffer, position: number): Promise<void> {
    for (let done = 0; done < data.length; ) {
      const at = (position + done) % maxBytes;
      const { bytesWritten } = await file.write(data, done, Math.min(data.length - done, maxBytes - at), at);
      if (bytesWritten === 0) throw new Error('nothing was written');
      done += bytesWritten;
    }
  }

  function fetch(piece: Piece): void {
    if (piece.isWanted) return;
    piece.isWanted = true;
    if (piece.body) return;
    toRead.push(piece);
    if (!isReading) reading = read();
  }
  async function read(): Promise<void> {
    isReading = true;
    // Those asked for in the same turn are read together.
    await Promise.resolve();
    for (let stretch = nextStretch(); stretch.length > 0; stretch = nextStretch()) {
      const bytes = stretch.reduce((sum, piece) => sum + piece.bytes, 0);
      try {
        const data = await readAt(await storage, bytes, stretch[0]?.position ?? 0);
        let at = 0;
        for (const piece of stretch) {
          if (piece.isWanted && !piece.isFree) hold(piece, data.subarray(at, at + piece.bytes));
          at += piece.bytes;
        }
      } catch (error) {
        for (const piece of stretch) piece.isLost = true;
        fail(error);
      }
      onReady();
    }
    isReading = false;
  }
  function nextStretch(): Piece[] {
    const stretch: Piece[] = [];
    let bytes = 0;
    for (let next = toRead[0]; next; next = toRead[0]) {
      const last = stretch.at(-1);
      if (last && (last.position + last.bytes !== next.position || bytes + next.bytes > READ_BYTES)) break;
      stretch.push(next);
      bytes += next.bytes;
      toRead.shift();
    }
    return stretch;
  }
  async function readAt(file: SpillStorage | undefined, bytes: number, position: number): Promise<Buffer> {
    const data = Buffer.allocUnsafe(bytes);
    for (let done = 0; done < bytes; ) {
      const at = (position + done) % maxBytes;
      const got = await file?.read(data, done, Math.min(bytes - done, maxBytes - at), at);
      if (!got?.bytesRead) throw new Error('the file is shorter than what was written to it');
      done += got.bytesRead;
    }
    return data;
  }

  return {
    put,
    get memoryBytes() {
      return memoryBytes;
    },
    get unwrittenBytes() {
      return unwrittenBytes;
    },
    get hasFailed() {
      return hasFailed;
    },
    close() {
      toWrite.length = 0;
      toRead.length = 0;
      closing ??= Promise.allSettled([writing, reading]).then(async () => {
        await (await storage?.catch(() => undefined))?.close().catch(() => {});
      });
      return closing;
    },
  };
}

/** Leftovers of a process that ended between the file's making and its removal go with it. */
async function openUnnamed(folder: string): Promise<SpillStorage> {
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(folder)) if (name.startsWith(NAME)) await rm(join(folder, name), { force: true });
  const path = join(folder, NAME + randomUUID());
  const file = await open(path, 'wx+', 0o600);
  await rm(path, { force: true });
  return file;
}
