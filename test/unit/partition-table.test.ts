import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32, findExtFileSystems, type ImageSource, readPartitions } from '../../scripts/flash/partition-table.ts';

const MB = 1_048_576;

/** An image whose bytes are all zero but for these pieces. */
function image(bytes: number, pieces: readonly [offsetBytes: number, content: Buffer][]): ImageSource {
  return {
    bytes,
    async read(offsetBytes, lengthBytes) {
      const out = Buffer.alloc(Math.max(0, Math.min(lengthBytes, bytes - offsetBytes)));
      for (const [at, content] of pieces) {
        const [from, to] = [Math.max(at, offsetBytes), Math.min(at + content.length, offsetBytes + out.length)];
        if (from < to) content.copy(out, from - offsetBytes, from - at, to - at);
      }
      return out;
    },
  };
}

function superblock(label: string, sizeBytes: number): Buffer {
  const block = Buffer.alloc(256);
  block.writeUInt32LE(128, 0);
  block.writeUInt32LE(sizeBytes / 4096, 4);
  block.writeUInt32LE(2, 24);
  block.writeUInt16LE(0xef53, 56);
  block.write(label, 120);
  return block;
}

interface Entry {
  type: number;
  startSector: number;
  sectors: number;
}

function bootRecord(entries: readonly Entry[]): Buffer {
  const sector = Buffer.alloc(512);
  for (const [at, { type, startSector, sectors }] of entries.entries()) {
    sector.writeUInt8(type, 446 + at * 16 + 4);
    sector.writeUInt32LE(startSector, 446 + at * 16 + 8);
    sector.writeUInt32LE(sectors, 446 + at * 16 + 12);
  }
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

function gpt(entries: readonly { first: number; last: number; name: string }[], sectorBytes = 512) {
  const table = Buffer.alloc(128 * 128);
  for (const [at, { first, last, name }] of entries.entries()) {
    table.fill(0xa5, at * 128, at * 128 + 32);
    table.writeBigUInt64LE(BigInt(first), at * 128 + 32);
    table.writeBigUInt64LE(BigInt(last), at * 128 + 40);
    table.write(name, at * 128 + 56, 'utf16le');
  }
  const header = Buffer.alloc(92);
  header.write('EFI PART');
  header.writeUInt32LE(92, 12);
  header.writeBigUInt64LE(2n, 72);
  header.writeUInt32LE(128, 80);
  header.writeUInt32LE(128, 84);
  header.writeUInt32LE(crc32(table), 88);
  header.writeUInt32LE(crc32(header), 16);
  const protective = bootRecord([{ type: 0xee, startSector: 1, sectors: 0xffffffff }]);
  const pieces: [number, Buffer][] = [
    [0, protective],
    [sectorBytes, header],
    [2 * sectorBytes, table],
  ];
  return pieces;
}

test('an image that is one file system begins at 0', async () => {
  const whole = image(64 * MB, [[1024, superblock('rootfs', 64 * MB)]]);
  expect(await findExtFileSystems(whole)).toEqual([
    { partition: undefined, offsetBytes: 0, sizeBytes: 64 * MB, label: 'rootfs' },
  ]);
});

test('an image as of Raspberry Pi OS: FAT for booting, then the root', async () => {
  const record = bootRecord([
    { type: 0x0c, startSector: 8192, sectors: 16_384 },
    { type: 0x83, startSector: 24_576, sectors: 65_536 },
  ]);
  const disk = image(64 * MB, [
    [0, record],
    [24_576 * 512 + 1024, superblock('rootfs', 32 * MB)],
  ]);
  expect(await findExtFileSystems(disk)).toEqual([
    { partition: 2, offsetBytes: 24_576 * 512, sizeBytes: 32 * MB, label: 'rootfs' },
  ]);
});

test('logical partitions are followed and counted from 5', async () => {
  const disk = image(128 * MB, [
    [0, bootRecord([{ type: 0x05, startSector: 2048, sectors: 200_000 }])],
    [
      2048 * 512,
      bootRecord([
        { type: 0x82, startSector: 2048, sectors: 4096 },
        { type: 0x05, startSector: 8192, sectors: 80_000 },
      ]),
    ],
    [10_240 * 512, bootRecord([{ type: 0x83, startSector: 2048, sectors: 65_536 }])],
    [12_288 * 512 + 1024, superblock('', 32 * MB)],
  ]);
  expect(await findExtFileSystems(disk)).toEqual([
    { partition: 6, offsetBytes: 12_288 * 512, sizeBytes: 32 * MB, label: '' },
  ]);
});

test('a chain of logical partitions that bites its tail has an end here', async () => {
  const disk = image(8 * MB, [
    [0, bootRecord([{ type: 0x0f, startSector: 2048, sectors: 4096 }])],
    [
      2048 * 512,
      bootRecord([
        { type: 0x83, startSector: 1, sectors: 1 },
        { type: 0x05, startSector: 1024, sectors: 9 },
      ]),
    ],
    [
      3072 * 512,
      bootRecord([
        { type: 0x83, startSector: 1, sectors: 1 },
        { type: 0x05, startSector: 1024, sectors: 9 },
      ]),
    ],
  ]);
  await expect(readPartitions(disk)).rejects.toThrow('its chain of logical partitions has no end');
});

test.each([512, 4096])('GPT with sectors of %d bytes', async (sectorBytes) => {
  const first = (16 * MB) / sectorBytes;
  const pieces = gpt(
    [
      { first: (8 * MB) / sectorBytes, last: first - 1, name: 'boot' },
      { first, last: (48 * MB) / sectorBytes - 1, name: 'root_a' },
    ],
    sectorBytes,
  );
  const disk = image(64 * MB, [...pieces, [16 * MB + 1024, superblock('', 32 * MB)]]);
  expect(await findExtFileSystems(disk)).toEqual([
    { partition: 2, offsetBytes: 16 * MB, sizeBytes: 32 * MB, label: 'root_a' },
  ]);
});

test('a GPT of which one bit has changed is not believed', async () => {
  const [record, header, table] = gpt([{ first: 2048, last: 4095, name: 'root' }]);
  if (!record || !header || !table) throw new Error('three pieces');
  const damaged = Buffer.from(table[1]);
  damaged[32] = 1 ^ (damaged[32] ?? 0);
  await expect(readPartitions(image(8 * MB, [record, header, [1024, damaged]]))).rejects.toThrow(
    'the entries of its GPT are damaged',
  );
});

test.each([
  [
    'is cut short',
    image(8 * MB, [[0, bootRecord([{ type: 0x83, startSector: 2048, sectors: 65_536 }])]]),
    'the image is cut short',
  ],
  ['is packed', image(8 * MB, [[0, Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a])]]), 'is it still compressed?'],
  [
    'has only FAT',
    image(8 * MB, [[0, bootRecord([{ type: 0x0c, startSector: 2048, sectors: 100 }])]]),
    'no ext2, ext3 or ext4',
  ],
  ['is empty', image(0, []), 'neither a disk image'],
])('an image that %s is told as that', async (_, source, words) => {
  await expect(findExtFileSystems(source)).rejects.toMatchObject({
    code: 'BOARD_UNFIT',
    message: expect.stringContaining(words),
  });
});

test('the CRC is that of GPT', () => {
  expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
});

test('whatever the partitions are, each file system is found at its place', async () => {
  const layout = fc.array(
    fc.record({
      gapSectors: fc.integer({ min: 1, max: 4096 }),
      mb: fc.integer({ min: 1, max: 64 }),
      isExt: fc.boolean(),
    }),
    { minLength: 1, maxLength: 4 },
  );
  await fc.assert(
    fc.asyncProperty(layout, fc.boolean(), async (parts, asGpt) => {
      let at = 2048;
      const slices = parts.map(({ gapSectors, mb, isExt }, index) => {
        const startSector = at + gapSectors;
        at = startSector + mb * 2048;
        return { partition: index + 1, startSector, sectors: mb * 2048, isExt };
      });
      const table: [number, Buffer][] = asGpt
        ? gpt(
            slices.map(({ startSector, sectors }) => ({
              first: startSector,
              last: startSector + sectors - 1,
              name: '',
            })),
          )
        : [[0, bootRecord(slices.map(({ startSector, sectors }) => ({ type: 0x83, startSector, sectors })))]];
      const ext = slices.filter(({ isExt }) => isExt);
      const blocks = ext.map(({ startSector, sectors }): [number, Buffer] => [
        startSector * 512 + 1024,
        superblock('', sectors * 512),
      ]);
      const found = findExtFileSystems(image(at * 512, [...table, ...blocks]));
      if (ext.length === 0) return void (await expect(found).rejects.toThrow('no ext2'));
      const places = (await found).map(({ partition, offsetBytes, sizeBytes }) => [partition, offsetBytes, sizeBytes]);
      expect(places).toEqual(
        ext.map(({ partition, startSector, sectors }) => [partition, startSector * 512, sectors * 512]),
      );
    }),
    { numRuns: 60 },
  );
});

test('no bytes at all make it do anything but answer or refuse', async () => {
  const records = fc.tuple(
    fc.uint8Array({ minLength: 64, maxLength: 64 }),
    fc.uint8Array({ minLength: 512, maxLength: 4096 }),
  );
  await fc.assert(
    fc.asyncProperty(records, fc.boolean(), async ([table, rest], asGpt) => {
      const sector = Buffer.concat([Buffer.alloc(446), table, Buffer.from([0x55, 0xaa])]);
      if (asGpt) sector[450] = 0xee;
      const header = Buffer.concat([Buffer.from('EFI PART'), rest]);
      const source = image(16 * MB, [
        [0, sector],
        [512, header],
      ]);
      await findExtFileSystems(source).then(
        (places) => expect(places.length).toBeGreaterThan(0),
        (error) => expect(error).toMatchObject({ code: 'BOARD_UNFIT' }),
      );
    }),
  );
});
