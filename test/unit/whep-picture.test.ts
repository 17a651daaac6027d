/** FLV video tags as access units: prefixes, decoder configuration, what is malformed, and pictures out of their order. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPictureReader } from '../../cloud/local-stream/whep/picture.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { avcRecords, tags } from '../support/media-tags.ts';

/** NAL units of an access unit; throws when the lengths do not add up. */
function unitsOf(unit: Buffer): Buffer[] {
  const units: Buffer[] = [];
  for (let at = 0; at < unit.length; ) {
    const bytes = unit.readUInt32BE(at);
    if (bytes === 0 || at + 4 + bytes > unit.length) throw new Error('not an access unit');
    units.push(unit.subarray(at + 4, at + 4 + bytes));
    at += 4 + bytes;
  }
  return units;
}
const kinds = (unit: Buffer | undefined) => unitsOf(unit ?? Buffer.alloc(0)).map((nal) => nal.readUInt8(0) & 0x1f);
const videoTag = (body: Buffer, timestampMs = 0): FlvTag => ({ kind: 'video', timestampMs, body });

describe('a picture', () => {
  it('that is a key frame carries the decoder configuration, another one its own bytes', () => {
    const reader = createPictureReader();
    expect(reader.read(tags.picture(0, { isKey: true }))).toBeUndefined();
    expect(reader.read(tags.videoConfig())).toBeUndefined();
    expect(reader.profileIdc()).toBe(100);
    expect(reader.read(tags.sound(0))).toBeUndefined();
    const key = reader.read(tags.picture(40, { isKey: true, ctsMs: 10 }));
    expect(key).toMatchObject({ isKey: true, timestampMs: 50 });
    expect(kinds(key?.unit)).toEqual([7, 8, 5]);
    const next = tags.picture(80);
    expect(reader.read(next)?.unit.buffer).toBe(next.body.buffer);
  });
  it('has four bytes of length before each unit, whatever the publisher used', () => {
    const reader = createPictureReader();
    const record = Buffer.from(avcRecords['640x360'], 'hex');
    record[4] = 0xfd;
    reader.read(videoTag(Buffer.concat([Buffer.from([0x17, 0, 0, 0, 0]), record])));
    const read = reader.read(videoTag(Buffer.from([0x27, 1, 0, 0, 0, 0, 2, 0x41, 9, 0, 0, 0, 1, 0x06])));
    expect(unitsOf(read?.unit ?? Buffer.alloc(0)).map((unit) => unit.toString('hex'))).toEqual(['4109', '06']);
  });
  it('of any bytes, after a configuration of any bytes, is whole units or nothing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.array(fc.uint8Array({ maxLength: 40 })), (config, bodies) => {
        const reader = createPictureReader();
        reader.read(tags.videoConfig());
        reader.read(videoTag(Buffer.concat([Buffer.from([0x17, 0, 0, 0, 0]), Buffer.from(config)])));
        for (const body of bodies) {
          reader.read(videoTag(Buffer.from(body)));
          const read = reader.read(videoTag(Buffer.concat([Buffer.from([0x27, 1, 0, 0, 0]), Buffer.from(body)])));
          if (read) expect(unitsOf(read.unit).length).toBeGreaterThan(0);
        }
      }),
    );
  });
});

describe('B-frames', () => {
  const reorders = (pictures: readonly FlvTag[]) => {
    const reader = createPictureReader();
    for (const tag of [tags.videoConfig(), ...pictures]) reader.read(tag);
    return reader.isReordered();
  };
  it('are seen by pictures that are shown before one that came earlier', () => {
    const key = tags.picture(0, { isKey: true, ctsMs: 80 });
    expect(reorders([key, tags.picture(40, { ctsMs: 160 }), tags.picture(80, { ctsMs: 40 })])).toBe(true);
  });
  it('are not what a constant delay, or a clock that is set back, looks like', () => {
    const delayed = [0, 40, 80].map((ms) => tags.picture(ms, { isKey: ms === 0, ctsMs: 80 }));
    expect(reorders(delayed)).toBe(false);
    expect(reorders([...delayed, tags.picture(10, { ctsMs: 80 })])).toBe(false);
    expect(reorders([...delayed, tags.videoConfig(), tags.picture(0, { isKey: true })])).toBe(false);
  });
});
