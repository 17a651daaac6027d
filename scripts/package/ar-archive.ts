/** The outermost wrapping of a Debian package: an ar archive (deb(5), ar(5)). Writes only; knows nothing of what is inside. */

export interface ArMember {
  /** At most 16 characters of printable ASCII without a blank or a slash. */
  name: string;
  bytes: Uint8Array;
}

const MAGIC = '!<arch>\n';
const MAX_SIZE = 9_999_999_999;

/** @param modifiedS seconds since the epoch, of every member. @throws RangeError: a name or size that the form has no room for */
export function arArchive(members: readonly ArMember[], modifiedS: number): Buffer {
  const parts = members.flatMap(({ name, bytes }) => {
    if (!/^[!-.0-~]{1,16}$/.test(name)) throw new RangeError(`ar: ${JSON.stringify(name)} cannot be a member's name`);
    if (bytes.byteLength > MAX_SIZE) throw new RangeError(`ar: ${name} is too large`);
    const fields: [string | number, number][] = [
      ...([
        [name, 16],
        [modifiedS, 12],
        [0, 6],
        [0, 6],
        ['100644', 8],
        [bytes.byteLength, 10],
      ] as [string, number][]),
    ];
    const header = `${fields.map(([value, width]) => String(value).padEnd(width)).join('')}\`\n`;
    // Members begin at even places.
    return [Buffer.from(header, 'ascii'), bytes, Buffer.from(bytes.byteLength % 2 === 1 ? '\n' : '')];
  });
  return Buffer.concat([Buffer.from(MAGIC), ...parts]);
}
