/**
 * A picture of a video: one key frame, decoded by an ffmpeg child that gets it on a pipe. One child at a time and at most one
 * picture per subject in two seconds; everybody else gets the last one.
 */
import type { SpawnChild } from '../../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../../shared/clock.ts';
import { errorText, GlasscastError } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';

export interface Thumbnails {
  /**
   * JPEG; undefined when none can be made.
   * @param want of one `subject` (a live video, or one moment of a recording) any picture of the last two seconds will do.
   * @param source init segment and media segment that starts with the wanted picture; asked only when needed.
   */
  jpeg(
    want: { subject: string; size: ThumbnailSize; moment: string },
    source: () => Promise<Buffer | undefined>,
  ): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

/** Even numbers. Without a width the picture keeps its shape. */
export interface ThumbnailSize {
  heightPx: number;
  widthPx?: number;
  fit: keyof typeof fits;
}

/** Ways to put a picture into a frame of another shape, named as at Cloudflare. */
const fits = {
  crop: (w: number, h: number) => `scale=${w}:${h}:force_original_aspect_ratio=increase,crop=${w}:${h}`,
  clip: (w: number, h: number) => `scale=${w}:${h}:force_original_aspect_ratio=decrease`,
  scale: (w: number, h: number) => `scale=${w}:${h}`,
  fill: (w: number, h: number) =>
    `scale=${w}:${h}:force_original_aspect_ratio=decrease,pad=${w}:${h}:(ow-iw)/2:(oh-ih)/2`,
};
const DEFAULT_HEIGHT_PX = 360;

/** Of an address' query; what cannot be understood is as if it were not there. */
export function thumbnailSize(query: { height?: unknown; width?: unknown; fit?: unknown }): ThumbnailSize {
  const pixels = (given: unknown) => {
    const asked = Number(given ?? Number.NaN);
    return Number.isNaN(asked) ? undefined : Math.min(2160, Math.max(16, Math.round(asked / 2) * 2));
  };
  const widthPx = pixels(query.width);
  const fit = (Object.keys(fits) as (keyof typeof fits)[]).find((name) => name === query.fit) ?? 'crop';
  return { heightPx: pixels(query.height) ?? DEFAULT_HEIGHT_PX, ...(widthPx === undefined ? {} : { widthPx }), fit };
}

export interface ThumbnailsOptions {
  /** Asked at the first thumbnail, once. */
  ffmpeg: () => Promise<string>;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
}

interface Cached {
  jpeg: Buffer;
  moment: string;
  madeMs: number;
}

const REFRESH_MS = 2000;
const DECODE_TIMEOUT_MS = 8000;
const MAX_CACHED = 32;
/** Each size is a picture of its own; whoever comes when so many wait gets what is there, or nothing. */
const MAX_WAITING = 8;
const MAX_JPEG_BYTES = 16 * 1024 * 1024;

export function createThumbnails({ ffmpeg, spawn, clock, log }: ThumbnailsOptions): Thumbnails {
  const cache = new Map<string, Cached>();
  let busy: Promise<unknown> = Promise.resolve();
  const waiting = new Map<string, Promise<Buffer | undefined>>();
  let isClosed = false;
  let found: Promise<string | undefined> | undefined;

  /** A machine without ffmpeg has no thumbnails; that is said once. */
  function ffmpegFile(): Promise<string | undefined> {
    found ??= ffmpeg().catch((error: unknown) => {
      log.warn({ cause: errorText(error) }, 'thumbnails-off');
      return undefined;
    });
    return found;
  }

  async function decode(
    file: string,
    media: Buffer,
    { heightPx, widthPx, fit }: ThumbnailSize,
  ): Promise<Buffer | undefined> {
    const child = spawn({
      name: 'thumbnail',
      file,
      args: [
        ...['-hide_banner', '-loglevel', 'error', '-f', 'mp4', '-i', 'pipe:0', '-frames:v', '1'],
        ...[
          '-vf',
          widthPx ? fits[fit](widthPx, heightPx) : `scale=-2:${heightPx}`,
          '-c:v',
          'mjpeg',
          '-q:v',
          '4',
          '-f',
          'mjpeg',
          'pipe:1',
        ],
      ],
      stdin: 'pipe',
      stdout: 'raw',
    });
    const pieces: Buffer[] = [];
    let bytes = 0;
    child.stdout?.on('data', (piece: Buffer) => {
      bytes += piece.length;
      if (bytes <= MAX_JPEG_BYTES) pieces.push(piece);
    });
    child.stdin?.end(media);
    try {
      const late = () => new GlasscastError('ENCODER_STALLED');
      const { code } = await withTimeout(clock, 'thumbnail', DECODE_TIMEOUT_MS, child.exited, late);
      return code === 0 && bytes > 0 && bytes <= MAX_JPEG_BYTES ? Buffer.concat(pieces) : undefined;
    } catch (error) {
      log.warn({ cause: errorText(error) }, 'thumbnail-failed');
      await child.stop();
      return undefined;
    }
  }

  function remember(key: string, made: Cached): void {
    cache.delete(key);
    cache.set(key, made);
    for (const oldest of cache.keys()) {
      if (cache.size <= MAX_CACHED) break;
      cache.delete(oldest);
    }
  }

  return {
    async jpeg({ subject, size, moment }, source) {
      const file = await ffmpegFile();
      if (!file) return undefined;
      const key = [subject, size.heightPx, ...(size.widthPx ? [size.widthPx, size.fit] : [])].join(' ');
      const isFresh = (cached: Cached | undefined) =>
        cached !== undefined && (cached.moment === moment || clock.monotonicMs() - cached.madeMs < REFRESH_MS);
      const known = cache.get(key);
      if (isFresh(known)) return known?.jpeg;
      const shared = waiting.get(key);
      if (shared || waiting.size >= MAX_WAITING) return shared ?? known?.jpeg;
      const work = busy.then(async () => {
        const media = isClosed ? undefined : await source();
        const jpeg = media && (await decode(file, media, size));
        if (jpeg) remember(key, { jpeg, moment, madeMs: clock.monotonicMs() });
        return jpeg ?? known?.jpeg;
      });
      waiting.set(key, work);
      busy = work.catch(() => undefined).finally(() => waiting.delete(key));
      return work;
    },
    async close() {
      isClosed = true;
      await busy;
    },
  };
}
