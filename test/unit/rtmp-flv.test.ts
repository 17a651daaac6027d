import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createFlvParser,
  type FlvTag,
  flvHeader,
  flvTagBytes,
  isKeyFrame,
  isMetadata,
  isSequenceHeader,
  timestampDiffMs,
} from '../../shared/rtmp/flv.ts';

const anyTag: fc.Arbitrary<FlvTag> = fc.record({
  kind: fc.constantFrom('audio' as const, 'video' as const, 'script' as const),
  timestampMs: fc.nat({ max: 0xffffffff }),
  body: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});

function parse(bytes: Buffer, cuts: number[] = []): FlvTag[] {
  const tags: FlvTag[] = [];
  const parser = createFlvParser({ onTag: (tag) => tags.push(tag), maxTagBytes: 1000 });
  let from = 0;
  for (const cut of [...cuts.map((at) => at % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    parser.push(bytes.subarray(from, cut));
    from = cut;
  }
  return tags;
}

describe('createFlvParser', () => {
  it('gives back what was serialised, however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(anyTag, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 12 }), (tags, cuts) => {
        const bytes = Buffer.concat([flvHeader({ audio: true, video: true }), ...tags.map(flvTagBytes)]);
        expect(parse(bytes, cuts)).toEqual(tags);
      }),
    );
  });
  it('survives arbitrary bytes: an error of ours or tags, nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (noise, hasHeader) => {
        const bytes = Buffer.concat([hasHeader ? flvHeader({ audio: true, video: false }) : Buffer.alloc(0), noise]);
        try {
          parse(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: 'MALFORMED_FLV' });
        }
      }),
    );
  });
  it.each([
    ['not FLV', Buffer.from('RIFF00000000000'), /do not begin with "FLV", at byte 0/],
    ['an unknown version', Buffer.from('FLV\x07\x05\0\0\0\x09\0\0\0\0', 'latin1'), /version 7/],
    ['a huge header', Buffer.from('FLV\x01\x05\0\x10\0\x09\0\0\0\0', 'latin1'), /a header of 1048585 bytes/],
    ['an unknown tag type', bytesWith([5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), /tag type 5 is not known, at byte 13/],
    ['an encrypted tag', bytesWith([0x29, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), /tag type 41/],
    ['a tag over the bound', bytesWith([9, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0]), /a tag of 16711680 bytes/],
    ['a wrong size', bytesWith([9, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9]), /followed by size 9, at byte 24/],
  ])('says precisely what is wrong: %s', (_, bytes, message) => {
    expect(() => parse(bytes)).toThrow(message);
  });
  it('stays failed after an error', () => {
    const parser = createFlvParser({ onTag: () => {} });
    expect(() => parser.push(Buffer.from('no flv at all'))).toThrow(/do not begin/);
    expect(() => parser.push(flvHeader({ audio: true, video: true }))).toThrow(/do not begin/);
  });
  it('does not keep the chunk alive that a tag came in', () => {
    const tag: FlvTag = { kind: 'audio', timestampMs: 0, body: Buffer.from([0xaf, 1, 2]) };
    const chunk = Buffer.concat([flvHeader({ audio: true, video: false }), flvTagBytes(tag)]);
    const [parsed] = parse(chunk);
    chunk.fill(0);
    expect(parsed).toEqual(tag);
  });
});

describe('tags', () => {
  it('tell headers, key frames and metadata apart', () => {
    const video = (...bytes: number[]): FlvTag => ({ kind: 'video', timestampMs: 0, body: Buffer.from(bytes) });
    expect(isSequenceHeader(video(0x17, 0, 0, 0, 0))).toBe(true);
    expect(isKeyFrame(video(0x17, 0, 0, 0, 0))).toBe(false);
    expect(isKeyFrame(video(0x17, 1, 0, 0, 0))).toBe(true);
    expect(isKeyFrame(video(0x27, 1, 0, 0, 0))).toBe(false);
    expect(isSequenceHeader({ kind: 'audio', timestampMs: 0, body: Buffer.from([0xaf, 0, 0x12]) })).toBe(true);
    const script = (text: string): FlvTag => ({
      kind: 'script',
      timestampMs: 0,
      body: Buffer.concat([Buffer.from([2, 0, text.length]), Buffer.from(text)]),
    });
    expect([script('onMetaData'), script('@setDataFrame'), script('onTextData')].map(isMetadata)).toEqual([
      true,
      true,
      false,
    ]);
  });
  it('compare time stamps across the 32 bit wrap', () => {
    expect(timestampDiffMs(5, 0xfffffffb)).toBe(10);
    expect(timestampDiffMs(0xfffffffb, 5)).toBe(-10);
  });
});

function bytesWith(tag: number[]): Buffer {
  return Buffer.concat([flvHeader({ audio: true, video: true }), Buffer.from(tag)]);
}
