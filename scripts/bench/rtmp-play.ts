/**
 * Reader (a): ffmpeg as a low-delay RTMP player whose picture is reduced to the barcode and read by Node.
 * Latency is the wall clock here minus the stamp in the picture: same machine, same clock.
 */
import type { Child, SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import { ageMs, barcodeSize, readBarcode } from './barcode.ts';
import { barcodeFilter } from './frame-source.ts';

export interface PlayedFrame {
  frame: number;
  /** Glass to glass. */
  latencyMs: number;
  /** Wall clock at the reader. */
  atMs: number;
}

export interface RtmpPlayOptions {
  clock: Clock;
  spawn: SpawnChild;
  ffmpeg: FfmpegBinary;
  /** Holds the playback key; never printed. */
  url: string;
  onFrame: (played: PlayedFrame) => void;
  /** A picture whose checksum does not fit. */
  onUnreadable: () => void;
}

const FRAME_BYTES = barcodeSize.columns * barcodeSize.rows;

/** ffmpeg that turns `input` into one 32x2 gray picture per frame on standard output. */
export function barcodeReaderArgs(ffmpeg: FfmpegBinary, inputOptions: readonly string[], input: string): string[] {
  const passEach = [ffmpeg.hasFpsMode ? '-fps_mode' : '-vsync', 'passthrough'];
  return [
    ...['-hide_banner', '-loglevel', 'error', ...inputOptions, '-i', input],
    ...['-an', '-vf', barcodeFilter, ...passEach, '-f', 'rawvideo', 'pipe:1'],
  ];
}

/** Plays until the child is stopped or the stream ends. */
export function playRtmp({ clock, spawn, ffmpeg, url, onFrame, onUnreadable }: RtmpPlayOptions): Child {
  const args = barcodeReaderArgs(ffmpeg, ['-fflags', 'nobuffer', '-flags', 'low_delay'], url);
  const player = spawn({ name: 'player', file: ffmpeg.file, args, stdout: 'raw' });
  onPictures(player, (levels) => {
    const atMs = clock.now();
    const code = readBarcode(levels);
    if (code) onFrame({ frame: code.frame, latencyMs: ageMs(code, atMs), atMs });
    else onUnreadable();
  });
  return player;
}

/** Cuts the child's standard output into pictures of 64 gray levels. */
export function onPictures(child: Child, take: (levels: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  child.stdout?.on('data', (bytes: Buffer) => {
    rest = rest.length > 0 ? Buffer.concat([rest, bytes]) : bytes;
    let at = 0;
    for (; at + FRAME_BYTES <= rest.length; at += FRAME_BYTES) take(rest.subarray(at, at + FRAME_BYTES));
    rest = rest.subarray(at);
  });
}
