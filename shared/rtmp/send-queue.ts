/**
 * How many bytes the kernel still holds for one TCP connection, from /proc/net/tcp: what the peer has not acknowledged.
 * The only early sign of a narrow uplink (Node's own queue stays empty for seconds). Linux only; elsewhere undefined.
 */
import { open } from 'node:fs/promises';

/** The two ends of a connection, as a Node socket names them. */
export interface TcpEnds {
  localAddress: string;
  localPort: number;
  remoteAddress: string;
  remotePort: number;
}

export interface SendQueue {
  /** Unacknowledged bytes of this connection, or undefined where that cannot be known. Never rejects. */
  queuedBytes(ends: TcpEnds): Promise<number | undefined>;
}

export interface SendQueueOptions {
  /** Default: `/proc/net`. */
  readTable?: (name: 'tcp' | 'tcp6') => Promise<string>;
}

/** Readings asked for at the same time share one pass over the table: a pass can take the kernel milliseconds. */
export function createSendQueue(options: SendQueueOptions = {}): SendQueue {
  const { readTable = (name) => readTableFile(`/proc/net/${name}`) } = options;
  const reading = new Map<string, Promise<string>>();

  function table(name: 'tcp' | 'tcp6'): Promise<string> {
    const shared = reading.get(name);
    if (shared) return shared;
    const read = readTable(name).finally(() => reading.delete(name));
    reading.set(name, read);
    return read;
  }
  return {
    async queuedBytes(ends) {
      const name = ends.localAddress.includes(':') ? 'tcp6' : 'tcp';
      const local = procAddress(ends.localAddress, ends.localPort);
      const remote = procAddress(ends.remoteAddress, ends.remotePort);
      if (!local || !remote) return undefined;
      try {
        return txQueue(await table(name), `${local} ${remote}`);
      } catch {
        return undefined;
      }
    },
  };
}

/** What the kernel gives at once, in whole rows. */
const PAGE_BYTES = 4096;
/** Of tcp6, the longer ones, with room to spare. */
const ROW_BYTES = 256;

/** Without the read that finds the end: on a machine with much memory it scans the kernel's empty buckets for milliseconds. */
async function readTableFile(path: string): Promise<string> {
  const file = await open(path);
  try {
    const page = Buffer.allocUnsafe(PAGE_BYTES);
    for (let text = ''; ; ) {
      const { bytesRead } = await file.read(page, 0, PAGE_BYTES, null);
      text += page.toString('latin1', 0, bytesRead);
      if (bytesRead < PAGE_BYTES - ROW_BYTES) return text;
    }
  } finally {
    await file.close();
  }
}

/** `tx_queue` of the row with these ends; the row's form: `sl local remote st tx:rx …`, all hex. */
function txQueue(text: string, ends: string): number | undefined {
  const at = text.indexOf(` ${ends} `);
  if (at < 0) return undefined;
  // After the ends come the state and "tx:rx".
  const match = /^ [0-9A-F]{2} ([0-9A-F]{8}):/.exec(text.slice(at + 1 + ends.length, at + 20 + ends.length));
  return match?.[1] === undefined ? undefined : Number.parseInt(match[1], 16);
}

/** As /proc writes it: each 32 bit word of the address in the machine's byte order, here little-endian, then the port. */
export function procAddress(address: string, port: number): string | undefined {
  const bytes = address.includes(':') ? ipv6Bytes(address) : ipv4Bytes(address);
  if (!bytes) return undefined;
  let text = '';
  for (let word = 0; word < bytes.length; word += 4) {
    for (let index = 3; index >= 0; index -= 1) text += hex(bytes[word + index] ?? 0, 2);
  }
  return `${text}:${hex(port, 4)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}

function ipv4Bytes(address: string): number[] | undefined {
  const bytes = address.split('.').map(Number);
  return bytes.length === 4 && bytes.every((byte) => Number.isInteger(byte) && byte >= 0 && byte < 256)
    ? bytes
    : undefined;
}

function ipv6Bytes(address: string): number[] | undefined {
  // A zone (fe80::1%eth0) is not in the table; an embedded IPv4 tail is two words of the address.
  const [plain = ''] = address.split('%');
  const tail = plain.slice(plain.lastIndexOf(':') + 1);
  const embedded = tail.includes('.') ? ipv4Bytes(tail) : [];
  if (!embedded) return undefined;
  const [head = '', back] = (embedded.length > 0 ? plain.slice(0, -tail.length) : plain).split('::');
  const before = wordBytes(head);
  const after = [...wordBytes(back ?? ''), ...embedded];
  const missing = 16 - before.length - after.length;
  if (back === undefined && embedded.length === 0) return before.length === 16 ? before : undefined;
  if (missing < 0) return undefined;
  return [...before, ...Array<number>(missing).fill(0), ...after];
}

function wordBytes(text: string): number[] {
  return text
    .split(':')
    .filter((word) => word !== '')
    .flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff]);
}
