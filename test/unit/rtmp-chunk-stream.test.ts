import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createChunkReader, createChunkWriter, type RtmpMessage } from '../../shared/rtmp/chunk-stream.ts';

const anyMessage: fc.Arbitrary<{ id: number; message: RtmpMessage }> = fc.record({
  id: fc.integer({ min: 2, max: 63 }),
  message: fc.record({
    type: fc.constantFrom(8, 9, 18, 20),
    streamId: fc.nat({ max: 0xffffffff }),
    timestampMs: fc.oneof(fc.nat({ max: 0xffffffff }), fc.constantFrom(0xfffffe, 0xffffff, 0x1000000)),
    payload: fc.uint8Array({ maxLength: 700 }).map((bytes) => Buffer.from(bytes)),
  }),
});

function read(bytes: Buffer, cuts: number[] = [], options: { maxMessageBytes?: number } = {}): RtmpMessage[] {
  const messages: RtmpMessage[] = [];
  const reader = createChunkReader({ onMessage: (message) => messages.push(message), ...options });
  let from = 0;
  for (const cut of [...cuts.map((at) => at % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    reader.push(bytes.subarray(from, cut));
    from = cut;
  }
  return messages;
}
const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');

describe('chunk stream', () => {
  it('reads what it wrote: any chunk sizes, any cuts, extended time stamps', () => {
    const step = fc.oneof(fc.record({ chunkBytes: fc.integer({ min: 1, max: 1000 }) }), anyMessage);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 12 }), (steps, cuts) => {
        const writer = createChunkWriter();
        const bytes = steps.flatMap((part) =>
          'chunkBytes' in part ? writer.setChunkSize(part.chunkBytes) : writer.message(part.id, part.message),
        );
        const sent = steps.flatMap((part) => ('message' in part ? [part.message] : []));
        expect(read(Buffer.concat(bytes), cuts)).toEqual(sent);
      }),
    );
  });
  it('understands short headers: same stream (1), same length (2), all the same (3)', () => {
    const messages = read(
      hex(`04 0003e8 000002 08 01000000 aaab
           44 000014 000001 08 ac
           84 000017 ad
           c4 ae`),
    );
    expect(
      messages.map(({ timestampMs, payload, streamId }) => [timestampMs, payload.toString('hex'), streamId]),
    ).toEqual([
      [1000, 'aaab', 1],
      [1020, 'ac', 1],
      [1043, 'ad', 1],
      [1066, 'ae', 1],
    ]);
  });
  it('understands two and three byte chunk stream ids, and chunks of several messages between each other', () => {
    const messages = read(
      hex(`02 000000 000004 01 00000000 00000002
           00 10 000000 000003 09 01000000 0102
           01 1001 000000 000002 08 01000000 0a0b
           c0 10 03`),
    );
    expect(messages.map(({ type, payload }) => [type, payload.toString('hex')])).toEqual([
      [8, '0a0b'],
      [9, '010203'],
    ]);
  });
  it('forgets an aborted message', () => {
    const messages = read(
      hex(`02 000000 000004 01 00000000 00000002
           04 000000 000003 09 01000000 0102
           02 000000 000004 02 00000000 0000
           c2 0004
           04 000000 000002 09 01000000 0708`),
    );
    expect(messages.map(({ payload }) => payload.toString('hex'))).toEqual(['0708']);
  });
  it.each([
    ['repeat the extended time stamp', 'c4 01000000'],
    ['do not', 'c4'],
  ])('reads continuations that %s', (_, header) => {
    const start = `04 ffffff 000104 09 01000000 01000000 ${'11'.repeat(128)}`;
    const messages = read(hex(`${start} ${header} ${'22'.repeat(128)} ${header} 33333333`));
    expect(messages.map(({ timestampMs, payload }) => [timestampMs, payload.toString('hex')])).toEqual([
      [0x1000000, `${'11'.repeat(128)}${'22'.repeat(128)}33333333`],
    ]);
  });
  it('adds deltas across the 32 bit wrap', () => {
    const messages = read(hex('04 ffffff 000001 08 01000000 fffffff0 aa  84 000020 bb'));
    expect(messages.map(({ timestampMs }) => timestampMs)).toEqual([0xfffffff0, 0x10]);
  });
  it.each([
    ['a first header without length', hex('c4 00'), /begins with header type 3/],
    ['chunk size 0', hex('02 000000 000004 01 00000000 00000000'), /chunk size 0/],
    ['an empty chunk size', hex('02 000000 000000 01 00000000'), /chunk size 0/],
    ['a message over the bound', hex('04 000000 ffffff 09 01000000'), /a message of 16777215 bytes/],
    [
      'a message in a message',
      Buffer.concat([hex('04 000000 0000ff 09 01000000'), Buffer.alloc(128), hex('04 000000 000001 09 01000000')]),
      /cuts into another/,
    ],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(message);
  });
  it('refuses endless chunk streams', () => {
    const opened = Array.from({ length: 70 }, (_, id) =>
      Buffer.concat([Buffer.from([0, id]), hex('000000 0000ff 09 01000000'), Buffer.alloc(128)]),
    );
    expect(() => read(Buffer.concat(opened))).toThrow(/more than 64 chunk streams/);
  });
  it('survives arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.array(fc.nat(), { maxLength: 5 }), (bytes, cuts) => {
        try {
          read(Buffer.from(bytes), cuts);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INGEST_PROTOCOL' });
        }
      }),
      { numRuns: 1000 },
    );
  });
  it('makes memory of what arrived, not of what was claimed', () => {
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 200 }, () => {
      const reader = createChunkReader({ onMessage: () => {} });
      reader.push(Buffer.concat([hex('04 000000 3fffff 09 01000000'), Buffer.alloc(64)]));
      return reader;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8_000_000);
    expect(readers).toHaveLength(200);
  });
});
