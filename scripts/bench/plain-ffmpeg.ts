/**
 * The peers: what anyone types who pushes a live picture with ffmpeg alone. Argument lists only; the caller spawns.
 * The same pictures, size and bit rate as the product, so that the numbers can stand side by side.
 */
import { rawVideoInput } from './frame-source.ts';

export interface PlainPush {
  /** Holds the stream key; never printed. */
  publishUrl: string;
  videoBitrateBps: number;
  audioBitrateBps: number;
  /** Before the address, e.g. `-rw_timeout`. */
  outputOptions?: readonly string[];
}

/** `default`: libx264 and aac as they come. `fast`: the encoder settings that the product uses as well. */
export type PlainEncoding = 'default' | 'fast';

const quiet = ['-hide_banner', '-nostats', '-loglevel', 'error'];

function encode(encoding: PlainEncoding, { videoBitrateBps, audioBitrateBps }: PlainPush): string[] {
  const speed =
    encoding === 'fast' ? ['-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline', '-g', '30'] : [];
  return [
    ...['-c:v', 'libx264', ...speed, '-pix_fmt', 'yuv420p', '-b:v', String(videoBitrateBps)],
    ...['-c:a', 'aac', '-b:a', String(audioBitrateBps)],
  ];
}

/** Test picture and tone, paced by -re: `ffmpeg -f lavfi … -f flv rtmp://…`. */
export function plainTestPattern(encoding: PlainEncoding, push: PlainPush): string[] {
  return [
    ...quiet,
    ...['-re', '-f', 'lavfi', '-i', 'testsrc2=size=1280x720:rate=30'],
    ...['-re', '-f', 'lavfi', '-i', 'sine=frequency=1000:sample_rate=48000'],
    ...encode(encoding, push),
    ...['-f', 'flv', push.publishUrl],
  ];
}

/** Barcode frames on standard input and a live tone: the naive command with two live inputs. */
export function plainBarcode(encoding: PlainEncoding, push: PlainPush): string[] {
  return [
    ...quiet,
    ...rawVideoInput,
    ...['-re', '-f', 'lavfi', '-i', 'sine=frequency=1000:sample_rate=48000'],
    ...encode(encoding, push),
    ...(push.outputOptions ?? []),
    ...['-f', 'flv', push.publishUrl],
  ];
}
