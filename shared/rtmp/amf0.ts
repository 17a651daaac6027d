/**
 * AMF0, the value format of RTMP commands and of FLV's onMetaData: the subset that RTMP peers use.
 * Bounded in depth and count, because the bytes come from strangers. Facts: Adobe AMF0 specification.
 */
import { GlasscastError } from '../errors.ts';

export type AmfValue = number | boolean | string | null | undefined | Date | AmfValue[] | AmfObject | AmfEcmaArray;

/** Decoded objects have no prototype, so that a key named `__proto__` is a key. */
export interface AmfObject {
  [key: string]: AmfValue;
}

/** An object on the wire as "ECMA array", which onMetaData uses. Decoding gives a plain AmfObject for both. */
export class AmfEcmaArray {
  readonly fields: AmfObject;

  constructor(fields: AmfObject) {
    this.fields = fields;
  }
}

const NUMBER = 0;
const BOOLEAN = 1;
const STRING = 2;
const OBJECT = 3;
const NULL = 5;
const UNDEFINED = 6;
const REFERENCE = 7;
const ECMA_ARRAY = 8;
const OBJECT_END = 9;
const STRICT_ARRAY = 10;
const DATE = 11;
const LONG_STRING = 12;
const UNSUPPORTED = 13;
const XML = 15;
const TYPED_OBJECT = 16;

const MAX_DEPTH = 16;
const MAX_VALUES = 10_000;

/** The values one after the other. @throws GlasscastError INTERNAL when nested deeper than a peer would read. */
export function encodeAmf0(...values: AmfValue[]): Buffer {
  return Buffer.concat(values.flatMap((value) => encodeValue(value, 0)));
}

function encodeValue(value: AmfValue, depth: number): Buffer[] {
  if (depth > MAX_DEPTH) throw new GlasscastError('INTERNAL', { reason: 'AMF0 value nested too deeply' });
  if (value === null) return [Buffer.from([NULL])];
  if (value === undefined) return [Buffer.from([UNDEFINED])];
  if (typeof value === 'number') return [doubleBytes(NUMBER, value)];
  if (typeof value === 'boolean') return [Buffer.from([BOOLEAN, value ? 1 : 0])];
  if (typeof value === 'string') return encodeString(value);
  if (value instanceof Date) return [doubleBytes(DATE, value.getTime()), Buffer.alloc(2)];
  if (Array.isArray(value)) {
    return [countBytes(STRICT_ARRAY, value.length), ...value.flatMap((item) => encodeValue(item, depth + 1))];
  }
  if (value instanceof AmfEcmaArray) {
    return [countBytes(ECMA_ARRAY, Object.keys(value.fields).length), ...encodeFields(value.fields, depth)];
  }
  return [Buffer.from([OBJECT]), ...encodeFields(value, depth)];
}

function encodeString(text: string): Buffer[] {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length > 0xffff) return [countBytes(LONG_STRING, bytes.length), bytes];
  return [Buffer.from([STRING]), shortLength(bytes), bytes];
}

function encodeFields(fields: AmfObject, depth: number): Buffer[] {
  const parts = Object.entries(fields).flatMap(([key, value]) => {
    const name = Buffer.from(key, 'utf8');
    if (name.length > 0xffff) throw new GlasscastError('INTERNAL', { reason: 'AMF0 key too long' });
    return [shortLength(name), name, ...encodeValue(value, depth + 1)];
  });
  return [...parts, Buffer.from([0, 0, OBJECT_END])];
}

function shortLength(bytes: Buffer): Buffer {
  return Buffer.from([bytes.length >> 8, bytes.length & 0xff]);
}

function doubleBytes(marker: number, value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = marker;
  bytes.writeDoubleBE(value, 1);
  return bytes;
}

function countBytes(marker: number, count: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = marker;
  bytes.writeUInt32BE(count, 1);
  return bytes;
}

/** All values in the bytes. @throws GlasscastError INGEST_PROTOCOL on anything cut, unknown, too deep or too many. */
export function decodeAmf0(bytes: Buffer): AmfValue[] {
  const reader = createReader(bytes);
  const values: AmfValue[] = [];
  while (reader.left() > 0) values.push(readValue(reader, 0));
  return values;
}

interface Reader {
  left(): number;
  byte(): number;
  peek(): number | undefined;
  /** Throws when so many bytes are not there; so a claimed length never becomes memory. */
  slice(bytes: number): Buffer;
  /** Counts one value towards the bound. */
  count(): void;
}

function createReader(bytes: Buffer): Reader {
  let offset = 0;
  let values = 0;
  function slice(length: number): Buffer {
    if (length > bytes.length - offset) throw malformed(`cut off at byte ${offset}`);
    offset += length;
    return bytes.subarray(offset - length, offset);
  }
  return {
    left: () => bytes.length - offset,
    byte: () => slice(1).readUInt8(0),
    peek: () => bytes[offset],
    slice,
    count() {
      values += 1;
      if (values > MAX_VALUES) throw malformed(`more than ${MAX_VALUES} values`);
    },
  };
}

function readValue(reader: Reader, depth: number): AmfValue {
  if (depth > MAX_DEPTH) throw malformed(`nested deeper than ${MAX_DEPTH}`);
  reader.count();
  const marker = reader.byte();
  switch (marker) {
    case NUMBER:
      return reader.slice(8).readDoubleBE(0);
    case BOOLEAN:
      return reader.byte() !== 0;
    case STRING:
      return readShortString(reader);
    case LONG_STRING:
    case XML:
      return reader.slice(reader.slice(4).readUInt32BE(0)).toString('utf8');
    case OBJECT:
      return readFields(reader, depth);
    case ECMA_ARRAY:
      // The count is a hint that encoders get wrong; the end marker rules.
      reader.slice(4);
      return readFields(reader, depth);
    case STRICT_ARRAY:
      return readItems(reader, depth);
    case DATE: {
      const date = new Date(reader.slice(8).readDoubleBE(0));
      reader.slice(2);
      return date;
    }
    case TYPED_OBJECT:
      readShortString(reader);
      return readFields(reader, depth);
    case NULL:
      return null;
    case REFERENCE:
      // To an object said before: no field that we read is one.
      reader.slice(2);
      return undefined;
    case UNDEFINED:
    case UNSUPPORTED:
      return undefined;
    default:
      throw malformed(`value type ${marker} is not known`);
  }
}

function readShortString(reader: Reader): string {
  return reader.slice(reader.slice(2).readUInt16BE(0)).toString('utf8');
}

function readFields(reader: Reader, depth: number): AmfObject {
  const fields: AmfObject = Object.create(null) as AmfObject;
  for (;;) {
    const key = readShortString(reader);
    // An empty key before the end marker closes the object; an empty key before a value is a key.
    if (key === '' && reader.peek() === OBJECT_END) {
      reader.byte();
      return fields;
    }
    fields[key] = readValue(reader, depth + 1);
  }
}

function readItems(reader: Reader, depth: number): AmfValue[] {
  const items: AmfValue[] = [];
  for (let left = reader.slice(4).readUInt32BE(0); left > 0; left -= 1) items.push(readValue(reader, depth + 1));
  return items;
}

function malformed(reason: string): GlasscastError {
  return new GlasscastError('INGEST_PROTOCOL', { reason: `AMF0 ${reason}` });
}
