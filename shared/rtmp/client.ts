/**
 * One RTMP(S) publication over one connection: connect, handshake, publish, media out, acknowledgements in.
 * Never reconnects and keeps no media: that is `push.ts`. Facts: Adobe RTMP 1.0 specification.
 */
import type { Clock } from '../clock.ts';
import { GlasscastError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { FlvTag } from './flv.ts';
import type { PublishUrl } from './publish-url.ts';

export interface PublishRtmpOptions {
  url: PublishUrl;
  clock: Clock;
  log: Log;
  /** Aborting ends the connection at once, without farewell, at any stage. */
  signal?: AbortSignal | undefined;
  /** For DNS, TCP and TLS together. Default 5000. */
  connectTimeoutMs?: number;
  /** For each answer of the server until it lets us publish. Default 5000. */
  silenceTimeoutMs?: number;
  /** The send queue does not drain for this long: INGEST_SILENT. Default 2000. */
  stallTimeoutMs?: number;
  /** Trusted certificates (PEM) instead of the system's, for rtmps. */
  ca?: string | Buffer | undefined;
  /** The queue was measured or has room again: a good moment to send more and to forget what has arrived. */
  onProgress?: () => void;
}

export interface Publication {
  /** Queues one tag; never blocks, never throws; ignored once closed. */
  send(tag: FlvTag): void;
  /** Bytes not yet acknowledged by the peer's TCP: in Node and in the kernel, as last measured (each 250 ms). */
  queuedBytes(): number;
  /** Of these, what the kernel has not even taken: not 0 means that sending more only fills our memory. */
  unwrittenBytes(): number;
  /** All bytes given to `send`, with RTMP's overhead. */
  readonly bytesSent: number;
  /** Of `bytesSent`, what the peer's TCP has acknowledged. */
  readonly acknowledgedBytes: number;
  /** Of `bytesSent`, what the ingest has certainly read: by RTMP acknowledgements, or acknowledged by TCP 2 s of progress ago. */
  readonly certainBytes: number;
  /** From the call to the right to publish. */
  readonly connectMs: number;
  /** Settles when the connection is gone: with the cause, or undefined when we closed it. Never rejects. */
  readonly closed: Promise<GlasscastError | undefined>;
  /** Says goodbye (FCUnpublish, deleteStream), lets queued bytes leave for up to 1 s, ends. Idempotent. */
  close(): Promise<void>;
}

/**
 * Resolves when the ingest has accepted the stream.
 * @throws GlasscastError INGEST_UNREACHABLE, INGEST_TLS_FAILED, INGEST_REFUSED_KEY, INGEST_SILENT, INGEST_DROPPED,
 * INGEST_PROTOCOL; or the signal's reason.
 */
export function publishRtmp(options: PublishRtmpOptions): Promise<Publication> {
  return Promise.reject(new GlasscastError('INTERNAL', { reason: `not written yet: ${options.url.printable}` }));
}
