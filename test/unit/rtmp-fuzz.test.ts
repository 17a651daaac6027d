/** The parsers of what strangers send, on bytes that were valid before somebody changed them: our errors only, no endless work, no memory. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GlasscastError } from '../../shared/errors.ts';
import { AmfEcmaArray, type AmfValue, decodeAmf0, encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import { createChunkReader, createChunkWriter, messageTypes } from '../../shared/rtmp/chunk-stream.ts';
import { createFlvParser, flvHeader, flvTagBytes } from '../../shared/rtmp/flv.ts';
import { tags } from '../support/media-tags.ts';

/** Bytes changed, cut out, repeated or put in, at a few places. */
type Mutation = { at: number; how: 'set' | 'cut' | 'repeat' | 'insert' | 'end'; bytes: Uint8Array };
const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    how: fc.constantFrom('set' as const, 'cut' as const, 'repeat' as const, 'insert' as const, 'end' as const),
    bytes: fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 6 }),
      fc.constantFrom(
        Uint8Array.of(0xff, 0xff, 0xff),
        Uint8Array.of(0xff, 0xff, 0xff, 0xff),
        Uint8Array.of(0, 0, 0, 0),
      ),
    ),
  }),
  { maxLength: 4 },
);
function mutated(valid: Buffer, changes: Mutation[]): Buffer {
  let bytes = valid;
  for (const { at, how, bytes: piece } of changes) {
    const index = Math.floor(at * bytes.length);
    const [before, after] = [bytes.subarray(0, index), bytes.subarray(index)];
    const middle = Buffer.from(piece);
    if (how === 'set') bytes = Buffer.concat([before, middle, after.subarray(middle.length)]);
    else if (how === 'cut') bytes = Buffer.concat([before, after.subarray(middle.length)]);
    else if (how === 'repeat') bytes = Buffer.concat([before, after.subarray(0, 40), after]);
    else if (how === 'insert') bytes = Buffer.concat([before, middle, after]);
    else bytes = before;
  }
  return bytes;
}
/** In pieces, as a socket or a pipe gives them. */
function pieces(bytes: Buffer, cuts: number[]): Buffer[] {
  const at = [0, ...cuts.map((cut) => Math.floor(cut * bytes.length)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 5 });

/** Throws nothing but our errors, and takes no time to speak of. */
function ours(code: string, work: () => void): void {
  const sinceMs = performance.now();
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(GlasscastError);
    expect(error).toMatchObject({ code });
  }
  expect(performance.now() - sinceMs).toBeLessThan(1000);
}

const amfValue: fc.Arbitrary<AmfValue> = fc.letrec<{ value: AmfValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.double(),
    fc.boolean(),
    fc.string(),
    fc.constantFrom(null, undefined, new Date(0)),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ minLength: 1 }), tie('value'), { maxKeys: 4 }),
    fc.dictionary(fc.string({ minLength: 1 }), tie('value'), { maxKeys: 4 }).map((fields) => new AmfEcmaArray(fields)),
  ),
})).value;

describe('mutated AMF0', () => {
  it('decodes or is refused', () => {
    fc.assert(
      fc.property(fc.array(amfValue, { maxLength: 5 }), mutations, (values, changes) => {
        ours('INGEST_PROTOCOL', () => decodeAmf0(mutated(encodeAmf0(...values), changes)));
      }),
      { numRuns: 1500 },
    );
  });
  it('reads the types that only old servers send, or refuses them', () => {
    const hex = (text: string) => Buffer.from(text.replace(/ /g, ''), 'hex');
    expect(decodeAmf0(hex('10 0001 41 0001 6b 0101 0000 09'))).toEqual([{ k: true }]);
    expect(decodeAmf0(hex('07 0003 0d 0f 00000002 4142'))).toEqual([undefined, undefined, 'AB']);
  });
});

describe('mutated FLV', () => {
  const valid = Buffer.concat([
    flvHeader({ audio: true, video: true }),
    ...[tags.metadata(), tags.videoConfig(), tags.audioConfig(), tags.picture(0, { isKey: true }), tags.sound(10)].map(
      flvTagBytes,
    ),
    ...[tags.picture(0xffffff), tags.picture(0x1000000), tags.sound(0xfffffff0)].map(flvTagBytes),
  ]);
  it('gives tags or MALFORMED_FLV, never more bytes than came', () => {
    fc.assert(
      fc.property(mutations, cuts, (changes, where) => {
        const bytes = mutated(valid, changes);
        let given = 0;
        const parser = createFlvParser({
          onTag: ({ body }) => {
            given += body.length;
          },
        });
        ours('MALFORMED_FLV', () => {
          for (const piece of pieces(bytes, where)) parser.push(piece);
        });
        expect(given).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 1500 },
    );
  });
});

describe('mutated chunk streams', () => {
  const message = fc.record({
    chunkStream: fc.integer({ min: 2, max: 63 }),
    type: fc.constantFrom(...Object.values(messageTypes).filter((type) => type > 2)),
    streamId: fc.constantFrom(0, 1, 0xffffffff),
    timestampMs: fc.constantFrom(0, 40, 0xfffffe, 0xffffff, 0x1000000, 0xffffffff),
    payload: fc.uint8Array({ maxLength: 700 }).map((bytes) => Buffer.from(bytes)),
  });
  it('give messages or INGEST_PROTOCOL, never more bytes than came', () => {
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 1, maxLength: 6 }),
        fc.option(fc.constantFrom(1, 5, 4096, 0x7fffffff)),
        mutations,
        cuts,
        (messages, chunkBytes, changes, where) => {
          const writer = createChunkWriter();
          const parts = chunkBytes ? writer.setChunkSize(chunkBytes) : [];
          for (const { chunkStream, ...one } of messages) parts.push(...writer.message(chunkStream, one));
          const bytes = mutated(Buffer.concat(parts), changes);
          let given = 0;
          const reader = createChunkReader({
            onMessage: ({ payload }) => {
              given += payload.length;
            },
          });
          ours('INGEST_PROTOCOL', () => {
            for (const piece of pieces(bytes, where)) reader.push(piece);
          });
          expect(given).toBeLessThanOrEqual(bytes.length);
        },
      ),
      { numRuns: 1500 },
    );
  });
});
