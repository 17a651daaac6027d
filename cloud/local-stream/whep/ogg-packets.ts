/**
 * The packets of an Ogg stream (RFC 3533 §6), cut anywhere, as ffmpeg writes them to a pipe. One logical stream; knows
 * nothing of what the packets hold. What is no Ogg is skipped up to the next page; never throws.
 */

export interface OggParser {
  push(chunk: Buffer): void;
}

const CAPTURE = Buffer.from('OggS');
const HEADER_BYTES = 27;
const CONTINUED = 1;
/** 255 segments of 255 bytes and the header. */
const MAX_PAGE_BYTES = HEADER_BYTES + 255 + 255 * 255;

/** @param maxPacketBytes a longer packet is left out. Default 64 KiB. */
export function createOggParser(onPacket: (packet: Buffer) => void, maxPacketBytes = 65_536): OggParser {
  let held: Buffer = Buffer.alloc(0);
  let unfinished: Buffer[] = [];
  let unfinishedBytes = 0;

  function forget(): void {
    unfinished = [];
    unfinishedBytes = 0;
  }

  /** One page at the start of `held`; false when it is not there in whole. */
  function takePage(): boolean {
    const segments = held.length < HEADER_BYTES ? undefined : held.readUInt8(26);
    if (segments === undefined || held.length < HEADER_BYTES + segments) return false;
    const lengths = held.subarray(HEADER_BYTES, HEADER_BYTES + segments);
    const bodyBytes = lengths.reduce((sum, bytes) => sum + bytes, 0);
    let at = HEADER_BYTES + segments;
    if (held.length < at + bodyBytes) return false;
    const isContinued = (held.readUInt8(5) & CONTINUED) !== 0;
    // The beginning of this packet was in a page that we never saw.
    let isOrphan = isContinued && unfinished.length === 0;
    if (!isContinued) forget();
    for (const bytes of lengths) {
      unfinished.push(held.subarray(at, at + bytes));
      unfinishedBytes += bytes;
      at += bytes;
      if (unfinishedBytes > maxPacketBytes) isOrphan = true;
      if (isOrphan) unfinished = [Buffer.alloc(0)];
      if (bytes === 255) continue;
      const packet = isOrphan ? undefined : Buffer.concat(unfinished);
      isOrphan = false;
      forget();
      if (packet) onPacket(packet);
    }
    // A chunk of the pipe must not live as long as a packet that goes on.
    if (unfinished.length > 0) unfinished = isOrphan ? [] : [Buffer.concat(unfinished)];
    held = held.subarray(at);
    return true;
  }

  return {
    push(chunk) {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      for (;;) {
        const start = held.indexOf(CAPTURE);
        // The last bytes may be the first of a page.
        held = held.subarray(start >= 0 ? start : Math.max(0, held.length - CAPTURE.length + 1));
        if (start < 0 || !takePage()) break;
      }
      if (held.length > MAX_PAGE_BYTES) held = held.subarray(CAPTURE.length);
      held = Buffer.from(held);
    },
  };
}
