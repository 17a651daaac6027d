/**
 * Answers with bytes that are known by their lengths before they are read: whole, a range (RFC 9110 §14) or, when the asker has
 * them, not at all. Reads one piece at a time and only as fast as the other end takes them.
 */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../../../shared/clock.ts';

export interface Piece {
  bytes: number;
  /** Undefined: gone since. */
  read(): Promise<Buffer | undefined>;
}

export interface PiecesAnswer {
  /** Or all of it, when that is in memory anyway. */
  pieces: readonly Piece[] | Buffer;
  type: string;
  /** Without quotes; the same bytes, the same word. */
  etag: string;
  cacheControl: string;
}

export function sendPieces(
  request: FastifyRequest,
  reply: FastifyReply,
  { pieces, type, etag, cacheControl }: PiecesAnswer,
): FastifyReply {
  const size = Buffer.isBuffer(pieces) ? pieces.length : pieces.reduce((sum, { bytes }) => sum + bytes, 0);
  const quoted = `"${etag}"`;
  void reply.headers({ etag: quoted, 'cache-control': cacheControl, 'accept-ranges': 'bytes' });
  if (request.headers['if-none-match'] === quoted) return reply.code(304).send();
  const condition = request.headers['if-range'];
  const wanted = condition === undefined || condition === quoted ? byteRange(request.headers.range, size) : undefined;
  if (wanted === 'unsatisfiable') {
    void reply.header('cache-control', 'no-store').header('content-range', `bytes */${size}`);
    return reply.code(416).type('text/plain').send('The range lies outside');
  }
  const { start, end } = wanted ?? { start: 0, end: size };
  if (wanted) void reply.code(206).header('content-range', `bytes ${start}-${end - 1}/${size}`);
  void reply.type(type).header('content-length', end - start);
  if (Buffer.isBuffer(pieces)) return reply.send(pieces.subarray(start, end));
  // Whoever asks for the head alone costs no read.
  return reply.send(request.method === 'HEAD' ? Readable.from([]) : Readable.from(between(pieces, start, end)));
}

const STALL_LOOK_MS = 30_000;

/** Cuts an answer whose other end has taken nothing for half a minute or more: it keeps a place from others. */
export function cutStalled(reply: FastifyReply, clock: Pick<Clock, 'every'>): void {
  let takenBytes = -1;
  const look = clock.every('answer-stalled', STALL_LOOK_MS, () => {
    const bytes = reply.raw.socket?.bytesWritten ?? 0;
    if (bytes === takenBytes) reply.raw.destroy();
    takenBytes = bytes;
  });
  reply.raw.once('close', () => look.cancel());
}

/** One range of bytes; `end` is behind the last one. Undefined: all of it, also where we do not understand the wish (RFC 9110 §14.2). */
export function byteRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | 'unsatisfiable' | undefined {
  const [whole, from = '', to = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? [];
  if (whole === undefined || (from === '' && to === '')) return undefined;
  if (from === '')
    return Number(to) === 0 || size === 0 ? 'unsatisfiable' : { start: Math.max(0, size - Number(to)), end: size };
  const start = Number(from);
  const end = to === '' ? size : Math.min(size, Number(to) + 1);
  if (to !== '' && Number(to) < start) return undefined;
  return start >= size ? 'unsatisfiable' : { start, end };
}

/** Small, so that whether the other end takes anything can be seen. */
const SLICE_BYTES = 64 * 1024;

async function* between(pieces: readonly Piece[], start: number, end: number): AsyncGenerator<Buffer> {
  let at = 0;
  for (const { bytes, read } of pieces) {
    const from = Math.max(0, start - at);
    const until = Math.min(bytes, end - at);
    at += bytes;
    if (from >= until) continue;
    const data = await read();
    // The length is said already: only an answer that breaks off tells that something is missing.
    if (data?.length !== bytes) throw new Error('a piece is gone');
    for (let cut = from; cut < until; cut += SLICE_BYTES) yield data.subarray(cut, Math.min(until, cut + SLICE_BYTES));
  }
}
