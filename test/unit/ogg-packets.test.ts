/** Ogg as ffmpeg writes it to a pipe: packets come out whole, however the bytes are cut and whatever is between them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createOggParser } from '../../cloud/local-stream/whep/ogg-packets.ts';

/** Pages of at most `perPage` segments. */
function pagesOf(packets: readonly Buffer[], perPage = 255): Buffer {
  const segments = packets.flatMap((packet) => {
    const cut: Buffer[] = [];
    for (let at = 0; at <= packet.length; at += 255) cut.push(packet.subarray(at, at + 255));
    return cut;
  });
  const pages: Buffer[] = [];
  for (let at = 0; at < segments.length; at += perPage) {
    const body = segments.slice(at, at + perPage);
    const header = Buffer.alloc(27);
    header.write('OggS');
    header[5] = segments[at - 1]?.length === 255 ? 1 : 0;
    header[26] = body.length;
    pages.push(header, Buffer.from(body.map((segment) => segment.length)), ...body);
  }
  return Buffer.concat(pages);
}

function parsed(chunks: readonly Buffer[], maxPacketBytes?: number): string[] {
  const packets: string[] = [];
  const parser = createOggParser((packet) => packets.push(packet.toString('hex')), maxPacketBytes);
  for (const chunk of chunks) parser.push(chunk);
  return packets;
}

function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => Buffer.from(bytes.subarray(places[index], end)));
}

const packet = fc.uint8Array({ maxLength: 1200 }).map((bytes) => Buffer.from(bytes));

describe('an Ogg stream', () => {
  it('gives the packets that were put in, cut anywhere, over pages of any size', () => {
    fc.assert(
      fc.property(fc.array(packet), fc.integer({ min: 1, max: 255 }), fc.array(fc.nat()), (packets, perPage, cuts) => {
        const given = parsed(cutAt(pagesOf(packets, perPage), cuts));
        expect(given).toEqual(packets.map((each) => each.toString('hex')));
      }),
    );
  });
  it('goes on behind bytes that belong to no page', () => {
    const [first, second] = [Buffer.from('one'), Buffer.from('two')];
    const bytes = Buffer.concat([
      Buffer.from('xxOgg'),
      pagesOf([first]),
      Buffer.alloc(70_000, 'OgOgg'),
      pagesOf([second]),
    ]);
    expect(parsed([bytes])).toEqual([first.toString('hex'), second.toString('hex')]);
  });
  it('leaves out a packet that is too long, or whose beginning was lost', () => {
    const [long, short] = [Buffer.alloc(900, 1), Buffer.from('short')];
    expect(parsed([pagesOf([long, short])], 500)).toEqual([short.toString('hex')]);
    const pages = pagesOf([long, short], 2);
    expect(parsed([pages.subarray(pages.indexOf('OggS', 1))])).toEqual([short.toString('hex')]);
  });
  it('of any bytes never throws, and holds no more than a page', () => {
    const piece = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.constant(Uint8Array.from(Buffer.from('OggS'))));
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        for (const each of parsed(pieces.map((bytes) => Buffer.from(bytes)))) expect(each.length).toBeLessThan(140_000);
      }),
    );
  });
});
