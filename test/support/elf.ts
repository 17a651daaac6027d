/** What a program of Linux asks of the machine it is to run on, read from the file itself (ELF, little endian, elf(5)). */

export interface ElfFacts {
  /** As in e_machine: 62 x86-64, 183 AArch64, 40 ARM. */
  machine: number;
  /** Sonames; empty when it is linked statically. */
  libraries: string[];
  /** `GLIBC_2.28` and the like. */
  versions: string[];
}

const SECTION_DYNAMIC = 6;
const SECTION_VERSIONS_NEEDED = 0x6ffffffe;
const TAG_NEEDED = 1;

interface Section {
  type: number;
  bytes: Buffer;
  link: number;
}

/** Undefined: no ELF file. */
export function elfFacts(file: Buffer): ElfFacts | undefined {
  if (file.subarray(0, 4).toString('latin1') !== '\x7fELF') return undefined;
  const sections = sectionsOf(file);
  const textAt = (section: Section, at: number) => {
    const strings = sections[section.link]?.bytes ?? Buffer.of();
    return strings.toString('latin1', at, strings.indexOf(0, at));
  };
  const wordBytes = file[4] === 2 ? 8 : 4;
  const word = (bytes: Buffer, at: number) =>
    wordBytes === 8 ? Number(bytes.readBigUInt64LE(at)) : bytes.readUInt32LE(at);
  const libraries: string[] = [];
  const versions: string[] = [];
  for (const section of sections) {
    const { type, bytes } = section;
    if (type === SECTION_DYNAMIC) {
      for (let at = 0; at + 2 * wordBytes <= bytes.length; at += 2 * wordBytes) {
        if (word(bytes, at) === TAG_NEEDED) libraries.push(textAt(section, word(bytes, at + wordBytes)));
      }
    }
    if (type === SECTION_VERSIONS_NEEDED) versions.push(...neededVersions(bytes).map((at) => textAt(section, at)));
  }
  return { machine: file.readUInt16LE(18), libraries, versions };
}

function sectionsOf(file: Buffer): Section[] {
  const is64 = file[4] === 2;
  const start = is64 ? Number(file.readBigUInt64LE(40)) : file.readUInt32LE(32);
  const [size, count] = is64
    ? [file.readUInt16LE(58), file.readUInt16LE(60)]
    : [file.readUInt16LE(46), file.readUInt16LE(48)];
  return Array.from({ length: count }, (_, index) => {
    const header = file.subarray(start + index * size, start + (index + 1) * size);
    const at = is64 ? Number(header.readBigUInt64LE(24)) : header.readUInt32LE(16);
    const length = is64 ? Number(header.readBigUInt64LE(32)) : header.readUInt32LE(20);
    const type = header.readUInt32LE(4);
    const link = header.readUInt32LE(is64 ? 40 : 24);
    return { type, link, bytes: file.subarray(at, at + length) };
  });
}

/** Places of the versions' names: a chain of libraries, each with a chain of versions. */
function neededVersions(bytes: Buffer): number[] {
  const places: number[] = [];
  for (let library = 0, more = true; more; ) {
    let at = library + bytes.readUInt32LE(library + 8);
    for (let left = bytes.readUInt16LE(library + 2); left > 0; left -= 1) {
      places.push(bytes.readUInt32LE(at + 8));
      at += bytes.readUInt32LE(at + 12);
    }
    const next = bytes.readUInt32LE(library + 12);
    library += next;
    more = next !== 0;
  }
  return places;
}
