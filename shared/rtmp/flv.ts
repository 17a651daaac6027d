/**
 * FLV: the unit that travels from the encoder's pipe to the ingest and on to every egress.
 * Knows the container (Adobe FLV specification v10.1, Annex E), nothing of sockets.
 */

export interface FlvTag {
  readonly kind: 'audio' | 'video' | 'script';
  /** Milliseconds on the publisher's timeline; 32 bit, never negative. */
  readonly timestampMs: number;
  /** The tag's data: what an RTMP message of the same kind carries as its payload. */
  readonly body: Buffer;
}

/** AVC or AAC decoder configuration: has to be sent again before media on each new connection. */
export function isSequenceHeader({ kind, body }: FlvTag): boolean {
  if (kind === 'video') return body.length > 1 && ((body[0] ?? 0) & 0x0f) === 7 && body[1] === 0;
  if (kind === 'audio') return body.length > 1 && (body[0] ?? 0) >> 4 === 10 && body[1] === 0;
  return false;
}

/** A coded picture a decoder can start at. */
export function isKeyFrame(tag: FlvTag): boolean {
  return tag.kind === 'video' && (tag.body[0] ?? 0) >> 4 === 1 && !isSequenceHeader(tag);
}
