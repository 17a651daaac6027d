import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AmfEcmaArray, type AmfValue, decodeAmf0, encodeAmf0 } from '../../shared/rtmp/amf0.ts';

const { value: anyValue } = fc.letrec<{ value: AmfValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.constant(null),
    fc.constant(undefined),
    fc.date({ noInvalidDate: true }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ maxLength: 8 }), tie('value'), { maxKeys: 4, noNullPrototype: false }),
  ),
}));

describe('AMF0', () => {
  it('decodes what it encoded', () => {
    fc.assert(
      fc.property(fc.array(anyValue, { maxLength: 4 }), (values) => {
        expect(decodeAmf0(encodeAmf0(...values))).toEqual(values);
      }),
    );
  });
  it('writes the bytes that the specification shows', () => {
    expect(encodeAmf0('a', 1, true, null, undefined).toString('hex')).toBe('02000161003ff000000000000001010506');
    expect(encodeAmf0({ k: false }).toString('hex')).toBe('0300016b0100000009');
    expect(encodeAmf0(new AmfEcmaArray({ k: 0 })).toString('hex')).toBe('080000000100016b000000000000000000000009');
    expect(encodeAmf0(new Date(0)).toString('hex')).toBe('0b00000000000000000000');
  });
  it('reads ECMA arrays whatever their count says, and long strings', () => {
    expect(decodeAmf0(Buffer.from('08ffffffff00016b010100 0009'.replace(/ /g, ''), 'hex'))).toEqual([{ k: true }]);
    const long = 'x'.repeat(70_000);
    expect(encodeAmf0(long)[0]).toBe(12);
    expect(decodeAmf0(encodeAmf0(long))).toEqual([long]);
  });
  it('takes __proto__ as a key and nothing more', () => {
    const [value] = decodeAmf0(
      Buffer.from('0300095f5f70726f746f5f5f03000570776e656401010000090000 09'.replace(/ /g, ''), 'hex'),
    );
    expect(Object.getPrototypeOf(value)).toBeNull();
    expect(({} as { pwned?: boolean }).pwned).toBeUndefined();
  });
  it('survives arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decodeAmf0(Buffer.from(bytes));
        } catch (error) {
          expect(error).toMatchObject({ code: 'INGEST_PROTOCOL' });
        }
      }),
      { numRuns: 1000 },
    );
  });
  it.each([
    ['cut off', Buffer.from([0, 1, 2]), /cut off at byte 1/],
    ['a claimed length', Buffer.from([12, 0xff, 0xff, 0xff, 0xff, 1]), /cut off/],
    ['an unknown type', Buffer.from([0x11, 0]), /value type 17/],
    ['too deep', Buffer.from(Array(40).fill([10, 0, 0, 0, 1]).flat()), /nested deeper than 16/],
    ['too many', Buffer.alloc(20_000, 5), /more than 10000 values/],
  ])('refuses what is %s', (_, bytes, message) => {
    expect(() => decodeAmf0(bytes)).toThrow(message);
  });
});
