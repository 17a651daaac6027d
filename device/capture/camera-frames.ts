/**
 * Whole frames out of a capture's bytes, and on to every sink that has room. Frames lie in pooled buffers that are lent out
 * until the last sink has written them. Knows no process and no camera.
 */
import type { Writable } from 'node:stream';
import { type CaptureMode, rawFrameBytes } from './camera-modes.ts';

/** Lent by a pool: whoever keeps it holds it, and releases it as often as it was held. The lender holds it once. */
export interface LentFrame {
  readonly bytes: Buffer;
  /** A picture of its own can start here: always, but of H.264 only with its parameter sets. */
  readonly isStart: boolean;
  hold(): void;
  release(): void;
}

export interface FrameCutter {
  /** @throws an Error: this is no such stream. */
  push(bytes: Buffer): void;
}

export interface FramePool {
  lend(bytes: number, isStart?: boolean): LentFrame;
  /** Buffers that were ever made. */
  readonly made: number;
}

/** Buffers that wait unused; more come from a burst that will not be needed again. */
const KEPT_BUFFERS = 6;
/** Sizes of JPEGs vary: buffers come in steps, so that one serves the next too. */
const BUFFER_STEP_BYTES = 65_536;

export function createFramePool(): FramePool {
  const free: Buffer[] = [];
  let made = 0;
  function bufferOf(bytes: number): Buffer {
    const index = free.findIndex((buffer) => buffer.length >= bytes);
    const [found] = index < 0 ? [] : free.splice(index, 1);
    if (found) return found;
    made += 1;
    return Buffer.allocUnsafeSlow(Math.ceil(bytes / BUFFER_STEP_BYTES) * BUFFER_STEP_BYTES);
  }
  return {
    lend(bytes, isStart = true) {
      const buffer = bufferOf(bytes);
      let holders = 1;
      return {
        bytes: buffer.subarray(0, bytes),
        isStart,
        hold() {
          holders += 1;
        },
        release() {
          holders -= 1;
          if (holders !== 0) return;
          free.push(buffer);
          if (free.length > KEPT_BUFFERS) free.shift();
        },
      };
    },
    get made() {
      return made;
    },
  };
}

export interface FrameCutterOptions {
  mode: CaptureMode;
  pool: FramePool;
  /** The frame is released when this returns. */
  onFrame: (frame: LentFrame) => void;
}

/** For raw formats by their size, for MJPEG by the lengths in its multipart headers (`-f mpjpeg`), for H.264 by key frames. */
export function createFrameCutter(options: FrameCutterOptions): FrameCutter {
  if (options.mode.pixelFormat === 'h264') return cutH264(options);
  const frameBytes = rawFrameBytes(options.mode);
  return frameBytes === undefined ? cutMultipart(options) : cutRaw(frameBytes, options);
}

function cutRaw(frameBytes: number, { pool, onFrame }: FrameCutterOptions): FrameCutter {
  let frame: LentFrame | undefined;
  let filled = 0;
  return {
    push(bytes) {
      for (let at = 0; at < bytes.length; ) {
        frame ??= pool.lend(frameBytes);
        const copied = bytes.copy(frame.bytes, filled, at);
        at += copied;
        filled += copied;
        if (filled < frameBytes) return;
        const whole = frame;
        frame = undefined;
        filled = 0;
        onFrame(whole);
        whole.release();
      }
    },
  };
}

const MAX_HEADER_BYTES = 1_000;
const MAX_JPEG_BYTES = 16_000_000;
const HEADER_END = Buffer.from('\r\n\r\n');
const PART_END = Buffer.from('\r\n');

function cutMultipart({ pool, onFrame }: FrameCutterOptions): FrameCutter {
  let header = Buffer.alloc(0);
  let frame: LentFrame | undefined;
  let filled = 0;
  /** How many of the bytes belong to the header; opens a frame at its end. */
  function readHeader(bytes: Buffer): number {
    const before = header.length;
    const text = Buffer.concat([header, bytes.subarray(0, MAX_HEADER_BYTES + 1)]);
    const end = text.indexOf(HEADER_END);
    if (end < 0) {
      if (text.length > MAX_HEADER_BYTES) throw new Error('no header of a JPEG where one should be');
      header = text;
      return bytes.length;
    }
    const length = Number(/content-length: *(\d+)/i.exec(text.toString('latin1', 0, end))?.[1]);
    if (!(length > 0 && length <= MAX_JPEG_BYTES)) throw new Error('a JPEG without a length');
    header = Buffer.alloc(0);
    // Each part with a header of our own: a sink may come in between any two.
    const start = Buffer.from(`--frame\r\nContent-type: image/jpeg\r\nContent-length: ${length}\r\n\r\n`);
    frame = pool.lend(start.length + length + PART_END.length);
    filled = start.copy(frame.bytes);
    return end + HEADER_END.length - before;
  }
  return {
    push(bytes) {
      for (let at = 0; at < bytes.length; ) {
        if (!frame) {
          at += readHeader(bytes.subarray(at));
          continue;
        }
        const end = frame.bytes.length - PART_END.length;
        const copied = bytes.copy(frame.bytes, filled, at, Math.min(bytes.length, at + end - filled));
        at += copied;
        filled += copied;
        if (filled < end) return;
        PART_END.copy(frame.bytes, end);
        const whole = frame;
        frame = undefined;
        onFrame(whole);
        whole.release();
      }
    },
  };
}

const START_CODE = Buffer.from([0, 0, 1]);
const SPS = 7;

/**
 * Passes on what came at once, cut where a sequence parameter set begins: `--inline` puts one before each key frame. Waiting
 * for the end of a frame would cost a frame's time, as only the next one shows it.
 */
function cutH264({ pool, onFrame }: FrameCutterOptions): FrameCutter {
  let rest = Buffer.alloc(0);
  let isStart = false;
  function emit(bytes: Buffer): void {
    if (bytes.length === 0) return;
    const frame = pool.lend(bytes.length, isStart);
    isStart = false;
    bytes.copy(frame.bytes);
    onFrame(frame);
    frame.release();
  }
  return {
    push(more) {
      const bytes = rest.length > 0 ? Buffer.concat([rest, more]) : more;
      let from = 0;
      for (let at = bytes.indexOf(START_CODE); at >= 0; at = bytes.indexOf(START_CODE, at + 3)) {
        const type = bytes[at + 3];
        if (type === undefined || (type & 31) !== SPS) continue;
        const start = at > from && bytes[at - 1] === 0 ? at - 1 : at;
        emit(bytes.subarray(from, start));
        from = start;
        isStart = true;
      }
      // A start code may go on in the next bytes.
      const kept = openStartCode(bytes.subarray(from));
      emit(bytes.subarray(from, bytes.length - kept));
      rest = Buffer.from(bytes.subarray(bytes.length - kept));
    },
  };
}

/** How many bytes at the end may be the beginning of a start code. */
function openStartCode(bytes: Buffer): number {
  let kept = 0;
  while (kept < 4 && (bytes.at(-1 - kept) ?? 2) <= 1) kept += 1;
  return kept;
}

export interface FrameFanOut {
  take(frame: LentFrame): void;
  /** From the next frame on this sink gets each one it has room for. Returns what ends that; a sink is never ended here. */
  attach(sink: Writable): () => void;
  /** Frames that a sink was too busy for. */
  readonly dropped: number;
}

interface Attached {
  sink: Writable;
  /** Frames given and not yet written. */
  waiting: number;
  /** Has seen a start; what follows one that was dropped cannot be decoded. */
  isRunning: boolean;
}

/** One that is being written and one that waits: more would only be old when read. */
const MAX_WAITING = 2;
/** Pieces of H.264 depend on each other, so a sink is given half a second of them before some are left out. */
const MAX_WAITING_PIECES = 64;

export function createFrameFanOut({ pixelFormat }: Pick<CaptureMode, 'pixelFormat'>): FrameFanOut {
  const sinks = new Set<Attached>();
  const maxWaiting = pixelFormat === 'h264' ? MAX_WAITING_PIECES : MAX_WAITING;
  let dropped = 0;
  function give(attached: Attached, frame: LentFrame): void {
    const { sink } = attached;
    attached.isRunning ||= frame.isStart;
    if (!attached.isRunning || sink.destroyed || sink.writableEnded) return;
    if (attached.waiting >= maxWaiting) {
      dropped += 1;
      attached.isRunning = false;
      return;
    }
    attached.waiting += 1;
    frame.hold();
    sink.write(frame.bytes, () => {
      attached.waiting -= 1;
      frame.release();
    });
  }
  return {
    take(frame) {
      for (const attached of sinks) give(attached, frame);
    },
    attach(sink) {
      const attached: Attached = { sink, waiting: 0, isRunning: false };
      const detach = () => void sinks.delete(attached);
      // A reader that died is seen by its owner; here it only must not become an uncaught error.
      sink.on('error', detach);
      sink.once('close', detach);
      sinks.add(attached);
      return detach;
    },
    get dropped() {
      return dropped;
    },
  };
}
