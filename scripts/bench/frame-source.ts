/**
 * A camera made of arithmetic: 1280x720 yuv420p frames at 30 a second by the wall clock, unless asked otherwise, each stamped with
 * a barcode at the instant of exposure. Owns the pace; like a real camera it drops a frame that nobody takes. Never spawns, never encodes.
 */
import type { Writable } from 'node:stream';
import type { Clock, Timer } from '../../shared/clock.ts';
import { barcodeSize, stampBarcode } from './barcode.ts';

export const frameShape = { width: 1280, height: 720, framesPerSecond: 30, pixelFormat: 'yuv420p' } as const;

export interface FrameShape {
  /** A multiple of 32: the blocks of the barcode. */
  width: number;
  /** 9/16 of it, where the readers look for the barcode. */
  height: number;
  framesPerSecond: number;
}

const lumaBytes = ({ width, height }: FrameShape) => width * height;
/** The camera driver's queue: half a second, so that a slow start loses no picture (ffmpeg asks V4L2 for up to 256 buffers). */
const POOL_FRAMES = 15;
/** A prime number, so that no encoder's reference frames catch the rhythm. */
const BUSY_BACKGROUNDS = 7;
/** The moving part, so that the encoder has something to do: a box in a band of lines, for a frame 1280 wide. */
const BAND = { firstLine: 300, lines: 160, boxPx: 160, stepPx: 12 } as const;

export interface FrameSource {
  /** From now on frames go here too; gives the function that ends it. */
  attach(sink: Writable): () => void;
  start(): void;
  /** Frames exposed so far, and the numbers of those that nobody took while somebody was attached. */
  stats(): { exposed: number; dropped: number[] };
  close(): void;
}

export interface FrameSourceOptions {
  clock: Clock;
  /** All of the picture changes with each frame, so that any bit rate is used up. Default: only a box moves. */
  isBusy?: boolean;
  /** Default `frameShape`. */
  shape?: FrameShape;
}

export function createFrameSource({ clock, isBusy = false, shape = frameShape }: FrameSourceOptions): FrameSource {
  const periodMs = 1000 / shape.framesPerSecond;
  const blockPx = shape.width / barcodeSize.columns;
  const backgrounds = Array.from({ length: isBusy ? BUSY_BACKGROUNDS : 1 }, (_, index) =>
    paintBackground(shape, index),
  );
  const free = Array.from({ length: 2 * POOL_FRAMES }, () => Buffer.from(backgrounds[0] ?? []));
  /** Each with the frames that it has not taken yet. */
  const sinks = new Map<Writable, number>();
  let timer: Timer | undefined;
  let isRunning = false;
  let exposed = 0;
  const dropped: number[] = [];
  let slot = 0;

  function expose(): void {
    const frame = exposed;
    exposed += 1;
    const open = [...sinks].filter(([{ writable }]) => writable);
    const ready = open.filter(([, waiting]) => waiting < POOL_FRAMES);
    const buffer = ready.length > 0 ? free.pop() : undefined;
    if (!buffer) {
      if (open.length > 0) dropped.push(frame);
      return;
    }
    const background = backgrounds[frame % backgrounds.length] ?? buffer;
    if (isBusy) background.copy(buffer, 0, 0, lumaBytes(shape));
    moveBox(shape, buffer, background, frame);
    stampBarcode(buffer, { clockMs: clock.now() % 2 ** 32, frame: frame % 2 ** 24 }, blockPx);
    let readers = ready.length;
    for (const [sink, waiting] of ready) {
      sinks.set(sink, waiting + 1);
      // The callback comes also when the sink breaks, so no buffer is ever lost.
      sink.write(buffer, () => {
        if (sinks.has(sink)) sinks.set(sink, (sinks.get(sink) ?? 1) - 1);
        readers -= 1;
        if (readers === 0) free.push(buffer);
      });
    }
  }
  function tick(): void {
    if (!isRunning) return;
    expose();
    arm();
  }
  function arm(): void {
    // Exposures sit on a grid of the wall clock: a late one does not delay the next, and a timer that fires
    // a little early does not expose the same slot twice.
    const nowMs = clock.now();
    slot = Math.max(slot + 1, Math.ceil(nowMs / periodMs));
    timer = clock.after('exposure', slot * periodMs - nowMs, tick);
  }

  return {
    attach(sink) {
      const leave = () => void sinks.delete(sink);
      sinks.set(sink, 0);
      sink.on('error', leave);
      return leave;
    },
    start() {
      if (isRunning) return;
      isRunning = true;
      arm();
    },
    stats: () => ({ exposed, dropped: [...dropped] }),
    close() {
      isRunning = false;
      timer?.cancel();
    },
  };
}

/** Gradient with a coarse texture: neither free nor impossible to encode. */
function paintBackground(shape: FrameShape, index = 0): Buffer {
  const { width, height } = shape;
  const frame = Buffer.alloc((lumaBytes(shape) * 3) / 2, 128);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const texture = (((x >> 3) * 2654435761 + ((y >> 3) + 97 * index) * 40503) >>> 7) % 40;
      frame[y * width + x] = 40 + Math.round((x / width) * 120) + texture;
    }
  }
  return frame;
}

function moveBox({ width }: FrameShape, frame: Buffer, background: Buffer, number: number): void {
  const scaled = (px: number) => Math.round((px * width) / frameShape.width);
  const [lines, boxPx] = [scaled(BAND.lines), scaled(BAND.boxPx)];
  const first = scaled(BAND.firstLine) * width;
  background.copy(frame, first, first, first + lines * width);
  const left = (number * scaled(BAND.stepPx)) % (width - boxPx);
  for (let line = 0; line < lines; line += 1) {
    const from = first + line * width + left;
    frame.fill(220, from, from + boxPx);
  }
}

/** ffmpeg's input arguments for these frames on standard input. */
export const rawVideoInput: readonly string[] = [
  ...['-f', 'rawvideo', '-pix_fmt', frameShape.pixelFormat],
  ...['-s', `${frameShape.width}x${frameShape.height}`, '-r', String(frameShape.framesPerSecond)],
  ...['-i', 'pipe:0'],
];

/** Filter that leaves of each frame one gray pixel per block of the barcode. */
export const barcodeFilter = [
  // A publisher on a narrow uplink makes the picture smaller.
  `scale=${frameShape.width}:${frameShape.height}:flags=fast_bilinear`,
  `crop=${barcodeSize.widthPx}:${barcodeSize.heightPx}:0:0`,
  `scale=${barcodeSize.columns}:${barcodeSize.rows}:flags=area`,
  'format=gray',
].join(',');
