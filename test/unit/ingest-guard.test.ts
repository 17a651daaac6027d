import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRtmpFanOut, createRtmpPeer, type RtmpPeer } from '../../cloud/local-stream/ingest/guard.ts';
import { encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { chunked, media } from '../support/rtmp-peer.ts';

const HANDSHAKE = Buffer.concat([Buffer.from([3]), Buffer.alloc(3072, 1)]);
const command = (name: string, ...values: Parameters<typeof encodeAmf0>) =>
  chunked(20, encodeAmf0(name, ...values), { stream: 1 });
const CONNECT = command('connect', 1, { app: 'live', tcUrl: 'rtmp://127.0.0.1/live' });

interface Seen {
  peer: RtmpPeer;
  asked: string[];
  tags: FlvTag[];
  outputBytes(): number;
}

function createPeer(accepts = true): Seen {
  const asked: string[] = [];
  const tags: FlvTag[] = [];
  let outputBytes = 0;
  const peer: RtmpPeer = createRtmpPeer(
    {
      output: (bytes) => {
        outputBytes += bytes.length;
      },
      publish(key) {
        asked.push(`publish ${key}`);
        if (accepts) peer.accept('publisher');
        else peer.mute();
      },
      play: (key) => void asked.push(`play ${key}`),
      stopped: () => void asked.push('stopped'),
      media: (tag) => void tags.push(tag),
      refused: (sentence) => void asked.push(`refused ${sentence}`),
    },
    { maxMessageBytes: 100_000 },
  );
  return { peer, asked, tags, outputBytes: () => outputBytes };
}

/** Fed in the pieces that the network makes of it. */
function feed(peer: RtmpPeer, bytes: Buffer, sizes: number[]): string | undefined {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = Math.max(1, sizes[turn % sizes.length] ?? bytes.length);
    const fault = peer.receive(bytes.subarray(at, at + size));
    if (fault !== undefined) return fault;
    at += size;
  }
  return undefined;
}

describe('whatever arrives', () => {
  it('never throws, before or after the handshake', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.boolean(), fc.boolean(), (noise, isPast, isPublishing) => {
        const { peer } = createPeer();
        if (isPast) peer.receive(HANDSHAKE);
        if (isPast && isPublishing) peer.receive(Buffer.concat([CONNECT, command('publish', 2, null, 'k', 'live')]));
        peer.receive(Buffer.from(noise));
        peer.receive(Buffer.from(noise));
      }),
      { numRuns: 500 },
    );
  });

  it('never throws on commands whose values are anything', () => {
    const value = fc.oneof(
      fc.string(),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
      fc.dictionary(fc.string(), fc.string()),
    );
    const name = fc.constantFrom('connect', 'createStream', 'publish', 'play', 'deleteStream', 'FCPublish', 'x');
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.array(value, { maxLength: 5 })), { maxLength: 8 }), (commands) => {
        const { peer } = createPeer();
        peer.receive(HANDSHAKE);
        for (const [which, values] of commands) peer.receive(command(which, ...values));
      }),
      { numRuns: 300 },
    );
  });

  it('answers nothing to a first byte that is not RTMP', () => {
    const { peer, outputBytes } = createPeer();
    expect(peer.receive(Buffer.from('GET / HTTP/1.1\r\n\r\n'))).toBe('not RTMP');
    expect(outputBytes()).toBe(0);
  });
});

describe('a publisher', () => {
  const sent = [media.videoHeader(), media.key(40, 1, 5000), media.audio(43), media.frame(0x1000000, 2, 300)];
  const stream = Buffer.concat([
    HANDSHAKE,
    CONNECT,
    command('createStream', 2, null),
    command('publish', 3, null, 'a-key?token=1', 'live'),
    ...sent.map(({ kind, timestampMs, body }) =>
      chunked(kind === 'audio' ? 8 : 9, body, { timestampMs, chunkStream: kind === 'audio' ? 4 : 6, stream: 1 }),
    ),
  ]);

  it('is asked for by its key without query, and its media is whole however it was cut', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 20 }), (sizes) => {
        const { peer, asked, tags } = createPeer();
        expect(feed(peer, stream, sizes)).toBeUndefined();
        expect(asked).toEqual(['publish a-key']);
        expect(tags).toEqual(sent);
      }),
      { numRuns: 60 },
    );
  });

  it('may use chunk stream ids of two and three bytes', () => {
    const { peer, tags } = createPeer();
    const whole = chunked(9, media.key(40).body.subarray(0, 100), { timestampMs: 40, stream: 1 }).subarray(1);
    for (const id of [Buffer.from([0, 6]), Buffer.from([1, 6, 0]), Buffer.from([1, 0, 6])]) {
      if (tags.length === 0) peer.receive(stream);
      peer.receive(Buffer.concat([id, whole]));
    }
    expect(tags.slice(sent.length).map(({ timestampMs }) => timestampMs)).toEqual([40, 40, 40]);
  });

  it('may not claim more than the limit, nor begin a message inside another', () => {
    for (const [fault, bytes] of [
      ['message too large', chunked(9, Buffer.alloc(100_001), { chunkStream: 7 })],
      [
        'a message begins inside another',
        Buffer.concat([chunked(9, Buffer.alloc(400)).subarray(0, 140), chunked(9, Buffer.alloc(9))]),
      ],
    ] as const) {
      const { peer } = createPeer();
      peer.receive(stream);
      expect(peer.receive(bytes)).toBe(fault);
    }
  });

  it('that is refused is not heard any more, and its answer is not lost to what it sends on', () => {
    const { peer, tags } = createPeer(false);
    expect(peer.receive(Buffer.concat([stream, Buffer.alloc(500, 0xff)]))).toBeUndefined();
    expect(tags).toEqual([]);
  });

  it('is stopped by deleteStream of its own stream only', () => {
    const { peer, asked } = createPeer();
    peer.receive(stream);
    peer.receive(command('deleteStream', 4, null, 2));
    expect(asked).not.toContain('stopped');
    peer.receive(command('deleteStream', 5, null, 1));
    expect(asked).toContain('stopped');
  });

  it('may send messages too short to hold media: they are passed over', () => {
    const { peer, tags } = createPeer();
    peer.receive(stream);
    for (const [type, bytes] of [
      [9, 0],
      [9, 1],
      [9, 4],
      [8, 0],
      [8, 1],
      [18, 0],
    ] as const) {
      expect(peer.receive(chunked(type, Buffer.alloc(bytes, 0x17), { stream: 1 }))).toBeUndefined();
    }
    expect(peer.receive(chunked(8, Buffer.from([0xaf, 1]), { stream: 1 }))).toBeUndefined();
    expect(tags.slice(sent.length).map(({ kind }) => kind)).toEqual(['audio']);
  });
});

describe('a stranger', () => {
  it('has no media: it counts from a publisher that was let in only', () => {
    const { peer, tags } = createPeer();
    peer.receive(Buffer.concat([HANDSHAKE, CONNECT]));
    expect(peer.receive(chunked(9, media.key(40).body, { timestampMs: 40, stream: 1 }))).toBeUndefined();
    expect(tags).toEqual([]);
  });

  it('may claim 64 kB at most', () => {
    const { peer } = createPeer();
    peer.receive(HANDSHAKE);
    expect(peer.receive(chunked(20, Buffer.alloc(65_537)))).toBe('message too large');
  });
});

describe('fan-out', () => {
  const joined = (fanOut: ReturnType<typeof createRtmpFanOut>) => {
    const got: number[] = [];
    // Type at 7, time at 1, first body byte at 12: the messages have full headers.
    const leave = fanOut.join(
      'p',
      (bytes) => void (bytes[7] === 9 && bytes[13] === 1 && got.push(bytes.readUIntBE(1, 3))),
    );
    return { got, leave };
  };

  it('keeps no more pictures than it may, and begins again at a key frame', () => {
    const fanOut = createRtmpFanOut('a', { maxCacheBytes: 1000 });
    for (const tag of [media.key(0), media.frame(40, 1, 900)]) fanOut.send(tag);
    const { got } = joined(fanOut);
    for (const tag of [media.frame(80), media.key(120), media.frame(160)]) fanOut.send(tag);
    expect(got).toEqual([120, 160]);
    expect(joined(fanOut).got).toEqual([120, 160]);
  });

  it('after 4096 messages without a key frame has no pictures that need the lost one', () => {
    const fanOut = createRtmpFanOut('a', { maxCacheBytes: 10_000_000 });
    fanOut.send(media.key(0, 1, 1));
    for (let timestampMs = 1; timestampMs <= 5000; timestampMs += 1) fanOut.send(media.frame(timestampMs, 1, 1));
    expect(joined(fanOut).got).toEqual([]);
  });

  it('lets players wait for a key frame when pictures do not continue', () => {
    const fanOut = createRtmpFanOut('a', { maxCacheBytes: 10_000 });
    fanOut.send(media.key(0));
    const { got, leave } = joined(fanOut);
    fanOut.breakPictures();
    for (const tag of [media.frame(40), media.key(80)]) fanOut.send(tag);
    leave();
    fanOut.send(media.frame(120));
    expect(got).toEqual([0, 80]);
  });
});
