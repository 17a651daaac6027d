/**
 * A publication that mends itself: takes tags at any time, connects, reconnects with backoff, sends again what was lost.
 * Owns the connection and the backlog; never touches a time stamp and never tells the encoder anything.
 */
import type { Clock } from '../clock.ts';
import type { GlasscastError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { FlvTag } from './flv.ts';
import type { PublishUrl } from './publish-url.ts';

/** `backfill`: after an outage everything since then is sent, up to maxAgeMs. `live`: only from the newest key frame. */
export type PushMode = 'backfill' | 'live';

export interface RtmpPushChange {
  state: 'connecting' | 'publishing' | 'retrying';
  /** 0 = first connection; counts attempts since the last time that media flowed. */
  attempt: number;
  /** With `retrying`: why. The same cause is reported at most once a second. */
  cause?: GlasscastError;
}

export interface RtmpPushOptions {
  url: PublishUrl;
  clock: Clock;
  log: Log;
  mode: PushMode;
  onChange: (change: RtmpPushChange) => void;
  random?: () => number;
  /** How much media waits for a connection. Default 10000. */
  maxAgeMs?: number;
  /** Bound of the memory for media. Default 20 MB. */
  maxBytes?: number;
  /** Mode `live`: more than this in the send queue drops up to the next key frame. Default 125000. */
  maxQueuedBytes?: number;
  connectTimeoutMs?: number;
  silenceTimeoutMs?: number;
  stallTimeoutMs?: number;
  /** Trusted certificates (PEM) instead of the system's, for rtmps. */
  ca?: string | Buffer;
}

export interface RtmpPushStats {
  state: 'idle' | 'connecting' | 'publishing' | 'retrying' | 'closed';
  /** Over all connections, with RTMP's overhead. */
  bytesSent: number;
  /** In the send queue of Node and the kernel. */
  queuedBytes: number;
  /** Waiting here, not yet given to the connection. */
  backlogBytes: number;
  /** Age of the oldest tag that waits here. */
  backlogMs: number;
  /** Tags that were never sent, and of these the pictures. */
  tagsDropped: number;
  framesDropped: number;
  /** Tags sent once more because they may have been lost. */
  tagsResent: number;
  /** Connections after the first. */
  reconnects: number;
  /** How long the last successful connect took. */
  connectMs: number | undefined;
}

export interface RtmpPush {
  /** Begins to connect. Until then tags only wait. */
  start(): void;
  /** At any time, from the encoder; never blocks, never throws. */
  write(tag: FlvTag): void;
  stats(): RtmpPushStats;
  /** Sends what waits if there is a connection (up to 1 s), says goodbye, ends. Idempotent. */
  close(): Promise<void>;
}

export function createRtmpPush(options: RtmpPushOptions): RtmpPush {
  throw new Error(`not written yet: ${options.url.printable}`);
}
