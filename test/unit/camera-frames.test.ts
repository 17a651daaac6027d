import { Writable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createFrameCutter,
  createFrameFanOut,
  createFramePool,
  type LentFrame,
} from '../../device/capture/camera-frames.ts';
import { settle } from '../support/test-clock.ts';

const modeOf = (pixelFormat: string) => ({ pixelFormat, widthPx: 4, heightPx: 2, frameRate: 30 });

/** Cuts a stream that comes in pieces of these lengths. */
function cut(pixelFormat: string, stream: Buffer, lengths: readonly number[]) {
  const frames: Buffer[] = [];
  const starts: boolean[] = [];
  const pool = createFramePool();
  const onFrame = ({ bytes, isStart }: LentFrame) => {
    frames.push(Buffer.from(bytes));
    starts.push(isStart);
  };
  const cutter = createFrameCutter({ mode: modeOf(pixelFormat), pool, onFrame });
  for (let at = 0, turn = 0; at < stream.length; turn += 1) {
    const length = lengths[turn % lengths.length] ?? 1;
    cutter.push(stream.subarray(at, at + length));
    at += length;
  }
  return { frames, starts, pool };
}
const pieces = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 6 });
const jpeg = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const mpjpeg = (jpegs: readonly Buffer[]) =>
  Buffer.concat([
    Buffer.from('--ffmpeg\r\n'),
    ...jpegs.flatMap((each) => [
      Buffer.from(`Content-type: image/jpeg\r\nContent-length: ${each.length}\r\n\r\n`),
      each,
      Buffer.from('\r\n--ffmpeg\r\n'),
    ]),
  ]);

describe('createFrameCutter', () => {
  test('raw: whole frames, however the bytes come', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20 }), fc.nat(15), pieces, (count, more, lengths) => {
        const stream = Buffer.from(Array.from({ length: count * 16 + more }, (_, index) => index % 251));
        const { frames, pool } = cut('yuyv422', stream, lengths);
        expect(frames.every(({ length }) => length === 16)).toBe(true);
        expect(Buffer.concat(frames)).toEqual(stream.subarray(0, count * 16));
        expect(pool.made).toBeLessThanOrEqual(1);
      }),
    );
  });

  test('MJPEG: each with a header that tells its length', () => {
    fc.assert(
      fc.property(fc.array(jpeg, { maxLength: 12 }), pieces, (jpegs, lengths) => {
        const { frames } = cut('mjpeg', mpjpeg(jpegs), lengths);
        const expected = jpegs.map((each) =>
          Buffer.concat([
            Buffer.from(`--frame\r\nContent-type: image/jpeg\r\nContent-length: ${each.length}\r\n\r\n`),
            each,
            Buffer.from('\r\n'),
          ]),
        );
        expect(frames).toEqual(expected);
      }),
    );
  });

  test.each([
    ['no header', 'x'.repeat(1_100)],
    ['no length', '--ffmpeg\r\nContent-type: image/jpeg\r\n\r\n'],
    ['no size', '--ffmpeg\r\nContent-length: 0\r\n\r\n'],
    ['a size beyond reason', '--ffmpeg\r\nContent-length: 99999999999\r\n\r\n'],
  ])('MJPEG with %s is refused', (_, text) => {
    expect(() => cut('mjpeg', Buffer.from(text), [7])).toThrow(/JPEG/);
  });

  test('arbitrary bytes are cut or refused, and no more is held than came', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3_000 }), pieces, (bytes, lengths) => {
        try {
          cut('mjpeg', Buffer.from(bytes), lengths);
        } catch (error) {
          expect(String(error)).toContain('JPEG');
        }
      }),
    );
  });

  test('H.264: nothing is lost, starts lie on parameter sets', () => {
    const unit = fc
      .tuple(fc.constantFrom(0x67, 0x68, 0x65, 0x41, 0x06), fc.uint8Array({ maxLength: 40 }))
      .map(([type, body]) => Buffer.from([0, 0, 0, 1, type, ...body.map((byte) => byte | 2)]));
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 20 }), pieces, (units, lengths) => {
        const stream = Buffer.concat(units);
        const { frames, starts } = cut('h264', stream, lengths);
        expect(stream.subarray(0, Buffer.concat(frames).length)).toEqual(Buffer.concat(frames));
        expect(starts.filter(Boolean)).toHaveLength(units.filter((each) => each[4] === 0x67).length);
        for (const [index, frame] of frames.entries()) {
          if (starts[index]) expect([0x67, undefined]).toContain(frame[4]);
        }
      }),
    );
  });
});

describe('createFrameFanOut', () => {
  function fakeSink() {
    const written: string[] = [];
    const waiting: (() => void)[] = [];
    const sink = new Writable({
      write(bytes: Buffer, _, done) {
        written.push(bytes.toString());
        waiting.push(done);
      },
    });
    /** Lets all that waits be written. */
    const drain = async () => {
      for (let done = waiting.shift(); done; done = waiting.shift()) {
        done();
        await settle();
      }
    };
    return { sink, written, drain };
  }
  function world(pixelFormat = 'yuyv422') {
    const pool = createFramePool();
    const fanOut = createFrameFanOut({ pixelFormat });
    const send = (text: string, isStart = true) => {
      const frame = pool.lend(text.length, isStart);
      frame.bytes.write(text);
      fanOut.take(frame);
      frame.release();
    };
    return { pool, fanOut, send };
  }

  test('each sink gets what it has room for; a busy one delays no other', async () => {
    const { fanOut, send } = world();
    const [slow, quick] = [fakeSink(), fakeSink()];
    fanOut.attach(slow.sink);
    fanOut.attach(quick.sink);
    for (const text of ['a', 'b', 'c', 'd']) {
      send(text);
      await quick.drain();
    }
    expect(quick.written).toEqual(['a', 'b', 'c', 'd']);
    await slow.drain();
    send('e');
    expect(slow.written).toEqual(['a', 'b', 'e']);
    expect(fanOut.dropped).toBe(2);
  });

  test('buffers come back once the last sink has written', async () => {
    const { pool, fanOut, send } = world();
    const [one, other] = [fakeSink(), fakeSink()];
    fanOut.attach(one.sink);
    fanOut.attach(other.sink);
    for (let round = 0; round < 20; round += 1) {
      send('frame');
      await one.drain();
      await other.drain();
    }
    expect(pool.made).toBe(1);
  });

  test('a new sink joins beside the old one; a detached one gets no more', async () => {
    const { fanOut, send } = world();
    const [before, after] = [fakeSink(), fakeSink()];
    const detach = fanOut.attach(before.sink);
    send('a');
    fanOut.attach(after.sink);
    send('b');
    detach();
    send('c');
    await before.drain();
    await after.drain();
    expect([before.written, after.written]).toEqual([
      ['a', 'b'],
      ['b', 'c'],
    ]);
    expect(before.sink.writableEnded).toBe(false);
  });

  test('a sink that dies hurts no other, and its frames come back', async () => {
    const { pool, fanOut, send } = world();
    const [dead, well] = [fakeSink(), fakeSink()];
    fanOut.attach(dead.sink);
    fanOut.attach(well.sink);
    send('a');
    dead.sink.destroy(new Error('EPIPE'));
    await settle();
    for (const text of ['b', 'c', 'd']) {
      send(text);
      await well.drain();
    }
    expect(well.written).toEqual(['a', 'b', 'c', 'd']);
    expect(pool.made).toBeLessThanOrEqual(2);
  });

  test('H.264 begins at a start, and begins anew after pieces were left out', async () => {
    const { fanOut, send } = world('h264');
    const slow = fakeSink();
    fanOut.attach(slow.sink);
    send('x', false);
    send('K');
    for (let piece = 0; piece < 70; piece += 1) send('p', false);
    await slow.drain();
    send('q', false);
    send('K');
    await slow.drain();
    expect(slow.written.join('')).toBe(`K${'p'.repeat(63)}K`);
    expect(fanOut.dropped).toBe(1);
  });
});
