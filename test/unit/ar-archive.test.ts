import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ArMember, arArchive } from '../../scripts/package/ar-archive.ts';

/** By ar(5), field for field. */
function read(archive: Buffer): { name: string; modifiedS: number; bytes: Buffer }[] {
  expect(archive.toString('latin1', 0, 8)).toBe('!<arch>\n');
  const members: { name: string; modifiedS: number; bytes: Buffer }[] = [];
  for (let at = 8; at < archive.length; ) {
    const field = (from: number, to: number) => archive.toString('latin1', at + from, at + to).trimEnd();
    expect([field(28, 34), field(34, 40), field(40, 48), archive.toString('latin1', at + 58, at + 60)]).toEqual([
      ...['0', '0', '100644', '`\n'],
    ]);
    const size = Number(field(48, 58));
    const bytes = archive.subarray(at + 60, at + 60 + size);
    members.push({ name: field(0, 16), modifiedS: Number(field(16, 28)), bytes });
    at += 60 + size + (size % 2);
  }
  return members;
}

describe('an ar archive', () => {
  it('gives back what went in, whatever it is', () => {
    const name = fc.stringMatching(/^[a-z][a-z.-]{0,15}$/);
    const member = fc.record({ name, bytes: fc.uint8Array({ maxLength: 300 }) });
    fc.assert(
      fc.property(fc.array(member, { maxLength: 5 }), fc.nat(2 ** 32), (members, modifiedS) => {
        const archive = arArchive(members, modifiedS);
        expect(archive.length % 2).toBe(0);
        expect(read(archive)).toEqual(
          members.map((each) => ({ name: each.name, modifiedS, bytes: Buffer.from(each.bytes) })),
        );
      }),
    );
  });

  it.each(['', 'a/b', 'a b', 'seventeen-letters', 'ü'])('refuses %j as a name', (name) => {
    const member: ArMember = { name, bytes: Buffer.of() };
    expect(() => arArchive([member], 0)).toThrow(RangeError);
  });
});
