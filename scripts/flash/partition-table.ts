/**
 * Reads where the file systems of a disk image lie: MBR with its chain of logical partitions, GPT, or none for an image that
 * is one file system. Sources: UEFI 2.10 §5 (GPT, protective MBR), ext4's on-disk layout of the Linux kernel's documentation.
 * Believes no number that it reads; changes nothing.
 */
import { GlasscastError } from '../../shared/errors.ts';

export interface ImageSource {
  bytes: number;
  /** @returns fewer bytes than asked for behind the end */
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
}

export interface FileSystemPlace {
  /** As Linux counts partitions; undefined: the image is this file system alone. */
  partition: number | undefined;
  offsetBytes: number;
  sizeBytes: number;
  /** Of the partition or of the file system, for people; may be empty. */
  label: string;
}

interface Slice {
  partition: number;
  offsetBytes: number;
  sizeBytes: number;
  label: string;
}

const MBR_SECTOR_BYTES = 512;
/** Linux takes no more of them either. */
const MAX_PARTITIONS = 256;
const EXTENDED_TYPES: readonly number[] = [0x05, 0x0f, 0x85];
const PROTECTIVE_TYPE = 0xee;
const SUPERBLOCK_OFFSET = 1024;

/**
 * The ext2, ext3 and ext4 file systems in the image, in the order of the disk.
 * @throws GlasscastError BOARD_UNFIT: a damaged table, or no such file system
 */
export async function findExtFileSystems(image: ImageSource): Promise<FileSystemPlace[]> {
  const whole = await extLabelAt(image, 0, image.bytes);
  if (whole !== undefined) {
    return [{ partition: undefined, offsetBytes: 0, sizeBytes: image.bytes, label: whole }];
  }
  const found: FileSystemPlace[] = [];
  for (const slice of await readPartitions(image)) {
    const label = await extLabelAt(image, slice.offsetBytes, slice.sizeBytes);
    if (label !== undefined) found.push({ ...slice, label: label || slice.label });
  }
  if (found.length === 0) throw unfit('it holds no ext2, ext3 or ext4 file system');
  return found.sort((a, b) => a.offsetBytes - b.offsetBytes);
}

/** @throws GlasscastError BOARD_UNFIT: no table, or one that cannot be right */
export async function readPartitions(image: ImageSource): Promise<Slice[]> {
  const sector = await image.read(0, MBR_SECTOR_BYTES);
  if (sector.length < MBR_SECTOR_BYTES || sector.readUInt16LE(510) !== 0xaa55) {
    throw unfit('it is neither a disk image with partitions nor an ext file system (is it still compressed?)');
  }
  const entries = mbrEntries(sector);
  const isGpt = entries.some(({ type }) => type === PROTECTIVE_TYPE);
  const slices = isGpt ? await readGpt(image) : await readMbr(image, entries);
  for (const { partition, offsetBytes, sizeBytes } of slices) {
    if (offsetBytes + sizeBytes > image.bytes) {
      throw unfit(`partition ${partition} ends behind the end of the file; the image is cut short`);
    }
  }
  return slices;
}

interface MbrEntry {
  type: number;
  startSector: number;
  sectors: number;
}

function mbrEntries(sector: Buffer): MbrEntry[] {
  return [0, 1, 2, 3].map((at) => ({
    type: sector.readUInt8(446 + at * 16 + 4),
    startSector: sector.readUInt32LE(446 + at * 16 + 8),
    sectors: sector.readUInt32LE(446 + at * 16 + 12),
  }));
}

async function readMbr(image: ImageSource, entries: readonly MbrEntry[]): Promise<Slice[]> {
  const slices: Slice[] = [];
  for (const [at, entry] of entries.entries()) {
    if (entry.type === 0 || entry.sectors === 0) continue;
    if (EXTENDED_TYPES.includes(entry.type)) slices.push(...(await readLogical(image, entry.startSector)));
    else slices.push(sliceOf(at + 1, entry.startSector, entry.sectors));
  }
  return slices;
}

/** Each logical partition has a table of its own, which names the next one. */
async function readLogical(image: ImageSource, extendedStart: number): Promise<Slice[]> {
  const slices: Slice[] = [];
  const seen = new Set<number>();
  let at = extendedStart;
  while (!seen.has(at) && seen.size < MAX_PARTITIONS) {
    seen.add(at);
    const sector = await image.read(at * MBR_SECTOR_BYTES, MBR_SECTOR_BYTES);
    if (sector.length < MBR_SECTOR_BYTES || sector.readUInt16LE(510) !== 0xaa55) {
      throw unfit('its chain of logical partitions is damaged');
    }
    const [own, next] = mbrEntries(sector);
    if (own && own.type !== 0 && own.sectors > 0) {
      slices.push(sliceOf(5 + slices.length, at + own.startSector, own.sectors));
    }
    if (!next || next.type === 0 || next.startSector === 0) return slices;
    at = extendedStart + next.startSector;
  }
  throw unfit('its chain of logical partitions has no end');
}

function sliceOf(partition: number, startSector: number, sectors: number): Slice {
  const [offsetBytes, sizeBytes] = [startSector * MBR_SECTOR_BYTES, sectors * MBR_SECTOR_BYTES];
  return { partition, offsetBytes, sizeBytes, label: '' };
}

async function readGpt(image: ImageSource): Promise<Slice[]> {
  for (const sectorBytes of [512, 4096]) {
    const header = await image.read(sectorBytes, 92);
    if (header.length === 92 && header.toString('latin1', 0, 8) === 'EFI PART') {
      return gptEntries(image, header, sectorBytes);
    }
  }
  throw unfit('its GPT is missing, though its MBR speaks of one');
}

async function gptEntries(image: ImageSource, header: Buffer, sectorBytes: number): Promise<Slice[]> {
  const unsummed = Buffer.from(header);
  unsummed.writeUInt32LE(0, 16);
  const headerBytes = header.readUInt32LE(12);
  const entriesOffset = Number(header.readBigUInt64LE(72)) * sectorBytes;
  const count = header.readUInt32LE(80);
  const entryBytes = header.readUInt32LE(84);
  const isPlausible = headerBytes === 92 && count <= 1024 && entryBytes >= 128 && entryBytes <= 4096;
  if (!isPlausible || crc32(unsummed) !== header.readUInt32LE(16)) throw unfit('the head of its GPT is damaged');
  const table = await image.read(entriesOffset, count * entryBytes);
  if (table.length < count * entryBytes || crc32(table) !== header.readUInt32LE(88)) {
    throw unfit('the entries of its GPT are damaged');
  }
  const slices: Slice[] = [];
  for (let at = 0; at < count; at += 1) {
    const entry = table.subarray(at * entryBytes, (at + 1) * entryBytes);
    if (entry.subarray(0, 16).every((byte) => byte === 0)) continue;
    const first = Number(entry.readBigUInt64LE(32));
    const last = Number(entry.readBigUInt64LE(40));
    if (last < first) throw unfit(`partition ${at + 1} of its GPT ends before it begins`);
    const label = entry.toString('utf16le', 56, 128).replace(/\0.*$/s, '');
    const [offsetBytes, sizeBytes] = [first * sectorBytes, (last - first + 1) * sectorBytes];
    slices.push({ partition: at + 1, offsetBytes, sizeBytes, label });
  }
  return slices;
}

/** @returns the file system's label, which may be empty; undefined: no ext file system begins here */
async function extLabelAt(image: ImageSource, offsetBytes: number, sizeBytes: number): Promise<string | undefined> {
  const block = await image.read(offsetBytes + SUPERBLOCK_OFFSET, 256);
  if (block.length < 256 || block.readUInt16LE(56) !== 0xef53) return undefined;
  const blockShift = block.readUInt32LE(24);
  const inodes = block.readUInt32LE(0);
  const blocks = block.readUInt32LE(4);
  // Two bytes alone could stand there by chance.
  if (blockShift > 6 || inodes === 0 || blocks === 0) return undefined;
  if (blocks * 1024 * 2 ** blockShift > sizeBytes) {
    throw unfit('a file system in it is larger than its place; the image is cut short');
  }
  return block.toString('utf8', 120, 136).replace(/\0.*$/s, '');
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** The CRC of GPT (and of zip). */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const unfit = (reason: string) => new GlasscastError('BOARD_UNFIT', { reason: `the image: ${reason}` });
