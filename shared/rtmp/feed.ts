/**
 * What goes from the backlog to the connection, and when: fills the send queue, keeps it short on a narrow uplink, and
 * catches up after an outage. Owns neither: the push opens connections, the backlog decides what is dropped.
 */
import type { Backlog } from './backlog.ts';
import type { Publication } from './client.ts';
import type { PublicationMeasured } from './publication.ts';
import { createUplinkGate } from './uplink-gate.ts';

export interface FeedOptions {
  backlog: Backlog;
  mode: 'backfill' | 'live';
  /** See `RtmpPushOptions`. */
  maxQueuedBytes?: number | undefined;
}

export interface Feed {
  /** A connection that may publish: all that waits goes to it from now on. */
  opened(publication: Publication): void;
  closed(): void;
  /** A tag was added to the backlog. */
  added(): void;
  /** Gives what the connection has room for. */
  pump(): void;
  /** Gives all that waits, whatever the queue. */
  flush(): void;
  /** After each measurement; gives when the next one should be, undefined for the usual time. */
  measured(measured: PublicationMeasured): number | undefined;
  readonly isCatchingUp: boolean;
  /** Times that a narrow uplink made it drop to a key frame. */
  readonly skips: number;
  /** What the uplink takes, measured since the last of them while its queue drained; undefined before that is known. */
  readonly narrowBps: number | undefined;
}

/** More than this in Node's own queue only takes it out of the backlog's rule. */
const MAX_UNWRITTEN_BYTES = 262_144;
/** Catching up: not more on its way than this, or than what arrives in half a second; the kernel would take seconds of media. */
const MIN_ON_THE_WAY_BYTES = 131_072;
const ON_THE_WAY_MS = 500;
/** The same while the uplink was narrow a moment ago: what is not on its way yet can still be dropped. */
const WARY_ON_THE_WAY_BYTES = 40_000;
const SUSPICIOUS_SAMPLE_MS = 100;
/** What has arrived makes room for more. */
const CATCH_UP_SAMPLE_MS = 50;
/** The rule in time needs to see a queue before it is as long as the delay that it allows. */
const TIMED_SAMPLE_MS = 250;
/** After a pause: what can be sent in this time goes on without a gap; a key frame that needs longer is already old. */
const BURST_MS = 500;
/** Nothing moved for so long: not a narrow uplink but an outage on a connection that survived it. */
const OUTAGE_MS = 1_000;
/** How wide a narrow uplink is, is measured over so long; shorter, a burst of the network's own would tell of another one. */
const BUSY_MS = { least: 300, most: 700 } as const;
const BUSY_BYTES = 10_000;

export function createFeed({ backlog, mode, maxQueuedBytes }: FeedOptions): Feed {
  const isTimed = maxQueuedBytes === undefined;
  let publication: Publication | undefined;
  let gate = createUplinkGate({ maxQueuedBytes });
  let isCatchingUp = false;
  let isDropping = false;
  let recentBps: number | undefined;
  let skips = 0;
  /** Measurements in a row at which something waited. */
  let busy: { atMs: number; bytes: number }[] = [];
  let narrowBps: number | undefined;

  function send(hasRoom: (to: Publication) => boolean): void {
    while (publication && hasRoom(publication)) {
      const tag = backlog.next();
      if (!tag) return;
      publication.send(tag);
      backlog.sentUpTo(publication.bytesSent);
    }
  }
  function hasRoom(to: Publication): boolean {
    if (to.unwrittenBytes() >= MAX_UNWRITTEN_BYTES) return false;
    if (!isTimed || !(isCatchingUp || gate.isWary)) return true;
    const leastBytes = isCatchingUp ? MIN_ON_THE_WAY_BYTES : WARY_ON_THE_WAY_BYTES;
    const room = Math.max(leastBytes, ((recentBps ?? 0) * ON_THE_WAY_MS) / 8000);
    return to.bytesSent - to.acknowledgedBytes < room;
  }
  function pump(): void {
    if (gate.isOpen) send(hasRoom);
  }
  function drop(): void {
    isDropping = true;
    skips += 1;
    backlog.skip();
    narrowBps = undefined;
  }
  /** While something waits, what leaves is all that the uplink takes. */
  function measureUplink({ atMs, queuedBytes }: PublicationMeasured): void {
    if (queuedBytes <= BUSY_BYTES || !publication) busy = [];
    else busy.push({ atMs, bytes: publication.acknowledgedBytes });
    busy = busy.filter((each) => atMs - each.atMs <= BUSY_MS.most);
    const [first] = busy;
    const last = busy.at(-1);
    if (!isDropping || !first || !last || last.atMs - first.atMs < BUSY_MS.least) return;
    narrowBps = Math.round(((last.bytes - first.bytes) * 8000) / (last.atMs - first.atMs));
  }
  function onDrained({ atMs }: PublicationMeasured): void {
    const wasDropping = isDropping;
    isDropping = false;
    if (!isTimed) return;
    if (!wasDropping && mode === 'backfill' && gate.pausedMs >= OUTAGE_MS) {
      isCatchingUp = true;
      return;
    }
    if (takesMs(backlog.stats(atMs).waitingBytes) <= BURST_MS) return;
    if (!wasDropping) {
      skips += 1;
      backlog.skip();
    }
    // Even from the newest key frame on it is too much: it would be late from the first picture.
    if (takesMs(backlog.stats(atMs).waitingBytes) > BURST_MS) backlog.skipAll();
  }
  function takesMs(bytes: number): number {
    return recentBps ? (bytes * 8000) / recentBps : 0;
  }
  function judge(measured: PublicationMeasured): void {
    // The rule in bytes is for live only; with the other, catching up is judged by age alone.
    if (isCatchingUp || (!isTimed && mode !== 'live')) return;
    const heldBackBytes = isTimed && gate.isOpen && gate.isWary ? backlog.stats(measured.atMs).waitingBytes : 0;
    const verdict = gate.measured({ ...measured, queuedBytes: measured.queuedBytes + heldBackBytes });
    if (verdict === 'narrow' && !isDropping) drop();
    measureUplink(measured);
    if (verdict === 'drained') {
      // After a pause what an earlier drop measured says nothing of now.
      narrowBps = isDropping ? (narrowBps ?? recentBps) : recentBps;
      onDrained(measured);
    }
  }
  /** Caught up: nothing waits here, and what is on its way is not more than what is sent in a moment. */
  function noteProgress({ queuedBytes, roundTripMs, atMs }: PublicationMeasured): void {
    if (!isCatchingUp || backlog.stats(atMs).waitingBytes > 0) return;
    if (takesMs(queuedBytes) <= BURST_MS / 2 + roundTripMs || queuedBytes <= MIN_ON_THE_WAY_BYTES / 4)
      isCatchingUp = false;
  }
  function isSuspicious(): boolean {
    return gate.isSuspicious || !gate.isOpen;
  }

  return {
    opened(next) {
      publication = next;
      isCatchingUp = isTimed && mode === 'backfill';
      recentBps = undefined;
      busy = [];
      narrowBps = undefined;
      pump();
    },
    closed() {
      publication = undefined;
      gate = createUplinkGate({ maxQueuedBytes });
      isCatchingUp = false;
      isDropping = false;
    },
    added() {
      if (isDropping) backlog.skip();
      pump();
    },
    pump,
    flush: () => send(() => true),
    measured(measured) {
      recentBps = measured.recentBps ?? recentBps;
      judge(measured);
      pump();
      noteProgress(measured);
      if (!isTimed) return undefined;
      if (isCatchingUp) return CATCH_UP_SAMPLE_MS;
      return isSuspicious() ? SUSPICIOUS_SAMPLE_MS : TIMED_SAMPLE_MS;
    },
    get isCatchingUp() {
      return isCatchingUp;
    },
    get skips() {
      return skips;
    },
    get narrowBps() {
      return narrowBps;
    },
  };
}
