/**
 * Judges one connection by samples of its send queue: how much has certainly arrived, and since when nothing moves.
 * Pure: no socket, no clock of its own.
 */

export interface DeliverySample {
  /** When the queue was measured, monotonic. */
  atMs: number;
  /** Bytes the kernel had taken before the measurement. */
  acceptedBytes: number;
  /** Of these, what the peer's TCP has not acknowledged. */
  kernelQueuedBytes: number;
  /** Bytes that wait in Node. */
  unwrittenBytes: number;
}

export interface DeliveryGauge {
  /** So many bytes had been given to the connection at this time. */
  sent(atMs: number, bytes: number): void;
  sample(sample: DeliverySample): void;
  /** RTMP's own acknowledgement: the ingest's program has read this much. */
  acknowledgedByIngest(bytes: number): void;
  /** What the peer's TCP has acknowledged; never goes back. */
  readonly acknowledgedBytes: number;
  readonly certainBytes: number;
  /** How long something has waited without anything moving, at the last sample. */
  readonly stalledMs: number;
  /** How long ago the oldest of what the peer's TCP has not acknowledged was sent, at the last sample. */
  readonly oldestMs: number;
  /** Bits per second that the peer's TCP acknowledged over about so long before the last sample; undefined with one sample. */
  deliveredBps(windowMs: number): number | undefined;
}

/** Bytes that TCP acknowledged lie in the peer's kernel, unread, when its program is killed. 2 s of flow cover that. */
const MARGIN_MS = 2_000;
/** Sends this close together are one. */
const MARK_MS = 50;
/** Longest window of `deliveredBps`, with the one sample before it. */
const KEPT_MS = 2_500;

export function createDeliveryGauge({ marginMs = MARGIN_MS }: { marginMs?: number } = {}): DeliveryGauge {
  const steps: { atMs: number; bytes: number }[] = [];
  let acknowledgedBytes = 0;
  let certainByTcp = 0;
  let certainByIngest: number | undefined;
  let lastProgressMs: number | undefined;
  let lastSampleMs: number | undefined;
  /** Something has moved after this sample, or at it nothing waited. */
  let movedAfterMs = 0;
  let stalledMs = 0;
  /** When bytes were given, oldest first, from the first unacknowledged one on. */
  const marks: { atMs: number; bytes: number }[] = [];
  /** The last samples, oldest first. */
  const track: { atMs: number; bytes: number }[] = [];

  /** Samples may be a second apart, so a stall is dated by when what waits was sent, unless something moved after that. */
  function stuckSince(): number {
    while (marks[0] && marks[0].bytes <= acknowledgedBytes) marks.shift();
    return Math.max(movedAfterMs, marks[0]?.atMs ?? movedAfterMs);
  }

  return {
    sent(atMs, bytes) {
      const last = marks.at(-1);
      if (last && atMs - last.atMs < MARK_MS) last.bytes = bytes;
      else marks.push({ atMs, bytes });
    },
    sample({ atMs, acceptedBytes, kernelQueuedBytes, unwrittenBytes }) {
      const bytes = Math.max(acknowledgedBytes, acceptedBytes - kernelQueuedBytes);
      const isIdle = kernelQueuedBytes === 0 && unwrittenBytes === 0;
      const isMoving = bytes > acknowledgedBytes || isIdle || lastProgressMs === undefined;
      if (bytes > acknowledgedBytes) steps.push({ atMs, bytes });
      acknowledgedBytes = bytes;
      if (isMoving || lastProgressMs === undefined) {
        lastProgressMs = atMs;
        movedAfterMs = isIdle ? atMs : (lastSampleMs ?? atMs);
      }
      const stuckMs = atMs - stuckSince();
      stalledMs = isMoving ? 0 : stuckMs;
      lastSampleMs = atMs;
      track.push({ atMs, bytes });
      while (track[1] && atMs - track[1].atMs >= KEPT_MS) track.shift();
      // The margin counts from the last progress: while nothing moves nothing becomes more certain, since a peer that
      // has stopped reading acknowledges only into its own buffer, and that buffer dies with it.
      for (let step = steps[0]; step && step.atMs <= lastProgressMs - marginMs; step = steps[0]) {
        certainByTcp = step.bytes;
        steps.shift();
      }
    },
    acknowledgedByIngest(bytes) {
      certainByIngest = Math.max(certainByIngest ?? 0, bytes);
    },
    get acknowledgedBytes() {
      return acknowledgedBytes;
    },
    get certainBytes() {
      return certainByIngest ?? certainByTcp;
    },
    get stalledMs() {
      return stalledMs;
    },
    get oldestMs() {
      const [oldest] = marks;
      return oldest && lastSampleMs !== undefined ? Math.max(0, lastSampleMs - oldest.atMs) : 0;
    },
    deliveredBps(windowMs) {
      const last = track.at(-1);
      const first = last && (track.findLast(({ atMs }) => last.atMs - atMs >= windowMs) ?? track[0]);
      if (!first || first.atMs >= last.atMs) return undefined;
      return Math.round(((last.bytes - first.bytes) * 8000) / (last.atMs - first.atMs));
    },
  };
}
