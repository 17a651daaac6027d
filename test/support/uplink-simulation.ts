/**
 * A stream over a link whose capacity changes, in steps of 10 ms, with the governor in the loop: an encoder with heavy key
 * frames, the push's own feed, backlog and gauge over a connection that is only numbers. The same curves give the same run.
 */
import {
  createGovernor,
  type GovernorDecision,
  type GovernorOptions,
  type GovernorSample,
} from '../../device/publishing/governor.ts';
import type { PictureQuality } from '../../device/publishing/quality-ladder.ts';
import { createBacklog } from '../../shared/rtmp/backlog.ts';
import type { Publication } from '../../shared/rtmp/client.ts';
import { createDeliveryGauge } from '../../shared/rtmp/delivery-gauge.ts';
import { createFeed } from '../../shared/rtmp/feed.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { recentBps } from '../../shared/rtmp/publication.ts';

export interface SimulationOptions {
  governor: GovernorOptions;
  durationMs: number;
  capacityBps: (atMs: number) => number;
  /** False: no connection; what is made waits and is sent afterwards. Default: always. */
  isConnected?: (atMs: number) => boolean;
  /** As the push has it. Default `backfill`. */
  mode?: 'live' | 'backfill';
  temperatureC?: (atMs: number) => number | undefined;
  battery?: (atMs: number) => GovernorSample['battery'];
  /** Factor on each picture's size, 1 on average. */
  sizeNoise?: (atMs: number) => number;
  /** Factor on the measured rate. */
  rateNoise?: (atMs: number) => number;
  keyFrameIntervalMs?: number;
  /** Until an acknowledgement is back; what is on its way stays in the send queue. Default 0. */
  roundTripMs?: number | ((atMs: number) => number);
}

export interface SimulationRun {
  decisions: { atMs: number; decision: GovernorDecision }[];
  changes: { atMs: number; quality: PictureQuality; code: string; text: string }[];
  /** Of each picture that has arrived: when, and after how long. */
  pictures: { atMs: number; delayMs: number }[];
  quality: PictureQuality;
  qualityAt: (atMs: number) => PictureQuality;
  framesSkipped: number;
}

const STEP_MS = 10;
const SWAP_MS = 300;
const KEY_FRAME_WEIGHT = 8;
const OVERHEAD = 1.04;
const SENSOR_EVERY_MS = 2_000;
const SOUND_EVERY_MS = 20;
/** Of the kernel; the rest waits in Node. */
const SEND_BUFFER_BYTES = 900_000;
/** As the push and its publication have it. */
const FIRST_SAMPLE_MS = 40;
const BUSY_BYTES = 32_768;
const STALL_MS = 2_000;
const RETRY_MS = 250;
/** Slower, a handshake takes longer than is waited for it. */
const HANDSHAKE_BPS = 5_000;
const MESSAGE_BYTES = 12;
/** Each tag's body is the beginning of one of these. */
const LARGEST_BYTES = 2_000_000;
const bodies = {
  key: Buffer.alloc(LARGEST_BYTES, Buffer.from([0x17, 1])),
  picture: Buffer.alloc(LARGEST_BYTES, Buffer.from([0x27, 1])),
  sound: Buffer.alloc(10_000, Buffer.from([0xaf, 1])),
} as const;

export function simulateUplink(options: SimulationOptions): SimulationRun {
  const { asked } = options.governor;
  const governor = createGovernor(options.governor);
  const encoder = createEncoder(options);
  const push = createPush(options);
  const decisions: SimulationRun['decisions'] = [];
  let nextSensorMs = 0;

  function sensors(atMs: number): Pick<GovernorSample, 'temperatureC' | 'battery'> {
    if (atMs < nextSensorMs) return {};
    nextSensorMs = atMs + SENSOR_EVERY_MS;
    const temperatureC = options.temperatureC?.(atMs);
    const battery = options.battery?.(atMs);
    return { ...(temperatureC === undefined ? {} : { temperatureC }), ...(battery ? { battery } : {}) };
  }
  for (let atMs = 0; atMs < options.durationMs; atMs += STEP_MS) {
    for (const tag of encoder.make(atMs)) push.add(atMs, tag);
    const hasMeasured = push.step(atMs);
    // Steering looks at the push when it has measured, and when it has read its sensors.
    if (!hasMeasured && atMs < nextSensorMs) continue;
    const decision = governor.sample({ atMs, uplink: push.read(atMs), ...sensors(atMs) });
    if (!decision) continue;
    decisions.push({ atMs, decision });
    if (decision.kind === 'change') encoder.swap(atMs, decision.quality);
    if (decision.kind === 'stop') break;
  }
  const changes = decisions.flatMap(({ atMs, decision }) =>
    decision.kind === 'change'
      ? [{ atMs, quality: decision.quality, code: decision.notice.code, text: decision.notice.text }]
      : [],
  );
  return {
    decisions,
    changes,
    pictures: push.pictures,
    quality: governor.quality,
    qualityAt: (atMs) => changes.findLast((change) => change.atMs <= atMs)?.quality ?? asked,
    framesSkipped: push.framesSkipped(options.durationMs),
  };
}

function createEncoder({ governor, sizeNoise = () => 1, keyFrameIntervalMs = 1_000 }: SimulationOptions) {
  let quality = governor.asked;
  let pending: { atMs: number; quality: PictureQuality } | undefined;
  let nextFrameMs = 0;
  let nextKeyMs = 0;
  let nextSoundMs = 0;

  function picture(atMs: number): FlvTag {
    const isKey = atMs >= nextKeyMs;
    if (isKey) nextKeyMs += keyFrameIntervalMs;
    nextFrameMs += 1000 / quality.frameRate;
    const frames = (quality.frameRate * keyFrameIntervalMs) / 1000;
    const intervalBytes = (quality.videoBitrateBps / 8_000) * keyFrameIntervalMs;
    const weight = isKey ? KEY_FRAME_WEIGHT : 1;
    const bytes = (intervalBytes / (frames - 1 + KEY_FRAME_WEIGHT)) * weight * sizeNoise(atMs);
    return tagOf('video', atMs, isKey ? bodies.key : bodies.picture, bytes);
  }
  return {
    make(atMs: number): FlvTag[] {
      if (pending && atMs >= pending.atMs) {
        quality = pending.quality;
        pending = undefined;
        // Another encoder begins with a key frame.
        nextKeyMs = atMs;
        nextFrameMs = atMs;
      }
      const made: FlvTag[] = [];
      while (nextFrameMs <= atMs) made.push(picture(atMs));
      for (; nextSoundMs <= atMs; nextSoundMs += SOUND_EVERY_MS) {
        made.push(tagOf('audio', atMs, bodies.sound, (governor.audioBitrateBps / 8_000) * SOUND_EVERY_MS));
      }
      return made;
    },
    swap(atMs: number, next: PictureQuality) {
      pending = { atMs: atMs + SWAP_MS, quality: next };
    },
  };
}

function tagOf(kind: FlvTag['kind'], timestampMs: number, body: Buffer, bytes: number): FlvTag {
  return { kind, timestampMs, body: body.subarray(0, Math.max(2, Math.round(bytes * OVERHEAD) - MESSAGE_BYTES)) };
}

/** The push without its sockets: connects, feeds, measures, and gives a connection up on which nothing moves. */
function createPush(options: SimulationOptions) {
  const { capacityBps, isConnected = () => true, mode = 'backfill', rateNoise = () => 1, roundTripMs = 0 } = options;
  const roundTripAt = typeof roundTripMs === 'number' ? () => roundTripMs : roundTripMs;
  const backlog = createBacklog({ mode });
  const feed = createFeed({ backlog, mode });
  const pictures: SimulationRun['pictures'] = [];
  let connection: Connection | undefined;
  let nextTryMs = 0;
  let nextSampleMs = 0;
  let newestMs = -1;

  function arrived({ kind, timestampMs }: FlvTag, atMs: number): void {
    // What is sent once more after an outage arrives twice.
    if (kind !== 'video' || timestampMs <= newestMs) return;
    newestMs = timestampMs;
    pictures.push({ atMs, delayMs: atMs - timestampMs });
  }
  function connect(atMs: number): void {
    if (atMs < nextTryMs) return;
    nextTryMs = atMs + RETRY_MS;
    if (!isConnected(atMs) || capacityBps(atMs) < HANDSHAKE_BPS) return;
    connection = createConnection(atMs, roundTripAt, arrived);
    feed.opened(connection.publication);
    nextSampleMs = atMs + FIRST_SAMPLE_MS;
  }
  function disconnect(atMs: number, { gauge }: Connection): void {
    backlog.arrivedUpTo(gauge.certainBytes);
    backlog.rewind();
    feed.closed();
    connection = undefined;
    nextTryMs = atMs + RETRY_MS;
  }
  function measure(atMs: number, { gauge, publication, roundTripMs, sample }: Connection): void {
    sample(atMs);
    const { deliveredBps, queuedBytes } = publication;
    const { oldestMs, stalledMs } = gauge;
    const measured = { atMs, queuedBytes: queuedBytes(), deliveredBps, oldestMs, stalledMs, roundTripMs };
    const usualMs = queuedBytes() > BUSY_BYTES ? 250 : 1_000;
    const wantedMs = feed.measured({ ...measured, recentBps: recentBps(gauge) });
    nextSampleMs = atMs + Math.min(usualMs, wantedMs ?? usualMs);
    backlog.arrivedUpTo(gauge.certainBytes);
    feed.pump();
  }
  return {
    pictures,
    framesSkipped: (atMs: number) => backlog.stats(atMs).framesDropped,
    add(atMs: number, tag: FlvTag) {
      backlog.add(tag, atMs);
      feed.added();
    },
    /** True when the queue was measured. */
    step(atMs: number): boolean {
      if (!connection) connect(atMs);
      if (!connection) return false;
      connection.step(atMs, (capacityBps(atMs) / 8_000) * STEP_MS);
      if (connection.publication.unwrittenBytes() === 0) feed.pump();
      const isDue = atMs >= nextSampleMs;
      if (isDue) measure(atMs, connection);
      if (!isConnected(atMs) || connection.gauge.stalledMs >= STALL_MS) disconnect(atMs, connection);
      return isDue;
    },
    read(atMs: number): GovernorSample['uplink'] {
      const { waitingBytes, waitingMs } = backlog.stats(atMs);
      const { isCatchingUp, skips, narrowBps } = feed;
      const noisy = (rateBps: number | undefined) => (rateBps === undefined ? undefined : rateBps * rateNoise(atMs));
      return {
        isPublishing: connection !== undefined,
        queuedBytes: connection?.measuredBytes() ?? 0,
        backlogBytes: waitingBytes,
        backlogMs: waitingMs,
        deliveredBps: noisy(connection?.publication.deliveredBps),
        narrowBps: noisy(narrowBps),
        ...{ isCatchingUp, skips },
      };
    },
  };
}

type Connection = ReturnType<typeof createConnection>;

/** First in, first out, as TCP is; what has arrived is acknowledged a round trip later. */
function createConnection(
  openedMs: number,
  roundTripAt: (atMs: number) => number,
  onArrived: (tag: FlvTag, atMs: number) => void,
) {
  const gauge = createDeliveryGauge();
  /** Oldest first, with the byte at which it ends. */
  const way: { tag: FlvTag; endsAtByte: number }[] = [];
  const acknowledgements: { atMs: number; bytes: number }[] = [];
  let nowMs = openedMs;
  let sentBytes = 0;
  let arrivedBytes = 0;
  let acknowledgedBytes = 0;
  let measuredBytes = 0;

  const publication: Publication = {
    send(tag) {
      sentBytes += tag.body.length + MESSAGE_BYTES;
      way.push({ tag, endsAtByte: sentBytes });
      gauge.sent(nowMs, sentBytes);
    },
    queuedBytes: () => measuredBytes,
    unwrittenBytes: () => Math.max(0, sentBytes - acknowledgedBytes - SEND_BUFFER_BYTES),
    get bytesSent() {
      return sentBytes;
    },
    get acknowledgedBytes() {
      return gauge.acknowledgedBytes;
    },
    get certainBytes() {
      return gauge.certainBytes;
    },
    get deliveredBps() {
      return gauge.deliveredBps(1_000);
    },
    ...{ connectMs: 0, redirects: 0, closed: Promise.resolve(undefined), close: () => Promise.resolve() },
  };
  return {
    gauge,
    publication,
    roundTripMs: roundTripAt(openedMs),
    measuredBytes: () => measuredBytes,
    step(atMs: number, roomBytes: number) {
      nowMs = atMs;
      arrivedBytes = Math.min(sentBytes, arrivedBytes + roomBytes);
      for (let first = way[0]; first && first.endsAtByte <= arrivedBytes; first = way[0]) {
        onArrived(first.tag, atMs);
        way.shift();
      }
      acknowledgements.push({ atMs: atMs + roundTripAt(atMs), bytes: Math.floor(arrivedBytes) });
      for (let first = acknowledgements[0]; first && first.atMs <= atMs; first = acknowledgements[0]) {
        acknowledgedBytes = first.bytes;
        acknowledgements.shift();
      }
    },
    sample(atMs: number) {
      const unwrittenBytes = publication.unwrittenBytes();
      measuredBytes = sentBytes - acknowledgedBytes;
      const kernelQueuedBytes = measuredBytes - unwrittenBytes;
      gauge.sample({ atMs, acceptedBytes: sentBytes - unwrittenBytes, kernelQueuedBytes, unwrittenBytes });
    },
  };
}

/** The value that at least half are not above. */
export function medianOf(values: number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}
