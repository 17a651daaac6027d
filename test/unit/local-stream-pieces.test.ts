/** Answers made of pieces: whole, ranges, conditions, and what is gone meanwhile. */

import { once } from 'node:events';
import { connect } from 'node:net';
import fc from 'fast-check';
import Fastify from 'fastify';
import { describe, expect, it, onTestFinished } from 'vitest';
import { byteRange, cutStalled, type Piece, sendPieces } from '../../cloud/local-stream/playback/pieces.ts';

import { createTestClock, settle } from '../support/test-clock.ts';

const text = 'abcdefghijklmnopqrstuvwxyz';

function createWorld(pieces: Piece[]) {
  const app = Fastify();
  app.get('/it', (request, reply) =>
    sendPieces(request, reply, { pieces, type: 'video/mp4', etag: 'it', cacheControl: 'no-cache' }),
  );
  onTestFinished(() => app.close());
  return async (headers: Record<string, string> = {}, method: 'GET' | 'HEAD' = 'GET') => {
    const { statusCode, body, headers: answered } = await app.inject({ url: '/it', method, headers });
    return { status: statusCode, body, headers: answered };
  };
}

function piecesOf(lengths: readonly number[]) {
  const reads: number[] = [];
  let at = 0;
  const pieces = lengths.map((bytes, index) => {
    const data = Buffer.from(text.slice(at, at + bytes));
    at += bytes;
    return {
      bytes,
      read: async () => {
        reads.push(index);
        return data;
      },
    };
  });
  return { pieces, reads };
}

describe('an answer in pieces', () => {
  it('is whole, or the range that was asked for, and reads no more than that', async () => {
    const { pieces, reads } = piecesOf([5, 0, 10, 11]);
    const get = createWorld(pieces);
    expect(await get()).toMatchObject({
      status: 200,
      body: text,
      headers: { 'content-length': '26', 'accept-ranges': 'bytes', etag: '"it"', 'content-type': 'video/mp4' },
    });
    reads.length = 0;
    expect(await get({ range: 'bytes=6-8' })).toMatchObject({
      status: 206,
      body: 'ghi',
      headers: { 'content-range': 'bytes 6-8/26', 'content-length': '3' },
    });
    expect(reads).toEqual([2]);
    expect((await get({ range: 'bytes=-3' })).body).toBe('xyz');
    expect((await get({ range: 'bytes=20-' })).body).toBe('uvwxyz');
    expect(await get({ range: 'bytes=26-' })).toMatchObject({
      status: 416,
      headers: { 'content-range': 'bytes */26' },
    });
  });
  it('to whoever has it already, or wants the head alone, costs no read', async () => {
    const { pieces, reads } = piecesOf([26]);
    const get = createWorld(pieces);
    expect(await get({ 'if-none-match': '"it"' })).toMatchObject({ status: 304, body: '' });
    expect(await get({}, 'HEAD')).toMatchObject({ status: 200, body: '', headers: { 'content-length': '26' } });
    expect(reads).toEqual([]);
    expect((await get({ 'if-range': '"other"', range: 'bytes=1-2' })).status).toBe(200);
    expect((await get({ 'if-range': '"it"', range: 'bytes=1-2' })).status).toBe(206);
  });
  it('breaks off when a piece is gone: its length has been said', async () => {
    const { pieces } = piecesOf([5, 5]);
    const gone = createWorld([...pieces, { bytes: 16, read: async () => undefined }]);
    await expect(gone()).rejects.toThrow();
    const torn = createWorld([...pieces, { bytes: 16, read: async () => Buffer.from('short') }]);
    await expect(torn()).rejects.toThrow();
  });
  it('any range of any pieces is those bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(8), { maxLength: 3, minLength: 1 }),
        fc.option(fc.nat(30), { nil: undefined }),
        fc.option(fc.nat(30), { nil: undefined }),
        async (lengths, from, to) => {
          const whole = text.slice(
            0,
            lengths.reduce((sum, length) => sum + length, 0),
          );
          const header = `bytes=${from ?? ''}-${to ?? ''}`;
          const range = byteRange(header, whole.length);
          if (range === undefined || range === 'unsatisfiable') return;
          expect(range.start).toBeLessThan(range.end);
          const { pieces } = piecesOf(lengths);
          const { body, status } = await createWorld(pieces)({ range: header });
          expect([status, body]).toEqual([206, whole.slice(range.start, range.end)]);
        },
      ),
      { numRuns: 50 },
    );
    for (const odd of ['', 'bytes=', 'bytes=-', 'bytes=5-2', 'items=0-1', 'bytes=0-1,3-4', 'bytes=a-b', 'bytes=1']) {
      expect(byteRange(odd, 10), odd).toBeUndefined();
    }
    for (const none of ['bytes=-0', 'bytes=-00']) expect(byteRange(none, 10), none).toBe('unsatisfiable');
    expect(byteRange('bytes=-5', 0)).toBe('unsatisfiable');
  });
  it('is cut when the other end takes nothing, and not while it takes something', async () => {
    const clock = createTestClock();
    const app = Fastify();
    const closed: string[] = [];
    const large = Buffer.alloc(16 * 1024 * 1024);
    app.get('/:name', (request, reply) => {
      const { name } = request.params as { name: string };
      reply.raw.once('close', () => void closed.push(name));
      cutStalled(reply, clock);
      const pieces = Array.from({ length: 4 }, () => ({ bytes: large.length, read: async () => large }));
      return sendPieces(request, reply, { pieces, type: 'video/mp4', etag: 'it', cacheControl: 'no-cache' });
    });
    onTestFinished(() => app.close());
    const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }));
    const ask = (name: string) => {
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => {}).write(`GET /${name} HTTP/1.1\r\nhost: x\r\n\r\n`);
      onTestFinished(() => void socket.destroy());
      return socket;
    };
    const reader = ask('reader');
    const staller = ask('staller');
    for (const socket of [reader, staller]) {
      await once(socket, 'readable');
      socket.read(1);
    }
    while (clock.pending().length < 2) await settle();
    for (let look = 0; look < 3; look += 1) {
      await clock.advance(30_000);
      // It takes more between two looks than sockets hold.
      for (let taken = 0; taken < 12_000_000; ) {
        taken += (reader.read() as Buffer | null)?.length ?? 0;
        await settle();
      }
    }
    expect(closed).toEqual(['staller']);
    expect(clock.pending()).toEqual(['answer-stalled']);
  });
});
