/**
 * What passes the ingest's door and when, and the pictures in it: which was exposed when, and how old it arrived.
 * Records while the bench runs and decodes afterwards, so that reading costs nothing of what is measured.
 */
import { type FlvTag, flvHeader, flvTagBytes, isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { ageMs, type Barcode, readBarcode } from './barcode.ts';
import type { Bench } from './program.ts';
import { barcodeReaderArgs, onPictures } from './rtmp-play.ts';
import type { WorldListeners } from './world.ts';

export interface Arrival {
  tag: FlvTag;
  connection: number;
  /** `Clock.monotonicMs` and `Clock.now` with its last byte. */
  atMs: number;
  wallMs: number;
  /** Of its connection, with this message. */
  bytes: number;
}

/** What passes the ingest's door, in order, and what the ingest says it has read of each connection. */
export interface Arrivals {
  readonly all: readonly Arrival[];
  readonly acknowledged: ReadonlyMap<number, number>;
}

/** Everything from now on; begun before the publisher, whose headers come first. */
export function recordArrivals({ clock }: Bench, { listeners }: { listeners: WorldListeners }): Arrivals {
  const all: Arrival[] = [];
  const acknowledged = new Map<number, number>();
  listeners.onTag = (tag, connection, bytes) =>
    void all.push({ tag, connection, bytes, atMs: clock.monotonicMs(), wallMs: clock.now() });
  listeners.onAcknowledged = (bytes, connection) => void acknowledged.set(connection, bytes);
  return { all, acknowledged };
}

/** What came until now; nothing is recorded any more. */
export function stopRecording({ listeners }: { listeners: WorldListeners }): void {
  listeners.onTag = () => {};
  listeners.onAcknowledged = () => {};
}

export interface ArrivedPicture {
  /** The camera's number. */
  frame: number;
  connection: number;
  /** `Clock.monotonicMs` of its last byte at the door. */
  atMs: number;
  /** From its exposure to then. */
  delayMs: number;
}

/**
 * Decodes what arrived, encoder by encoder, as the ingest would have, and reads the barcodes.
 * @param all where the headers are looked for: they were sent when the connection began, maybe before what is looked at
 */
export async function readPictures(
  bench: Bench,
  arrivals: readonly Arrival[],
  all: readonly Arrival[] = arrivals,
): Promise<ArrivedPicture[]> {
  const wanted = new Set(arrivals);
  const pictures: ArrivedPicture[] = [];
  for (const run of encoderRuns(all)) {
    const kept = run.media.filter((arrival) => wanted.has(arrival));
    const first = kept.findIndex(({ tag }) => isKeyFrame(tag));
    if (first < 0) continue;
    const decodable = kept.slice(first);
    const codes = await decode(bench, [run.header, ...decodable]);
    if (codes.length !== decodable.length) bench.note(`${decodable.length} pictures sent, ${codes.length} decoded`);
    // Without B-frames they come out as they went in, one for one.
    for (const [index, code] of codes.entries()) {
      const arrival = decodable[index];
      if (!code || !arrival) continue;
      const { connection, atMs, wallMs } = arrival;
      pictures.push({ frame: code.frame, connection, atMs, delayMs: ageMs(code, wallMs) });
    }
  }
  return pictures.sort((a, b) => a.atMs - b.atMs);
}

/** What may have been lost is sent again: only the first arrival of a picture is news. */
export function firstArrivals(pictures: readonly ArrivedPicture[]): ArrivedPicture[] {
  const first = new Map<number, ArrivedPicture>();
  for (const picture of pictures) if (!first.has(picture.frame)) first.set(picture.frame, picture);
  return [...first.values()];
}

interface EncoderRun {
  header: Arrival;
  media: Arrival[];
}

/** A new header begins a new run: it may bring another size, so each is decoded by itself. */
function encoderRuns(all: readonly Arrival[]): EncoderRun[] {
  const runs: EncoderRun[] = [];
  const current = new Map<number, EncoderRun>();
  for (const arrival of all) {
    if (arrival.tag.kind !== 'video') continue;
    if (isSequenceHeader(arrival.tag)) {
      const run = { header: arrival, media: [] };
      current.set(arrival.connection, run);
      runs.push(run);
    } else current.get(arrival.connection)?.media.push(arrival);
  }
  return runs;
}

async function decode(bench: Bench, arrivals: readonly Arrival[]): Promise<(Barcode | undefined)[]> {
  const codes: (Barcode | undefined)[] = [];
  const reader = bench.spawn({
    name: 'barcode-reader',
    file: bench.ffmpeg.file,
    args: barcodeReaderArgs(bench.ffmpeg, ['-f', 'flv'], 'pipe:0'),
    stdin: 'pipe',
    stdout: 'raw',
    onStderrLine: bench.note,
  });
  onPictures(reader, (levels) => void codes.push(readBarcode(levels)));
  const bytes = [flvHeader({ audio: false, video: true }), ...arrivals.map(({ tag }) => flvTagBytes(tag))];
  reader.stdin?.end(Buffer.concat(bytes));
  await reader.exited;
  return codes;
}
