/** The archive form that Linux takes as its initial file system (cpio "newc", kernel: Documentation/driver-api/early-userspace). */

export interface CpioEntry {
  /** Without a slash at the beginning. */
  path: string;
  /** Undefined: a folder. */
  content?: Uint8Array;
  isExecutable?: boolean;
}

const FOLDER = 0o040755;
const FILE = 0o100644;
const PROGRAM = 0o100755;

/** Entries in the order given: folders before what is in them. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap(({ path, content, isExecutable }, index) =>
    entryOf(path, content ? (isExecutable ? PROGRAM : FILE) : FOLDER, content ?? new Uint8Array(), index + 1),
  );
  return Buffer.concat([...parts, ...entryOf('TRAILER!!!', 0, new Uint8Array(), 0)]);
}

function entryOf(path: string, mode: number, content: Uint8Array, inode: number): Uint8Array[] {
  const name = Buffer.from(`${path}\0`);
  const fields = [inode, mode, 0, 0, 1, 0, content.byteLength, 0, 0, 0, 0, name.byteLength, 0];
  const head = Buffer.from(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`);
  return [head, name, padding(head.byteLength + name.byteLength), content, padding(content.byteLength)];
}

const padding = (length: number) => Buffer.alloc((4 - (length % 4)) % 4);
