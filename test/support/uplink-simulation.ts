/**
 * A stream over a link whose capacity changes, in steps of 10 ms, with the governor in the loop: an encoder with heavy key
 * frames, a push with a queue, a sampler as the real one. Pure: the same curves give the same run.
 */
import {
  createGovernor,
  type GovernorDecision,
  type GovernorOptions,
  type GovernorSample,
} from '../../device/publishing/governor.ts';
import type { PictureQuality } from '../../device/publishing/quality-ladder.ts';

export interface SimulationOptions {
  governor: GovernorOptions;
  durationMs: number;
  capacityBps: (atMs: number) => number;
  /** False: no connection; what is made waits and is sent afterwards. Default: always. */
  isConnected?: (atMs: number) => boolean;
  /** `live` drops to the next key frame when the queue is full. Default `backfill`. */
  mode?: 'live' | 'backfill';
  temperatureC?: (atMs: number) => number | undefined;
  battery?: (atMs: number) => GovernorSample['battery'];
  /** Factor on each picture's size, 1 on average. */
  sizeNoise?: (atMs: number) => number;
  /** Factor on the measured rate. */
  rateNoise?: (atMs: number) => number;
  keyFrameIntervalMs?: number;
  /** Until an acknowledgement is back; what is on its way stays in the send queue. Default 0. */
  roundTripMs?: number;
}

export interface SimulationRun {
  decisions: { atMs: number; decision: GovernorDecision }[];
  changes: { atMs: number; quality: PictureQuality; code: string; text: string }[];
  /** Of each picture that has left: when, and after how long. */
  pictures: { atMs: number; delayMs: number }[];
  quality: PictureQuality;
  qualityAt: (atMs: number) => PictureQuality;
  framesSkipped: number;
}

interface Packet {
  atMs: number;
  bytes: number;
  isPicture: boolean;
}

const STEP_MS = 10;
const SWAP_MS = 300;
const KEY_FRAME_WEIGHT = 8;
const OVERHEAD = 1.04;
const SENSOR_EVERY_MS = 2_000;
const SOUND_EVERY_MS = 20;
/** As the push has it, mode live. */
const MAX_QUEUED_BYTES = 125_000;
const NARROW_MS = 400;
const MAX_AGE_MS = 10_000;

export function simulateUplink(options: SimulationOptions): SimulationRun {
  const { asked } = options.governor;
  const governor = createGovernor(options.governor);
  const encoder = createEncoder(options);
  const link = createLink(options);
  const decisions: SimulationRun['decisions'] = [];
  let nextSampleMs = 0;
  let nextSensorMs = 0;

  function sensors(atMs: number): Pick<GovernorSample, 'temperatureC' | 'battery'> {
    if (atMs < nextSensorMs) return {};
    nextSensorMs = atMs + SENSOR_EVERY_MS;
    const temperatureC = options.temperatureC?.(atMs);
    const battery = options.battery?.(atMs);
    return { ...(temperatureC === undefined ? {} : { temperatureC }), ...(battery ? { battery } : {}) };
  }
  for (let atMs = 0; atMs < options.durationMs; atMs += STEP_MS) {
    for (const packet of encoder.make(atMs)) link.add(packet);
    link.drain(atMs);
    if (atMs < nextSampleMs) continue;
    const uplink = link.sample(atMs);
    nextSampleMs = atMs + (uplink.queuedBytes + uplink.backlogBytes > 0 ? 250 : 1_000);
    const decision = governor.sample({ atMs, uplink, ...sensors(atMs) });
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
    pictures: link.pictures,
    quality: governor.quality,
    qualityAt: (atMs) => changes.findLast((change) => change.atMs <= atMs)?.quality ?? asked,
    framesSkipped: link.framesSkipped(),
  };
}

type Made = Packet & { isKey: boolean };

function createEncoder({ governor, sizeNoise = () => 1, keyFrameIntervalMs = 1_000 }: SimulationOptions) {
  let quality = governor.asked;
  let pending: { atMs: number; quality: PictureQuality } | undefined;
  let nextFrameMs = 0;
  let nextKeyMs = 0;
  let nextSoundMs = 0;

  function picture(atMs: number): Made {
    const isKey = atMs >= nextKeyMs;
    if (isKey) nextKeyMs += keyFrameIntervalMs;
    nextFrameMs += 1000 / quality.frameRate;
    const frames = (quality.frameRate * keyFrameIntervalMs) / 1000;
    const intervalBytes = (quality.videoBitrateBps / 8_000) * keyFrameIntervalMs;
    const bytes = (intervalBytes / (frames - 1 + KEY_FRAME_WEIGHT)) * (isKey ? KEY_FRAME_WEIGHT : 1);
    return { atMs, bytes: bytes * OVERHEAD * sizeNoise(atMs), isPicture: true, isKey };
  }
  return {
    make(atMs: number): Made[] {
      if (pending && atMs >= pending.atMs) {
        quality = pending.quality;
        pending = undefined;
        // Another encoder begins with a key frame.
        nextKeyMs = atMs;
        nextFrameMs = atMs;
      }
      const made: Made[] = [];
      while (nextFrameMs <= atMs) made.push(picture(atMs));
      for (; nextSoundMs <= atMs; nextSoundMs += SOUND_EVERY_MS) {
        const bytes = (governor.audioBitrateBps / 8_000) * SOUND_EVERY_MS * OVERHEAD;
        made.push({ atMs, bytes, isPicture: false, isKey: false });
      }
      return made;
    },
    swap(atMs: number, next: PictureQuality) {
      pending = { atMs: atMs + SWAP_MS, quality: next };
    },
  };
}

function createLink(options: SimulationOptions) {
  const { capacityBps, isConnected = () => true, mode = 'backfill', roundTripMs = 0, rateNoise = () => 1 } = options;
  /** Oldest first. */
  const queue: Packet[] = [];
  const pictures: SimulationRun['pictures'] = [];
  /** Of the last second and a round trip. */
  const sent: { atMs: number; bytes: number }[] = [];
  let queuedBytes = 0;
  let fullSinceMs: number | undefined;
  let isSkipping = false;
  let isCatchingUp = false;
  let skips = 0;
  let framesSkipped = 0;

  function considerSkip({ atMs, isKey }: Made): void {
    if (queuedBytes <= MAX_QUEUED_BYTES) {
      fullSinceMs = undefined;
      if (isKey) isSkipping = false;
      return;
    }
    fullSinceMs ??= atMs;
    if (isSkipping || mode !== 'live' || atMs - fullSinceMs < NARROW_MS) return;
    isSkipping = true;
    skips += 1;
  }
  return {
    pictures,
    framesSkipped: () => framesSkipped,
    add(packet: Made) {
      considerSkip(packet);
      if (isSkipping) {
        if (packet.isPicture) framesSkipped += 1;
        return;
      }
      queue.push({ ...packet });
      queuedBytes += packet.bytes;
      while (queue[0] && packet.atMs - queue[0].atMs > MAX_AGE_MS) queuedBytes -= queue.shift()?.bytes ?? 0;
    },
    drain(atMs: number) {
      if (!isConnected(atMs)) {
        isCatchingUp = true;
        return;
      }
      let room = (capacityBps(atMs) / 8_000) * STEP_MS;
      sent.push({ atMs, bytes: Math.min(room, queuedBytes) });
      while (sent[0] && atMs - sent[0].atMs >= 1_000 + roundTripMs) sent.shift();
      for (let first = queue[0]; first && room > 0; first = queue[0]) {
        const bytes = Math.min(room, first.bytes);
        room -= bytes;
        first.bytes -= bytes;
        queuedBytes -= bytes;
        if (first.bytes > 0) break;
        queue.shift();
        if (first.isPicture) pictures.push({ atMs, delayMs: atMs - first.atMs });
      }
      if (queue.length === 0) queuedBytes = 0;
      if (queue.length === 0) isCatchingUp = false;
    },
    sample(atMs: number): GovernorSample['uplink'] {
      const bytesOf = (part: typeof sent) => part.reduce((sum, { bytes }) => sum + bytes, 0);
      const acknowledged = sent.filter(
        (part) => atMs - part.atMs >= roundTripMs && atMs - part.atMs < 1_000 + roundTripMs,
      );
      const bytes = Math.round(queuedBytes + bytesOf(sent.filter((part) => atMs - part.atMs < roundTripMs)));
      const inKernel = Math.min(bytes, 900_000);
      return {
        isPublishing: isConnected(atMs),
        queuedBytes: inKernel,
        backlogBytes: bytes - inKernel,
        backlogMs: bytes > inKernel ? atMs - (queue[0]?.atMs ?? atMs) : 0,
        deliveredBps: bytesOf(acknowledged) * 8 * rateNoise(atMs),
        isCatchingUp,
        skips,
      };
    },
  };
}

/** The value that at least half are not above. */
export function medianOf(values: number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}
