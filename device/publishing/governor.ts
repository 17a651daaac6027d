/**
 * The policy that keeps the picture up: from samples of uplink, heat and battery to the quality that all of them allow.
 * Pure: no clock, no timer, no sensor. It decides; the publisher swaps the encoder, tells, and stops.
 */
import type { StreamNotice } from '../../shared/protocol/glasses-messages.ts';
import {
  type BatteryLimits,
  type BatteryReading,
  createPowerGauge,
  defaultBatteryLimits,
  defaultHeatLimits,
  type HeatLimits,
  type PowerStep,
  type PowerStop,
} from './power-limits.ts';
import { floorOf, isSameQuality, type PictureQuality, qualityWithin } from './quality-ladder.ts';
import { createUplinkLimit, type UplinkSample, type UplinkStep } from './uplink-limit.ts';

export interface GovernorOptions {
  asked: PictureQuality;
  audioBitrateBps: number;
  /** Default 2000. */
  keyFrameIntervalMs?: number;
  heat?: Partial<HeatLimits>;
  battery?: Partial<BatteryLimits>;
}

export interface GovernorSample {
  /** Monotonic. */
  atMs: number;
  uplink: UplinkSample;
  /** With the first sample after it was read, not repeated: a single wrong reading is outvoted by its neighbours. */
  temperatureC?: number;
  battery?: BatteryReading;
}

export type GovernorDecision =
  | { kind: 'change'; quality: PictureQuality; notice: StreamNotice }
  | { kind: 'notice'; notice: StreamNotice }
  | { kind: 'stop'; code: 'OVERHEATED' | 'BATTERY_LOW'; text: string };

export interface Governor {
  /** Each 250 ms while something waits to be sent, else each second. One decision at a time; what else there is comes with the next. */
  sample(sample: GovernorSample): GovernorDecision | undefined;
  /** As last decided; at first what was asked. */
  readonly quality: PictureQuality;
}

const MIN_CHANGE_GAP_MS = 1_000;
const MIN_SKIP_NOTICE_GAP_MS = 2_000;

export function createGovernor(options: GovernorOptions): Governor {
  const { asked, audioBitrateBps, keyFrameIntervalMs = 2_000 } = options;
  const power = createPowerGauge(
    { ...defaultHeatLimits, ...options.heat },
    { ...defaultBatteryLimits, ...options.battery },
  );
  const uplink = createUplinkLimit({
    askedBps: asked.videoBitrateBps,
    floorBps: floorOf(asked).videoBitrateBps,
    audioBitrateBps,
    keyFrameIntervalMs,
  });
  const skips = createSkipCount();
  let quality = asked;
  let changedAtMs = Number.NEGATIVE_INFINITY;
  /** Steps of heat and battery that nobody was told of yet. */
  const untold: PowerStep[] = [];

  function allowed(): PictureQuality {
    return qualityWithin(asked, { videoBitrateBps: uplink.videoBitrateBps, effortShare: power.effortShare });
  }
  function change(atMs: number, notice: StreamNotice): GovernorDecision {
    quality = allowed();
    changedAtMs = atMs;
    return { kind: 'change', quality, notice };
  }
  /** A step is told with the change that it makes, or alone when another limit is the stricter one. */
  function decideByPower(atMs: number, isFree: boolean): GovernorDecision | undefined {
    const [step] = untold;
    if (!step) return undefined;
    const next = allowed();
    if (isSameQuality(next, quality)) {
      untold.shift();
      return { kind: 'notice', notice: powerNotice(step, quality, 'picture stays at') };
    }
    if (!isFree) return undefined;
    untold.shift();
    return change(atMs, powerNotice(step, next, 'picture goes to'));
  }
  function decideByUplink(atMs: number, sample: UplinkSample, isFree: boolean): GovernorDecision | undefined {
    const step = uplink.sample(atMs, sample, { videoBitrateBps: quality.videoBitrateBps, changedAtMs }, isFree);
    if (!step || isSameQuality(allowed(), quality)) return undefined;
    return change(atMs, uplinkNotice(step, asked.videoBitrateBps + audioBitrateBps, allowed()));
  }

  return {
    sample({ atMs, uplink: sample, temperatureC, battery }) {
      const { steps, stop } = power.sample({ atMs, temperatureC, battery });
      untold.push(...steps);
      skips.sample(sample.skips);
      if (stop) return stopDecision(stop);
      const isFree = atMs - changedAtMs >= MIN_CHANGE_GAP_MS;
      const byPower = decideByPower(atMs, isFree);
      // Also when another decision stands: the uplink's memory needs every sample.
      const byUplink = decideByUplink(atMs, sample, isFree && !byPower && untold.length === 0);
      return byPower ?? byUplink ?? skips.notice(atMs);
    },
    get quality() {
      return quality;
    },
  };
}

function stopDecision({ code, value }: PowerStop): GovernorDecision {
  const text =
    code === 'OVERHEATED' ? `${celsius(value)} for too long` : `Battery at ${Math.round(value)} %, no charger`;
  return { kind: 'stop', code, text };
}

/** Times that the push dropped to a key frame, told at most every 2 s. */
function createSkipCount(): { sample(skips: number): void; notice(atMs: number): GovernorDecision | undefined } {
  let told: number | undefined;
  let seen = 0;
  let toldAtMs = Number.NEGATIVE_INFINITY;
  return {
    sample(skips) {
      // A new push counts from 0 again.
      if (told === undefined || skips < told) told = skips;
      seen = skips;
    },
    notice(atMs) {
      const count = seen - (told ?? seen);
      if (count === 0 || atMs - toldAtMs < MIN_SKIP_NOTICE_GAP_MS) return undefined;
      told = seen;
      toldAtMs = atMs;
      const text = `Uplink too narrow: dropped to the next key frame${count === 1 ? '' : `, ${count} times`}`;
      return { kind: 'notice', notice: { code: 'FRAMES_DROPPED', text, numbers: { skips: count } } };
    },
  };
}

function uplinkNotice(step: UplinkStep, askedBps: number, quality: PictureQuality): StreamNotice {
  const measured = step.uplinkBps === undefined ? {} : { uplinkBps: Math.round(step.uplinkBps) };
  return {
    code: step.code,
    text: `${uplinkReason(step, askedBps)}: picture goes to ${printed(quality)}`,
    numbers: { ...measured, askedBps, ...quality },
  };
}

function uplinkReason({ code, uplinkBps }: UplinkStep, askedBps: number): string {
  if (code === 'UPLINK_RECOVERED') return 'Uplink takes what it is given';
  if (uplinkBps === undefined) return `Uplink narrower than the ${mbit(askedBps)} Mbit/s asked`;
  // What is delivered has overhead, which nobody asked for.
  if (uplinkBps >= askedBps) return `Uplink full at ${mbit(uplinkBps)} Mbit/s, with ${mbit(askedBps)} asked`;
  return `Uplink ${mbit(uplinkBps)} Mbit/s under the ${mbit(askedBps)} asked`;
}

function powerNotice({ code, value }: PowerStep, quality: PictureQuality, outcome: string): StreamNotice {
  const isHeat = code === 'HEAT' || code === 'HEAT_RECOVERED';
  const reason = isHeat ? celsius(value) : `Battery at ${Math.round(value)} %`;
  return {
    code,
    text: `${reason}: ${outcome} ${printed(quality)}`,
    numbers: { ...(isHeat ? { temperatureC: value } : { batteryPercent: value }), ...quality },
  };
}

function printed({ videoBitrateBps, widthPx, heightPx, frameRate }: PictureQuality): string {
  return `${mbit(videoBitrateBps)} Mbit/s, ${widthPx}x${heightPx}, ${frameRate} frames/s`;
}

function mbit(bitrateBps: number): string {
  return (bitrateBps / 1_000_000).toFixed(2);
}

function celsius(value: number): string {
  return `${Math.round(value * 10) / 10} °C`;
}
