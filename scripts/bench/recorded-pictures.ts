/** What the local Stream has recorded, and which pictures are in it. */
import { readBarcode } from './barcode.ts';
import type { Bench } from './program.ts';
import { barcodeReaderArgs, onPictures } from './rtmp-play.ts';
import type { StreamProcess } from './stream-process.ts';

export interface VideoJson {
  status: { state: string };
  meta?: { name?: string };
  playback: { hls: string };
}

/** Of the local Stream. */
export async function listVideos({ accountId, apiBaseUrl, apiToken }: StreamProcess): Promise<VideoJson[]> {
  const headers = { authorization: `Bearer ${apiToken.reveal()}` };
  const response = await fetch(`${apiBaseUrl}/accounts/${accountId}/stream`, { headers });
  return ((await response.json()) as { result: VideoJson[] }).result;
}

/** The numbers of all pictures of one recording, by their barcodes. */
export async function framesOf(bench: Bench, hlsUrl: string): Promise<Set<number>> {
  const frames = new Set<number>();
  const args = barcodeReaderArgs(bench.ffmpeg, [], hlsUrl);
  const { file } = bench.ffmpeg;
  const reader = bench.spawn({ name: 'barcode-reader', file, args, stdout: 'raw', onStderrLine: bench.note });
  onPictures(reader, (levels) => {
    const code = readBarcode(levels);
    if (code) frames.add(code.frame);
  });
  await reader.exited;
  return frames;
}
