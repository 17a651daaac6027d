/**
 * A publication that mends itself: takes tags at any time, connects, reconnects with backoff, sends again what was lost.
 * Owns the connection and the backlog; never touches a time stamp and never tells the encoder anything.
 */
import type { Clock } from '../clock.ts';
import { asGlasscastError, GlasscastError } from '../errors.ts';
import type { NetworkInterfaces } from '../local-address.ts';
import type { Log } from '../log.ts';
import { createBacklog } from './backlog.ts';
import { type Publication, publishRtmp } from './client.ts';
import type { Dial } from './connection.ts';
import { createFeed } from './feed.ts';
import type { FlvTag } from './flv.ts';
import type { PublicationMeasured } from './publication.ts';
import type { PublishUrl } from './publish-url.ts';
import { createRetrySchedule } from './retry-schedule.ts';
import { createSendQueue, type SendQueue } from './send-queue.ts';
import { createSpillFile } from './spill-file.ts';

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
  /** Where media wait that memory has no room for, in a file without a name. Default: nowhere, they are dropped. */
  spillFolder?: string;
  /** Bound of that file. Default 500 MB: half an hour at 2 Mbit/s. */
  maxSpillBytes?: number;
  /**
   * Mode `live`: more than this in the send queue for 0.4 s drops up to the newest key frame, until it is less again.
   * Default, in both modes: a queue that takes longer than about 0.35 s to drain drops, until it is nearly empty; not while
   * catching up after an outage in mode `backfill`, where the age decides.
   */
  maxQueuedBytes?: number;
  /** The send queue was measured (each 0.25 s, each 0.1 s while it is high, was so lately, or after an outage; with `maxQueuedBytes` each second): `stats()` has news. */
  onMeasured?: () => void;
  connectTimeoutMs?: number;
  silenceTimeoutMs?: number;
  stallTimeoutMs?: number;
  /** Which IP addresses may be connected to, looked at on every connection. Default: all. */
  allowsAddress?: (address: string) => boolean;
  /** Trusted certificates (PEM) instead of the system's, for rtmps. */
  ca?: string | Buffer;
  /** Opens TCP connections instead of node:net; see `ConnectionOptions`. */
  dial?: Dial;
  /** Default: the system's. A connection on which nothing moves ends when its address is on none of them any more. */
  networkInterfaces?: NetworkInterfaces;
  /** Shared by many pushes of one process to read the kernel's table once; default: its own. */
  sendQueue?: SendQueue;
}

export interface RtmpPushStats {
  state: 'idle' | 'connecting' | 'publishing' | 'retrying' | 'closed';
  /** Over all connections, with RTMP's overhead. */
  bytesSent: number;
  /** In the send queue of Node and the kernel, as last measured. */
  queuedBytes: number;
  /** Acknowledged by the ingest's TCP over the last second or so of this connection; undefined before that is known. */
  deliveredBps: number | undefined;
  /** Waiting here, not yet given to the connection. */
  backlogBytes: number;
  /** Of what is held for sending, perhaps once more: on the disk. */
  spilledBytes: number;
  /** Age of the oldest tag that waits here. */
  backlogMs: number;
  /** Tags that were never sent, and of these the pictures. */
  tagsDropped: number;
  framesDropped: number;
  /** Mode `backfill`: from a connection's begin until nothing waits any more. */
  isCatchingUp: boolean;
  /** Times that a narrow uplink made it drop to a key frame. */
  skips: number;
  /** What the uplink takes, measured since the last of them while its queue drained; undefined before that is known. */
  narrowBps: number | undefined;
  /** Tags sent once more because they may have been lost. */
  tagsResent: number;
  /** Connections after the first. */
  reconnects: number;
  /** Redirects that were followed, over all connections. */
  redirects: number;
  /** How long the last successful connect took. */
  connectMs: number | undefined;
}

export interface RtmpPush {
  /** Begins to connect. Until then tags only wait. */
  start(): void;
  /** At any time, from the encoder; never blocks, never throws. */
  write(tag: FlvTag): void;
  stats(): RtmpPushStats;
  /** Sends what waits in memory if there is a connection (up to 1 s), says goodbye, ends. Idempotent. */
  close(): Promise<void>;
}

const EAGER_CONNECT_TIMEOUT_MS = 2_000;
const SAME_CAUSE_MS = 1_000;
const SHORT_LIFE_MS = 1_000;
const REFUSAL_LIVES = 3;

export function createRtmpPush(options: RtmpPushOptions): RtmpPush {
  const { url, clock, log, mode, onChange, random = Math.random, maxQueuedBytes } = options;
  const { maxAgeMs = 10_000, maxBytes = 20_000_000, connectTimeoutMs = 5_000, sendQueue = createSendQueue() } = options;
  const { spillFolder, maxSpillBytes = 500_000_000 } = options;
  const spill =
    spillFolder === undefined
      ? undefined
      : createSpillFile({
          folder: spillFolder,
          maxBytes: maxSpillBytes,
          onReady: () => feed.pump(),
          onFailed: onSpillFailed,
        });
  const backlog = createBacklog({ mode, maxAgeMs, maxBytes, spill });
  const feed = createFeed({ backlog, mode, maxQueuedBytes });
  const schedule = createRetrySchedule({ random });
  const stopping = new AbortController();
  let state: RtmpPushStats['state'] = 'idle';
  let publication: Publication | undefined;
  let attempt = 0;
  let connections = 0;
  let redirects = 0;
  let pastBytesSent = 0;
  let connectMs: number | undefined;
  let shortLives = 0;
  let lastReport: { code: string; atMs: number } | undefined;
  let running: Promise<void> = Promise.resolve();
  let closing: Promise<void> | undefined;

  function onSpillFailed(error: unknown): void {
    log.warn({ url: url.printable, folder: spillFolder, reason: String(error) }, 'rtmp-spill-failed');
  }
  function onProgress(): void {
    if (publication) backlog.arrivedUpTo(publication.certainBytes);
    feed.pump();
  }
  function onMeasured(measured: PublicationMeasured): number | undefined {
    const sampleAfterMs = feed.measured(measured);
    options.onMeasured?.();
    return sampleAfterMs;
  }

  async function run(): Promise<void> {
    change({ state: 'connecting', attempt });
    for (;;) {
      const cause = await connectAndPublish();
      if (closing) return;
      attempt += 1;
      const delayMs = schedule.failed(cause.code, clock.monotonicMs());
      report(cause);
      log.debug({ url: url.printable, attempt, code: cause.code, delayMs }, 'rtmp-retry');
      await clock.sleep(delayMs, { signal: stopping.signal, name: 'rtmp-retry' }).catch(() => {});
      if (closing) return;
    }
  }
  /** One attempt, and all of the publication if it comes to one. Gives why it ended. */
  async function connectAndPublish(): Promise<GlasscastError> {
    const { silenceTimeoutMs, stallTimeoutMs, allowsAddress, ca, dial, networkInterfaces } = options;
    const isEager = schedule.isEager(clock.monotonicMs());
    let opened: Publication;
    try {
      opened = await publishRtmp({
        url,
        clock,
        log,
        signal: stopping.signal,
        sendQueue,
        onProgress,
        onMeasured,
        // A lost SYN is repeated by the kernel after 1, 3 and 7 s; beginning anew finds a network that is back sooner.
        connectTimeoutMs: isEager ? Math.min(connectTimeoutMs, EAGER_CONNECT_TIMEOUT_MS) : connectTimeoutMs,
        ...(silenceTimeoutMs === undefined ? {} : { silenceTimeoutMs }),
        ...(stallTimeoutMs === undefined ? {} : { stallTimeoutMs }),
        ...{ allowsAddress, ca, dial, networkInterfaces },
      });
    } catch (error) {
      return asGlasscastError(error);
    }
    if (closing) return new GlasscastError('SHUTTING_DOWN');
    publication = opened;
    connections += 1;
    redirects += opened.redirects;
    connectMs = opened.connectMs;
    const sinceMs = clock.monotonicMs();
    feed.opened(opened);
    log.info({ url: url.printable, ms: connectMs, attempt }, 'rtmp-publishing');
    change({ state: 'publishing', attempt });
    attempt = 0;
    lastReport = undefined;
    const cause = (await opened.closed) ?? new GlasscastError('INGEST_DROPPED', { reason: url.printable });
    const livedMs = clock.monotonicMs() - sinceMs;
    schedule.lived(livedMs);
    afterPublication(opened);
    return judged(cause, livedMs);
  }
  /** nginx-rtmp and node-media-server say "publish" to any key and then close: nothing else tells a refusal from a drop. */
  function judged(cause: GlasscastError, livedMs: number): GlasscastError {
    shortLives = livedMs < SHORT_LIFE_MS && cause.code === 'INGEST_DROPPED' ? shortLives + 1 : 0;
    if (shortLives < REFUSAL_LIVES) return cause;
    const reason = `${url.printable} accepts the stream and closes at once, ${shortLives} times in a row`;
    return new GlasscastError('INGEST_REFUSED_KEY', { reason, cause });
  }
  function afterPublication({ certainBytes, bytesSent }: Publication): void {
    backlog.arrivedUpTo(certainBytes);
    if (!closing) backlog.rewind();
    pastBytesSent += bytesSent;
    feed.closed();
    publication = undefined;
  }
  function change(next: RtmpPushChange): void {
    state = next.state;
    onChange(next);
  }
  function report(cause: GlasscastError): void {
    const atMs = clock.monotonicMs();
    const isRepeated = lastReport?.code === cause.code && atMs - lastReport.atMs < SAME_CAUSE_MS;
    if (isRepeated) return;
    if (!lastReport) log.warn({ url: url.printable, code: cause.code, reason: cause.message }, 'rtmp-lost');
    lastReport = { code: cause.code, atMs };
    change({ state: 'retrying', attempt, cause });
  }
  async function finish(): Promise<void> {
    const last = publication;
    if (last) {
      feed.flush();
      await last.close();
    }
    stopping.abort();
    await running;
    await spill?.close();
    state = 'closed';
  }

  return {
    start() {
      if (state !== 'idle' || closing) return;
      running = run();
    },
    write(tag) {
      if (closing) return;
      backlog.add(tag, clock.monotonicMs());
      feed.added();
    },
    stats() {
      const { waitingBytes, waitingMs, ...held } = backlog.stats(clock.monotonicMs());
      return {
        state,
        bytesSent: pastBytesSent + (publication?.bytesSent ?? 0),
        queuedBytes: publication?.queuedBytes() ?? 0,
        deliveredBps: publication?.deliveredBps,
        isCatchingUp: feed.isCatchingUp,
        skips: feed.skips,
        narrowBps: feed.narrowBps,
        backlogBytes: waitingBytes,
        backlogMs: waitingMs,
        spilledBytes: held.spilledBytes,
        tagsDropped: held.tagsDropped,
        framesDropped: held.framesDropped,
        tagsResent: held.tagsResent,
        reconnects: Math.max(0, connections - 1),
        redirects,
        connectMs,
      };
    },
    close() {
      closing ??= finish();
      return closing;
    },
  };
}
