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
  sample(sample: DeliverySample): void;
  /** RTMP's own acknowledgement: the ingest's program has read this much. */
  acknowledgedByIngest(bytes: number): void;
  /** What the peer's TCP has acknowledged; never goes back. */
  readonly acknowledgedBytes: number;
  readonly certainBytes: number;
  /** How long something has waited without anything moving, at the last sample. */
  readonly stalledMs: number;
}

/** Bytes that TCP acknowledged lie in the peer's kernel, unread, when its program is killed. 2 s of flow cover that. */
const MARGIN_MS = 2_000;

export function createDeliveryGauge({ marginMs = MARGIN_MS }: { marginMs?: number } = {}): DeliveryGauge {
  const steps: { atMs: number; bytes: number }[] = [];
  let acknowledgedBytes = 0;
  let certainByTcp = 0;
  let certainByIngest: number | undefined;
  let lastProgressMs: number | undefined;
  let stalledMs = 0;

  return {
    sample({ atMs, acceptedBytes, kernelQueuedBytes, unwrittenBytes }) {
      const bytes = Math.max(acknowledgedBytes, acceptedBytes - kernelQueuedBytes);
      const isIdle = kernelQueuedBytes === 0 && unwrittenBytes === 0;
      if (bytes > acknowledgedBytes || isIdle || lastProgressMs === undefined) lastProgressMs = atMs;
      stalledMs = atMs - lastProgressMs;
      if (bytes > acknowledgedBytes) steps.push({ atMs, bytes });
      acknowledgedBytes = bytes;
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
  };
}
