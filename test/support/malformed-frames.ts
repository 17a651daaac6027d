/**
 * Frames that nobody should send: as texts for a WebSocket that works, and as bytes that break WebSocket itself. All from
 * seeds, so that a failure comes back.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';

const document = readFileSync(new URL('../../shared/protocol/PROTOCOL.md', import.meta.url), 'utf8');

/** What PROTOCOL.md gives as right, to be made wrong. */
export function rightFrames(direction: 'from-app' | 'from-glasses'): Record<string, unknown>[] {
  const blocks = document.matchAll(new RegExp(`\`\`\`json ${direction}\\n([\\s\\S]*?)\`\`\``, 'g'));
  return [...blocks].map(([, json = '']) => JSON.parse(json) as Record<string, unknown>);
}

const poison = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '__defineGetter__', 'then'];
const anyKey = fc.oneof(fc.constantFrom('type', 'streamId', 'video', 'status', 'sessionId', ...poison), fc.string());
const anyNumber = fc.constantFrom('1e400', '-1e400', '1e308', '9007199254740993', '-0', '1e-400', '0x1', '01', 'NaN');
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('\u0000', '\ud800', '\ufeff', '../../etc/passwd', "';--", '<script>', '%00', '\u202e'),
  fc.integer({ min: 1, max: 4_000 }).map((length) => 'A'.repeat(length)),
);
const anyValue = fc.oneof(
  { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value)) },
  { weight: 2, arbitrary: anyText.map((text) => JSON.stringify(text)) },
  { weight: 2, arbitrary: anyNumber },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...poison).map((key) => `{${JSON.stringify(key)}:{"isAdmin":true,"type":"ping"}}`),
  },
);

/** Informational, or free of form: nothing in them is wrong. */
const FREE = new Set(['timestamp', 'packageName', 'sessionId', 'view', 'layout', 'data']);
const wrongKinds: [string, string][] = [
  ['string', '"word"'],
  ['number', '1e400'],
  ['number', '-7.25'],
  ['boolean', 'true'],
  ['array', '[[{}]]'],
  ['object', '{"__proto__":{"isAdmin":true}}'],
];
const kindOf = (value: unknown) => (Array.isArray(value) ? 'array' : typeof value);

const field = (key: string, json: string) => `${JSON.stringify(key)}:${json}`;
/** A right message with a field of a wrong kind, and more fields: twice, under evil names, with evil values. */
function spoilt(right: readonly Record<string, unknown>[]): fc.Arbitrary<string> {
  const rich = right.filter((message) => Object.keys(message).some((key) => !FREE.has(key)));
  const more = fc.array(fc.tuple(anyKey, anyValue), { maxLength: 3 });
  return fc.tuple(fc.constantFrom(...rich), fc.nat(), fc.nat(), more).map(([message, which, kind, added]) => {
    const keys = Object.keys(message).filter((key) => !FREE.has(key));
    const victim = keys[which % keys.length] ?? 'type';
    const wrong = wrongKinds.filter(([name]) => name !== kindOf(message[victim]));
    const fields = Object.entries(message).filter(([key]) => key !== victim);
    return `{${[
      ...added.map(([key, json]) => field(key, json)),
      ...fields.map(([key, value]) => field(key, JSON.stringify(value))),
      // Last, so that of a name given twice this one counts.
      field(victim, wrong[kind % wrong.length]?.[1] ?? '[]'),
    ].join(',')}}`;
  });
}

/** A right text, cut, pierced or doubled. */
function broken(right: readonly Record<string, unknown>[]): fc.Arbitrary<string> {
  const texts = right.map((message) => JSON.stringify(message));
  return fc
    .tuple(fc.constantFrom(...texts), fc.nat(), fc.nat(3), fc.string({ unit: 'binary', maxLength: 5 }))
    .map(([text, at, kind, junk]) => {
      const place = at % text.length;
      if (kind === 0) return text.slice(0, place);
      if (kind === 1) return text.slice(0, place) + junk + text.slice(place);
      if (kind === 2) return text.slice(0, place) + text.slice(place + 1 + junk.length);
      return text + text;
    });
}

/** Deep enough to overflow a stack that recurses over it. */
function deep(right: readonly Record<string, unknown>[]): fc.Arbitrary<string> {
  const depth = fc.constantFrom(50, 500, 3_000, 9_000, 20_000);
  const shape = fc.constantFrom(['[', ']'], ['{"a":', '}'], ['[{"":', '}]']);
  return fc
    .tuple(fc.constantFrom(...right), depth, shape, fc.constantFrom('', '1'))
    .map(([message, levels, [open = '', shut = ''], core]) => {
      const nest = open.repeat(levels) + (core || '0') + (core ? shut.repeat(levels) : '');
      const key = Object.keys(message).find((name) => name !== 'type') ?? 'x';
      return `{"type":${JSON.stringify(message.type)},${field(key, nest)}}`;
    });
}

/** Frames to be sent as text (strings) or as binary. */
export function malformedFrames(direction: 'from-app' | 'from-glasses'): fc.Arbitrary<string | Buffer> {
  const right = rightFrames(direction);
  const anyType = fc.oneof(fc.constantFrom(...poison), anyText);
  return fc.oneof(
    { weight: 500, arbitrary: spoilt(right) },
    { weight: 200, arbitrary: broken(right) },
    {
      weight: 50,
      arbitrary: fc
        .tuple(anyType, anyKey, anyValue)
        .map(([type, key, json]) => `{${field('type', JSON.stringify(type))},${field(key, json)}}`),
    },
    { weight: 100, arbitrary: anyValue },
    { weight: 30, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 20, arbitrary: deep(right) },
    {
      weight: 5,
      arbitrary: fc.integer({ min: 10_000, max: 250_000 }).map((length) => `{"type":"${'x'.repeat(length)}"}`),
    },
  );
}

const MASK = Buffer.from([1, 2, 3, 4]);
/** One frame as a client writes it; every part may be wrong. */
function wire(
  firstByte: number,
  payload: Buffer,
  { isMasked = true, length = payload.length as number | bigint } = {},
): Buffer {
  const flag = isMasked ? 0x80 : 0;
  const size =
    length < 126
      ? Buffer.from([flag | Number(length)])
      : Buffer.concat([Buffer.from([flag | 127]), Buffer.from(BigInt(length).toString(16).padStart(16, '0'), 'hex')]);
  const masked = Buffer.from(payload.map((byte, at) => byte ^ (MASK[at % 4] ?? 0)));
  return Buffer.concat([Buffer.from([firstByte]), size, ...(isMasked ? [MASK, masked] : [payload])]);
}

/** Bytes after a good handshake that are no WebSocket, or a forbidden one. The server has to end each such connection. */
export const brokenWire: fc.Arbitrary<Buffer> = fc.oneof(
  // Reserved bits and opcodes.
  fc
    .tuple(fc.constantFrom(0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f), fc.uint8Array({ maxLength: 20 }))
    .map(([first, bytes]) => wire(first, Buffer.from(bytes))),
  // Unmasked, as only servers write.
  fc.string().map((text) => wire(0x81, Buffer.from(text), { isMasked: false })),
  // Lengths beyond ours and beyond any.
  fc
    .constantFrom(300_000n, 2n ** 31n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n)
    .map((length) => wire(0x81, Buffer.from('x'), { length })),
  // The rest of a message that never began, and one that begins twice.
  fc.constant(wire(0x80, Buffer.from('tail'))),
  fc.constant(Buffer.concat([wire(0x01, Buffer.from('{"ty')), wire(0x81, Buffer.from('pe"'))])),
  // Control frames in pieces, or too long.
  fc.constantFrom(0x08, 0x09, 0x0a).map((first) => wire(first, Buffer.from('x'))),
  fc.integer({ min: 126, max: 1_000 }).map((length) => wire(0x89, Buffer.alloc(length))),
  // A close with half a code, with a code of nobody, with words that are no UTF-8.
  fc.constantFrom([3], [0, 5], [3, 0xed], [3, 0xe8, 0xff]).map((bytes) => wire(0x88, Buffer.from(bytes))),
  // Text that is no UTF-8, whole and in pieces.
  fc
    .constantFrom([0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80])
    .map((bytes) => wire(0x81, Buffer.from(bytes))),
  fc.constant(Buffer.concat([wire(0x01, Buffer.from([0xe2, 0x82])), wire(0x80, Buffer.from([0x22]))])),
  // More pieces than anybody needs.
  fc.constant(
    Buffer.concat([
      wire(0x01, Buffer.from('"')),
      ...Array.from({ length: 20_000 }, () => wire(0x00, Buffer.from('x'))),
    ]),
  ),
);
